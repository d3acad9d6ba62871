"""Checkpoints written behind the training: the same bits, nothing lost, nobody waits."""

import threading
from concurrent import futures

import pytest
import torch
from test_disk import FULL
from training import assert_same, small

from ttslib import checkpoint, disk, pipeline, track
from ttslib.writing import Writer

EVERY = ["train.steps=6", "train.evaluate_every=6", "train.checkpoint_every=2", "evaluate.small=1", "train.ema=0.9"]
PATIENCE = 60.0


@pytest.fixture(scope="module")
def whole(stocked):
    return pipeline.train(small(*EVERY, run="at-once")).run.folder


def test_what_is_written_while_training_goes_on_is_what_was_there(whole, monkeypatch):
    """The checkpoints of steps 2 and 4 are held back until the next step has changed every weight."""
    stepped, held, save, log = threading.Event(), {}, checkpoint.save, track.Track.log

    def late(folder, name, *told):
        stepped.clear()
        held[name.partition("_")[2]] = stepped.wait(PATIENCE if name.endswith(("step2", "step4")) else 0.0)
        return save(folder, name, *told)

    def logged(self, row, at):
        log(self, row, at)
        if "lr" in row:
            stepped.set()

    monkeypatch.setattr(track.Track, "log", logged)
    monkeypatch.setattr(checkpoint, "save", late)
    behind = pipeline.train(small(*EVERY, "train.write_behind=true", run="behind")).run.folder
    assert_same(whole, behind)
    (_, _, at_once), (_, _, later) = (checkpoint.load(next(run.glob("checkpoints/*_step4"))) for run in (whole, behind))
    for part in ("optimizers", "weights"):
        tensors, expected = {}, {}
        assert checkpoint.pack(later[part], tensors, "") == checkpoint.pack(at_once[part], expected, "")
        assert len(expected) > 20 and all(torch.equal(tensors[name], value) for name, value in expected.items())
    assert held == {"step0": False, "step2": True, "step4": True, "step6": False}


def test_a_full_disk_met_behind_ends_the_run_at_the_next_step(whole, monkeypatch):
    real, left, steps = checkpoint.write_weights, iter(range(2)), []

    def full(*given):
        if next(left, None) is None:
            raise FULL
        return real(*given)

    def check(self):  # as if the disk were quick
        if self.pending is not None:
            futures.wait([self.pending], PATIENCE)
        check_now(self)

    log, check_now = track.Track.log, Writer.check
    with monkeypatch.context() as patch:
        patch.setattr(track.Track, "log", lambda self, row, at: (steps.append(at), log(self, row, at)))
        patch.setattr(Writer, "check", check)
        patch.setattr(checkpoint, "write_weights", full)
        with pytest.raises(disk.DiskError, match="epoch0_step2 is whole: free some, then go on with resume=true"):
            pipeline.train(small(*EVERY, "train.write_behind=true", run="full"))
    assert max(steps) == 4
    pipeline.train(small(*EVERY, "train.write_behind=true", run="full", resume=True))
    assert_same(whole, whole.with_name("full"))


def test_jobs_are_done_in_order_and_an_error_is_raised_once():
    done, gate = [], threading.Event()

    def job():
        gate.wait(PATIENCE)
        done.append("behind")

    def fault():
        raise ValueError("full")

    with Writer(behind=True) as writer:
        writer.do(job)
        writer.check()
        assert done == []
        gate.set()
        writer.do(lambda: done.append("next"))
        writer.wait()
        assert done == ["behind", "next"]
        writer.do(fault)
        with pytest.raises(ValueError, match="full"):
            writer.do(lambda: done.append("never"))
        writer.wait()
        writer.do(lambda: done.append("last"))
    assert done == ["behind", "next", "last"]
    with pytest.raises(ValueError, match="full"), Writer(behind=True) as writer:
        writer.do(fault)
