"""A run that is killed at any instant and resumed ends bit for bit where the uninterrupted one ends."""

import os
import random
import signal
import time

import pytest
import training
from training import assert_same, history

from ttslib import checkpoint

# About eight micro-batches an epoch, so that steps and checkpoints fall inside epochs.
SMALL = ["data.frames=400", "train.warmup=5", "train.log_every=1", "train.patience=100"]
COMBINATIONS = {
    "accumulate and average": ["data.accumulate=2", "train.ema=0.9", "data.workers=0"],
    "worker processes": ["data.accumulate=1", "train.ema=0.0", "data.workers=2"],
}


@pytest.mark.parametrize("settings", COMBINATIONS.values(), ids=COMBINATIONS.keys())
def test_killed_and_resumed_is_the_same_as_uninterrupted(prepared, settings):
    every = ["train.steps=26", "train.evaluate_every=10", "train.checkpoint_every=7", *SMALL, *settings]
    whole = training.train(prepared, "run=whole", *every)
    first = training.start(prepared, "run=parts", *every)
    first.wait_for("step 17 ")
    first.kill()
    parts = whole.with_name("parts")
    epoch, batch = progress_at(parts)
    assert epoch > 0
    assert batch > 0, "the kill should fall inside an epoch"
    assert not (parts / "training_history.json").exists()
    training.train(prepared, "run=parts", "resume=true", *every)
    assert_same(whole, parts)
    steps = [row["step"] for row in history(parts) if "mel" in row]
    assert steps == list(range(1, 27))
    assert [row["step"] for row in history(parts) if "val/total" in row] == [0, 10, 20, 26]


def progress_at(run) -> tuple[int, int]:
    position = checkpoint.load(run / "checkpoints" / "latest")[2]["progress"]["position"]
    return position["epoch"], position["batch"]


def test_twenty_kills_at_random_instants_change_nothing(prepared):
    every = ["train.steps=110", "train.evaluate_every=30", "train.checkpoint_every=4", "train.ema=0.9", *SMALL]
    whole, chance = training.train(prepared, "run=whole", *every), random.Random(5)
    parts, kills, early = whole.with_name("parts"), 0, 0
    while True:
        resume = [] if not checkpoint.listed(parts / "checkpoints") else ["resume=true"]
        life = training.start(prepared, "run=parts", *every, *resume)
        if kills < 20 and kills % 4 == 0:  # while it loads, evaluates for the first time, or restores
            time.sleep(chance.uniform(0, 0.4))
            early += 1
        elif kills < 20:  # somewhere in or after a step: computing, logging, saving, evaluating
            life.wait_for("grad_norm", count=chance.randint(1, 9))
            time.sleep(chance.uniform(0, 0.05))
        else:
            assert life.finish() == 0, life.words()
            break
        assert life.process.is_alive(), f"nothing left to kill after {kills} kills"
        life.kill()
        kills += 1
    assert early == 5
    assert_same(whole, parts)


def test_a_damaged_checkpoint_costs_steps_and_nothing_else(prepared):
    every = ["train.steps=12", "train.evaluate_every=6", "train.checkpoint_every=3", *SMALL]
    whole = training.train(prepared, "run=whole", *every)
    first = training.start(prepared, "run=parts", *every)
    first.wait_for("step 10 ")
    first.kill()
    parts = whole.with_name("parts")
    os.truncate(parts / "checkpoints" / "latest" / "state.safetensors", 1000)
    second = training.start(prepared, "run=parts", "resume=true", *every)
    assert second.finish() == 0
    assert "WARNING" in second.words()
    assert "state.safetensors: damaged" in second.words()
    assert_same(whole, parts)


def test_sigterm_ends_with_143_and_a_checkpoint_that_goes_on(prepared):
    every = ["train.steps=25", "train.evaluate_every=10", "train.checkpoint_every=1000", *SMALL]
    whole = training.train(prepared, "run=whole", *every)
    first = training.start(prepared, "run=parts", *every)
    first.wait_for("step 13 ")
    first.send(signal.SIGTERM)
    assert first.finish() == 143
    parts = whole.with_name("parts")
    assert checkpoint.step_of((parts / "checkpoints" / "latest").resolve()) >= 13
    assert checkpoint.step_of((parts / "checkpoints" / "best").resolve()) % 10 == 0, "best is one that was evaluated"
    training.train(prepared, "run=parts", "resume=true", *every)
    assert_same(whole, parts)


def test_resuming_a_finished_run_changes_nothing(prepared):
    every = ["train.steps=5", "train.evaluate_every=4", *SMALL]
    run = training.train(prepared, "run=a", *every)
    before = (run / "history.jsonl").read_text(), training.progress(run), os.readlink(run / "checkpoints" / "best")
    training.train(prepared, "run=a", "resume=true", *every)
    after = (run / "history.jsonl").read_text(), training.progress(run), os.readlink(run / "checkpoints" / "best")
    assert after == before


def test_more_steps_than_before_is_a_longer_run(prepared):
    run = training.train(prepared, "run=a", "train.steps=5", *SMALL)
    training.train(prepared, "run=a", "resume=true", "train.steps=9", *SMALL)
    assert [row["step"] for row in history(run) if "mel" in row] == list(range(1, 10))
