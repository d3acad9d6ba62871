"""The contract: N steps are k steps, a save, and N - k more in a new process, bit for bit on the CPU, whatever the system.

What must survive, and where (two processes of `acoustic` and replay: test_processes.py, test_replay.py):

    case      | stop      | accumulate | workers | average | besides
    acoustic  | mid-epoch | 2          | 2       | yes     | a step over the end of an epoch after the stop
    boundary  | epoch end | 1          | 0       | no      | `acoustic`, validation and checkpoint by `train.each_epoch`
    vits      | mid-epoch | 2          | 0       | yes     | GAN: the discriminator's weights, optimizer and lessons
    t3        | mid-epoch | 2          | 2       | no      | LoRA, extended rows, the base's rows held
    indextts  | mid-epoch | 2          | 0       | yes     | extended rows, the body whole, durations withheld
    pocket    | mid-epoch | 1          | 2       | yes     | steps that distil drawn by their count
    style     | mid-epoch | 2          | 2       | yes     | rooms, noise and masks drawn
    pocket x2 | mid-epoch | 1          | 2 x 0   | yes     | in two processes
    vits x2   | mid-epoch | 2          | 2 x 0   | no      | in two processes: two parts
"""

import multiprocessing
import os
from pathlib import Path
from typing import NamedTuple

import pytest
import training
from test_processes import both
from test_processes import pair as two
from training import as_it_was, assert_same

from ttslib import checkpoint, encoding, params, pipeline, speech
from ttslib.__main__ import main
from ttslib.systems import system_class

QUIET = [*training.QUIET, "evaluate.small=1", "train.log_every=1", "train.warmup=1"]
MISSING = "gm"  # letters that the bases have no rows for
STYLE = ["style.preset=unit", "pairs.voices=20", "pairs.texts=1", "style.longest=2.0", "style.augment=0.5"]
STYLE += ["train.epochs=null", "train.warmup_epochs=null"]


class Case(NamedTuple):
    """A run of `steps` steps that is stopped after `stop`, in the middle of an epoch or at its end.

    `extends`: it starts from a base whose tables lack letters of the toy language.
    """

    system: str
    steps: int
    stop: int
    settings: list[str]
    extends: bool = False
    lang: str = "qaa"
    middle: bool = True


AVERAGE, TWICE, WORKERS = ["train.ema=0.9"], ["data.accumulate=2"], ["data.workers=2"]
CASES = {
    "acoustic": Case("acoustic", 11, 6, ["data.frames=400", *AVERAGE, *TWICE, *WORKERS]),
    "boundary": Case("acoustic", 8, 5, ["data.frames=400", "train.each_epoch=true"], middle=False),
    "vits": Case("vits", 4, 2, ["data.frames=200", *AVERAGE, *TWICE]),
    "t3": Case("t3", 6, 3, ["data.frames=200", "adapt.body=lora", "adapt.lora.rank=2", *TWICE, *WORKERS], True),
    "indextts": Case("indextts", 6, 3, ["data.frames=400", "indextts.duration_control=true", *AVERAGE, *TWICE], True),
    "pocket": Case("pocket", 8, 5, ["data.frames=100", "pocket.distill_share=0.5", *AVERAGE, *WORKERS]),
    "style": Case("style", 5, 2, ["data.frames=800", *STYLE, *AVERAGE, *TWICE, *WORKERS], lang="style_fast"),
}  # fmt: skip


def obey(orders, log: Path, outputs: Path) -> None:
    """A process that trains what it is told to, one run after the other."""
    os.environ["TTSLIB_OUTPUTS"] = str(outputs)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    multiprocessing.set_start_method("fork", force=True)  # loader workers as in a run of one's own
    while order := orders.recv():
        orders.send(main(order))


@pytest.fixture(scope="module")
def elsewhere(stocked):
    """Train in another process, which knows nothing of the first halves of the runs."""
    here, there = training.SERVER.Pipe()
    log = stocked / "elsewhere.txt"
    process = training.SERVER.Process(target=obey, args=(there, log, stocked))
    process.start()
    there.close()

    def train(lang: str, settings: list[str]) -> None:
        here.send(["train", lang, *settings])
        assert here.poll(300), f"no answer in 300 s: {log.read_text()}"
        try:
            code = here.recv()
        except EOFError:
            code = "a crash"
        assert code == 0, f"{code}: {log.read_text()}"

    yield train
    here.send(None)
    process.join(30)


@pytest.fixture(scope="module")
def base(stocked, spoken):
    """`base(system)`: the export of a fresh system that lacks two letters of the toy language, made once."""
    made = {}

    def of(name: str) -> Path:
        if name not in made:
            p = params.load("qaa", QUIET, system=name)
            rows = [row for row in spoken.split("train") if not set(row.text) & set(MISSING)]
            system = system_class(name).fresh(p, rows)
            system.kept = speech.codes(system.codec, spoken, rows, p)
            system.measure(encoding.encode_all(system, rows, speech.reader(system, spoken), stocked / "features", 1.0))
            system.meet(rows, speech.reader(system, spoken))
            made[name] = system.export(stocked / "bases" / name)
        return made[name]

    return of


@pytest.mark.parametrize("name", CASES)
def test_stopped_saved_and_continued_in_a_new_process(name, stocked, elsewhere, base):
    case = CASES[name]
    settings = [*QUIET, f"system={case.system}", f"train.steps={case.steps}", f"train.checkpoint_every={case.stop}"]
    settings += ["train.evaluate_every=100", "train.keep=99", *case.settings]
    settings += [f"adapt.base={base(case.system)}"] if case.extends else []
    p = params.load(case.lang, [*settings, f"run={name}"])
    done = pipeline.train(p)
    whole = done.run.folder
    (left,) = (row["epoch_eta_s"] for row in done.run.rows() if row["step"] == case.stop and "epoch_eta_s" in row)
    assert (left > 0) == case.middle, "where in the epoch it stops"
    parts = as_it_was(whole, case.stop, f"{name}-parts")
    half = (parts / "checkpoints" / "latest").resolve().name
    holds(case, p, whole / "checkpoints" / half)
    elsewhere(case.lang, [*settings, f"run={parts.name}", "resume=true"])
    assert_same(whole, parts)
    before, after = (checkpoint.load(whole / "checkpoints" / name)[0] for name in (half, "latest"))
    assert [k for k in before if not before[k].equal(after[k])], "nothing was trained after the stop"


def holds(case: Case, p: params.Params, path: Path) -> None:
    """The checkpoint of the stop has in it what the table above says that it must bring over."""
    weights, _, state = checkpoint.load(path)
    assert state["progress"]["step"] == case.stop
    assert bool(state["weights"]) == (p.train.ema > 0), "the weights beside their average"
    if case.system == "vits":
        assert state["optimizers"].keys() == {"discriminator", "generator"}
        assert int(weights["discriminator.lessons"]) == case.stop * p.data.accumulate
    if p.adapt.base:
        symbols = [{*made.tokenizer.symbols} for made in (pipeline.load(path), pipeline.base(p))]
        assert set(MISSING) <= symbols[0] - symbols[1]
        learnt = [v for k, v in weights.items() if "lora_B" in k and v.abs().max() > 0]
        assert bool(learnt) == (p.adapt.body == "lora")


PAIRS = {
    "pocket": ["data.frames=100", "train.steps=6", "train.ema=0.9"],
    "vits": ["data.frames=100", "train.steps=4", "data.accumulate=2"],  # two parts, each with its own exchange
}


@pytest.mark.parametrize("system", PAIRS)
def test_two_processes_of_another_system(system, stocked):
    """Both are stopped after a save; the one that writes knows the random state of the other."""
    every = [f"system={system}", *PAIRS[system], "train.evaluate_every=100", "train.log_every=1", "evaluate.small=1"]
    every += ["train.checkpoint_every=3"]
    lives = two(stocked, "run=pair", *every)
    assert both(lives) == [0, 0], lives[0].words() + lives[1].words()
    whole = stocked / "qaa" / system / "pair"
    rows = [row for row in training.history(whole) if "lr" in row]
    assert all(value > 0 for row in rows for name, value in row.items() if name.startswith("grad_norm/"))
    if system == "vits":
        assert checkpoint.load(whole / "checkpoints" / "latest")[0]["discriminator.lessons"] == 16, "over both"
    parts = as_it_was(whole, 3, "pair-parts")
    lives = two(stocked, "run=pair-parts", *every, "resume=true")
    assert both(lives) == [0, 0], lives[0].words() + lives[1].words()
    assert_same(whole, parts)
