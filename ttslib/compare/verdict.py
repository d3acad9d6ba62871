"""Who is understood better than whom: pairs of systems on the same held-out sentences, and the verdict in words.

Two systems are ranked only where both say so: the interval of their paired difference leaves out 0, and the interval of one
lies wholly below the other's. Where both misread three characters in four (`choice.CHANCE`) it is chance that differs, and
of fewer than `FEWEST` sentences nothing is ranked: even if all agreed, a sign test would give p > 0.05.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

from ttslib import intervals, scorecard
from ttslib.evaluate.choice import CHANCE
from ttslib.evaluate.judges import IN_DOMAIN
from ttslib.evaluate.summary import MEDIANS, RATES

FEWEST = 6  # 2 / 2**6 = 0.03, 2 / 2**5 = 0.06; a bootstrap of so few is too sure of itself
MORE = ("sentences", "failed", "faulty", "faults", "cer_minus_floor", "wer_minus_floor", "distinguishable")


def lines(card: Mapping, sets: Sequence[str] = (IN_DOMAIN,)) -> list[Mapping]:
    """What the run's voice said of these sets."""
    return [one for one in card["sentences"] if one["voice"] == scorecard.VOICE and one["set"] in sets]


def row(name: str, card: Mapping, facts: Mapping) -> dict:
    """A system in numbers: its scorecard's on the held-out texts, and what it cost. `runaways` and `silences` are of all
    sentences that it was asked for, of which there are `asked`."""
    voice, totals = card["voices"][scorecard.VOICE], card["totals"][scorecard.VOICE]
    own = {key: voice[IN_DOMAIN][key] for key in (*RATES, *MEDIANS, *MORE) if key in voice[IN_DOMAIN]}
    by_set = {key: one["cer"] for key, one in voice.items() if "cer" in one}
    ends = {"asked": totals["items"], "runaways": totals["no_end"], "silences": totals["silent"]}
    ends["refused"] = sum(totals["errors"].values())
    costs = {key: value for key, value in facts.items() if key != "scorecard"}
    return (
        {"system": name, "reason": None, "checkpoint": card["checkpoint"]} | own | ends | costs | {"cer_by_set": by_set}
    )


def floors(cards: Mapping[str, Mapping]) -> dict[str, dict]:
    """What no voice can be better than, by name: summaries of the recordings and of their copies, on the held-out texts."""
    found: dict[str, dict] = {}
    for card in cards.values():
        for name in card["floors"]:
            if IN_DOMAIN in card["voices"].get(name, ()):
                found.setdefault(name, card["voices"][name][IN_DOMAIN])
    return found


def pairs(cards: Mapping[str, Mapping]) -> list[dict]:
    """Every two systems that were read back: the CER of `a` minus that of `b`, paired, who is `better`, or why nobody is."""
    scores = {
        name: {one["id"]: one["cer"] for one in lines(card) if one.get("cer") is not None}
        for name, card in cards.items()
    }
    return [pair(a, b, scores[a], scores[b]) for a, b in combinations([name for name in scores if scores[name]], 2)]


def pair(a: str, b: str, one: Mapping, other: Mapping) -> dict:
    """Two systems by `{id: (errors, length)}`."""
    same = sorted(one.keys() & other.keys())
    told = {"a": a, "b": b, "sentences": len(same), "difference": None, "better": None, "why": None}
    if len(same) < 2:
        return told | {"why": f"only {len(same)} sentences that both spoke"}
    found = intervals.difference({key: one[key] for key in same}, {key: other[key] for key in same})
    first, second = (intervals.rate(*zip(*some.values(), strict=True)) for some in (one, other))
    told["difference"] = found._asdict()
    if len(same) < FEWEST:
        return told | {"why": f"only {len(same)} sentences that both spoke"}
    if found.low <= 0 <= found.high:
        return told | {"why": "the interval of their difference holds 0"}
    if None in (first.low, second.low) or (first.low <= second.high and second.low <= first.high):
        return told | {"why": "their intervals overlap"}
    if min(first.value, second.value) >= CHANCE:
        return told | {"why": "neither is understood"}
    return told | {"better": a if found.value < 0 else b}


def words(rows: Sequence[Mapping], pairs: Sequence[Mapping]) -> str:
    """The verdict: who is understood better than whom, who is not told apart, who is not understood, who has no scores."""
    read = sorted((row for row in rows if row.get("cer")), key=lambda row: row["cer"]["value"])
    order, said = [row["system"] for row in read], []
    beaten = {frozenset((one["a"], one["b"])): one["better"] for one in pairs}
    for name in order:
        if worse := [other for other in order if other != name and beaten.get(frozenset((name, other))) == name]:
            said.append(f"{name} is understood better than {listed(worse)}")
    if len(order) == 1:
        said.append(f"{order[0]} alone was read back: there is nothing to compare it with")
    said += [f"{listed(some)} are not told apart" for some in together(order, beaten)]
    if chance := [row["system"] for row in read if row["cer"]["value"] >= CHANCE]:
        said.append(
            f"{listed(chance)} {'is' if len(chance) == 1 else 'are'} not understood ({CHANCE:.0%} or more is misread)"
        )
    if deaf := [row["system"] for row in rows if row["reason"] is None and row["system"] not in order]:
        said.append(f"nobody read {listed(deaf)} back")
    if without := [row["system"] for row in rows if row["reason"] is not None]:
        said.append(f"{listed(without)} {'has' if len(without) == 1 else 'have'} no scores")
    return "; ".join(said)


def together(order: Sequence[str], beaten: Mapping[frozenset, str | None]) -> list[tuple[str, ...]]:
    """The largest groups of which no two are ranked, each system beside another."""
    found: list[tuple[str, ...]] = []
    for size in range(len(order), 1, -1):
        for some in combinations(order, size):
            alike = all(beaten.get(frozenset(two), "") is None for two in combinations(some, 2))
            if alike and not any({*some} <= {*larger} for larger in found):
                found.append(some)
    return found


def listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
