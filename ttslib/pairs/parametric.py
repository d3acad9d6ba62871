"""Voices whose style is known: a harmonic source and formants, for which pairs can be made without any model.

Four numbers make a voice: pitch, length of the vocal tract, spectral tilt and tempo. `style_of` places them in
Supertonic's shapes, `numbers_of` is its inverse. An encoder that hears these numbers can be judged exactly; for speech it
is worth nothing.
"""

import zlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ttslib.styles import SHAPES, Style, StyleError, unit

MODEL = "parametric-1"
NUMBERS = ("pitch", "tract", "tilt", "tempo")
SPREAD = (
    0.15  # length of a row's deviation by one number of 1: cosines to the mean style of some 0.97, as real voices have
)
FORMANTS = {  # Hz, of a man's vowels (Peterson and Barney 1952)
    "a": (730, 1090, 2440), "e": (530, 1840, 2480), "i": (270, 2290, 3010), "o": (570, 840, 2410), "u": (300, 870, 2240),
}  # fmt: skip
BANDWIDTHS = (80.0, 100.0, 140.0)  # Hz
STEP = 0.005  # seconds between the frames of pitch and formants
HIGHEST = 5000.0  # Hz, of the harmonics


@dataclass(frozen=True)
class Parametric:
    """`count` voices drawn from `seed`. A runtime for `building`: `model`, `rate`, `presets` and `speak`."""

    count: int = 60
    seed: int = 0
    rate: int = 16000
    model: str = MODEL

    @cached_property
    def axes(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Mean rows and the directions `(numbers, rows, width)`, at right angles to them; the same for every seed."""
        g, found = np.random.default_rng(2024), {}
        for name, (rows, width) in SHAPES.items():
            mean = unit(g.standard_normal((rows, width))).astype(np.float64)
            axes = g.standard_normal((len(NUMBERS), rows, width))
            axes -= (axes * mean).sum(-1, keepdims=True) * mean
            found[name] = mean, SPREAD * axes / np.linalg.norm(axes, axis=-1, keepdims=True)
        return found

    def style_of(self, numbers: np.ndarray) -> Style:
        """The style of a voice of these four numbers, about -2 to 2 each; the tempo is in `dp` alone, the rest in both."""
        heard = np.asarray(numbers, np.float64)
        kept = {"style_ttl": heard * (np.array(NUMBERS) != "tempo"), "style_dp": heard}
        made = [unit(mean + np.tensordot(kept[name], axes, 1)) for name, (mean, axes) in self.axes.items()]
        return Style.of(*made, self.model)

    def numbers_of(self, style: Style) -> np.ndarray:
        """The four numbers of a style, of any mixture too: those that fit best. Raises `StyleError` for another model's."""
        if style.model != self.model:
            raise StyleError(f"a style of {style.model or 'an unnamed model'}, these voices are of {self.model}")
        fits = []
        for (mean, axes), rows in zip(self.axes.values(), (style.ttl, style.dp), strict=True):
            along = (rows.astype(np.float64) * mean).sum(-1, keepdims=True)
            fits.append(np.linalg.lstsq(axes.reshape(len(NUMBERS), -1).T, (rows / along - mean).ravel(), rcond=None)[0])
        return np.where(np.array(NUMBERS) == "tempo", fits[1], fits[0])

    def presets(self) -> dict[str, Style]:
        """The voices by name, V000 on."""
        drawn = np.random.default_rng(self.seed).standard_normal((self.count, len(NUMBERS))).clip(-2, 2)
        return {f"V{i:03d}": self.style_of(numbers) for i, numbers in enumerate(drawn)}

    def speak(self, text: str, style: Style, lang: str, seed: int, speed: float) -> np.ndarray:
        """`(samples,)` float32 of something like the text: its vowels, voiced, with breaths between its words.

        The same for the same arguments. Intonation and timing are drawn from `seed`.
        """
        pitch, tract, tilt, tempo = self.numbers_of(style)
        g = np.random.default_rng([seed, zlib.crc32(text.encode())])
        frames, voiced = self.track(text, speed * 4.5 * np.exp(0.35 * tempo), g)
        fall = np.linspace(0.06, -0.1, len(frames)) + np.cumsum(g.normal(0, 0.004, len(frames)))
        f0 = 150 * 2 ** (0.4 * pitch + fall)
        formants = frames * np.exp(0.1 * tract)
        samples = round(len(frames) * STEP * self.rate)
        at = np.arange(samples) / (STEP * self.rate)

        def spread(track: np.ndarray) -> np.ndarray:
            return np.interp(at, np.arange(len(frames)), track)

        phase = 2 * np.pi * np.cumsum(spread(f0)) / self.rate
        wav = np.zeros(samples)
        for k in range(1, int(HIGHEST / f0.min()) + 1):
            level = np.prod([resonance(k * f0, formants[:, i], BANDWIDTHS[i]) for i in range(3)], axis=0)
            level *= (k * f0 / 150.0) ** (-(1.0 + 0.3 * tilt)) * (k * f0 < HIGHEST)
            wav += spread(level) * np.sin(k * phase)
        breath = g.standard_normal(samples) * 0.004
        wav = wav * spread(np.convolve(voiced, np.hanning(7) / np.hanning(7).sum(), "same"))
        return (0.1 * wav / max(np.sqrt(np.square(wav).mean()), 1e-9) + breath).clip(-1, 1).astype(np.float32)

    def track(self, text: str, tempo: float, g: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Formants `(frames, 3)` in Hz and voicing `(frames,)` of a text: `tempo` vowels a second."""
        formants, voiced, last = [], [], FORMANTS["a"]
        for letter in text.lower():
            if letter in FORMANTS:
                last, share, level = FORMANTS[letter], 0.7, 1.0
            elif letter.isspace():
                share, level = 0.35, 0.0
            else:  # a consonant is a dip on the way to the next vowel
                share, level = 0.18, 0.25
            count = max(1, round(share * g.uniform(0.9, 1.1) / tempo / STEP))
            formants += [last] * count
            voiced += [level] * count
        smooth = np.hanning(11) / np.hanning(11).sum()
        padded = np.pad(np.array(formants or [last], float), ((5, 5), (0, 0)), mode="edge")
        return np.stack([np.convolve(padded[:, i], smooth, "valid") for i in range(3)], 1), np.array(voiced or [0.0])


def resonance(frequency: np.ndarray, centre: np.ndarray, bandwidth: float) -> np.ndarray:
    """Gain of a second-order resonance, 1 at 0 Hz."""
    return centre**2 / np.sqrt((frequency**2 - centre**2) ** 2 + (frequency * bandwidth) ** 2)
