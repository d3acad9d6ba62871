"""How long a run lasts and what the learning rate is on the way: a number of steps, or a time budget."""

import math
import statistics
import time
from collections import deque
from dataclasses import dataclass, field

from ttslib.sections import Train


def in_steps(train: Train, epoch: float) -> Train:
    """`train` with `epochs` and `warmup_epochs` as steps, where they are given; an epoch has so many steps on average."""
    given = {"steps": train.epochs, "warmup": train.warmup_epochs}
    return train.model_copy(update={name: max(1, round(n * epoch)) for name, n in given.items() if n is not None})


@dataclass
class Schedule:
    """Warm-up, then a cosine to `final_lr` at `end`, the run's last step.

    With a budget, `end` follows the measured step time so that the cosine is complete just when the time is: what is left
    of the budget, less a reserve for the last evaluation and save, divided by the step time. `elapsed` is the training
    time of earlier sessions of a resumed run (seconds).
    """

    train: Train
    minutes: float | None = None
    elapsed: float = 0.0
    end: int = 0
    reserve: float = 0.0
    """seconds kept for the final evaluation and save: the longest seen so far, and a fifth more"""
    began: float = field(default_factory=time.monotonic)
    recent: deque = field(default_factory=lambda: deque(maxlen=50))
    spent: float = 0.0
    """seconds of evaluation and saving since the start"""

    def __post_init__(self):
        self.end = self.end or self.train.steps
        if self.minutes is None:
            self.end = self.train.steps

    def lr(self, step: int) -> float:
        t = self.train
        warm = min(1.0, (step + 1) / (t.warmup + 1))
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.end)))
        return t.lr * warm * (t.final_lr + (1 - t.final_lr) * cosine)

    @property
    def seconds(self) -> float:
        """Training time so far, earlier sessions included."""
        return self.elapsed + time.monotonic() - self.began

    @property
    def left(self) -> float:
        """Seconds for further steps (infinite without a budget)."""
        return math.inf if self.minutes is None else self.minutes * 60 - self.reserve - self.seconds

    def stepped(self, seconds: float) -> None:
        self.recent.append(seconds)

    def paused(self, seconds: float) -> None:
        """An evaluation and save took this long."""
        self.spent = max(self.spent, seconds)
        self.reserve = 1.2 * self.spent

    def refit(self, step: int) -> None:
        """Move `end` to where the budget runs out at the present speed; called while training with a budget."""
        if self.minutes is not None and len(self.recent) >= 3:
            cost = statistics.median(self.recent) + self.spent / self.train.evaluate_every
            self.end = step + max(1, int(self.left / cost))

    def over(self, step: int) -> bool:
        if self.minutes is None:
            return step >= self.end
        return self.left < self.typical / 2

    def eta(self, step: int) -> float:
        """Seconds until the end at the present speed."""
        if self.minutes is not None:
            return max(0.0, self.left + self.reserve)
        return (self.end - step) * self.typical

    @property
    def typical(self) -> float:
        """Seconds a step at the present speed."""
        return statistics.median(self.recent) if self.recent else 0.0

    def state(self, now, left: float) -> dict[str, float]:
        """For the history: the epoch, its `left` steps and those of the whole run in seconds, and the last step foreseen."""
        times = {"epoch_eta_s": left * self.typical, "eta_s": self.eta(now.step), "elapsed_s": self.seconds}
        return {"epoch": now.position.epoch, "last_step": self.end} | times
