"""Which checkpoint is best is said by who listens: a few validation texts, spoken and read back at every evaluation.

A checkpoint is better when fewer of its characters are misread, beyond what is misread of the recordings; then when fewer
sentences are faulty; then by its validation loss. At the floor the recogniser tells no more, so nothing below it counts; and
where three characters in four are misread, all that it hears is chance: an untrained network must not win by a lucky letter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from ttslib import intervals

if TYPE_CHECKING:  # the loop knows verdicts; judges bring audio files with them
    from ttslib.evaluate.judges import Asked, Judges


CHANCE = 0.75  # CER of what is not understood at all


@dataclass(frozen=True)
class Verdict:
    """What was heard at an evaluation: CER and that of the recordings, how many sentences are faulty, and who says so."""

    cer: float
    floor: float
    faulty: int
    judge: str
    sentences: tuple[dict, ...] = ()
    """of each `id`, what was `heard`, its `cer` and `faults`"""

    @property
    def key(self) -> tuple[float, float]:
        """Lower is better."""
        return (max(0.0, self.cer - self.floor), float(self.faulty)) if self.cer < CHANCE else (1.0, 0.0)

    def row(self) -> dict[str, float]:
        """For the history."""
        return {"speech/cer": self.cer, "speech/cer_floor": self.floor, "speech/faulty": float(self.faulty)}


class Small:
    """The small set of one run: `asked` with their recordings `(samples,)` at `rate` Hz, read once for the floor."""

    def __init__(self, judges: "Judges", asked: Sequence["Asked"], recordings: Sequence[Tensor], rate: int):
        self.judges, self.asked = judges, [one for one in asked if one.lang in judges.recognisers]
        self.seconds = {one.id: len(wav) / rate for one, wav in zip(asked, recordings, strict=True)}
        clips = {one.id: wav for one, wav in zip(asked, recordings, strict=True)}
        self.floor = self.errors([judges.read(one, clips[one.id], rate) for one in self.asked])

    @staticmethod
    def errors(read: Sequence[dict]) -> float | None:
        return intervals.rate(*zip(*[one["cer"] for one in read], strict=True)).value if read else None

    def verdict(self, spoken: dict[str, Tensor], rate: int) -> Verdict | None:
        """Of speech by id; None where nobody reads."""
        if not self.asked:
            return None
        read = [self.judges.read(one, spoken[one.id], rate, self.seconds[one.id]) for one in self.asked]
        who = ", ".join(sorted({one.name for one in self.judges.recognisers.values()}))
        lines = tuple({"id": one.id} | told for one, told in zip(self.asked, read, strict=True))
        return Verdict(self.errors(read), self.floor, sum(bool(one["faults"]) for one in read), who, lines)
