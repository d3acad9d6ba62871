"""A time budget is kept, and its cosine complete, for any speed of steps, evaluations and saves; so is a step count."""

import time

import pytest

from ttslib.schedule import Schedule
from ttslib.sections import Train

PEAK, FLOOR = 1e-3, 0.02 * 1e-3


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only when a test says so."""
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def live(clock, schedule: Schedule, cost, pause: float, step: int = 0) -> tuple[int, list[float]]:
    """The loop's use of a schedule with steps that take `cost(step)` seconds; the last step and every rate."""
    train, rates = schedule.train, []

    def evaluate():
        clock.now += pause
        schedule.paused(pause)

    if step == 0:
        evaluate()
    while not schedule.over(step):
        rates.append(schedule.lr(step))
        clock.now += cost(step)
        schedule.stepped(cost(step))
        step += 1
        if step % train.log_every == 0:
            schedule.refit(step)
        if step % train.evaluate_every == 0:
            evaluate()
    if step % train.evaluate_every:
        evaluate()
    return step, rates


COSTS = {
    "even": lambda step: 0.1,
    "slow": lambda step: 2.0,
    "uneven": lambda step: 0.05 + 0.2 * (step % 3 == 0),
    "slower on the way": lambda step: 0.1 if step < 800 else 0.2,
    "faster on the way": lambda step: 0.3 if step < 300 else 0.1,
    "a slow start": lambda step: 8.0 if step == 0 else 0.1,
}


@pytest.mark.parametrize("pause", [0.2, 20.0])
@pytest.mark.parametrize("cost", COSTS.values(), ids=COSTS.keys())
def test_a_budget_is_kept_and_the_cosine_complete(clock, cost, pause):
    schedule = Schedule(Train(lr=PEAK, warmup=10, evaluate_every=300), minutes=5.0, began=0.0)
    step, rates = live(clock, schedule, cost, pause)
    # A run that ends on an evaluation needs no final one and leaves the time reserved for it.
    assert 0.95 * 300 - 1.2 * pause < clock.now < 1.05 * 300
    assert schedule.seconds == clock.now
    assert step > 100
    assert max(rates) > 0.9 * PEAK
    assert rates[-1] < 0.05 * PEAK
    assert len(rates) == step


def test_a_resumed_budget_counts_the_time_before(clock):
    train = Train(lr=PEAK, evaluate_every=300)
    first = Schedule(train, minutes=5.0, began=0.0)
    clock.now += 1000  # whatever passed between the two processes does not count
    before = clock.now
    second = Schedule(train, minutes=5.0, elapsed=200.0, end=first.end, began=before)
    live(clock, second, COSTS["even"], 1.0, step=1500)
    assert clock.now - before == pytest.approx(100, rel=0.05)
    assert second.seconds == pytest.approx(300, rel=0.05)


def test_without_a_budget_the_steps_decide(clock):
    schedule = Schedule(Train(lr=PEAK, steps=500, warmup=50, evaluate_every=100))
    step, rates = live(clock, schedule, COSTS["uneven"], 5.0)
    assert step == len(rates) == 500
    assert rates.index(max(rates)) == 50
    assert rates[:51] == sorted(set(rates[:51]))
    assert rates[50:] == sorted(set(rates[50:]), reverse=True)
    assert max(rates) == pytest.approx(PEAK, rel=0.05)
    assert rates[-1] == pytest.approx(FLOOR, rel=0.05)
    assert schedule.lr(10**6) == pytest.approx(FLOOR)


def test_the_remaining_time_is_foreseen(clock):
    schedule = Schedule(Train(steps=100))
    schedule.stepped(2.0)
    assert schedule.eta(40) == 120.0
    budget = Schedule(Train(), minutes=2.0, began=0.0)
    clock.now += 30
    assert budget.eta(7) == 90.0
