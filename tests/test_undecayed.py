"""Matrices that weight decay leaves alone: rows that a corpus does not use stay what they were, to the bit."""

import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from training import small

from ttslib import checkpoint, runs, session, train
from ttslib.systems.acoustic import System
from ttslib.track import Track

CPU = torch.device("cpu")
UNUSED = "\u1230"  # a letter that no clip of the toy corpus has
DECAY = (
    "train.weight_decay=0.5",
    "train.lr=0.01",
    "train.warmup=0",
    "train.evaluate_every=99",
    "train.checkpoint_every=2",
)


class Kept(System):
    """The acoustic system, its table of letters not to be decayed."""

    def undecayed(self):
        return self.net.encoder.embedding.parameters()


def layers() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({"table": nn.Embedding(6, 4), "layer": nn.Linear(4, 4), "norm": nn.LayerNorm(4)})


def groups(optimizer) -> list[tuple]:
    return [([id(q) for q in g["params"]], g["weight_decay"], g["factor"], g["begins"]) for g in optimizer.param_groups]


def test_groups_are_what_they_were_without_it():
    p, net = small("train.weight_decay=0.5"), layers()
    net["head"] = nn.Linear(4, 2)
    parameters, factors = list(net.parameters()), {net["head"].weight: 0.1, net["head"].bias: 0.1}
    table, weight, bias, scale, shift, head, end = map(id, parameters)
    plain = groups(session.adamw(parameters, p, CPU, (), factors))
    assert plain == [
        ([head], 0.5, 0.1, 0), ([end], 0.0, 0.1, 0),
        ([table, weight], 0.5, 1.0, 0), ([bias, scale, shift], 0.0, 1.0, 0),
    ]  # fmt: skip
    assert groups(session.adamw(parameters, p, CPU, (), factors, ())) == plain
    assert groups(session.adamw(parameters, p, CPU, (), factors, iter([net["table"].weight]))) == [
        *plain[:2], ([weight], 0.5, 1.0, 0), ([table, bias, scale, shift], 0.0, 1.0, 0),
    ]  # fmt: skip
    assert groups(session.adamw(parameters, p, CPU, (), factors, [net["head"].weight]))[0] == (
        [head, end], 0.0, 0.1, 0,
    )  # fmt: skip


def test_a_new_row_is_counted_once():
    """New rows are not decayed anyway, and keep their own rate."""
    p, net = small("train.weight_decay=0.5"), layers()
    table = net["table"].weight
    made = groups(session.adamw(list(net.parameters()), p, CPU, [table], None, [table]))
    assert made[-1] == ([id(table)], 0.0, p.adapt.rows_lr, 0) and len(made) == 3


@pytest.fixture
def fit(outputs, clips, spoken):
    """Train a system of this class; its rows before, and the run."""

    def run_it(cls, steps: int, **dials):
        p = small(*DECAY, f"train.steps={steps}", **dials)
        rows = spoken.split("train")
        system = cls.fresh(p, [*rows, replace(rows[0], text=rows[0].text + UNUSED)])
        system.measure(clips[1])
        before = system.net.encoder.embedding.weight.detach().clone()
        run = runs.start(p)
        # the letter is the last in code point order, so that the ids in the clips' features are this system's too
        assert system.tokenizer.symbols[:-1] == clips[0].tokenizer.symbols and system.tokenizer.symbols[-1] == UNUSED
        train.fit(system, *clips[1:], p, run, Track(p, run))
        return before, system.net.encoder.embedding.weight.detach(), run

    return run_it


def test_unused_rows_stay_and_the_others_learn(fit):
    before, after, _ = fit(Kept, 3, run="kept")
    assert after[-1].equal(before[-1])
    assert not after[3].equal(before[3])
    before, after, _ = fit(System, 3, run="decayed")
    assert after[-1].norm() < 0.999 * before[-1].norm()


def test_a_run_resumes_to_the_same_bits(fit):
    *_, whole = fit(Kept, 4, run="whole")
    folder = whole.folder.with_name("again")
    shutil.copytree(whole.folder, folder, symlinks=True)
    (halfway,) = (path for path in (folder / "checkpoints").iterdir() if path.name.endswith("step2"))
    checkpoint.link(folder / "checkpoints", "latest", halfway.name)
    *_, again = fit(Kept, 4, run="again", resume=True)
    ends = [load_file(run.checkpoints / "latest" / "model.safetensors") for run in (whole, again)]
    assert again.folder == folder and ends[0].keys() == ends[1].keys()
    assert not [name for name in ends[0] if not ends[0][name].equal(ends[1][name])]
    kept = checkpoint.load(folder / "checkpoints" / "latest")[2]["optimizers"]["acoustic"]["param_groups"]
    assert [group["weight_decay"] for group in kept] == [0.5, 0.0]
