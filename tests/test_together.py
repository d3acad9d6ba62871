"""Notebook 03 on several processes: forked by Accelerate's launcher, followed while they train, and heard when they fail."""

import os
import signal
import time

import pytest
import torch

from ttslib import checkpoint, params, pipeline, progress, together
from ttslib.stop import Stop
from ttslib.train import TrainError

QUIET = {"tracking": "disabled", "device": "cpu", "processes": 2}
FEW = {"data.frames": 400, "train.log_every": 1, "evaluate.recogniser": None, "evaluate.small": 1, "train.steps": 6}


@pytest.fixture(autouse=True)
def interruptible():
    """As a terminal or a notebook begins: of jobs in the background a shell has SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def p(prepared, monkeypatch):
    monkeypatch.setattr(together, "EVERY", 0.05)
    return params.load("qaa", FEW, run="a", **QUIET)


def in_process(monkeypatch, rank: int, do) -> None:
    """What a process of this rank does before its fourth history row."""
    row = progress.row

    def before(now, system, engine):
        if now.step == 4 and engine.num_processes == 2 and engine.process_index == rank:
            do()
        return row(now, system, engine)

    monkeypatch.setattr(progress, "row", before)


def test_two_processes_train_for_a_notebook(p, monkeypatch, tmp_path):
    """Their history is shown while they train: they wait for it here."""
    seen, sign = [], tmp_path / "seen"

    def watch(rows):
        seen.append([*rows])
        sign.touch()

    def wait():
        for _ in range(1200):
            if sign.exists():
                return
            time.sleep(0.05)
        raise AssertionError("no row was shown in a minute")

    in_process(monkeypatch, 0, wait)
    done = pipeline.train(p, watch)
    assert (done.result.steps, done.result.stopped) == (6, "steps")
    state = checkpoint.load(done.run.checkpoints / "latest")[2]
    assert (len(state["rng"]), state["fingerprint"]["processes"]) == (2, 2)
    assert seen[-1] == done.run.rows() and seen[-1][-1]["step"] == 6 and len(seen[0]) < len(seen[-1])
    assert done.system.synthesize("bado").isfinite().all()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupted_notebook_has_a_run_to_go_on_with(p, monkeypatch):
    """The launcher tells the processes, which end with a checkpoint."""
    main = os.getpid()
    in_process(monkeypatch, 0, lambda: os.kill(main, signal.SIGINT))
    done = pipeline.train(p.model_copy(update={"train": p.train.model_copy(update={"steps": 5000})}))
    assert done.result.stopped == "SIGINT" and 4 <= done.result.steps < 5000
    assert checkpoint.step_of(checkpoint.newest(done.run.checkpoints)) == done.result.steps
    assert Stop().asked is None and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def unhappy() -> None:
    raise params.ParamsError("odd: set it even")


@pytest.mark.parametrize(
    ("do", "told"),
    [
        (unhappy, "^process 1 of 2: odd: set it even$"),
        (
            lambda: os.kill(os.getpid(), signal.SIGKILL),
            "^process 1 of 2 was ended by signal 9, or for memory; .*epoch[0-9]+_step3 is whole: go on with resume=true",
        ),
    ],
)
def test_a_process_that_fails_is_one_error(do, told, p, monkeypatch):
    in_process(monkeypatch, 1, do)
    with pytest.raises(TrainError, match=told):
        pipeline.train(p)


def test_what_cannot_be_forked_is_refused(p, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("WORLD_SIZE", "4")
        with pytest.raises(params.ParamsError, match=r"processes=2, and 4 were started already.*leave processes=1"):
            pipeline.train(p)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    on_gpus = p.model_copy(update={"device": "auto"})
    with pytest.raises(params.ParamsError, match="processes=2, and this machine has 1 GPUs"):
        pipeline.train(on_gpus)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(params.ParamsError, match=r"has used the GPU already.*in a new kernel"):
        pipeline.train(on_gpus)


def whose(p: params.Params) -> tuple[int, int | None, int]:
    return os.getpid(), p.threads, torch.get_num_threads()


def test_the_checks_before_are_made_apart(p):
    alone = p.model_copy(update={"processes": 1})
    assert together.apart(whose, alone)[:2] == (os.getpid(), None)
    pid, *threads = together.apart(whose, p)
    assert pid != os.getpid() and threads == [1, 1]
