"""S3Tokenizer v2 and S3Gen, the codec of Chatterbox T3: 16 kHz in, 25 codes a second of 3^8, 24 kHz out.

    s3=ResembleAI/chatterbox              # the first of FILES that the repository has
    s3=ResembleAI/chatterbox/s3gen.pt     # a file of it; @revision may follow
    s3=<folder or file>

One file holds everything: the tokenizer (`tokenizer.*`), the flow and the vocoder. The code is that of the package
`chatterbox-tts` (MIT) and of `s3tokenizer` that it builds on (Apache-2.0), so codes are those of the stock runtime.
Its watermark is not applied here.
"""

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ttslib.codecs import CodecError
from ttslib.codecs.published import Published, digest, imported, located

# English, multilingual, single-language packs, Turbo
FILES = ("s3gen.safetensors", "s3gen.pt", "s3gen_v3.pt", "s3gen_meanflow.safetensors")
INSTALL = "chatterbox-tts==0.1.7 s3tokenizer==0.3.0"
MODEL = "speech_tokenizer_v2_25hz"
VOCAB = 6561
HOP = 640  # samples of a code
WINDOW, STRIDE, OVERLAP = 3000, 2600, 400  # mel frames of 10 ms: s3tokenizer's windows for what is longer than 30 s
REFERENCE = 10  # seconds, `DEC_COND_LEN` of the stock runtime
HEAD = 64  # width of an attention head: its rotary table has no other
COMPUTED = {"_mel_filters", "window"}  # buffers that the English file leaves out


def load(source: str, kind: str) -> "S3":
    """Raises `CodecError` when the weights or the package are missing, or the file is not one of S3Gen."""
    path = located(source, FILES)
    return S3(path, f"{kind}={source}")


class S3(Published):
    rate, rate_out, frame_rate, vocab = 16000, 24000, 25.0, VOCAB

    def __init__(self, path: Path, where: str) -> None:
        super().__init__("s3", where, digest([path], model=MODEL))
        self.special = {"start": VOCAB, "stop": VOCAB + 1}
        self.path = path
        self.tokenizer = tokenizer(read(path, "tokenizer."), path)
        self.speaker: nn.Module | None = None

    def encode(self, wav: Tensor) -> Tensor:
        """ceil(samples / 640) codes: `wav` is filled up with zeros to whole codes.

        Over 30 s, windows of 30 s that share 4 s are joined in the middle of what they share, as s3tokenizer does; it
        loses up to 2 s where a last window is no longer than what it shares (e.g. 53 s), so that window is left out.
        """
        wav = self.samples(wav)
        wav = F.pad(wav, (0, -len(wav) % HOP)).to(self.device)  # S3Tokenizer.pad adds a code to some whole lengths (7)
        mel = self.tokenizer.log_mel_spectrogram(wav[None])[0]  # (128, frames), 100 a second
        spans = windows(mel.shape[1])
        width = WINDOW if len(spans) > 1 else mel.shape[1]
        mels = torch.stack([F.pad(mel[:, a:b], (0, width - (b - a))) for a, b in spans])
        lengths = torch.tensor([b - a for a, b in spans], dtype=torch.int32, device=self.device)
        codes, counts = self.tokenizer.quantize(mels, lengths)
        parts = [row[:count].tolist() for row, count in zip(codes, counts.tolist(), strict=True)]
        merge = importlib.import_module("s3tokenizer.utils").merge_tokenized_segments
        return torch.tensor(merge(parts, OVERLAP // 100, 25))

    @torch.no_grad()
    def voice(self, wav: Tensor) -> dict[str, Tensor]:
        """`S3Gen.embed_ref` of the first 10 s: prompt_token `(1, n)`, prompt_token_len `(1,)`, prompt_feat
        `(1, 2n, 80)` (mels at 24 kHz), embedding `(1, 192)`.

        The stock runtime hands it samples at 24 kHz; here they come at 16 kHz, which codes and embedding use anyway,
        and the prompt's mels have nothing above 8 kHz. They are cut to whole codes, so that codes and mels agree.
        """
        wav = self.samples(wav, least=HOP * 5)[: REFERENCE * self.rate]
        wav = wav[: len(wav) // HOP * HOP].to(self.device)
        found = self.generator().embed_ref(wav, self.rate, device=self.device)
        return {name: value.cpu().clone() for name, value in found.items() if value is not None}

    def decode(self, codes: Tensor, voice: Mapping[str, Tensor] | None = None, seed: int = 0) -> Tensor:
        """960 samples a code, in the voice of `voice(...)`. Raises `CodecError` without one, or for other ids."""
        if not voice:
            raise CodecError("s3: the codes carry no voice; decode(codes, voice=codec.voice(reference))")
        codes = self.ids(codes)[None].to(self.device)
        generator = self.generator()
        # a dict of its own: S3Gen casts the values in place
        reference = {name: value.to(self.device) for name, value in voice.items()} | {"prompt_feat_len": None}
        with self.seeded(seed):
            wav, _ = generator.inference(speech_tokens=codes, ref_dict=reference)
        return wav[0].float().cpu().clone()

    def generator(self) -> nn.Module:
        """S3Gen, made when it is first needed: it is twice the size of the tokenizer, and encoding does without."""
        if self.speaker is None:
            self.speaker = generator(read(self.path, ""), self.tokenizer, self.path).to(self.device)
        return self.speaker


def windows(frames: int) -> list[tuple[int, int]]:
    """Start and end of the windows over a mel of so many frames."""
    starts = range(0, frames, STRIDE) if frames > WINDOW else range(1)
    if len(starts) > 1 and frames - starts[-1] < OVERLAP:
        starts = starts[:-1]  # the window before reaches the end
    return [(start, min(start + WINDOW, frames)) for start in starts]


def read(path: Path, prefix: str) -> dict[str, Tensor]:
    """The tensors of a file whose names start with `prefix`, without it. Raises `CodecError`."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                names = list(file.keys())
                return {name.removeprefix(prefix): file.get_tensor(name) for name in names if name.startswith(prefix)}
        weights = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    except (SafetensorError, UnpicklingError, RuntimeError, AttributeError) as error:
        raise CodecError(f"{path}: cannot be read as weights of S3Gen: {error}") from error


def tokenizer(weights: dict[str, Tensor], path: Path) -> nn.Module:
    """Chatterbox's S3Tokenizer, whose mels are its own. Raises `CodecError` unless all its weights are there."""
    package = imported("chatterbox.models.s3tokenizer", INSTALL)
    if "encoder.conv1.weight" not in weights:
        raise CodecError(f"{path}: no weights tokenizer.* in it; looked for a file of S3Gen ({', '.join(FILES)})")
    width = len(weights["encoder.conv1.weight"])
    layers = {name.split(".")[2] for name in weights if name.startswith("encoder.blocks.")}
    with sizes(width, len(layers)):
        made = package.S3Tokenizer(MODEL)
    fill(made, weights, COMPUTED, path)
    return made.eval()


def generator(weights: dict[str, Tensor], own: nn.Module, path: Path) -> nn.Module:
    """S3Gen around a tokenizer that is there already. Raises `CodecError` unless all its weights are there."""
    package = imported("chatterbox.models.s3gen", INSTALL)
    with sizes(HEAD, 0):  # the tokenizer that it makes itself goes away again
        made = package.S3Gen(meanflow=any("time_embed_mixer" in name for name in weights))
    del made.tokenizer
    fill(made, {name: value for name, value in weights.items() if not name.startswith("tokenizer.")}, set(), path)
    made.tokenizer = own
    return made.eval()


@contextmanager
def sizes(width: int, layers: int) -> Iterator[None]:
    """S3Tokenizers made inside have these sizes. The class passes none on to its base, which then takes its default: one
    ModelConfig that all instances share. Here it is another one for as long as it takes."""
    package = importlib.import_module("s3tokenizer.model_v2")
    init = package.S3TokenizerV2.__init__
    config = package.ModelConfig(n_audio_state=width, n_audio_head=width // HEAD, n_audio_layer=layers)
    shared, init.__defaults__ = init.__defaults__, (config,)
    try:
        yield
    finally:
        init.__defaults__ = shared


def fill(made: nn.Module, weights: dict[str, Tensor], optional: set[str], path: Path) -> None:
    try:
        missing, unexpected = made.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise CodecError(f"{path}: weights of other shapes than S3Gen's: {str(error).splitlines()[-1]}") from error
    if wrong := sorted(set(missing) - optional) + unexpected:
        raise CodecError(f"{path}: {len(wrong)} weights missing or unknown, as {wrong[:3]}; not a file of S3Gen")
