"""A process killed at any instant of a save leaves a whole checkpoint that is found again, and litter that goes away."""

import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

from ttslib import checkpoint, params, runs

EVENTS = ("rename", "replace", "fsync", "unlink", "rmdir", "mkdir", "symlink")  # calls between which a kill can fall


def save(folder: Path, step: int) -> None:
    weights = {"net.a": torch.full((64,), float(step))}
    checkpoint.save(folder, f"epoch0_step{step}", weights, {"system": "acoustic"}, {"step": step, "seen": weights})


def deadly(real, left):
    """`real` until `left` is used up, then the end of the process without a word."""
    return lambda *a, **k: os._exit(9) if next(left, None) is None else real(*a, **k)


def dies_at(event: int, job) -> bool:
    """Run `job` in a forked process that ends, as if by kill -9, before its file operation number `event`."""
    if (child := os.fork()) == 0:
        left = iter(range(event))
        for name in EVENTS:
            setattr(os, name, deadly(getattr(os, name), left))
        try:
            job()
        finally:
            os._exit(1 if sys.exception() else 0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9), "the job itself failed"
    return code == 9


def loaded_step(path: Path) -> int:
    weights, _, state = checkpoint.load(path)
    assert weights["net.a"].eq(state["step"]).all()
    assert state["seen"]["net.a"].equal(weights["net.a"])
    return state["step"]


def everywhere(make, job, check) -> int:
    """`check` after a death at each instant of `job` in turn; how many there were."""
    event = 0
    while True:
        folder = make(event)
        died = dies_at(event, lambda folder=folder: job(folder))
        check(folder)
        save(folder, 9)
        assert loaded_step(checkpoint.newest(folder)) == 9
        left = {path.name for path in folder.iterdir()}
        assert not [name for name in left if name.startswith(".")], "litter stays"
        if not died:
            return event
        event += 1


@pytest.fixture
def filled(tmp_path):
    """A folder with checkpoints 1, 2 and 3, of which 2 is the best."""

    def make(event: int) -> Path:
        folder = tmp_path / str(event)
        for step in (1, 2, 3):
            save(folder, step)
        checkpoint.link(folder, "best", "epoch0_step2")
        return folder

    return make


def test_killed_anywhere_in_a_save(filled):
    def check(folder):
        assert loaded_step(checkpoint.newest(folder)) == loaded_step(folder / "latest") in (3, 4)
        assert loaded_step(folder / "best") == 2

    assert everywhere(filled, lambda folder: save(folder, 4), check) > 15


def test_killed_anywhere_while_another_becomes_the_best(filled):
    def check(folder):
        assert loaded_step(folder / "best") in (2, 3)

    assert everywhere(filled, lambda folder: checkpoint.link(folder, "best", "epoch0_step3"), check) > 2


def test_killed_anywhere_while_the_same_step_is_saved_again(filled):
    def check(folder):
        assert loaded_step(checkpoint.newest(folder)) == 3
        assert loaded_step(folder / "best") == 2

    assert everywhere(filled, lambda folder: save(folder, 3), check) > 15


def test_killed_anywhere_while_old_ones_are_deleted(filled):
    def check(folder):
        assert loaded_step(checkpoint.newest(folder)) == 3
        for path in checkpoint.listed(folder):
            loaded_step(path)
        save(folder, 5)
        for path in checkpoint.listed(folder):
            loaded_step(path)

    assert everywhere(filled, lambda folder: checkpoint.prune(folder, 1), check) > 3


def test_killed_anywhere_in_the_first_save_the_run_can_be_resumed_or_started_anew(outputs):
    p = params.load("qaa", run="a")

    def make(event: int) -> Path:
        folder = runs.Run(runs.home(p) / f"a{event}").checkpoints
        folder.parent.mkdir(parents=True)
        return folder

    def check(folder):
        mine = p.model_copy(update={"run": folder.parent.name})
        try:
            run = runs.start(mine)
        except runs.RunError:
            run = runs.start(mine.model_copy(update={"resume": True}))
            assert loaded_step(checkpoint.newest(run.checkpoints)) == 1
        assert run.checkpoints == folder

    assert everywhere(make, lambda folder: save(folder, 1), check) > 10


def saving_in_a_loop(folder: Path, steps: int) -> None:
    checkpoint.write_json(folder.parent / "begun", steps)
    for step in range(steps, steps + 10_000):
        save(folder, step)
        save(folder, step)  # the same step again
        checkpoint.link(folder, "best", f"epoch0_step{step - step % 5}") if step % 5 == 0 else None
        checkpoint.prune(folder, 2)
        checkpoint.write_json(folder.parent / "done", step)


def test_kill_9_at_random_instants_of_a_saving_loop(tmp_path):
    folder, done, begun, chance = tmp_path / "checkpoints", tmp_path / "done", tmp_path / "begun", random.Random(1)
    save(folder, 0)
    checkpoint.link(folder, "best", "epoch0_step0")
    start = time.monotonic()
    save(folder, 0)
    pace = time.monotonic() - start  # a disk's syncs take 2 ms here and 100 ms there: kills spread over six saves
    found = life = 0
    while life < 50 or found <= 10:  # where every life were killed in its first save, the kills would show nothing
        begun.unlink(missing_ok=True)
        if (child := os.fork()) == 0:
            try:
                saving_in_a_loop(folder, found + 1)
            finally:
                os._exit(1)
        wait_until(begun.exists)
        time.sleep(chance.uniform(0, 6 * pace))
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL, "the loop failed of itself"
        before, found = found, loaded_step(checkpoint.newest(folder))
        assert found >= max(before, int(done.read_text()) if done.exists() else 0), f"life {life} lost a finished save"
        loaded_step(folder / "best")
        life += 1
        assert life < 500, f"500 lives and only {found} steps"


def wait_until(ready) -> None:
    end = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.001)
