"""How sure a score is: bootstrap 95 % intervals over sentences, and whether two systems can be told apart.

    intervals.rate(errors, lengths)        # CER or WER of a corpus: sums divided, sentences drawn anew
    intervals.median(seconds_per_second)
    intervals.distinguishable(a, b)        # False: do not rank them

Percentile bootstrap (Efron and Tibshirani 1993, ch. 13): sentences are drawn with replacement, `DRAWS` times, and the
interval lies between the 2.5th and the 97.5th percentile of the statistic. What `scipy.stats.bootstrap(...,
method="percentile", rng=numpy.random.default_rng(seed))` gives, to the last digit.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

DRAWS, LEVEL, SEED = 10000, 0.95, 0


class Interval(NamedTuple):
    """A statistic of `count` sentences. `low` and `high` are None where one sentence leaves nothing to draw from."""

    value: float
    low: float | None
    high: float | None
    count: int

    def __str__(self) -> str:
        bounds = "?" if self.low is None else f"{self.low:.4g}, {self.high:.4g}"
        return f"{self.value:.4g} [{bounds}]"


def median(values: Sequence[float], seed: int = SEED) -> Interval:
    """The median of one score a sentence. Raises `ValueError` for none, or for one that is not finite."""
    return bootstrap(np.median, checked("values", values)[:, None], seed)


def mean(values: Sequence[float], seed: int = SEED) -> Interval:
    """The mean of one score a sentence. Raises `ValueError` for none, or for one that is not finite."""
    return bootstrap(np.mean, checked("values", values)[:, None], seed)


def rate(errors: Sequence[float], lengths: Sequence[float], seed: int = SEED) -> Interval:
    """Errors over lengths of the whole corpus, as CER and WER are counted: long sentences weigh more.

    Raises `ValueError` for none, for other counts of errors than of lengths, and for a length of 0.
    """
    return bootstrap(divided, counts(errors, lengths), seed)


def distinguishable(a: Mapping, b: Mapping, seed: int = SEED) -> bool:
    """Can two systems be ranked by these scores? Both map a sentence's id to its score, or to `(errors, length)`.

    Of the same sentences the differences are drawn, sentence by sentence (paired), and their interval must leave out 0:
    of means, of rates where there are lengths. Of other sentences the two intervals must not touch. One sentence ranks
    nothing. Raises `ValueError` for scores of two kinds, and for what `mean` and `rate` refuse.
    """
    if a.keys() == b.keys():
        found = difference(a, b, seed)
        return found.low is not None and not found.low <= 0 <= found.high
    one, other, statistic = alike(a, b)
    first, second = bootstrap(statistic, one, seed), bootstrap(statistic, other, seed)
    if first.low is None or second.low is None:
        return False
    return first.high < second.low or second.high < first.low


def difference(a: Mapping, b: Mapping, seed: int = SEED) -> Interval:
    """By how much `a` scores above `b` on the same sentences, drawn sentence by sentence (paired); both as in
    `distinguishable`. Raises `ValueError` for other sentences, and for what that refuses."""
    one, other, statistic = alike(a, b)
    if a.keys() != b.keys():
        raise ValueError("a and b: other sentences have no paired difference; give both the same ones")
    places = {key: place for place, key in enumerate(b)}
    both, width = np.hstack([one, other[[places[key] for key in a]]]), one.shape[1]

    def less(x: np.ndarray, axis: int) -> np.ndarray:
        return statistic(x[..., :width], axis=axis) - statistic(x[..., width:], axis=axis)

    return bootstrap(less, both, seed)


def alike(a: Mapping, b: Mapping) -> tuple[np.ndarray, np.ndarray, Callable]:
    """The tables of two systems and the statistic of both: means of scores, rates of errors."""
    one, other = table("a", a), table("b", b)
    if one.shape[1] != other.shape[1]:
        raise ValueError("a and b: one has scores and the other (errors, length); give both alike")
    return one, other, np.mean if one.shape[1] == 1 else divided


def bootstrap(statistic: Callable, rows: np.ndarray, seed: int = SEED) -> Interval:
    """The interval of `statistic(rows, axis=...)`, which reduces `(draws, sentences, columns)` to one number a draw."""
    value = float(np.asarray(statistic(rows, axis=-2)).squeeze())
    if len(rows) < 2:
        return Interval(value, None, None, len(rows))
    drawn = np.random.default_rng(seed).integers(0, len(rows), (DRAWS, len(rows)))
    told = np.asarray(statistic(rows[drawn], axis=-2)).reshape(DRAWS)
    low, high = np.percentile(told, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return Interval(value, float(low), float(high), len(rows))


def divided(rows: np.ndarray, axis: int) -> np.ndarray:
    """Sum of the first column over the sum of the second."""
    sums = rows.sum(axis=axis)
    return sums[..., 0] / sums[..., 1]


def table(name: str, scores: Mapping) -> np.ndarray:
    """Scores `(sentences, 1)`, or errors and lengths `(sentences, 2)`."""
    values = list(scores.values())
    if values and all(isinstance(value, tuple | list) and len(value) == 2 for value in values):
        return counts(*zip(*values, strict=True))
    return checked(name, values)[:, None]


def counts(errors: Sequence[float], lengths: Sequence[float]) -> np.ndarray:
    errors, lengths = checked("errors", errors), checked("lengths", lengths)
    if len(errors) != len(lengths):
        raise ValueError(f"{len(errors)} counts of errors and {len(lengths)} lengths: every sentence needs both")
    if lengths.min() <= 0 or errors.min() < 0:
        raise ValueError("a sentence of no length, or with fewer than 0 errors, has no rate; leave it out, and say so")
    return np.stack([errors, lengths], axis=1)


def checked(name: str, values: Sequence[float]) -> np.ndarray:
    found = np.asarray(list(values), dtype=np.float64)
    if not found.size:
        raise ValueError(f"{name}: there are no sentences to score")
    if not np.isfinite(found).all():
        place = int(np.flatnonzero(~np.isfinite(found))[0])
        raise ValueError(f"{name}: sentence {place} scores {found[place]}; leave out what has no score, and say so")
    return found
