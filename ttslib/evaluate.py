"""A scorecard on held-out sentences, against their recordings and beside what the vocoder alone costs.

Distances are measured on log-mels aligned by dynamic time warping. `floor` is the recording itself through mel and
Griffin-Lim, the best this vocoder can reach.
"""

import statistics
import time
from collections.abc import Sequence

import numpy as np
import torch

from ttslib import audio
from ttslib.units import UnitsError

RATE, HOP, CEPSTRA = 16000, 256, 13
F0_RANGE = (60.0, 500.0)
OF_THE_TEXT = ("duration_error", "length_ratio")  # a copy of the recording has nothing to say on them


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


def compare(reference: torch.Tensor, spoken: torch.Tensor) -> dict[str, float]:
    """MCD (dB), duration error (share of the recording), length ratio and F0 error (cents, RMSE over frames voiced in both).

    F0 is NaN when no frame is voiced in both. Inputs are `(samples,)` at 16 kHz.
    """
    a, b = cepstra(reference), cepstra(spoken)
    path = warp(a, b)
    f0 = [pitch(reference)[path[:, 0]], pitch(spoken)[path[:, 1]]]
    cents = 1200 * np.log2(f0[1] / f0[0])
    cents = cents[np.isfinite(cents)]
    return {
        "mcd_db": mcd(a, b, path),
        "duration_error": abs(len(spoken) / len(reference) - 1),
        "length_ratio": len(spoken) / len(reference),
        "f0_cents": float(np.sqrt(np.square(cents).mean())) if cents.size else float("nan"),
    }


def scorecard(system, rows: Sequence, read, limit: int = 20) -> dict:
    """Per-sentence scores and their medians for up to `limit` held-out rows; `read(row) -> (samples,)` at `system.rate`.

    Adds the real-time factor (seconds of work per second of speech, below 1 is faster than speech). With more rows than
    `limit` the ones spread evenly over their durations are taken; the result says how many, and lists sentences with units
    the voice never learnt as `failed`.
    """
    from tqdm import tqdm

    rows = sorted(rows, key=lambda row: row.seconds)
    chosen = [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, min(limit, len(rows))).round().astype(int))]
    sentences, failed = [], []
    for row in tqdm(chosen, desc="scorecard", unit="sentence", mininterval=10):
        reference = read(row)
        began = time.perf_counter()
        try:
            spoken = system.synthesize(row.raw, voice=row.speaker, lang=row.lang)
        except UnitsError as error:
            failed.append({"id": row.id, "text": row.raw, "error": str(error)})
            continue
        seconds = time.perf_counter() - began
        copy = audio.griffin_lim(audio.log_mel(reference, system.rate), system.rate)
        at_rate = [audio.resampled(w, system.rate, RATE) for w in (reference, spoken, copy)]
        reference, heard, copy = (torch.as_tensor(w) for w in at_rate)
        scores = compare(reference, heard) | {"rtf": seconds / (len(spoken) / system.rate)}
        floor = {f"floor_{k}": v for k, v in compare(reference, copy).items() if k not in OF_THE_TEXT}
        sentences.append({"id": row.id, "text": row.raw, "seconds": round(row.seconds, 2)} | scores | floor)
    if not sentences:
        raise ValueError(
            f"none of {len(chosen)} held-out sentences can be spoken: {failed[0]['error'] if failed else 'there are none'}"
        )
    totals = {"scored": len(sentences), "failed": failed, "held_out": len(rows)}
    if tally := getattr(system, "tally", None):  # sentences that ran away or repeated themselves, and second attempts
        totals["tally"] = dict(tally)
    return {"sentences": sentences, "median": medians(sentences)} | totals


def medians(sentences: Sequence[dict]) -> dict[str, float]:
    """Median of every score over the sentences where it exists (NaN left out)."""
    out = {}
    for name in [k for k, v in sentences[0].items() if isinstance(v, float) and k != "seconds"]:
        values = [s[name] for s in sentences if np.isfinite(s[name])]
        out[name] = statistics.median(values) if values else float("nan")
    return out
