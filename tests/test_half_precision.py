"""With a gradient scaler, as on a GPU in fp16: overflows are the scaler's business, a lost loss is still a skipped step.

The scaler is PyTorch's own, on the CPU; Accelerate gives one to GPUs only, so it is put in place by hand.
"""

import json
import math

import pytest
import torch
from training import small

from ttslib import checkpoint, params, pipeline, runs, session, train
from ttslib.systems.acoustic import System
from ttslib.track import Track


class Lossless(System):
    """The acoustic system, whose loss is lost in the steps named `bad`."""

    bad, turn = (), 0

    def losses(self, batch):
        for terms in super().losses(batch):
            if self.net.training:
                self.turn += 1
                terms["mel"] = terms["mel"] * (math.nan if self.turn - 1 in self.bad else 1.0)
            yield terms


@pytest.fixture
def fit(outputs, clips, spoken, monkeypatch):
    def run_it(p, scale: float, bad=()):
        engine = session.engine(p)
        engine.scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=1000)
        engine.native_amp = True
        monkeypatch.setitem(engine.state._shared_state, "_mixed_precision", "fp16")
        system = Lossless.fresh(p, spoken.split("train"))
        system.bad = bad
        system.measure(clips[1])
        run = runs.start(p)
        result = train.fit(system, *clips[1:], p, run, Track(p, run), engine=engine)
        rows = [json.loads(line) for line in run.history.read_text().splitlines()]
        return result, run, rows, engine.scaler.get_scale()

    return run_it


@pytest.mark.parametrize(
    ("asked", "gpu", "device", "got"),
    [
        ("auto", True, "auto", "bf16"), ("auto", True, "cpu", "fp32"), ("auto", False, "auto", "fp32"),
        ("fp32", True, "auto", "fp32"), ("fp16", False, "cpu", "fp16"),
    ],
)  # fmt: skip
def test_the_arithmetic_is_chosen_by_the_machine_where_it_may(monkeypatch, asked, gpu, device, got):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: gpu)
    assert session.arithmetic(params.load("qaa", precision=asked, device=device)) == got


def test_overflowing_gradients_scale_down_and_are_no_skipped_steps(fit):
    p = small("train.steps=20", "train.max_skips=0", "train.evaluate_every=20")
    result, run, rows, scale = fit(p, scale=2.0**22)
    assert result.steps == 20
    assert not [row for row in rows if "skipped" in row]
    assert 1 <= scale < 2.0**22
    assert checkpoint.load(run.checkpoints / "latest")[2]["scaler"]["scale"] == scale
    totals = [row["val/total"] for row in rows if "val/total" in row]
    assert totals[-1] < totals[0]
    json.dumps(rows, allow_nan=False)


def test_a_lost_loss_is_skipped_and_training_goes_on(fit):
    p = small("train.steps=8", "train.max_skips=2", "train.evaluate_every=8")
    result, run, rows, _ = fit(p, scale=128.0, bad=(3, 4))
    assert result.steps == 8
    assert [row["skipped"] for row in rows if "skipped" in row] == [1, 2]
    weights = checkpoint.load(run.checkpoints / "latest")[0]
    assert all(v.isfinite().all() for v in weights.values())
    assert pipeline.load(run.trained).rate == 16000
