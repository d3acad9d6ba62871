"""Which voices speak which texts: presets and mixtures of them, split by voice so that no mixture reaches across splits.

Clips of one style in two splits would make every score meaningless, and so would a train mixture that contains a held-out
preset. Therefore the presets are dealt to the splits first, and a mixture is made of presets of its own split only.
"""

import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from ttslib import styles
from ttslib.styles import Style

SPLITS = ("train", "val", "test")
NAME = re.compile(r"\w[\w.-]*", re.ASCII)


class BuildError(ValueError):
    """Settings, presets or texts of which no pairs can be made, or a folder whose pairs were made otherwise."""


@dataclass(frozen=True)
class Settings:
    """The numbers of a plan. Raises `BuildError` for those that make no sense."""

    mixtures: int = 90
    """of train presets; each is a voice"""
    held_out_mixtures: int = 4
    """of val and of test each, made of that split's own presets; none where a split has fewer than two"""
    most_presets: int = 3
    """in a mixture; the fewest is 2"""
    alpha: float = 0.5
    """of the Dirichlet distribution of the weights: small ones stay near a preset, large ones near the mean"""
    extrapolation: float = 0.0
    """by which a weight may exceed 1 or fall below 0; 0.2 is mild"""
    separate_dp: bool = False
    """style_dp is mixed of presets and weights of its own, so that pace does not follow from timbre"""
    val_presets: int = 2
    test_presets: int = 2
    texts_per_voice: int = 20
    speeds: tuple[float, float] = (1.05, 1.05)
    """least and most, drawn uniformly. Speed is pace, and pace is what style_dp says: a clip spoken faster than its
    style asks for is labelled wrongly. Hence the vendor's default for all, unless an encoder is to ignore pace."""
    min_seconds: float = 0.5
    max_seconds: float = 30.0
    min_level_db: float = -55.0
    """RMS of full scale below which a render counts as silent"""
    seed: int = 0

    def __post_init__(self) -> None:
        counts = ("mixtures", "held_out_mixtures", "val_presets", "test_presets", "seed")
        wrong = [f"{name} is {getattr(self, name)}, less than 0" for name in counts if getattr(self, name) < 0]
        wrong += [f"most_presets is {self.most_presets}, less than 2"] * (self.most_presets < 2)
        wrong += [f"texts_per_voice is {self.texts_per_voice}, less than 1"] * (self.texts_per_voice < 1)
        wrong += [f"alpha is {self.alpha}, not above 0"] * (not self.alpha > 0)
        wrong += [f"extrapolation is {self.extrapolation}, not 0 to 1"] * (not 0 <= self.extrapolation <= 1)
        wrong += [f"speeds are {self.speeds}, not (least, most) above 0"] * (not 0 < self.speeds[0] <= self.speeds[1])
        if not 0 < self.min_seconds < self.max_seconds:
            wrong.append(f"min_seconds {self.min_seconds} and max_seconds {self.max_seconds} leave nothing between")
        if wrong:
            raise BuildError(f"settings of pairs: {'; '.join(wrong)}")


@dataclass(frozen=True)
class Voice:
    """A style, its split, and what it is made of: weights by preset, `{"ttl": {...}, "dp": {...}}`."""

    name: str
    split: str
    style: Style
    parts: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Job:
    """One render: `voice` speaks `text` of `lang` with `seed` at `speed`; it becomes `file` below the folder of pairs."""

    voice: Voice
    number: int
    text: str
    lang: str
    seed: int
    speed: float

    @property
    def file(self) -> str:
        return str(PurePosixPath(self.voice.split, f"{self.voice.name}-{self.number:04d}.npz"))

    def record(self) -> dict[str, Any]:
        """Everything the render depends on but the model, as JSON."""
        told = {"file": self.file, "text": self.text, "lang": self.lang, "seed": self.seed, "speed": self.speed}
        return told | {"voice": self.voice.name, "style": self.voice.style.digest}


def plan(presets: Mapping[str, Style], texts: Sequence[tuple[str, str]], settings: Settings) -> list[Job]:
    """The jobs of all voices, the same for the same arguments; `texts` are `(text, lang)`.

    Each voice speaks its own draw of `texts_per_voice` texts; where there are fewer, texts come again with other seeds.
    Raises `BuildError` for names that are no file names, empty texts, and too few presets for the splits; `StyleError`
    for presets of several models.
    """
    if wrong := [name for name in presets if not NAME.fullmatch(name) or name.startswith("mix-")]:
        raise BuildError(
            f"presets {', '.join(map(repr, wrong))}: names become files; use letters, digits, not 'mix-...'"
        )
    texts = [(text.strip(), lang) for text, lang in texts]
    if not texts or not all(text and lang for text, lang in texts):
        raise BuildError("texts: there are none, or one of them or its language is empty; leave such lines out")
    return [job for voice in voices(presets, settings) for job in spoken_by(voice, texts, settings)]


def voices(presets: Mapping[str, Style], settings: Settings) -> list[Voice]:
    """The presets of each split, and the mixtures made of them."""
    made = []
    for split, names in dealt(presets, settings).items():
        made += [Voice(n, split, presets[n], {"ttl": {n: 1.0}, "dp": {n: 1.0}}) for n in names]
        wished = settings.mixtures if split == "train" else settings.held_out_mixtures
        for number in range(wished if len(names) > 1 else 0):
            rng = np.random.default_rng([settings.seed, SPLITS.index(split) + 1, number])
            ttl = weights(names, settings, rng)
            dp = weights(names, settings, rng) if settings.separate_dp else ttl
            style = mixture(presets, ttl, dp)
            made.append(Voice(f"mix-{split}-{number:04d}", split, style, {"ttl": ttl, "dp": dp}))
    return made


def dealt(names: Mapping[str, Style] | Sequence[str], settings: Settings) -> dict[str, list[str]]:
    """Names of presets by split. Where they are named F1, M1, ... the held-out ones are of each sex in turn."""
    rng = np.random.default_rng([settings.seed, 0])
    drawn = [str(name) for name in rng.permutation(sorted(names))]
    sexes = [[name for name in drawn if re.fullmatch(rf"{sex}\d+", name)] for sex in "FM"]
    turns = [name for pair in zip_longest(*sexes) for name in pair if name is not None]
    turns += [name for name in drawn if name not in turns]
    test, held = settings.test_presets, settings.test_presets + settings.val_presets
    needed = 2 if settings.mixtures else 1
    if len(turns) < held + needed:
        raise BuildError(
            f"{len(turns)} presets: {held} are held out for val and test, and train needs {needed}; hold out fewer, or "
            "give more presets"
        )
    found = {"train": turns[held:], "val": turns[test:held], "test": turns[:test]}
    return {split: sorted(some) for split, some in found.items()}


def weights(names: Sequence[str], settings: Settings, rng: np.random.Generator) -> dict[str, float]:
    """Weights, of sum 1, of 2 to `most_presets` of the presets, pushed off their mean by up to `extrapolation`."""
    count = int(rng.integers(2, min(settings.most_presets, len(names)) + 1))
    chosen = sorted(str(name) for name in rng.choice(names, count, replace=False))
    drawn = rng.dirichlet([settings.alpha] * count)
    drawn += settings.extrapolation * rng.uniform() * (drawn - 1 / count)
    return dict(zip(chosen, map(float, drawn), strict=True))


def mixture(presets: Mapping[str, Style], ttl: Mapping[str, float], dp: Mapping[str, float]) -> Style:
    """style_ttl mixed by the one, style_dp by the other weights; rows of length 1."""
    timbre, pace = (styles.mixed([presets[name] for name in of], list(of.values())) for of in (ttl, dp))
    return Style(timbre.ttl, pace.dp, timbre.model)


def spoken_by(voice: Voice, texts: Sequence[tuple[str, str]], settings: Settings) -> list[Job]:
    """The jobs of one voice; they depend on its name, not on how many other voices there are."""
    rng, count = np.random.default_rng([settings.seed, 4, zlib.crc32(voice.name.encode())]), settings.texts_per_voice
    order = np.concatenate([rng.permutation(len(texts)) for _ in range(math.ceil(count / len(texts)))])[:count]
    seeds, speeds = rng.integers(2**32, size=count), rng.uniform(*settings.speeds, size=count)
    drawn = zip(order, seeds, speeds, strict=True)
    return [Job(voice, n, *texts[i], int(seed), float(speed)) for n, (i, seed, speed) in enumerate(drawn)]
