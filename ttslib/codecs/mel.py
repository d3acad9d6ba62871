"""Our own codecs: log-mels through a small network that is trained on the corpus in minutes, and Griffin-Lim.

    codec = MelCodec.load(folder)
    codes = codec.encode(wav)          # mel-6561: 25 Hz, ids of S3Tokenizer's form; mel-8192: 50 Hz, IndexTTS2's size
    latents = codec.encode(wav)        # mel-vae: 12.5 Hz, 32 latents of zero mean and unit variance, Pocket's shape
    wav = codec.decode(codes)

A code covers `samples_per_code` samples. N samples are ceil(N / samples_per_code) codes: the last one is filled up with
silence. n codes are n * samples_per_code samples. There is silence before the first and after the last sample.
"""

import base64
import hashlib
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor

from ttslib import audio, checkpoint
from ttslib.codecs import CodecError
from ttslib.codecs.mel_net import KINDS, Net
from ttslib.sections import MelCodec as Settings

HOPS_A_SECOND = 100
WINDOW_SECONDS = 0.032  # a longer one resolves harmonics and blurs stops: bits for the pitch that the words need
SHAPE = ("rate", "mels", "width", "depth", "griffin_lim")  # of the settings, those that a trained codec keeps


class MelCodec:
    """See `ttslib.codecs.Codec` for what it owns. Raises `CodecError` for an unknown name and a rate not of whole hops."""

    def __init__(self, name: str, settings: Mapping[str, int]):
        if name not in KINDS:
            raise CodecError(f"codec {name!r} is not one of ours; there are {', '.join(KINDS)}")
        if settings["rate"] % HOPS_A_SECOND:
            raise CodecError(f"mel_codec.rate={settings['rate']}: must be a multiple of {HOPS_A_SECOND}; set it to one")
        self.name, self.kind, self.settings = name, KINDS[name], {key: settings[key] for key in SHAPE}
        self.rate = self.rate_out = settings["rate"]
        self.hop, self.window = self.rate // HOPS_A_SECOND, round(WINDOW_SECONDS * self.rate)
        self.samples_per_code = self.hop * self.kind.frames
        self.frame_rate = self.rate / self.samples_per_code
        self.net = Net(self.kind, settings["mels"], settings["width"], settings["depth"])
        self.vocab = math.prod(self.kind.levels) if self.kind.levels else None
        self.dim = self.kind.dim
        self.special = {} if self.vocab is None else {"start": self.vocab, "stop": self.vocab + 1}
        self.about: dict = {}

    @classmethod
    def fresh(cls, name: str, settings: Settings) -> "MelCodec":
        """An untrained one, its weights drawn from torch's global generator."""
        return cls(name, settings.model_dump())

    @property
    def hash(self) -> str:
        decides = [self.name, self.settings, self.hop, self.window, self.kind.frames, self.kind.levels, self.dim]
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode() + self.packed()).hexdigest()

    @property
    def device(self) -> torch.device:
        return self.net.mean.device

    def to(self, device: torch.device | str) -> "MelCodec":
        self.net.to(device)
        return self

    def frames(self, samples: int) -> int:
        """Codes of so many samples: every sample is in one."""
        return -(-samples // self.samples_per_code)

    def mel(self, wav: Tensor) -> Tensor:
        """Log-mels `(codes * mel frames of a code, mels)` of `(samples,)`, frame i centred on sample i * hop. Raises
        `CodecError` for what is not mono, finite or floating point."""
        if wav.ndim != 1 or not wav.is_floating_point() or not wav.isfinite().all():
            raise CodecError(f"expected finite mono samples (samples,), got {wav.dtype} {tuple(wav.shape)}")
        count, before = self.frames(len(wav)) * self.kind.frames, -(-self.window // self.hop)
        after = (count + before) * self.hop - len(wav)  # a window of silence at each end, so that nothing is mirrored
        padded = F.pad(wav.detach().float().cpu(), (before * self.hop, after))
        mel = audio.log_mel(padded, self.rate, self.window, self.hop, self.settings["mels"])
        return mel[before : before + count]

    def encode(self, wav: Tensor) -> Tensor:
        """`(samples,)` -> `(codes,)` int64, or `(codes, dim)` float32; deterministic, a VAE gives its means.

        Raises `CodecError` for samples that are not mono and finite.
        """
        return self.encode_mel(self.mel(wav))

    @torch.no_grad()
    def encode_mel(self, mel: Tensor) -> Tensor:
        """`encode` from what `mel` gives."""
        if not len(mel):
            return torch.zeros(0, dtype=torch.int64) if self.dim is None else torch.zeros(0, self.dim)
        z = self.net.eval().encode(mel[None].to(self.device))[0]
        if self.dim is None:
            return self.net.fsq.ids(z).cpu()
        return ((z[:, : self.dim] - self.net.latent_mean) / self.net.latent_std).cpu()

    def encode_batch(self, wavs: Sequence[Tensor]) -> list[Tensor]:
        """`encode` of each, one after the other: the arithmetic chosen for another batch shape rounds in another order,
        which moves a value that lies on the edge between two levels."""
        return [self.encode(wav) for wav in wavs]

    def voice(self, wav: Tensor) -> dict[str, Tensor]:
        """Nothing: the codes carry the voice."""
        return {}

    @torch.no_grad()
    def decode_mel(self, codes: Tensor) -> Tensor:
        """Log-mels `(codes * mel frames of a code, mels)`. Raises `CodecError` for what cannot be codes of this one."""
        if self.dim is None:
            if codes.ndim != 1 or codes.is_floating_point() or codes.dtype == torch.bool:
                raise CodecError(f"{self.name} takes ids (frames,), got {codes.dtype} {tuple(codes.shape)}")
            if len(codes) and not 0 <= int(codes.min()) <= int(codes.max()) < self.vocab:
                found = f"{int(codes.min())}..{int(codes.max())}"
                raise CodecError(f"{self.name} has the ids 0..{self.vocab - 1}, got {found}; take off start and stop")
        elif codes.ndim != 2 or codes.shape[1] != self.dim or not codes.is_floating_point():
            raise CodecError(f"{self.name} takes latents (frames, {self.dim}), got {codes.dtype} {tuple(codes.shape)}")
        elif not codes.isfinite().all():
            raise CodecError(f"{self.name}: latents that are not finite")
        if not len(codes):
            return torch.zeros(0, self.settings["mels"])
        codes = codes.to(self.device)
        if self.dim is None:
            z = self.net.fsq.values(codes.long())
        else:
            z = codes.float() * self.net.latent_std + self.net.latent_mean
        return self.net.eval().decode(z[None])[0].cpu()

    def decode(self, codes: Tensor, voice: Mapping[str, Tensor] | None = None, seed: int = 0) -> Tensor:
        """`(codes,)` ids or `(codes, dim)` latents -> `(codes * samples_per_code,)`; `seed` decides Griffin-Lim's phases.

        Raises `CodecError` for ids out of range, latents of another width, and a `voice` that is not empty.
        """
        if voice:
            raise CodecError(f"{self.name}: its codes carry the voice; got a voice with {', '.join(voice)}")
        if not len(mel := self.decode_mel(codes)):
            return torch.zeros(0)
        mel = torch.cat([mel, mel[-1:]]).clamp(min=math.log(audio.LOG_FLOOR))  # n + 1 frames bound n hops
        return audio.griffin_lim(mel, self.rate, self.window, self.hop, self.settings["griffin_lim"], seed)

    def packed(self) -> bytes:
        """The weights as safetensors, which have one order."""
        return safetensors.torch.save({name: value.cpu().contiguous() for name, value in self.net.state_dict().items()})

    def told(self) -> dict:
        return {"name": self.name, "hash": self.hash, "settings": self.settings, "about": self.about}

    def state(self) -> dict:
        """Plain JSON with everything in it: `weights` are base64 of zlib of safetensors."""
        weights = base64.b64encode(zlib.compress(self.packed(), 6)).decode("ascii")
        return self.told() | {"weights": weights}

    @classmethod
    def restore(cls, state: Mapping) -> "MelCodec":
        """The codec of a `state()`. Raises `CodecError` when it is damaged."""
        try:
            packed = zlib.decompress(base64.b64decode(state["weights"], validate=True))
        except (ValueError, zlib.error) as error:
            raise CodecError(f"codec {state['name']}: its weights are damaged: {error}") from None
        return cls.unpacked(state, packed, "the checkpoint's codec")

    @classmethod
    def unpacked(cls, told: Mapping, packed: bytes, where: str) -> "MelCodec":
        with torch.random.fork_rng(devices=[]):  # whoever loads a codec draws the same numbers afterwards
            made = cls(told["name"], told["settings"])
        try:
            made.net.load_state_dict(safetensors.torch.load(packed))
        except (SafetensorError, RuntimeError) as error:
            raise CodecError(f"{where}: weights that are not those of its settings: {error}") from None
        made.net.eval()
        made.about = dict(told.get("about", {}))
        if made.hash != told["hash"]:
            raise CodecError(f"{where}: damaged: hash {made.hash[:12]}, recorded was {told['hash'][:12]}")
        return made

    def save(self, folder: str | Path) -> Path:
        """Write `codec.json` and `model.safetensors`; the former comes last, and `load` wants it."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").write_bytes(self.packed())
        checkpoint.sync(folder / "model.safetensors")
        checkpoint.write_json(folder / "codec.json", self.told())
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> "MelCodec":
        """What `save` wrote. Raises `CodecError` when a file is missing or damaged."""
        folder = Path(folder)
        try:
            told, packed = checkpoint.read_json(folder / "codec.json"), (folder / "model.safetensors").read_bytes()
        except (checkpoint.CheckpointError, OSError) as error:
            raise CodecError(f"{folder}: not a whole codec: {error}") from None
        return cls.unpacked(told, packed, str(folder))
