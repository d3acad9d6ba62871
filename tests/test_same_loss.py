"""Several processes over gloo learn what one learns from the same micro-batches, whatever the system.

Random numbers are drawn from the micro-batch itself here: each process has generators of its own otherwise, and what they
draw (dropout, prompts, noise, segments, rooms) differs from what one process would.
"""

import multiprocessing
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
import training
from test_processes import places
from training import assert_near

from ttslib.__main__ import main
from ttslib.systems import system_class

ALL = [*training.QUIET, "train.steps=4", "train.warmup=1", "train.lr=5.0e-4", "train.log_every=1", "evaluate.small=1"]
ALL += ["train.evaluate_every=100", "train.ema=0.9"]
STYLE = ["style.preset=unit", "pairs.voices=20", "pairs.texts=1", "style.longest=2.0", "style.augment=0.5"]
SYSTEMS = {
    "acoustic": ["data.frames=200"],
    "vits": ["data.frames=100", "vits.ramp=3"],
    "t3": ["data.frames=60"],
    "indextts": ["data.frames=100", "indextts.duration_control=true"],
    "pocket": ["data.frames=40", "pocket.distill_share=1.0"],  # else one draw a step decides for all processes
    "style": ["data.frames=800", *STYLE, "train.epochs=null", "train.warmup_epochs=null"],
}


def drawn_from_the_batch(name: str) -> None:
    """Whatever a step of this system draws is a function of its micro-batch from now on."""
    cls = system_class(name)
    learnt = cls.losses

    def losses(self, batch):
        torch.manual_seed(int(batch[f"{self.length_of}_len"].sum()))
        yield from learnt(self, batch)

    cls.losses = losses


def orders(processes: int, run: str, names, *more: str) -> list[list[str]]:
    """`train` of these systems, with four micro-batches a step; one process after the other imports what it needs once."""
    common = [*ALL, f"data.accumulate={4 // processes}", f"run={run}", *more]
    return [
        ["train", "style_fast" if name == "style" else "qaa", f"system={name}", *common, *SYSTEMS[name]]
        for name in names
    ]


def obey(outputs: Path, log: Path, given: list[list[str]], env: dict[str, str]) -> None:
    os.environ.update(env, TTSLIB_OUTPUTS=str(outputs))
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    multiprocessing.set_start_method("fork", force=True)
    for name in SYSTEMS:
        drawn_from_the_batch(name)
    sys.exit(max(main(order) for order in given))


def begin(outputs: Path, given: list[list[str]], processes: int) -> list[training.Life]:
    lives = []
    for env in places(processes):
        log = outputs / f"{processes}-{env.get('RANK', 0)}.txt"
        lives.append(training.Life(training.SERVER.Process(target=obey, args=(outputs, log, given, env)), log))
        lives[-1].process.start()
    return lives


FOUR = ("acoustic", "vits")
SHARDED = ("acoustic", "t3", "indextts", "pocket")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, spoken):
    """`folder(system, run)` of runs whose every step takes the same four micro-batches."""
    outputs = tmp_path_factory.mktemp("same")
    shutil.copytree(spoken.folder, outputs / "qaa" / "data" / spoken.folder.name)
    two = [*orders(2, "two", SYSTEMS), *orders(2, "shards", SHARDED, "sharding=full")]
    # one after the other: the first makes the features
    for processes, given in (1, orders(1, "one", SYSTEMS)), (2, two), (4, orders(4, "four", FOUR)):
        lives = begin(outputs, given, processes)
        codes = [life.finish() for life in lives]
        assert codes == [0] * processes, "".join(life.words() for life in lives)
    return lambda name, run: outputs / ("style_fast" if name == "style" else "qaa") / name / run


SEVERAL = [(name, "two") for name in SYSTEMS] + [(n, "four") for n in FOUR] + [(n, "shards") for n in SHARDED]


@pytest.mark.parametrize(("name", "several"), SEVERAL)
def test_several_processes_take_the_steps_of_one(name, several, runs):
    one = runs(name, "one")
    learnt = [row for row in training.history(one) if "lr" in row]
    assert [row["step"] for row in learnt] == [1, 2, 3, 4]
    turns = ("net.turns",) if name == "pocket" else ()  # each process counts its own: all draw the same
    assert_near(one, runs(name, several), but=turns, rel=1e-4 if several == "shards" else 1e-5)
