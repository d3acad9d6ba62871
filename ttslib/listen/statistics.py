"""Intervals and tests for listeners' judgements; every result says its method and its n, and is plain JSON."""

from collections.abc import Mapping, Sequence

import numpy as np

DRAWS = 2000
LEVEL = 0.95
BOOTSTRAP = "95 % interval by two-stage bootstrap over listeners, expanded percentiles"


def bootstrap(groups: Sequence[Sequence[float]], statistic=np.nanmean, seed: int = 0) -> list[float] | None:
    """The 95 % percentile interval of `statistic` over all values, clustered: `groups` holds each listener's values.

    Two stages (Davison and Hinkley 1997, 3.8): listeners are drawn, then each one's values. Plain percentiles are too narrow
    for few listeners, so the expanded ones of Hesterberg (2015) are taken, by the t distribution for as many listeners. Of
    one listener's values the interval is about that listener alone. None for fewer than two values, which have no spread.
    """
    import scipy.stats

    groups = [np.asarray(group, dtype=float) for group in groups if len(group)]
    n = len(groups) if len(groups) > 1 else sum(map(len, groups))
    if n < 2:
        return None
    counts = np.array([len(group) for group in groups])
    table = np.full((len(groups), counts.max()), np.nan)
    for row, group in zip(table, groups, strict=True):
        row[: len(group)] = group
    rng, drawn, places = np.random.default_rng(seed), [], np.arange(counts.max())
    for _ in range(DRAWS // 100):  # a hundred at a time keeps memory small
        who = rng.integers(len(groups), size=(100, len(groups)))
        which = (rng.random((*who.shape, len(places))) * counts[who][..., None]).astype(int)
        values = np.where(places < counts[who][..., None], table[who[..., None], which], np.nan)
        drawn.append(statistic(values.reshape(100, -1), axis=1))
    tail = scipy.stats.norm.cdf(scipy.stats.t.ppf((1 - LEVEL) / 2, n - 1) * np.sqrt(n / (n - 1)))
    low, high = np.percentile(np.concatenate(drawn), [100 * tail, 100 * (1 - tail)])
    return [float(low), float(high)]


def side(interval: Sequence[float] | None, middle: float = 0.0) -> int:
    """1 where the whole interval is above `middle`, -1 where it is below, else 0."""
    return 0 if interval is None else (interval[0] > middle) - (interval[1] < middle)


def share(successes: int, n: int, method: str = "wilson") -> dict:
    """A share with its 95 % interval: Wilson (1927) with method "wilson", Clopper and Pearson (1934) with "exact"."""
    import scipy.stats

    told = {"share": None, "interval": None, "n": n, "method": f"{method} interval, answers taken as independent"}
    if n:
        low, high = scipy.stats.binomtest(successes, n).proportion_ci(LEVEL, method=method)
        told |= {"share": successes / n, "interval": [float(low), float(high)]}
    return told


def sign_test(wins: int, losses: int) -> dict:
    """Exact two-sided sign test, ties left out."""
    import scipy.stats

    n = wins + losses
    p = float(scipy.stats.binomtest(wins, n, 0.5).pvalue) if n else None
    return {"test": "exact sign test, two-sided", "n": n, "p": p}


def wilcoxon(values: Sequence[float]) -> dict:
    """Wilcoxon signed-rank test of differences against zero, two-sided, zeros left out; answers taken as independent."""
    import scipy.stats

    kept = [value for value in values if value]
    p = float(scipy.stats.wilcoxon(kept).pvalue) if kept else None
    return {"test": "Wilcoxon signed-rank, two-sided", "n": len(kept), "p": p}


def holm(p_values: Mapping) -> dict:
    """Holm (1979): p values corrected for as many tests as there are, under the same names; None stays None."""
    known = sorted((p, i, name) for i, (name, p) in enumerate(p_values.items()) if p is not None)
    corrected, least = dict.fromkeys(p_values), 0.0
    for rank, (p, _, name) in enumerate(known):
        least = max(least, min(1.0, p * (len(known) - rank)))
        corrected[name] = least
    return corrected


def correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None for fewer than four pairs, or where one side never changes."""
    import scipy.stats

    if len(a) < 4 or len(set(a)) < 2 or len(set(b)) < 2:
        return None
    return float(scipy.stats.spearmanr(a, b).statistic)
