"""Answers with the key laid over them: who judged which systems on which text, and how."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple


class Judgement(NamedTuple):
    """One listener's answer to one comparison.

    `values` are by system. cmos: the first of the pair has how much better it is than the other, -3..3, the other the same
    with the opposite sign; abx: 1 for both when X was found, else 0; mushra: 0..100. `again` is the judgement of the second
    hearing where there was one. `second` is the raw cmos answer: above 0 favours what was heard second.
    """

    rater: str
    text: str
    values: dict[str, float]
    again: dict[str, float] | None
    second: float
    seconds: float


def judgements(key: Mapping, answers: Sequence[Mapping]) -> Iterator[Judgement]:
    """All first hearings, each with its second; `answers` as `answers.read` gives them."""
    for one in answers:
        session, told = key["sessions"][one["session"]], {trial["trial"]: trial for trial in one["trials"]}
        again = {
            trial["repeats"]: valued(key, trial, told[place]["answer"])
            for place, trial in enumerate(session)
            if trial["repeats"] is not None
        }
        for place, trial in enumerate(session):
            if trial["repeats"] is None:
                answer = told[place]["answer"]
                second = answer if key["kind"] == "cmos" else 0
                values = valued(key, trial, answer)
                yield Judgement(one["rater"], trial["text"], values, again.get(place), second, told[place]["seconds"])


def valued(key: Mapping, trial: Mapping, answer) -> dict[str, float]:
    names = [key["stimuli"][sound]["system"] for sound in trial["sounds"]]
    if key["kind"] == "cmos":
        return {names[0]: -answer, names[1]: answer}
    if key["kind"] == "abx":
        return dict.fromkeys(names, float(trial["sounds"][answer - 1] == trial["x"]))
    return dict(zip(names, answer, strict=True))


def by_rater(found: Sequence[Judgement]) -> dict[str, list[Judgement]]:
    """Each listener's judgements, in the order of the answers."""
    groups: dict[str, list[Judgement]] = {}
    for one in found:
        groups.setdefault(one.rater, []).append(one)
    return groups
