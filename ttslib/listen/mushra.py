"""MUSHRA scores (ITU-R BS.1534-3): every condition with intervals, before and after the listeners are screened."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from ttslib.listen.design import ANCHOR, REFERENCE
from ttslib.listen.judgements import Judgement, by_rater
from ttslib.listen.statistics import BOOTSTRAP, bootstrap, holm, side, wilcoxon

LEAST, OFTEN = 90, 0.15
"""a listener who scores the hidden reference below 90 in more than 15 % of the trials is screened out (BS.1534-3)"""


def mushra(key: Mapping, found: Sequence[Judgement]) -> dict:
    """Results of `all` listeners, and of those left when `screening` has set aside who did not find the hidden reference.

    `screened` is None when nobody is left. Second hearings count for screening too.
    """
    missed = {}
    for rater, given in by_rater(found).items():
        heard = [one.values[REFERENCE] for one in given] + [one.again[REFERENCE] for one in given if one.again]
        missed[rater] = {"below": sum(score < LEAST for score in heard), "n": len(heard)}
    excluded = sorted(rater for rater, told in missed.items() if told["below"] > OFTEN * told["n"])
    left = [one for one in found if one.rater not in excluded]
    rule = f"hidden reference below {LEAST} in more than {OFTEN:.0%} of the trials (ITU-R BS.1534-3)"
    return {
        "screening": {"rule": rule, "excluded": excluded, "raters": missed},
        "all": scores(key, found),
        "screened": scores(key, left) if left else None,
    }


def scores(key: Mapping, found: Sequence[Judgement]) -> dict:
    """Mean and median of every condition, and every two systems against each other on the same texts and listeners.

    Two systems differ when the intervals of their means do not overlap and that of their paired difference is without 0.
    """
    groups = by_rater(found).values()
    told = {}
    for name in key["systems"]:
        values, given = [one.values[name] for one in found], [[one.values[name] for one in group] for group in groups]
        told[name] = {
            "system": name,
            "mean": float(np.mean(values)),
            "mean_interval": bootstrap(given),
            "median": float(np.median(values)),
            "median_interval": bootstrap(given, np.nanmedian),
            "quartiles": [float(q) for q in np.percentile(values, [25, 75])],
            "n": len(values),
            "method": BOOTSTRAP,
        }
    pairs = {}
    for a, b in combinations([name for name in key["systems"] if name not in (REFERENCE, ANCHOR)], 2):
        differences = [[one.values[a] - one.values[b] for one in group] for group in groups]
        flat, interval = [value for group in differences for value in group], bootstrap(differences)
        verdict = "not distinguishable"
        high, low = (a, b) if side(interval) > 0 else (b, a)
        if side(interval) and told[high]["mean_interval"][0] > told[low]["mean_interval"][1]:
            verdict = f"{high} above {low}"
        difference = {"mean": float(np.mean(flat)), "interval": interval, "n": len(flat)}
        pairs[a, b] = {"pair": [a, b], "difference": difference, "wilcoxon": wilcoxon(flat), "verdict": verdict}
    corrected = holm({pair: one["wilcoxon"]["p"] for pair, one in pairs.items()})
    for pair, one in pairs.items():
        one["wilcoxon"]["p_holm"] = corrected[pair]
    return {"listeners": len(groups), "systems": list(told.values()), "pairs": list(pairs.values())}
