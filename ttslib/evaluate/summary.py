"""A voice's sentences in numbers: rates and medians with bootstrap 95 % intervals, counts of what failed, and the floor.

    told = summary.of(sentences, floor)       # floor: the recordings' sentences, read by the same recogniser

Sentences are what `Judges.scores` gives, with `id`. Whatever has no score in a sentence is left out of that score, and its
`count` says of how many it is.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from ttslib import intervals

RATES = ("cer", "wer")
MEDIANS = (
    "completion", "repetition", "script_fidelity", "similarity", "stranger", "mos", "mcd_db", "f0_cents", "voicing_error",
    "duration_error", "length_ratio", "rtf", "first_audio_s",
)  # fmt: skip


def of(sentences: Sequence[Mapping], floor: Sequence[Mapping] = ()) -> dict:
    """`sentences`, `failed` (refused), `faulty` and their `faults`; every score there is as `value`, `low`, `high`, `count`;
    and beside a floor, `cer_minus_floor`, `wer_minus_floor` and whether the CER can be told from it.

    The floor of sentences that were recorded too is that of the same sentences, else of all recordings.
    """
    told = {
        "sentences": len(sentences),
        "failed": sum(bool(s.get("error")) for s in sentences),
        "faulty": sum(bool(s.get("faults")) for s in sentences),
        "faults": dict(Counter(fault for s in sentences for fault in s.get("faults") or ()).most_common()),
    }
    told |= {name: interval._asdict() for name, interval in scores(sentences).items()}
    same = {s["id"] for s in sentences} & {s["id"] for s in floor}
    beside = [s for s in floor if not same or s["id"] in same]
    found = scores(beside)
    for name in RATES:
        if name in told and name in found:
            told[f"{name}_minus_floor"] = told[name]["value"] - found[name].value
    if "cer_minus_floor" in told:
        told["distinguishable"] = distinguishable(sentences, beside)
    return told


def scores(sentences: Sequence[Mapping]) -> dict[str, intervals.Interval]:
    """The interval of every score that some sentence has."""
    found = {}
    for name in (*RATES, *MEDIANS):
        values = [s[name] for s in sentences if s.get(name) is not None]
        if values:
            found[name] = intervals.rate(*zip(*values, strict=True)) if name in RATES else intervals.median(values)
    return found


def distinguishable(a: Sequence[Mapping], b: Sequence[Mapping], name: str = "cer") -> bool:
    """Whether two voices can be ranked by a score, see `intervals.distinguishable`. Of sentences that both spoke, only these
    count."""
    one, other = ({s["id"]: s[name] for s in some if s.get(name) is not None} for some in (a, b))
    if common := one.keys() & other.keys():
        one, other = ({key: found[key] for key in sorted(common)} for found in (one, other))
    return intervals.distinguishable(one, other)


def by_set(sentences: Sequence[Mapping], floor: Sequence[Mapping] = ()) -> dict[str, dict]:
    """`of` for all sentences (`all`) and for each set of them."""
    sets = dict.fromkeys(s["set"] for s in sentences)
    parts = {name: [s for s in sentences if s["set"] == name] for name in sets}
    return {"all": of(sentences, floor)} | {name: of(some, floor) for name, some in parts.items()}
