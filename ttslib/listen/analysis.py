"""What listeners' answers say, and what they do not: every number with its interval, its test and its n.

First hearings are counted; second ones only tell how constant a listener is. Two systems are called different when all
that is said of them agrees on it, else "not distinguishable". There is no ranking: pairs alone are judged.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from ttslib.listen import answers as reading
from ttslib.listen.flagged import flagged
from ttslib.listen.judgements import Judgement, by_rater, judgements
from ttslib.listen.mushra import mushra
from ttslib.listen.reliability import reliability
from ttslib.listen.statistics import BOOTSTRAP, bootstrap, holm, share, side, sign_test, wilcoxon

SAME = "not distinguishable"


def analyse(key: Mapping | str | Path, answers: str | Path | Iterable) -> dict:
    """The result of a test: `key` is its key or the key's file, `answers` a folder, a file, or several files or answers.

    `listeners` and `answers` are counts. cmos and abx give `pairs`; mushra gives `all` listeners' results and `screened`
    ones. `raters` tells of each listener how far to trust them, `flagged` the mispronounced words, worst first. Plain JSON.
    Raises `AnswersError` with all that is wrong with the answers.
    """
    key = key if isinstance(key, Mapping) else reading.read_key(key)
    read = reading.read(key, answers)
    found = list(judgements(key, read))
    told = {name: key[name] for name in ("test", "kind", "title")}
    told |= {"listeners": len(read), "answers": len(found)}
    told |= {"repeated": sum(one.again is not None for one in found)}
    if key["kind"] == "mushra":
        told |= mushra(key, found)
    else:
        told["pairs"] = pairs(key, found)
    return told | {"raters": reliability(key["kind"], found), "flagged": flagged(key, read)}


def pairs(key: Mapping, found: Sequence[Judgement]) -> list[dict]:
    """The results of all compared pairs, p values also corrected for their number."""
    known = [(a, b) for a, b in combinations(key["systems"], 2) if any({a, b} == set(one.values) for one in found)]
    each, test = (preference, "wilcoxon") if key["kind"] == "cmos" else (discrimination, "binomial")
    told = {pair: each(*pair, [one for one in found if set(one.values) == set(pair)]) for pair in known}
    corrected = holm({pair: one[test]["p"] for pair, one in told.items()})
    for pair, one in told.items():
        one[test]["p_holm"] = corrected[pair]
    return list(told.values())


def counted(found: Sequence[Judgement]) -> dict[str, int]:
    return {
        "listeners": len({one.rater for one in found}),
        "answers": len(found),
        "texts": len({one.text for one in found}),
    }


def preference(a: str, b: str, found: Sequence[Judgement]) -> dict:
    """How much better `a` is than `b` (CMOS, ITU-T P.800 annex E), and how often it was preferred.

    `preference` is the share of `a` among answers with a preference. It and the tests take answers as independent, which
    those of one listener are not; the interval of the mean does not. A verdict takes both intervals: one without 0, one
    without a half.
    """
    values = [one.values[a] for one in found]
    wins, losses = sum(v > 0 for v in values), sum(v < 0 for v in values)
    interval = bootstrap([[one.values[a] for one in group] for group in by_rater(found).values()])
    mean, part, verdict = float(np.mean(values)), share(wins, wins + losses), SAME
    if (found_on := side(interval)) and found_on == side(part["interval"], 0.5):
        verdict = f"{a} preferred to {b}" if found_on > 0 else f"{b} preferred to {a}"
    return {
        "pair": [a, b],
        "n": counted(found),
        "cmos": {"mean": mean, "interval": interval, "n": len(values), "method": BOOTSTRAP},
        "wins": {a: wins, b: losses},
        "ties": len(values) - wins - losses,
        "preference": part,
        "sign_test": sign_test(wins, losses),
        "wilcoxon": wilcoxon(values),
        "verdict": verdict,
    }


def discrimination(a: str, b: str, found: Sequence[Judgement]) -> dict:
    """How often X was found (ABX), against guessing: exact binomial test, one-sided."""
    import scipy.stats

    right = sum(int(one.values[a]) for one in found)
    part = share(right, len(found), "exact")
    p = float(scipy.stats.binomtest(right, len(found), 0.5, alternative="greater").pvalue)
    return {
        "pair": [a, b],
        "n": counted(found),
        "correct": right,
        "found": part,
        "binomial": {"test": "exact binomial against 0.5, one-sided", "n": len(found), "p": p},
        "verdict": f"{a} and {b} are told apart" if part["interval"][0] > 0.5 else SAME,
    }
