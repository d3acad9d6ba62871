"""A long run keeps its memory, its handles and its disk: the soak's verdict knows a leak, and evaluations leave none.

Half an hour of it: `python benchmarks/soak.py`.
"""

import gc
import random
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from matplotlib.figure import Figure
from training import small

from ttslib import pipeline

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))  # scripts of the repository
import holdings
import soak

FLAT = {"memory": 600.0, "main RSS": 800.0, "checkpoint": 3e6, "checkpoints": 3, "other files": 90}
FLAT |= {"descriptors": 120, "threads": 20, "mapped files": 2400}
CYCLES = 8


def made(name: str = "", value=lambda done: 0.0) -> list[holdings.Sample]:
    """Samples of a quiet run with what sampling meets, but `name` has `value(share of the run)` on top."""
    noise, samples = random.Random(1), []
    for i in range(300):
        one = dict(FLAT)
        one["memory"] += noise.gauss(0, 1) + 40 * (i % 10 == 0)  # an evaluation's own
        one["main RSS"] += noise.gauss(0, 1) + 40 * (i % 10 == 0)
        one["descriptors"] += noise.choice([0, 0, 0, 4, 8])  # batches on their way
        one["mapped files"] += noise.choice([0, 0, 0, 4, 8])
        if i % 10 == 0:  # the next checkpoint, before the oldest goes
            one["checkpoints"], one["checkpoint"] = 4, 4e6
        if name:
            one[name] += value(i / 300)
        samples.append(one)
    return samples


def broken(samples) -> list[str]:
    return [name for name, (kept, _) in soak.verdict(samples).items() if not kept]


def test_noise_evaluations_and_batches_on_their_way_are_flat():
    assert broken(made()) == []


def test_what_grows_in_the_warm_up_alone_is_flat():
    assert broken(made("memory", lambda done: 200 * min(done, 1 / 3))) == []


@pytest.mark.parametrize(
    ("name", "by", "told"),
    [
        ("memory", 60, "memory"),  # of 600 MB: from the middle third to the last it is 3.2 %
        ("main RSS", 80, "main RSS"),
        ("descriptors", 3, "descriptors"),
        ("threads", 2, "threads"),
        ("mapped files", 3, "mapped files"),
        ("other files", 2, "other files"),
        ("checkpoints", 2, "checkpoints"),
        ("checkpoint", 2e6, "checkpoints"),
    ],
)
def test_what_rises_over_the_run_is_refused(name, by, told):
    assert broken(made(name, lambda done: round(by * done, 1 if by > 10 else 0))) == [told]


def test_memory_may_rise_by_two_in_a_hundred_and_no_more():
    def step(of):
        return lambda done: of * 600 * (done >= 2 / 3)

    assert broken(made("memory", step(0.018))) == []
    assert broken(made("memory", step(0.022))) == ["memory"]
    assert broken(made("memory", step(-0.03))) == ["memory"]  # something ended, and it is not known what


def test_evaluations_and_checkpoints_leave_no_handle_no_file_and_no_picture(prepared, monkeypatch):
    """After its last evaluation this process holds no more than after its third; of the pictures that W&B got, none."""
    gc.collect()  # what the tests before have left is not to go in between
    shown, held, files, pictures = [], [], [], []
    board = SimpleNamespace(log=lambda row, step: shown.extend(k for k in row if k.startswith("mel/")), finish=int)
    monkeypatch.setattr("ttslib.track.connect", lambda p, run: board)

    def watch(rows):
        if "val/total" in rows[-1]:
            pictures.append(sum(issubclass(type(one), Figure) for one in gc.get_objects()))
            held.append(holdings.of_process(psutil.Process()))
            files.append(holdings.of_disk(prepared / "qaa" / "acoustic" / "watched", prepared))

    every = ["train.evaluate_every=1", "train.checkpoint_every=1", "train.keep=2", "data.workers=0"]
    hears = ["evaluate.recogniser=ctc", "evaluate.recogniser_steps=1", "evaluate.small=1"]
    p = small(*every, *hears, f"train.steps={CYCLES}", run="watched")
    pipeline.train(p, watch)
    assert len(held) == CYCLES + 1
    for name in holdings.HANDLES:
        assert held[-1][name] <= held[2][name], f"{name}: {[one[name] for one in held]}"
    assert len(shown) == CYCLES + 1 and max(pictures) == 0, pictures
    assert files[-1]["other files"] == files[2]["other files"]
    assert max(one["checkpoints"] for one in files) <= p.train.keep + 1
    assert files[-1]["evaluations"] == CYCLES + 1
