"""What an encoder of styles is worth: held-out voices, beside what costs nothing.

Styles of any two voices are almost parallel, so a raw cosine proves nothing. `cosine` is centred on the mean of the training
voices, `r2` the share of the deviations from it that is explained, `top1` and `top3` how often the voice is found again
among all held-out ones. The mean style has 0, 0 and chance.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torchaudio.functional as F
from torch import Tensor

from ttslib import styles
from ttslib.styles import Style
from ttslib.systems.style.voices import style_of

NOISE = 10.0  # dB, of the row that is heard in noise


def arrays(some: Sequence[Style]) -> dict[str, np.ndarray]:
    """`ttl` (n, 50, 256) and `dp` (n, 8, 16) of n styles."""
    return {name: np.stack([getattr(style, name) for style in some]) for name in ("ttl", "dp")}


def means(system) -> dict[str, np.ndarray]:
    """`ttl` and `dp` of the mean style, float64; its rows are shorter than 1."""
    return {name: getattr(system.net, f"mean_{name}").cpu().double().numpy() for name in ("ttl", "dp")}


def scored(found: dict, meant: dict, mean: dict, voices: dict, own: np.ndarray) -> dict[str, float]:
    """The scores of styles `found` for clips of the voices `voices`, `own` the index of each clip's."""
    row = {}
    for name in ("ttl", "dp"):
        row[f"{name}_cosine"] = float(np.median(styles.centred_cosine(found[name], meant[name], mean[name])))
        row[f"{name}_r2"] = styles.explained(found[name], meant[name], mean[name])
    places = styles.ranks(found, own, voices, mean)
    return row | {"top1": float((places == 1).mean()), "top3": float((places <= 3).mean())}


def scorecard(system, rows: Sequence, trained: Mapping[str, Style], read: Callable, limit: int = 400) -> dict:
    """Scores over up to `limit` held-out rows, `read(row) -> (samples,)` at `system.rate`: a table with a row for the
    encoder, for noise, for the mean style and for the training voice that is nearest to the right one (which nobody could
    choose without knowing it), and a line for every clip."""
    from tqdm import tqdm

    taken = [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, min(limit, len(rows))).round().astype(int))]
    known: dict[str, Style] = {}
    found, noisy, halves, lines = [], [], [], []
    for row in tqdm(taken, desc="scorecard", unit="clip", mininterval=10):
        wav = read(row)
        known.setdefault(row.speaker, style_of(row))
        found.append(system.clone(wav))
        noisy.append(system.clone(in_noise(wav, len(found))))
        halves.append([system.clone(half) for half in wav.tensor_split(2)])
    names, mean = sorted(known), means(system)
    own = np.array([names.index(row.speaker) for row in taken])
    voices, others = arrays([known[name] for name in names]), arrays(list(trained.values()))
    meant = {name: value[own] for name, value in voices.items()}
    heard = arrays(found)
    nearest = {name: others[name][nearest_of(voices[name], others[name])][own] for name in voices}
    constant = {name: np.broadcast_to(mean[name], meant[name].shape) for name in mean}
    table = [
        {"style": what} | scored(some, meant, mean, voices, own)
        for what, some in (("encoder", heard), (f"encoder, noise at {NOISE:g} dB", arrays(noisy)),
                           ("mean style", constant), ("nearest training voice", nearest))
    ]  # fmt: skip
    one, other = (arrays([pair[i] for pair in halves])["ttl"] for i in (0, 1))
    places = styles.ranks(heard, own, voices, mean)
    cosines = {name: styles.centred_cosine(heard[name], meant[name], mean[name]) for name in heard}
    for i, row in enumerate(taken):
        lines.append({"id": row.id, "voice": row.speaker, "seconds": round(row.seconds, 2), "rank": int(places[i])}
                     | {f"{name}_cosine": float(values[i]) for name, values in cosines.items()})  # fmt: skip
    median = {k: v for k, v in table[0].items() if k != "style"}
    median["halves_cosine"] = float(np.median(styles.centred_cosine(one, other, mean["ttl"])))
    return {
        "sentences": sorted(lines, key=lambda line: line["ttl_cosine"]), "median": median, "table": table,
        "scored": len(taken), "held_out": len(rows), "voices": len(names), "trained_voices": len(trained),
        "chance_top1": 1 / len(names),
    }  # fmt: skip


def nearest_of(voices: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """For each of `voices` (v, ...) the index of the most similar of `trained` (t, ...)."""
    return (voices.reshape(len(voices), -1) @ trained.reshape(len(trained), -1).T).argmax(1)


def in_noise(wav: Tensor, seed: int) -> Tensor:
    """`(samples,)` with white noise at `NOISE` dB."""
    noise = torch.randn(len(wav), generator=torch.Generator().manual_seed(seed))
    return F.add_noise(wav[None], noise[None], torch.tensor([NOISE]))[0]


def space(
    system, rows: Sequence, trained: Mapping[str, Style], read: Callable, limit: int = 60
) -> dict[str, np.ndarray]:
    """Where voices lie: `trained` (n, 2), and of up to `limit` held-out clips `meant` and `heard` (m, 2), in the two
    directions in which the training voices' `ttl` differ most. Raises `ValueError` for fewer than three of these."""
    if len(trained) < 3:
        raise ValueError(f"{len(trained)} training voices span no plane")
    mean = means(system)["ttl"]
    flat = (arrays(list(trained.values()))["ttl"] - mean).reshape(len(trained), -1)
    axes = np.linalg.svd(flat, full_matrices=False)[2][:2]
    placed = {
        "meant": [style_of(row) for row in rows[:limit]],
        "heard": [system.clone(read(row)) for row in rows[:limit]],
    }
    found = {name: (arrays(some)["ttl"] - mean).reshape(len(some), -1) @ axes.T for name, some in placed.items()}
    return {"trained": flat @ axes.T} | found
