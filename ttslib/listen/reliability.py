"""How far each listener can be trusted: constancy over repeated trials, agreement with the others, leaning to one side."""

import statistics
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from ttslib.listen.judgements import Judgement, by_rater
from ttslib.listen.statistics import correlation


def reliability(kind: str, found: Sequence[Judgement]) -> list[dict]:
    """One entry a listener, in the order of the answers.

    `consistency`: over trials heard twice, the share with the `same` answer (cmos: the same side preferred, or none;
    abx: both right or both wrong; mushra: all scores within 10) and the mean `difference` (scale points); `agreement`:
    Spearman's correlation with the mean of the others over the same texts and systems (cmos, mushra); `leans_second`
    (cmos): mean answer in favour of the second sound, 0 for a fair listener; `median_seconds` a trial.
    """
    means: dict[tuple, dict[str, float]] = defaultdict(dict)  # what is judged -> listener -> value
    for one in found:
        for name, value in judged(kind, one):
            means[name][one.rater] = value
    told = []
    for rater, given in by_rater(found).items():
        entry = {"rater": rater, "answers": len(given), "consistency": consistency(kind, given)}
        if kind == "abx":
            entry["correct"] = float(np.mean([next(iter(one.values.values())) for one in given]))
        else:
            entry["agreement"] = agreement(rater, means)
        if kind == "cmos":
            entry["leans_second"] = float(np.mean([one.second for one in given]))
        told.append(entry | {"median_seconds": statistics.median(one.seconds for one in given)})
    return told


def judged(kind: str, one: Judgement):
    """What is judged and how: in cmos each pair once, by its first name in alphabetical order."""
    names = sorted(one.values)
    for name in names[:1] if kind == "cmos" else names:
        yield (one.text, *(names if kind == "cmos" else [name])), one.values[name]


def consistency(kind: str, given: Sequence[Judgement]) -> dict:
    twice = [one for one in given if one.again is not None]
    gaps = [[abs(one.values[name] - one.again[name]) for name in one.values] for one in twice]
    if kind == "mushra":
        same = [max(gap) <= 10 for gap in gaps]
    else:
        same = [all(np.sign(v) == np.sign(one.again[name]) for name, v in one.values.items()) for one in twice]
    return {
        "same": float(np.mean(same)) if twice else None,
        "difference": float(np.mean(gaps)) if twice else None,
        "n": len(twice),
    }


def agreement(rater: str, means: dict[tuple, dict[str, float]]) -> dict:
    own, others = [], []
    for values in means.values():
        rest = [value for name, value in values.items() if name != rater]
        if rater in values and rest:
            own.append(values[rater])
            others.append(statistics.fmean(rest))
    return {"correlation": correlation(own, others), "n": len(own), "method": "Spearman, against the others' mean"}
