"""Mimi and DAC through Transformers: several codebooks a frame as one stream of ids, or Mimi's continuous latents.

    mimi=kyutai/mimi            # 8 codebooks: 12.5 frames, 100 ids a second
    mimi=kyutai/mimi#4          # the first 4
    mimi=kyutai/mimi#latents    # what comes before the quantiser: 12.5 vectors a second
    dac=descript/dac_24khz#2    # 75 frames, 150 ids a second; 9 codebooks where none are named

The language models of this library read one stream, so the codebooks of a frame stand one after the other, each in a
range of its own: id = q * size + code for codebook q, q = 0..K-1. Every id then says which codebook it belongs to, the
rate is K times that of the frames, and `decode` refuses a stream that is out of step. K is part of the codec: a stream
of 4 codebooks cannot be read as one of 8.

A folder (or repository) holds config.json and model.safetensors as `save_pretrained` writes them. Latents go straight
to the decoder, unquantised; nothing is lost but what the codec itself loses.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DacModel, MimiModel, PreTrainedModel

from ttslib.codecs import CodecError
from ttslib.codecs.published import Published, digest, located

MODELS = {"mimi": MimiModel, "dac": DacModel}
DEFAULT = {"mimi": 8, "dac": 9}  # codebooks: those of Moshi; the first DAC's
LATENTS = "latents"


def load(source: str, kind: str) -> Published:
    """`Codes` or `Latents` of a folder or hub id, with the choice after `#`. Raises `CodecError`."""
    place, _, choice = source.partition("#")
    if choice and not choice.isdecimal() and (kind, choice) != ("mimi", LATENTS):
        latents = " or latents" if kind == "mimi" else ""
        raise CodecError(f"{kind}={source}: after # comes a number of codebooks{latents}, not {choice!r}")
    weights = located(place, ("model.safetensors",))
    config = located(str(weights.parent) if Path(place).exists() else place, ("config.json",))
    network = model(kind, weights.parent)
    where = f"{kind}={source}"
    if choice == LATENTS:
        return Latents(network, where, digest([weights, config], choice=LATENTS))
    available = network.config.num_quantizers if kind == "mimi" else network.config.n_codebooks
    least = network.config.num_semantic_quantizers if kind == "mimi" else 1
    count = int(choice) if choice else min(DEFAULT[kind], available)
    if not least <= count <= available:
        raise CodecError(f"{where}: {count} codebooks asked for, it has {least} to {available}")
    return Codes(kind, network, count, where, digest([weights, config], choice=count))


def model(kind: str, folder: Path) -> PreTrainedModel:
    """The network in a folder. Raises `CodecError` when it is none of this kind, or weights are missing in it."""
    try:
        found, info = MODELS[kind].from_pretrained(
            folder, output_loading_info=True, dtype=torch.float32, local_files_only=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise CodecError(f"{folder}: no {kind} of Transformers in it: {str(error).splitlines()[0]}") from error
    wrong = sorted(info["missing_keys"]) + sorted(str(key) for key in info["mismatched_keys"])
    if found.config.model_type != kind or wrong:
        raise CodecError(f"{folder}: no whole {kind}: {len(wrong)} weights missing or misshapen, as {wrong[:3]}")
    return found.eval()


class Hub(Published):
    """A network of Transformers at its own rate; frames of `hop` samples, the last one filled up with zeros."""

    def __init__(self, name: str, network: PreTrainedModel, where: str, hash: str) -> None:
        super().__init__(name, where, hash)
        self.network, self.config = network, network.config
        self.rate = self.rate_out = self.config.sampling_rate
        self.hop = (
            self.config.hop_length if isinstance(network, DacModel) else round(self.rate / self.config.frame_rate)
        )
        self.frame_rate = self.rate / self.hop

    def to(self, device: torch.device | str) -> Self:
        for module in self.network.modules():
            if hasattr(module, "_embed"):
                module._embed = None  # Mimi's codebooks keep a table that does not move along
        return super().to(device)

    def padded(self, wav: Tensor) -> Tensor:
        """`(samples,)` -> `(1, 1, frames * hop)` on the device."""
        wav = self.samples(wav)
        return F.pad(wav, (0, -len(wav) % self.hop))[None, None].to(self.device)


class Codes(Hub):
    """Codebooks as one stream of ids."""

    def __init__(self, kind: str, network: PreTrainedModel, count: int, where: str, hash: str) -> None:
        super().__init__(f"{kind}-{count}", network, where, hash)
        self.kind, self.count, self.size = kind, count, network.config.codebook_size
        self.frame_rate *= count
        self.vocab = count * self.size
        self.special = {"start": self.vocab, "stop": self.vocab + 1}

    @torch.no_grad()
    def encode(self, wav: Tensor) -> Tensor:
        """ceil(samples / hop) * K ids, the K of a frame in the order of the codebooks."""
        books = {"num_quantizers" if self.kind == "mimi" else "n_quantizers": self.count}
        codes = self.network.encode(self.padded(wav), **books).audio_codes[0]  # (K, frames)
        offsets = torch.arange(self.count, device=codes.device)[:, None] * self.size
        return (codes + offsets).T.reshape(-1).long().cpu()

    @torch.no_grad()
    def decode(self, codes: Tensor, voice: Mapping[str, Tensor] | None = None, seed: int = 0) -> Tensor:
        """Waveform of the ids, hop samples a frame (DAC with odd ratios gives a few less); `voice` and `seed` change
        nothing. Raises `CodecError` for a stream out of step."""
        codes = self.ids(codes)
        due = torch.arange(len(codes)) % self.count
        if len(wrong := (codes // self.size != due).nonzero()):
            at = int(wrong[0])
            raise CodecError(
                f"{self.name}: id {int(codes[at])} at position {at} is of codebook {int(codes[at]) // self.size}, "
                f"where one of codebook {int(due[at])} is due"
            )
        if len(codes) % self.count:
            raise CodecError(f"{self.name}: {len(codes)} ids are no whole frames of {self.count}")
        frames = (codes % self.size).reshape(-1, self.count).T[None].to(self.device)
        return self.network.decode(audio_codes=frames).audio_values.reshape(-1).float().cpu()


class Latents(Hub):
    """Mimi's vectors before its quantiser."""

    def __init__(self, network: MimiModel, where: str, hash: str) -> None:
        super().__init__("mimi-latents", network, where, hash)
        self.dim = network.config.hidden_size

    @torch.no_grad()
    def encode(self, wav: Tensor) -> Tensor:
        """`(ceil(samples / hop), dim)` float32."""
        return self.network.encoder(self.padded(wav)).latents[0].T.float().cpu().contiguous()

    @torch.no_grad()
    def decode(self, codes: Tensor, voice: Mapping[str, Tensor] | None = None, seed: int = 0) -> Tensor:
        """Waveform of latents `(frames, dim)`; `voice` and `seed` change nothing. Raises `CodecError`."""
        latents = self.latents(codes).T[None].to(self.device)
        return self.network.decoder(latents).audio_values.reshape(-1).float().cpu()
