"""Sounds as listeners get them: equally loud (ITU-R BS.1770), and the low anchor of MUSHRA (ITU-R BS.1534)."""

import math
from collections.abc import Hashable, Mapping

import numpy as np
import torch

Sound = tuple[np.ndarray, int]
"""`(samples,)` float32 in [-1, 1], and their rate (Hz)"""

TARGET = -23.0
"""LUFS, as EBU R 128: speech at this level seldom has a peak above -3 dB of full scale"""
HEADROOM = 1.0  # dB below full scale that sample peaks keep, as peaks between samples are higher
BLOCK = 0.4  # s, the gating block of BS.1770
ANCHOR_HZ = 3500


class SoundError(ValueError):
    """A sound that cannot be played to listeners; the message names it."""


def loudness(wav: np.ndarray, rate: int) -> float:
    """Integrated loudness (LUFS) of `(samples,)` by ITU-R BS.1770-4; -inf for silence.

    The meter is torchaudio's, whose filters clip what is near full scale: the sound is brought to a peak of -12 dB for it,
    so the absolute gate is 58 dB below the peak, however quiet the sound. A sound shorter than one gating block (0.4 s) is
    measured as one block of its own length, ungated.
    """
    import torchaudio.functional as F

    samples, block = torch.as_tensor(np.asarray(wav, dtype=np.float32)), round(BLOCK * rate)
    if len(samples) == 0 or not float(samples.abs().max()):
        return -math.inf
    peak, missing = float(samples.abs().max()), max(0, block - len(samples))
    measured = float(F.loudness(torch.nn.functional.pad(samples / peak / 4, (0, missing))[None], rate))
    longer = 10 * math.log10((len(samples) + missing) / len(samples))  # what padding took from the mean power
    return measured + 20 * math.log10(4 * peak) + longer if math.isfinite(measured) else -math.inf


def peak_db(wav: np.ndarray) -> float:
    """The highest sample of `(samples,)`, dB of full scale."""
    return 20 * math.log10(float(np.abs(wav).max()))


def matched(sounds: Mapping[Hashable, Sound], target: float = TARGET) -> tuple[dict[Hashable, Sound], float]:
    """All sounds at one loudness, and that loudness (LUFS): `target`, or as much less as the sharpest peak asks for.

    Gain alone is applied, never a limiter: it would change the sound that is judged. Raises `SoundError` for samples that
    are not finite, not mono or silent.
    """
    levels, room = {}, [target]
    for name, (wav, rate) in sounds.items():
        if wav.ndim != 1 or not np.isfinite(wav).all():
            raise SoundError(f"{name}: expected finite mono samples (samples,), got shape {wav.shape}")
        levels[name] = loudness(wav, rate)
        if levels[name] == -math.inf:
            raise SoundError(
                f"{name}: it is silent ({len(wav) / rate:.2f} s); listeners cannot judge it, speak it again"
            )
        room.append(levels[name] - peak_db(wav) - HEADROOM)
    level = min(room)
    gains = {name: 10 ** ((level - heard) / 20) for name, heard in levels.items()}
    return {name: ((wav * gains[name]).astype(np.float32), rate) for name, (wav, rate) in sounds.items()}, level


def low_anchor(wav: np.ndarray, rate: int) -> np.ndarray:
    """`(samples,)` without what is above 3.5 kHz, as ITU-R BS.1534-3 asks of the low anchor: ripple below 0.1 dB, at least
    25 dB down at 4 kHz and 50 dB at 4.5 kHz. A linear-phase FIR filter, its delay taken out.

    Raises `SoundError` where the recording has no such sound (a telephone's): the anchor would be the reference.
    """
    power = np.square(np.abs(np.fft.rfft(wav * np.hanning(len(wav)))))
    above = np.fft.rfftfreq(len(wav), 1 / rate) > ANCHOR_HZ + 1000
    if power[above].sum() > 1e-6 * power.sum():  # the noise alone of any recording of full bandwidth is more
        half, cut = math.ceil(3.63 * rate / 1000), 2 * (ANCHOR_HZ + 250) / rate  # 60 dB over 500 Hz (Kaiser 1974)
        taps = cut * np.sinc(cut * np.arange(-half, half + 1)) * np.kaiser(2 * half + 1, 5.65)
        return np.convolve(wav, taps)[half : half + len(wav)].astype(np.float32)
    raise SoundError(
        f"a reference has no sound above {ANCHOR_HZ / 1000} kHz ({rate} Hz), so a low anchor would be its copy; "
        "take recordings of full bandwidth, or a test of kind cmos"
    )
