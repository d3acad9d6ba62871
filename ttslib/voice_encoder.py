"""What a voice is to a system: 256 numbers of unit length, from a recording of it at 16 kHz.

    vector = VoiceEncoder.load(file).embed(wav)       # Chatterbox's own, from its ve.safetensors or ve.pt
    vector = MelStatistics().embed(wav)               # where there is none published: a network that learns from nothing

`VoiceEncoder` computes what `chatterbox-tts` 0.1.7 does (`models/voice_encoder`, after Resemblyzer): partial utterances of
1.6 s, 1.3 a second, through three LSTMs (Wan et al. 2018), their mean. Both raise `BadClip` for what has no voice in it.
"""

import base64
import hashlib
import pickle
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ttslib import audio
from ttslib.checkpoint import CheckpointError
from ttslib.dataset import BadClip

RATE, WIDTH = 16000, 256  # Hz; numbers in a voice
MELS, WINDOW, HOP = 40, 400, 160  # bands; samples
PARTIAL, STEP, COVERAGE, BATCH = 160, round(RATE / 1.3 / 160), 0.8, 32  # frames; frames; share of a partial; partials
TRIM_DB, TRIM_WINDOW, TRIM_HOP = 20.0, 2048, 512  # librosa.effects.trim's


class VoiceEncoder(nn.Module):
    """Chatterbox's voice encoder; parameters are named and shaped as in its files."""

    name, width = "chatterbox-ve", WIDTH

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(MELS, WIDTH, num_layers=3, batch_first=True)
        self.proj = nn.Linear(WIDTH, WIDTH)
        # Of its training loss; kept so that an exported file has every key of the published one.
        self.similarity_weight = nn.Parameter(torch.tensor([10.0]))
        self.similarity_bias = nn.Parameter(torch.tensor([-5.0]))

    @classmethod
    def load(cls, path: str | Path) -> "VoiceEncoder":
        """The weights of a `.safetensors` or `.pt` file. Raises `CheckpointError` naming what is missing or does not fit."""
        path = Path(path)
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file; the voice encoder is Chatterbox's ve.safetensors or ve.pt")
        try:
            if path.suffix == ".safetensors":
                weights = safetensors.torch.load_file(path)
            else:
                weights = torch.load(path, map_location="cpu", weights_only=True)
        except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
            raise CheckpointError(f"{path}: cannot be read: {error}") from error
        if not isinstance(weights, Mapping):
            raise CheckpointError(f"{path}: holds a {type(weights).__name__}, not named weights")
        return cls.of(weights, str(path))

    @classmethod
    def of(cls, weights: Mapping[str, Tensor], where: str) -> "VoiceEncoder":
        """One with these weights, which learn no more. Raises `CheckpointError`, `where` being its subject."""
        made = cls()
        expected = {key: value.shape for key, value in made.state_dict().items()}
        wrong = [f"missing {key}" for key in expected if key not in weights]
        wrong += [f"unknown {key}" for key in weights if key not in expected]
        wrong += [
            f"{key} is {tuple(weights[key].shape)}, not {tuple(shape)}"
            for key, shape in expected.items()
            if key in weights and weights[key].shape != shape
        ]
        if wrong:
            raise CheckpointError(f"{where}: not the weights of a Chatterbox voice encoder: {', '.join(wrong)}")
        made.load_state_dict(weights)
        return made.eval().requires_grad_(False)

    @property
    def hash(self) -> str:
        """SHA-256 of the weights: another encoder gives other features."""
        return hashlib.sha256(self.packed()).hexdigest()

    def packed(self) -> bytes:
        """The weights as safetensors."""
        return safetensors.torch.save({key: value.cpu().contiguous() for key, value in self.state_dict().items()})

    def state(self) -> dict:
        """Plain JSON for `restore`: the weights too (7 MB), so that a checkpoint needs no file beside it."""
        return {"name": self.name, "weights": base64.b64encode(zlib.compress(self.packed(), 1)).decode("ascii")}

    def save(self, path: Path) -> None:
        """Write what `load` and the stock package read: `.safetensors`, or `.pt`."""
        if path.suffix == ".safetensors":
            path.write_bytes(self.packed())
        else:
            torch.save(self.state_dict(), path)

    def forward(self, mel: Tensor) -> Tensor:
        """`(partials, frames, mels)` -> `(partials, 256)`, each of unit length and not negative."""
        _, (hidden, _) = self.lstm(mel)
        return normalised(self.proj(hidden[-1]).relu())

    @torch.no_grad()
    def embed(self, wav: Tensor) -> Tensor:
        """`(samples,)` at 16 kHz -> `(256,)` on the CPU. Raises `BadClip` when it is too short or gives nothing finite."""
        pieces = partials(mel(trimmed(checked(wav, WINDOW // 2)))).to(self.proj.weight.device)
        vector = normalised(torch.cat([self(batch) for batch in pieces.split(BATCH)]).mean(0)).cpu()
        if not vector.isfinite().all():
            raise BadClip("the voice encoder makes nothing of it; is there a voice in it?")
        return vector


class MelStatistics:
    """The voice of a network without a published encoder: its long-term spectrum, and how much each band moves.

    The recording is trimmed and scaled to a peak of 1. Mean and standard deviation over time of its 128-band log-mel
    (`audio.log_mel`) are two halves of 128 numbers; each half has its own mean taken away and is divided by its own
    standard deviation; the 256 numbers are brought to unit length. Nothing is learnt, drawn or fitted; loudness is nothing.
    """

    name, width = "mel-statistics-256", WIDTH
    hash = hashlib.sha256(b"mel-statistics-256, version 1").hexdigest()
    """changes with the arithmetic"""

    def embed(self, wav: Tensor) -> Tensor:
        """`(samples,)` at 16 kHz -> `(256,)`. Raises `BadClip` when it is too short or silent."""
        wav = trimmed(checked(wav, 512))
        log_mel = audio.log_mel(wav / wav.abs().max(), RATE, mels=WIDTH // 2)
        halves = torch.stack([log_mel.mean(0), log_mel.std(0, correction=0)])
        spread = halves.std(1, correction=0, keepdim=True)
        if not spread.min() > 1e-6:  # not a number where all is silent
            raise BadClip("its spectrum is flat or does not move: there is no voice in it")
        return normalised(((halves - halves.mean(1, keepdim=True)) / spread).flatten())

    def state(self) -> dict:
        return {"name": self.name, "hash": self.hash}


def restore(state: Mapping) -> VoiceEncoder | MelStatistics:
    """The encoder of a `state()`. Raises `CheckpointError` for a damaged or unknown one."""
    if state["name"] == VoiceEncoder.name:
        try:
            weights = safetensors.torch.load(zlib.decompress(base64.b64decode(state["weights"], validate=True)))
        except (ValueError, zlib.error, SafetensorError) as error:
            raise CheckpointError(f"the checkpoint's voice encoder is damaged: {error}") from None
        return VoiceEncoder.of(weights, "the checkpoint's voice encoder")
    if dict(state) != (known := MelStatistics()).state():
        raise CheckpointError(f"voice encoder {state}: there are {VoiceEncoder.name} and {known.state()}")
    return known


def checked(wav: Tensor, least: int) -> Tensor:
    """`wav`, unless it is no longer than the `least` samples that the first window mirrors, or not finite."""
    if wav.ndim != 1 or len(wav) <= least:
        raise BadClip(f"{tuple(wav.shape)} samples at {RATE} Hz, a voice needs more than {least}")
    if not wav.isfinite().all():
        raise BadClip("its samples are not finite")
    return wav.float()


def normalised(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True)


def trimmed(wav: Tensor) -> Tensor:
    """`(samples,)` without the ends that are 20 dB or more below its loudest 128 ms, as `librosa.effects.trim` counts."""
    padded = nn.functional.pad(wav, (TRIM_WINDOW // 2, TRIM_WINDOW // 2))
    power = padded.unfold(0, TRIM_WINDOW, TRIM_HOP).square().mean(1).clamp(min=1e-10)
    loud = torch.nonzero(10 * torch.log10(power / power.max()) > -TRIM_DB).flatten()
    return wav[loud[0] * TRIM_HOP : (loud[-1] + 1) * TRIM_HOP]


@cache
def bank() -> Tensor:
    """Slaney's mel filters `(bins, mels)`, 0 to 8 kHz, as `librosa.filters.mel` has them."""
    import torchaudio.functional as F

    bins = WINDOW // 2 + 1
    return F.melscale_fbanks(bins, 0.0, RATE / 2, MELS, RATE, norm="slaney", mel_scale="slaney")


def mel(wav: Tensor) -> Tensor:
    """Mels `(frames, 40)` of the power spectrum, neither logarithms nor scaled; frames = samples // 160 + 1."""
    window = torch.hann_window(WINDOW)
    spectrum = torch.stft(wav, WINDOW, HOP, window=window, center=True, pad_mode="reflect", return_complex=True)
    return spectrum.abs().square().T @ bank()


def partials(mels: Tensor) -> Tensor:
    """`(frames, 40)` cut into `(partials, 160, 40)`, 77 frames apart; the last is filled up with zeros, or left out when
    less than 80 % of it would be speech."""
    count, rest = divmod(max(len(mels) - PARTIAL + STEP, 0), STEP)
    if count == 0 or (rest + PARTIAL - STEP) / PARTIAL >= COVERAGE:
        count += 1
    missing = PARTIAL + STEP * (count - 1) - len(mels)
    filled = nn.functional.pad(mels, (0, 0, 0, max(missing, 0)))
    return torch.stack([filled[i * STEP : i * STEP + PARTIAL] for i in range(count)])
