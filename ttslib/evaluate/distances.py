"""Distances of speech from the recording of the same sentence, at 16 kHz, along a path of dynamic time warping."""

import functools
from typing import NamedTuple

import numpy as np
import torch

from ttslib import audio

RATE, HOP, CEPSTRA = 16000, 256, 13
F0_RANGE = (60.0, 500.0)
OF_THE_TEXT = ("duration_error", "length_ratio")  # a copy of the recording has nothing to say on them


class Sound(NamedTuple):
    """What is compared of a sound: mel cepstra `(frames, 13)`, F0 `(frames,)` (Hz, NaN where unvoiced), its samples."""

    cepstra: np.ndarray
    f0: np.ndarray
    samples: int


def sound(wav: torch.Tensor, rate: int = RATE) -> Sound:
    """`(samples,)` at `rate` Hz, analysed at 16 kHz; of a recording that several voices are compared with only once."""
    return analysed(wav.numpy().tobytes(), rate)


@functools.lru_cache(maxsize=128)
def analysed(samples: bytes, rate: int) -> Sound:
    wav = torch.frombuffer(bytearray(samples), dtype=torch.float32)
    wav = torch.as_tensor(audio.resampled(wav, rate, RATE))
    return Sound(cepstra(wav), pitch(wav), len(wav))


def cepstra(wav: torch.Tensor) -> np.ndarray:
    """Mel cepstra `(frames, 13)`, c1..c13, of 16 kHz samples: the cosine series of the natural log-mel spectrum."""
    import scipy.fft

    mel = audio.log_mel(wav, RATE, hop=HOP).numpy()
    return scipy.fft.dct(mel, type=2, axis=1)[:, 1 : CEPSTRA + 1] / mel.shape[1]


def warp(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The DTW path `(steps, 2)` between feature rows `(frames, features)`, Euclidean, steps of one."""
    import librosa

    _, path = librosa.sequence.dtw(a.T, b.T)
    return path[::-1]


def mcd(a: np.ndarray, b: np.ndarray, path: np.ndarray) -> float:
    """Mel-cepstral distortion (dB), 10/ln 10 * sqrt(2 * sum of squared differences), mean over the DTW path (Kubichek
    1993). Cepstra are of mel filterbanks, so values compare within this project, not with WORLD-based ones."""
    return float(10 / np.log(10) * np.sqrt(2 * np.square(a[path[:, 0]] - b[path[:, 1]]).sum(1)).mean())


def pitch(wav: torch.Tensor) -> np.ndarray:
    """F0 (Hz) per frame of 16 kHz samples by pYIN (Mauch and Dixon 2014), NaN where unvoiced."""
    import librosa

    low, high = F0_RANGE
    return librosa.pyin(wav.numpy(), fmin=low, fmax=high, sr=RATE, hop_length=HOP, frame_length=1024, resolution=0.25)[
        0
    ]


def compare(reference: Sound, spoken: Sound) -> dict[str, float | None]:
    """MCD (dB), F0 error (cents, RMSE over frames voiced in both), voicing error (share of frames voiced in one of the two
    only), duration error (share of the recording's length) and length ratio. F0 is None when no frame is voiced in both."""
    path = warp(reference.cepstra, spoken.cepstra)
    f0 = [reference.f0[path[:, 0]], spoken.f0[path[:, 1]]]
    cents = 1200 * np.log2(f0[1] / f0[0])
    cents = cents[np.isfinite(cents)]
    return {
        "mcd_db": mcd(reference.cepstra, spoken.cepstra, path),
        "f0_cents": float(np.sqrt(np.square(cents).mean())) if cents.size else None,
        "voicing_error": float((np.isfinite(f0[0]) != np.isfinite(f0[1])).mean()),
        "duration_error": abs(spoken.samples / reference.samples - 1),
        "length_ratio": spoken.samples / reference.samples,
    }
