"""Two processes over gloo train one model: the same as one process with two micro-batches, saved, stopped and resumed."""

import signal
import socket

import pytest
import torch
import training
from training import assert_same

from ttslib import checkpoint, params
from ttslib.systems import system_class

EVERY = ["data.frames=400", "train.steps=12", "train.evaluate_every=6", "train.checkpoint_every=4", "train.log_every=1"]


def pair(outputs, *overrides) -> list[training.Life]:
    """What torchrun starts for two processes: their places in the environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    return [training.start(outputs, *EVERY, *overrides, RANK=r, LOCAL_RANK=r, **where) for r in "01"]


def both(lives) -> list[int]:
    return [life.finish() for life in lives]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, spoken):
    """A finished run of two processes."""
    import shutil

    outputs = tmp_path_factory.mktemp("pair")
    shutil.copytree(spoken.folder, outputs / "qaa" / "data" / spoken.folder.name)
    lives = pair(outputs, "run=whole", "acoustic.dropout=0.0")
    assert both(lives) == [0, 0], lives[0].words() + lives[1].words()
    return outputs / "qaa" / "acoustic" / "whole"


def test_only_one_process_writes_and_it_writes_one_run(whole):
    rows = training.history(whole)
    assert [row["step"] for row in rows if "mel" in row] == list(range(1, 13))
    assert [p.name for p in whole.parent.iterdir()] == ["whole"]
    assert len(checkpoint.load(whole / "checkpoints" / "latest")[2]["rng"]) == 2


def test_two_processes_equal_one_with_two_micro_batches(whole, spoken):
    """Gradients are averaged over processes as over micro-batches, and the data order is the single stream's."""
    outputs = whole.parents[2]
    alone = training.train(outputs, "run=alone", *EVERY, "acoustic.dropout=0.0", "data.accumulate=2")
    ours, theirs = (checkpoint.load(run / "checkpoints" / "latest") for run in (alone, whole))
    assert ours[2]["progress"]["position"] == theirs[2]["progress"]["position"]
    p = params.load("qaa", [*EVERY, "acoustic.dropout=0.0"])
    net = system_class("acoustic").fresh(p, spoken.split("train")).net
    moved = [
        torch.cat([(w[f"net.{k}"] - v).flatten() for k, v in net.named_parameters()]) for w in (ours[0], theirs[0])
    ]
    assert torch.nn.functional.cosine_similarity(*moved, dim=0) > 0.995
    assert moved[0].norm().item() == pytest.approx(moved[1].norm().item(), rel=0.01)
    validation = [[r["val/total"] for r in training.history(run) if "val/total" in r] for run in (alone, whole)]
    assert validation[0] == pytest.approx(validation[1], rel=1e-3)
    assert validation[0][0] > validation[0][-1]


def test_killed_and_resumed_is_the_same_as_uninterrupted(whole):
    outputs = whole.parents[2]
    lives = pair(outputs, "run=parts", "acoustic.dropout=0.0")
    lives[0].wait_for("step 6 ")
    for life in lives:
        life.kill()
    lives = pair(outputs, "run=parts", "acoustic.dropout=0.0", "resume=true")
    assert both(lives) == [0, 0], lives[0].words() + lives[1].words()
    assert_same(whole, whole.with_name("parts"))


def test_a_signal_to_one_process_ends_both_together(prepared):
    lives = pair(prepared, "run=a", "train.steps=2000", "train.evaluate_every=1000")
    lives[0].wait_for("step 2 ")
    lives[0].send(signal.SIGTERM)
    assert both(lives) == [143, 143], lives[0].words() + lives[1].words()
    run = prepared / "qaa" / "acoustic" / "a"
    assert checkpoint.step_of(checkpoint.newest(run / "checkpoints")) >= 2


def test_other_numbers_of_processes_do_not_resume(whole):
    life = training.start(whole.parents[2], "run=whole", *EVERY, "acoustic.dropout=0.0", "resume=true")
    assert life.finish() == 1
    assert "processes: the checkpoint has 2, this run 1" in life.words()
