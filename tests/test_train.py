"""The loop ends when it should and lets nothing that is not finite into the weights."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from training import small

from ttslib import checkpoint, pipeline, runs, train
from ttslib.dataset import plan
from ttslib.systems.acoustic import System
from ttslib.track import Track
from ttslib.train import TrainError


def history(run) -> list[dict]:
    return [json.loads(line) for line in run.history.read_text().splitlines()]


class Poisoned(System):
    """The acoustic system whose loss (or only gradient) is not finite, or turned around, in the steps named `bad`."""

    bad, what, turn = (), "loss", 0

    def losses(self, batch):
        for terms in super().losses(batch):
            if self.net.training:
                if self.turn in self.bad and self.what == "reversed":
                    terms = {name: -value for name, value in terms.items()}
                elif self.turn in self.bad:
                    zero = (self.net.prior.weight * 0).sum()
                    terms["mel"] = terms["mel"] + (zero.sqrt() if self.what == "gradient" else zero + math.nan)
                self.turn += 1
            yield terms


@pytest.fixture
def fit(outputs, clips):
    """Train a poisoned system on the toy corpus in this process."""

    def run_it(p, bad=(), what="loss"):
        _, *features = clips
        system = Poisoned.fresh(p, rows_for(clips[0]))
        system.bad, system.what = bad, what
        system.measure(features[0])
        run = runs.start(p)
        return system, run, lambda: train.fit(system, *features, p, run, Track(p, run))

    return run_it


def rows_for(system):
    """Rows that give a system the units, speakers and languages of `system`."""
    text = "".join(system.tokenizer.symbols[3:])
    return [SimpleNamespace(text=text, lang=system.languages[0], speaker=system.speakers[0])]


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_step_that_is_not_finite_is_skipped_and_its_clips_are_named(fit, what, clips):
    p = small(
        "train.steps=8", "train.max_skips=2", "train.evaluate_every=100", "train.checkpoint_every=1", "train.keep=9"
    )
    system, run, go = fit(p, bad=(3, 4), what=what)
    assert go().stopped == "steps"
    skipped = [row for row in history(run) if "skipped" in row]
    order = plan(clips[1].lengths, 400, p.seed, 0)
    assert [(row["step"], row["skipped"]) for row in skipped] == [(4, 1), (5, 2)]
    assert [row["clips"] for row in skipped] == [[clips[1].ids[i] for i in order[n]] for n in (3, 4)]
    at = {
        step: load_file(path / "model.safetensors")
        for path in checkpoint.listed(run.checkpoints)
        for step in [checkpoint.step_of(path)]
    }
    trained = [f"net.{name}" for name, _ in system.net.named_parameters()]
    unchanged = [all(at[n][k].equal(at[n + 1][k]) for k in trained) for n in range(8)]
    assert unchanged == [False, False, False, True, True, False, False, False]
    assert all(v.isfinite().all() for v in at[8].values())
    assert all(v.isfinite().all() for v in system.net.state_dict().values())


def test_too_many_such_steps_stop_the_run_and_the_last_checkpoint_is_good(fit):
    p = small("train.steps=50", "train.max_skips=2", "train.evaluate_every=100", "train.checkpoint_every=2")
    _, run, go = fit(p, bad=range(5, 50))
    with pytest.raises(TrainError) as error:
        go()
    latest = (run.checkpoints / "latest").resolve()
    assert checkpoint.step_of(latest) == 6
    assert "3 steps in a row without a finite loss and gradient" in str(error.value)
    assert str(latest) in str(error.value)
    last = [row for row in history(run) if "skipped" in row][-1]
    assert last["skipped"] == 3
    assert all(clip in str(error.value) for clip in last["clips"])
    weights, _, state = checkpoint.load(latest)
    assert all(v.isfinite().all() for v in weights.values())
    assert state["progress"]["skips"] == 1


def test_skips_that_are_not_in_a_row_do_not_add_up(fit):
    p = small("train.steps=9", "train.max_skips=1")
    _, run, go = fit(p, bad=(1, 3, 5, 7))
    assert go().steps == 9
    assert [row["skipped"] for row in history(run) if "skipped" in row] == [1] * 4


def test_without_progress_patience_ends_the_run(fit):
    p = small("train.steps=100", "train.lr=1.0e-12", "train.patience=2", "train.evaluate_every=3")
    _, run, go = fit(p)
    result = go()
    assert result.stopped == "patience"
    evaluations = [row["val/total"] for row in history(run) if "val/total" in row]
    assert min(evaluations[-2:]) >= min(evaluations[:-2]) == result.best
    assert result.steps == 3 * (len(evaluations) - 1) < 100


def test_best_is_the_checkpoint_with_the_lowest_validation_loss(fit):
    p = small("train.steps=24", "train.lr=0.01", "train.evaluate_every=4", "train.checkpoint_every=1")
    _, run, go = fit(p, bad=range(14, 24), what="reversed")
    result = go()
    evaluated = {row["step"]: row["val/total"] for row in history(run) if "val/total" in row}
    best = checkpoint.step_of((run.checkpoints / "best").resolve())
    assert best == min(evaluated, key=evaluated.get)
    assert result.best == evaluated[best]
    assert 12 <= best < 24, "training is turned around at step 14"


def test_a_time_budget_is_kept(fit):
    p = small("train.evaluate_every=40", minutes=0.1)
    _, run, go = fit(p)
    result = go()
    assert result.stopped == "budget"
    assert result.seconds == pytest.approx(6.0, abs=1.0)
    assert result.steps > 10
    rates = [row["lr"] for row in history(run) if "lr" in row]
    assert rates[-1] < 0.1 * max(rates), "the cosine should be complete when the time is"


def test_training_moves_the_weights_and_the_random_state_is_the_seeds(prepared):
    runs_of = (("a", 1), ("b", 1), ("c", 2))
    first, again, other = (pipeline.train(small("train.steps=3", run=name, seed=seed)) for name, seed in runs_of)
    ends = [load_file(done.run.checkpoints / "latest" / "model.safetensors") for done in (first, again, other)]
    assert all(torch.equal(ends[0][k], ends[1][k]) for k in ends[0])
    assert not all(torch.equal(ends[0][k], ends[2][k]) for k in ends[0])


def test_each_epoch_ends_with_validation_and_a_checkpoint(fit):
    """And the history foresees how long the epoch and the run will take."""
    _, run, start = fit(
        small("train.each_epoch=true", "train.steps=12", "train.evaluate_every=1000", "train.log_every=1")
    )
    start()
    rows = history(run)
    epochs = {row["step"]: row["epoch"] for row in rows if "epoch" in row}
    turns = [step for step in epochs if step > 1 and epochs[step] > epochs[step - 1]]
    assert len(turns) >= 2
    assert [row["step"] for row in rows if "val/total" in row] == sorted({0, *turns, 12})
    assert {row["last_step"] for row in rows if "last_step" in row} == {12}
    foreseen = {row["step"]: row["epoch_eta_s"] for row in rows if "epoch_eta_s" in row}
    assert all((eta == 0) == (step + 1 in turns) for step, eta in foreseen.items() if step < max(turns))
