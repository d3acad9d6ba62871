"""The semantic codes of IndexTTS2: w2v-bert 2.0 and MaskGCT's RepCodec, 16 kHz in, 50 codes a second of 8192.

    indextts=<folder>                     # parts that are not in it are looked for in the hub
    indextts=IndexTeam/IndexTTS-2         # wav2vec2bert_stats.pt of it, the other parts from their own repositories

| part | in the folder | in the hub |
|---|---|---|
| RepCodec | semantic_codec/model.safetensors or model.safetensors | amphion/MaskGCT |
| mean and variance of its input | wav2vec2bert_stats.pt | IndexTeam/IndexTTS-2 |
| w2v-bert | w2v-bert-2.0/ as `save_pretrained` writes it, with preprocessor_config.json | facebook/w2v-bert-2.0 |
| for speech only: settings, s2mel | config.yaml, s2mel.pth | IndexTeam/IndexTTS-2 |
| CAM++ | campplus_cn_common.bin | funasr/campplus |
| BigVGAN v2 | bigvgan/config.json, bigvgan/bigvgan_generator.pt | nvidia/bigvgan_v2_22khz_80band_256x |

RepCodec is that of the package `indextts2-inference`, w2v-bert Transformers'. IndexTTS2 makes speech of codes and of
the states of its language model, in `indextts_sound.py`; the codes alone are none.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2BertModel

from ttslib.codecs import CodecError
from ttslib.codecs.published import Published, digest, imported, located

if TYPE_CHECKING:
    from ttslib.codecs.indextts_sound import Sound

HUB = "IndexTeam/IndexTTS-2"
INSTALL = "indextts2-inference==2.1.1"
CODEC = ("semantic_codec/model.safetensors", "model.safetensors")
STATS = "wav2vec2bert_stats.pt"
W2V = "w2v-bert-2.0"
LAYER = 17  # of the hidden states, where 0 is the input of the first layer
LEAST = 560  # samples: two frames of 25 ms every 10 ms, the least that can be normalised
LEAST_VOICE = 720  # samples: three of them, the least whose CAM++ vector is a number
PROMPT = 15  # seconds of a speaker that the runtime hears


def load(source: str, kind: str) -> "IndexCodes":
    """Raises `CodecError` when a part or the package is missing."""
    stats = part(source, (STATS,), HUB, own=True)
    codec = part(source, CODEC, "amphion/MaskGCT", own=False)
    names = ("model.safetensors", "config.json", "preprocessor_config.json")
    w2v = [part(source, (f"{W2V}/{name}",), f"facebook/{W2V}/{name}", own=False) for name in names]
    return IndexCodes(codec, stats, w2v, source, kind)


def part(source: str, names: Sequence[str], hub: str, own: bool) -> Path:
    """A part in the folder `source`, or in the hub: in the repository that `source` names if it has the part as its
    `own`, else in `hub`. Raises `CodecError` naming both places."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        if found := next((folder / name for name in names if (folder / name).is_file()), None):
            return found
        try:
            return located(hub, names)
        except CodecError as error:
            raise CodecError(f"{source}: no {' or '.join(names)} in this folder, and {error}") from error
    return located(source if own else hub, names)


class IndexCodes(Published):
    rate, rate_out, frame_rate = 16000, 22050, 50.0

    def __init__(self, codec: Path, stats: Path, w2v: Sequence[Path], source: str, kind: str) -> None:
        """`w2v` are the files of w2v-bert, in one folder; `source` is where the decoder's are looked for."""
        super().__init__("indextts", f"{kind}={source}", digest([codec, stats, *w2v], layer=LAYER))
        self.source = source
        self.codec = repcodec(codec)
        self.w2v, self.extract = w2v_bert(w2v[0].parent)
        mean, std = normalisation(stats, self.codec.hidden_size)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.vocab = self.codec.codebook_size
        self.special = {"start": self.vocab, "stop": self.vocab + 1}

    def encode(self, wav: Tensor) -> Tensor:
        """Codes as IndexTTS2 makes them: 10 ms frames of 25 ms, two to a code, an odd last one filled up with zeros.

        Raises `CodecError` below 35 ms.
        """
        return self.quantised(self.hear(wav))

    @torch.no_grad()
    def hear(self, wav: Tensor) -> Tensor:
        """What the codes and IndexTTS2's view of a voice are made of: w2v-bert's normalised states `(frames, width)`."""
        wav = self.samples(wav, least=LEAST).numpy()
        heard = self.extract(wav, sampling_rate=self.rate, return_tensors="pt").to(self.device)
        hidden = self.w2v(**heard, output_hidden_states=True).hidden_states[LAYER]
        return ((hidden - self.mean) / self.std)[0]

    @torch.no_grad()
    def quantised(self, heard: Tensor) -> Tensor:
        """The codes `(frames,)` of what `hear` gave."""
        codes, _ = self.codec.quantize(heard[None])
        return codes[0].long().cpu()

    @cached_property
    def sound(self) -> "Sound":
        """The decoder, its files found or fetched from the hub, its networks not yet made. Raises `CodecError`."""
        from ttslib.codecs.indextts_sound import Sound

        return Sound(self.source).to(self.device)

    @cached_property
    def speaks(self) -> bool:
        """Whether the decoder's files are at hand, looked up once; where not, `decode` says which is missing."""
        try:
            return bool(self.sound)
        except CodecError:
            return False

    def to(self, device: torch.device | str) -> Self:
        super().to(device)
        if "sound" in self.__dict__:
            self.sound.to(self.device)
        return self

    @torch.no_grad()
    def voice(self, wav: Tensor, rate: int | None = None) -> dict[str, Tensor]:
        """What the decoder has to know of a speaker, from the first 15 s of `(samples,)`, 45 ms or more: `mel` (80, frames)
        and `style` (192,) of `Sound.heard`, and `prompt` (codes, 8), the codes as RepCodec has them before it widens
        them. {} where the decoder's files are not at hand. Raises `CodecError` for samples that are none, or too few.

        `rate` (Hz) is that of `wav` if it is not the codec's. The runtime reads 22050 Hz, which gives the very values; of
        16 kHz the mels have nothing above 8 kHz.
        """
        if not self.speaks:
            return {}
        rate = rate or self.rate
        wav = self.samples(wav, least=-(-LEAST_VOICE * rate // self.rate))[: PROMPT * rate]
        mel, style, low = self.sound.heard(wav, rate)
        book = self.codec.quantizer.quantizers[0]
        own = book.in_project(self.codec.encoder(self.hear(low).T[None]).transpose(1, 2))
        near, _ = book.decode_latents(own)
        prompt = (own + (near - own))[0].T  # `near` but for its last bit: so the network computes it
        return {name: x.cpu().contiguous().clone() for name, x in (("mel", mel), ("style", style), ("prompt", prompt))}

    @torch.no_grad()
    def decode(self, codes: Tensor, voice: Mapping[str, Tensor] | None = None, seed: int = 0) -> Tensor:
        """int(1.72 * codes) * 256 samples. `voice` is that of `voice(...)` with `latents` (codes, dim): the states of the
        language model's last norm where it foretells the codes. Raises `CodecError` saying what of it is missing."""
        codes, voice = self.ids(codes), dict(voice or {})
        runtime = "indextts: IndexTTS2's own runtime turns codes into speech with"
        try:
            sound = self.sound if "latents" in voice else None
        except CodecError as error:
            raise CodecError(f"{runtime} s2mel, CAM++ and BigVGAN, of which a part is missing: {error}") from error
        if lacking := [name for name in ("latents", "mel", "style", "prompt") if name not in voice]:
            raise CodecError(
                f"{runtime} the latents of its language model and a voice, of which {', '.join(lacking)} is missing: "
                "latents (codes, dim) come from a system that learns these codes, the rest from codec.voice(reference) "
                "where the decoder's files are at hand; or export the model and speak with it there"
            )
        quantizer = self.codec.quantizer
        said = quantizer.vq2emb(codes[None, None].to(self.device))[0].T
        prompt = quantizer.quantizers[0].out_project(voice["prompt"].to(self.device).T[None])[0].T
        with self.seeded(seed):
            return sound.spoken(said, voice["latents"], prompt, voice).cpu().clone()


def repcodec(path: Path) -> nn.Module:
    """RepCodec with the sizes of its weights, in evaluation. Raises `CodecError`."""
    package = imported("indextts.utils.maskgct.models.codec.kmeans.repcodec_model", INSTALL)
    try:
        weights = load_file(path)
        codebook = weights["quantizer.quantizers.0.codebook.weight"]
        made = package.RepCodec(
            codebook_size=len(codebook),
            codebook_dim=codebook.shape[1],
            hidden_size=len(weights["encoder.1.weight"]),
            vocos_dim=weights["encoder.1.weight"].shape[1],
            vocos_intermediate_dim=len(weights["encoder.0.convnext.0.pwconv1.weight"]),
            vocos_num_layers=len({name.split(".")[3] for name in weights if name.startswith("encoder.0.convnext.")}),
            num_quantizers=1,
        )
        made.load_state_dict(weights, strict=True)
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise CodecError(f"{path}: no weights of MaskGCT's RepCodec: {' '.join(str(error).split()[:30])}") from error
    return made.eval()


def w2v_bert(folder: Path) -> tuple[nn.Module, SeamlessM4TFeatureExtractor]:
    """w2v-bert and what computes its input. Raises `CodecError` when weights are missing or it has no layer 17."""
    try:
        features = SeamlessM4TFeatureExtractor.from_pretrained(folder, local_files_only=True)
        found, info = Wav2Vec2BertModel.from_pretrained(
            folder, output_loading_info=True, dtype=torch.float32, local_files_only=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise CodecError(f"{folder}: no w2v-bert of Transformers in it: {str(error).splitlines()[0]}") from error
    missing = set(info["missing_keys"]) - {"masked_spec_embed"}  # used in its own training only
    wrong = sorted(missing) + sorted(str(key) for key in info["mismatched_keys"])
    if wrong or found.config.num_hidden_layers < LAYER:
        raise CodecError(
            f"{folder}: {len(wrong)} weights of w2v-bert missing or misshapen, as {wrong[:3]}; it has "
            f"{found.config.num_hidden_layers} layers, {LAYER} or more are needed"
        )
    return found.eval(), features


def normalisation(path: Path, width: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation `(width,)` of the hidden states. Raises `CodecError`."""
    try:
        stats = torch.load(path, map_location="cpu", weights_only=True)
        mean, std = stats["mean"].float(), stats["var"].float().sqrt()
    except (UnpicklingError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise CodecError(f"{path}: no mean and var of w2v-bert in it: {error}") from error
    if mean.shape != (width,) or std.shape != (width,):
        raise CodecError(f"{path}: mean {tuple(mean.shape)} and var {tuple(std.shape)}, expected ({width},)")
    return mean, std
