"""A small recogniser of ours: log-mels through convolutions to the characters of one language (CTC, Graves et al. 2006).

    folder/recogniser.json     language, characters, sizes, what it was trained on, the weights' hash
    folder/model.safetensors

`stride` mels of 10 ms make a frame; blocks are ConvNeXt's (Liu et al. 2022) in one dimension, so that a frame hears a bit
more than a second to either side. Greedy decoding, no language model: what is not said is not written.
"""

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from ttslib import audio, checkpoint
from ttslib.recognise import RATE, RecogniserError, heard, known

HOP, WINDOW, MELS = 160, 512, 80  # samples at 16 kHz; bands
SPREAD = 2.0  # nats, about the standard deviation of speech
DEEPEST, SPEECH = 9.0, 3.5  # nats below the loudest: what is silence (78 dB), which frames have speech (30 dB)
KERNEL, DROPOUT, SCALE = 11, 0.0, 0.1
FORMAT = 1
SYLLABLE = re.compile(r".*SYLLABLE (.*?)([AEIOU]*)$")


class Block(nn.Module):
    """ConvNeXt in one dimension: along time band by band, then across the bands frame by frame."""

    def __init__(self, width: int):
        super().__init__()
        self.time = nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.wide, self.narrow = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)
        self.scale = nn.Parameter(torch.full((width,), SCALE))
        self.drop = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        y = self.time(x.transpose(1, 2)).transpose(1, 2)
        return x + self.scale * self.drop(self.narrow(F.gelu(self.wide(self.norm(y)))))


class Net(nn.Module):
    """Mels `(batch, frames, 80)` to log-probabilities `(batch, frames / stride, characters + 1)`; 0 is the blank.

    In a syllabary the weights of a character are its own plus those of its consonant and its vowel, by its Unicode name:
    267 Amharic letters share 63 of these, and a rare letter is learnt from its row and its column.
    """

    def __init__(self, characters: Sequence[str], width: int, depth: int, stride: int):
        super().__init__()
        self.stride = stride
        self.stem = nn.Conv1d(MELS, width, 2 * stride - 1, stride, stride - 1)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm_in, self.norm_out = nn.LayerNorm(width), nn.LayerNorm(width)
        self.out = nn.Linear(width, len(characters) + 1)
        named = [parts(char) for char in characters]
        shared = sorted({part for found in named for part in found})
        belongs = torch.zeros(len(characters) + 1, len(shared))
        for row, found in enumerate(named, 1):
            belongs[row, [shared.index(part) for part in found]] = 1.0
        self.register_buffer("belongs", belongs, persistent=False)
        self.shared = nn.Parameter(torch.randn(len(shared), width) / width**0.5)

    def forward(self, mels: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Also the number of frames of each; what is beyond a clip's `lengths` does not change it."""
        lengths = (lengths + self.stride - 1) // self.stride
        x = self.norm_in(self.stem(mels.transpose(1, 2)).transpose(1, 2))
        inside = (torch.arange(x.shape[1], device=x.device)[None] < lengths[:, None])[..., None]
        for block in self.blocks:
            x = block(x * inside)
        weight = self.out.weight + self.belongs @ self.shared
        return F.linear(self.norm_out(x), weight, self.out.bias).log_softmax(-1), lengths


def parts(char: str) -> tuple[str, ...]:
    """A syllable's consonant and vowel by its Unicode name, (`ETHIOPIC SYLLABLE MEE`: `M`, `-EE`); of a letter, nothing."""
    found = SYLLABLE.fullmatch(unicodedata.name(char, ""))
    return (found[1], f"-{found[2]}") if found else ()


def features(wav: Tensor) -> Tensor:
    """Log-mels `(samples // 160 + 1, 80)` of 16 kHz samples, each band without its mean over the frames with speech: no
    letter is told by the microphone, by the loudness, or by how deep and long the silence around it is."""
    mels = audio.log_mel(F.pad(wav, (0, max(0, WINDOW - len(wav)))), RATE, WINDOW, HOP, MELS)
    mels = mels.clamp(min=float(mels.max()) - DEEPEST)
    level = mels.mean(1)
    return (mels - mels[level >= level.max() - SPEECH].mean(0)) / SPREAD


class CtcRecogniser:
    """See `ttslib.recognise.Recogniser`. `about` tells its training: `trained_on`, minutes, steps, digest of the data."""

    def __init__(self, lang: str, characters: Sequence[str], sizes: Mapping[str, int], about: Mapping | None = None):
        self.lang, self.characters, self.sizes = lang, tuple(characters), dict(sizes)
        self.about = dict(about or {})
        self.net = Net(self.characters, **self.sizes).eval()

    @property
    def name(self) -> str:
        return f"ctc-{self.lang}-{self.hash[:12]}"

    @property
    def languages(self) -> frozenset[str]:
        return frozenset((self.lang,))

    @property
    def trained_on(self) -> str:
        return self.about.get("trained_on", "unknown: not trained by ttslib.recognise.training")

    @property
    def hash(self) -> str:
        """SHA-256 of weights, characters and sizes."""
        decides = repr((self.lang, self.characters, sorted(self.sizes.items()), HOP, WINDOW, MELS, KERNEL))
        return hashlib.sha256(decides.encode() + self.packed()).hexdigest()

    def packed(self) -> bytes:
        return safetensors.torch.save({key: value.cpu().contiguous() for key, value in self.net.state_dict().items()})

    def transcribe(self, wav: Tensor | np.ndarray, rate: int, lang: str) -> str:
        """The likeliest character of every frame, repeats and blanks taken out; bare text in lower case."""
        known(self, lang)
        wav = heard(wav, rate, f"ctc-{self.lang}")
        if not len(wav):
            return ""
        mels = features(wav)[None]
        with torch.no_grad():
            scores, _ = self.net.eval()(mels, torch.tensor([mels.shape[1]]))
        ids = scores[0].argmax(-1).unique_consecutive().tolist()
        return " ".join("".join(self.characters[i - 1] for i in ids if i).split())

    def save(self, folder: str | Path) -> Path:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").write_bytes(self.packed())
        told = {"format": FORMAT, "kind": "ctc", "lang": self.lang, "characters": "".join(self.characters)}
        checkpoint.write_json(
            folder / "recogniser.json", told | {"sizes": self.sizes, "hash": self.hash, "about": self.about}
        )
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> "CtcRecogniser":
        """Raises `RecogniserError` for a folder that has none, and for weights that are not those written with it."""
        folder = Path(folder)
        if not (folder / "recogniser.json").is_file():
            raise RecogniserError(f"ctc={folder}: no recogniser.json in it; train one: benchmarks/recogniser.py <lang>")
        try:
            told = checkpoint.read_json(folder / "recogniser.json")
            if told.get("format") != FORMAT or told.get("kind") != "ctc":
                raise RecogniserError(
                    f"ctc={folder}: {told.get('kind')} of format {told.get('format')}, not ctc of {FORMAT}"
                )
            made = cls(told["lang"], told["characters"], told["sizes"], told["about"])
            made.net.load_state_dict(safetensors.torch.load_file(folder / "model.safetensors"))
        except (checkpoint.CheckpointError, SafetensorError, OSError, RuntimeError, KeyError, TypeError) as error:
            raise RecogniserError(f"ctc={folder}: damaged or incomplete, train it again: {error}") from error
        if made.hash != told["hash"]:
            raise RecogniserError(f"ctc={folder}: its weights are not those that recogniser.json was written with")
        return made
