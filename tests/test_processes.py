"""Two processes over gloo train one model: the same as one process with two micro-batches, saved, stopped and resumed."""

import random
import signal
import socket
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import training
from training import assert_near, assert_same

from ttslib import checkpoint, params, resuming
from ttslib.systems import system_class

EVERY = ["data.frames=400", "train.steps=12", "train.evaluate_every=6", "train.checkpoint_every=4", "train.log_every=1"]
EVERY += ["train.keep=9"]


def places(processes: int) -> list[dict[str, str]]:
    """What torchrun puts into the environment of each process; nothing for a single one."""
    if processes == 1:
        return [{}]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    return [where | {"WORLD_SIZE": str(processes), "RANK": str(r), "LOCAL_RANK": str(r)} for r in range(processes)]


def pair(outputs, *overrides, before=None) -> list[training.Life]:
    """Two processes that train together."""
    return [training.start(outputs, *EVERY, *overrides, before=before, **env) for env in places(2)]


def slow_disk() -> None:
    save = checkpoint.save
    checkpoint.save = lambda *given: (time.sleep(0.5), save(*given))[1]


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


def test_two_processes_equal_one_with_two_micro_batches(whole, alone, spoken):
    """Gradients are averaged over processes as over micro-batches, and the data order is the single stream's."""
    ours, theirs = (checkpoint.load(run / "checkpoints" / "latest") for run in (alone, whole))
    assert ours[2]["progress"]["position"] == theirs[2]["progress"]["position"]
    p = params.load("qaa", [*EVERY, "acoustic.dropout=0.0"])
    net = system_class("acoustic").fresh(p, spoken.split("train")).net
    moved = [
        torch.cat([(w[f"net.{k}"] - v).flatten() for k, v in net.named_parameters()]) for w in (ours[0], theirs[0])
    ]
    assert torch.nn.functional.cosine_similarity(*moved, dim=0) > 0.99999
    assert moved[0].norm().item() == pytest.approx(moved[1].norm().item(), rel=1e-4)
    validation = [[r["val/total"] for r in training.history(run) if "val/total" in r] for run in (alone, whole)]
    assert validation[0] == pytest.approx(validation[1], rel=1e-6)
    assert validation[0][0] > validation[0][-1]


def test_killed_and_resumed_is_the_same_as_uninterrupted(whole):
    outputs = whole.parents[2]
    behind = ["run=parts", "acoustic.dropout=0.0", "train.write_behind=true"]
    lives = pair(outputs, *behind, before=slow_disk)
    lives[0].wait_for("step 6 ")
    for life in lives:
        life.kill()
    lives = pair(outputs, *behind, "resume=true")
    assert both(lives) == [0, 0], lives[0].words() + lives[1].words()
    assert_same(whole, whole.with_name("parts"))


@pytest.mark.parametrize("which", [0, 1])
def test_a_signal_to_one_process_ends_both_together(which, prepared):
    lives = pair(prepared, "run=a", "train.steps=2000", "train.evaluate_every=1000")
    lives[0].wait_for("step 2 ")
    lives[which].send(signal.SIGTERM)
    assert both(lives) == [143, 143], lives[0].words() + lives[1].words()
    run = prepared / "qaa" / "acoustic" / "a"
    assert checkpoint.step_of(checkpoint.newest(run / "checkpoints")) >= 2


ANEW = "random numbers (dropout, noise, prompts) are drawn anew"


@pytest.fixture(scope="module")
def alone(whole):
    """The same in one process, with two micro-batches a step."""
    return training.train(whole.parents[2], "run=alone", *EVERY, "acoustic.dropout=0.0", "data.accumulate=2")


def test_one_process_goes_on_where_two_stopped(whole, alone):
    """With the same micro-batches a step; nothing is drawn in them here."""
    parts = training.as_it_was(whole, 4, "from-two")
    resumed = ["run=from-two", "resume=true", "acoustic.dropout=0.0"]
    life = training.start(whole.parents[2], *EVERY, *resumed, "data.accumulate=2")
    assert life.finish() == 0, life.words()
    assert f"step 4: 2 processes before, 1 now: the steps take the same clips; {ANEW}" in life.words()
    assert_near(whole, parts)
    assert checkpoint.load(parts / "checkpoints" / "latest")[2]["fingerprint"]["processes"] == 1


def test_two_processes_go_on_where_one_stopped(whole, alone):
    parts = training.as_it_was(alone, 4, "from-one")
    lives = pair(alone.parents[2], "run=from-one", "resume=true", "acoustic.dropout=0.0")
    assert both(lives) == [0, 0], lives[0].words() + lives[1].words()
    assert [life.words().count(ANEW) for life in lives] == [1, 0], "said once"
    assert_near(alone, parts)


def test_generators_of_processes_that_there_were_not_before_differ(whole, prepared):
    """They come from the seed, the step and the process; the same again for the same."""
    files = SimpleNamespace(p=SimpleNamespace(seed=3), engine=SimpleNamespace(num_processes=2, is_main_process=False))
    drawn = []
    for rank, step in ((0, 4), (1, 4), (0, 5), (0, 4)):
        files.engine.process_index = rank
        resuming.Files.draw_on(files, [checkpoint.rng_state()], step)
        drawn.append((torch.rand(()).item(), np.random.rand(), random.random()))
    assert drawn[0] == drawn[3] and all(a != b for one in drawn[1:3] for a, b in zip(drawn[0], one, strict=True))


def test_a_step_of_other_micro_batches_does_not_resume(whole):
    refused = "the checkpoint has 1 x 2 = 2 micro-batches a step, this run 1 x 1 = 1; set data.accumulate=2"
    life = training.start(whole.parents[2], "run=whole", *EVERY, "acoustic.dropout=0.0", "resume=true")
    assert life.finish() == 1
    assert refused in life.words()
    told = [{"data.accumulate": 1, "processes": n} for n in (4, 3)]
    assert resuming.other_share(*told)[0].endswith(
        "train in a number of processes that divides 4, and set data.accumulate to the quotient"
    )


def test_each_process_keeps_the_generator_of_its_own_gpu(monkeypatch):
    """No GPU here: torch's own functions are stood in for. What older checkpoints kept of all GPUs is still understood."""
    put = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda: torch.tensor([7]))
    monkeypatch.setattr(torch.cuda, "set_rng_state", put.append)
    state = checkpoint.rng_state()
    checkpoint.set_rng_state(state)
    checkpoint.set_rng_state(state | {"cuda": [torch.tensor([5]), torch.tensor([6])]})
    assert [int(one) for one in put] == [7, 6]
