"""Speech that comes code by code and may run away: one attempt at a sentence, what became of it, and the best of several."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PERIOD, LOOP_SECONDS = 25, 3.0  # codes; a pattern up to so long said again for three seconds is no speech
SLOWEST, SPARE, LEAST = 2.0, 50, 2  # times the slowest clip of the training, and so many codes more; no fewer codes
ANOTHER_SEED = 7919


@dataclass(frozen=True)
class Spoken:
    """What came of one attempt: bare `codes` `(frames,)`, and how it `ended`: stop, loop (it repeats itself) or limit."""

    codes: Tensor
    ended: str

    def distance(self, expected: float) -> tuple[bool, float]:
        """How bad an attempt is: one that did not stop is worse than any that did, then how far its length is off."""
        return self.ended != "stop", abs(len(self.codes) - expected)


class Watch:
    """Notices speech that repeats itself: the same pattern of up to `PERIOD` codes for `LOOP_SECONDS`."""

    def __init__(self, frame_rate: float):
        self.enough = round(LOOP_SECONDS * frame_rate)
        self.codes: list[int] = []
        self.same = [0] * (PERIOD + 1)

    def loops(self, code: int) -> bool:
        """Take in the next code; True when the last ones are a loop."""
        self.codes.append(code)
        for period in range(1, min(PERIOD, len(self.codes) - 1) + 1):
            self.same[period] = self.same[period] + 1 if self.codes[-1 - period] == code else 0
        return max(self.same) >= self.enough


class Attempt:
    """One attempt at a sentence, followed code by code to its end, or to where it only repeats itself."""

    def __init__(self, stop: int, frame_rate: float):
        self.stop, self.watch = stop, Watch(frame_rate)

    def take(self, code: int) -> Spoken | None:
        """What became of it with this code; None as long as it goes on. Of a repetition one period is kept."""
        if code == self.stop:
            return self.cut("stop")
        if self.watch.loops(code):
            said = self.watch.codes
            return Spoken(torch.tensor(said[: -self.watch.enough] or said, dtype=torch.long), "loop")
        return None

    def cut(self, ended: str = "limit") -> Spoken:
        """It ends here."""
        return Spoken(torch.tensor(self.watch.codes, dtype=torch.long), ended)


def attempt(codes: Iterable[int], stop: int, frame_rate: float) -> Spoken:
    """Follow a stream of codes to its end."""
    made = Attempt(stop, frame_rate)
    for code in codes:
        if (spoken := made.take(code)) is not None:
            return spoken
    return made.cut()


def best(attempts: list[Spoken], expected: float) -> Spoken:
    """The attempt that ended by itself and is nearest to the expected number of codes."""
    return min(attempts, key=lambda spoken: spoken.distance(expected))


def pace(sizes: Iterable[tuple[int, int]]) -> dict[str, float]:
    """Codes or frames per text token, of both of each training example: `median`, and of the slowest clip, `most`."""
    paces = sorted(codes / tokens for codes, tokens in sizes)
    return {"median": paces[len(paces) // 2], "most": paces[-1]}


def limit(most: int, pace: Mapping[str, float], text_tokens: int) -> int:
    """Codes after which speech is a runaway: `most`, or twice as slow as the slowest clip of the training."""
    return min(most, round(SLOWEST * pace["most"] * text_tokens) + SPARE) if pace else most


def spoken(codes: Callable[[int], Iterable[int]], system, text_tokens: int, tries: int, seed: int) -> Spoken:
    """The first attempt that ends by itself, else the best of `tries`; the system's `tally` counts what it took.

    `codes(seed)` gives one attempt's ids, the stop id last where it ends.
    """
    state = system.codec_state

    def each(items: Sequence[int], seeds: Sequence[int]) -> Iterator[tuple[int, Spoken]]:
        yield 0, attempt(codes(*seeds), state["special"]["stop"], state["frame_rate"])

    ((_, chosen),) = together(each, system, [text_tokens], tries, [seed])
    return chosen


def together(
    each: Callable[[Sequence[int], Sequence[int]], Iterable[tuple[int, Spoken]]], system, text_tokens: Sequence[int],
    tries: int, seeds: Sequence[int],
) -> Iterator[tuple[int, Spoken]]:  # fmt: skip
    """`spoken` of several sentences, `(number, Spoken)` as each is through: what did not end by itself is tried again
    together, with the seeds that each has alone.

    `each(numbers, seeds)` makes an attempt at each of these and gives them as they end. The system's `tally` has grown by a
    sentence right before it is given.
    """
    tried: list[list[Spoken]] = [[] for _ in seeds]
    waiting = list(range(len(seeds)))
    for turn in range(tries):
        if not waiting:
            return
        again = []
        for item, made in each(waiting, [seeds[item] + ANOTHER_SEED * turn for item in waiting]):
            tried[item].append(made)
            if made.ended != "stop" and turn + 1 < tries:
                again.append(item)
                continue
            chosen = best(tried[item], system.pace.get("median", 0.0) * text_tokens[item])
            system.tally.update({"spoken": 1, "rerolled": len(tried[item]) - 1, chosen.ended: 1})
            yield item, chosen
        waiting = sorted(again)
