"""Too little memory: micro-batches are taken in two halves, once and said; then training ends with what to change."""

import pytest
import torch
from test_contract import as_it_was
from training import assert_same, history, small

from ttslib import checkpoint, dataset, encoding, params, runs, session, speech, step, train
from ttslib.progress import Progress
from ttslib.step import TrainError
from ttslib.systems import system_class
from ttslib.systems.acoustic import System
from ttslib.track import Track

EVERY = ["train.steps=6", "train.evaluate_every=100", "train.checkpoint_every=1", "train.keep=9", "data.accumulate=2"]


def too_much() -> None:
    """The allocator's own refusal, of an exabyte."""
    torch.empty(2**60, dtype=torch.uint8)


class Cramped(System):
    """The acoustic system on a machine with room for so many frames in the steps after the first `free` micro-batches."""

    room, free = 0, 0

    def losses(self, batch):
        for terms in super().losses(batch):
            if (
                self.net.training
                and self.net.batches > self.free
                and batch["mel"].numel() > self.room * batch["mel"].shape[1]
            ):
                too_much()
            yield terms


@pytest.fixture
def fit(outputs, spoken, clips):
    def run_it(p, room: int, free: int = 4):
        system = Cramped.fresh(p, spoken.split("train"))
        system.room, system.free = room, free
        system.measure(clips[1])
        run = runs.start(p)
        return run, train.fit(system, *clips[1:], p, run, Track(p, run))

    return run_it


def test_what_the_allocator_says_is_known():
    with pytest.raises(RuntimeError) as error:
        too_much()
    assert step.lacks_memory(error.value)
    assert step.lacks_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."))
    assert not step.lacks_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_halved_once_said_recorded_and_kept_over_a_resume(fit, capsys):
    p = small(*EVERY, run="whole")
    run, result = fit(p, room=260)
    assert result.steps == 6
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "out of memory" in line]
    assert said.startswith("step 4: cpu is out of memory at a micro-batch of ")
    assert said.endswith("from here on each is taken in two halves")
    taken = {row["step"]: row.get("micro_batches") for row in history(run.folder) if "lr" in row}
    assert taken == {1: None, 2: None, 3: None, 4: 4, 5: 4, 6: 4}
    loaded = {checkpoint.step_of(path): checkpoint.load(path) for path in checkpoint.listed(run.checkpoints)}
    halved = {at: state["progress"]["halved"] for at, (_, _, state) in loaded.items()}
    assert halved == {0: False, 1: False, 2: False, 3: False, 4: True, 5: True, 6: True}
    assert loaded[6][0]["net.batches"] == 12, "two halves count as one batch"

    parts = as_it_was(run.folder, 5, "parts")
    fit(small(*EVERY, run="parts", resume=True), room=260)
    assert "out of memory" not in capsys.readouterr().err
    assert_same(run.folder, parts)


def test_what_is_too_large_in_halves_ends_with_advice(fit):
    with pytest.raises(TrainError) as error:
        fit(small(*EVERY), room=100, free=6)
    said = str(error.value)
    assert "taken in halves, too; set data.frames=200 and data.accumulate=4" in said
    latest = checkpoint.load(runs.home(small()) / "001" / "checkpoints" / "latest")[2]["progress"]
    assert (latest["step"], latest["halved"]) == (3, False)


def test_a_clip_alone_cannot_be_halved(fit):
    with pytest.raises(TrainError) as error:
        fit(small(*EVERY, "data.frames=1"), room=10)
    assert "out of memory" in str(error.value)
    assert "halves" not in str(error.value)


def test_another_error_is_no_lack_of_memory(fit, monkeypatch):
    monkeypatch.setattr("test_memory.too_much", lambda: torch.zeros(2, 3) @ torch.zeros(2, 3))
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        fit(small(*EVERY), room=260)


@pytest.fixture(scope="module")
def vits(spoken, tmp_path_factory):
    """`made(p)`: a measured VITS, and two micro-batches."""
    p = params.load("qaa", {"system": "vits"}, tracking="disabled", device="cpu", threads=1)
    rows = spoken.split("train")
    first = system_class("vits").fresh(p, rows)
    read = speech.reader(first, spoken)
    features = encoding.encode_all(first, rows, read, tmp_path_factory.mktemp("features"), 1.0)
    order = dataset.plan(features.lengths, 250, 0, 0)
    return p, rows, [dataset.collate([features[i] for i in some]) for some in order if len(some) > 1][:2]


def learnt(vits, now: Progress, fail_at: tuple[int, int] | None = None, scaler=None) -> list:
    """One step of a fresh VITS: its values, weights and counters. It fails in `(micro-batch, part)`, once."""
    p, rows, micros = vits
    system, engine = system_class("vits").fresh(p, rows), session.engine(p)
    real, turn = system.losses, iter(range(100))

    def losses(batch):
        micro = next(turn)
        for part, terms in enumerate(real(batch)):
            if (micro, part) == fail_at:
                torch.manual_seed(5)  # so that the second try draws what a first one would
                too_much()
            yield terms

    system.losses = losses
    parts = system.parts()
    optimizers = {name: session.adamw(params, p, engine.device) for name, params in parts.items()}
    engine.scaler, engine.native_amp = scaler, scaler is not None
    prepared = engine.prepare(*optimizers.values())
    torch.manual_seed(5)
    values = step.step(system, parts, dict(zip(parts, prepared, strict=True)), micros, p, engine, now)
    weights = {f"{n}.{k}": v.clone() for n, net in system.nets.items() for k, v in net.state_dict().items()}
    return [values, weights, system]


def test_two_parts_are_halved_before_either_has_learnt(vits):
    """It fails in the generator's part of the second micro-batch: the discriminator has gradients, and has not stepped."""
    now = Progress()
    values, weights, system = learnt(vits, now, fail_at=(1, 1))
    assert now.halved and values["micro_batches"] == 4
    assert weights["discriminator.lessons"] == 2
    assert all(q.grad is None for part in system.parts().values() for q in part)
    expected_values, expected, _ = learnt(vits, Progress(halved=True))
    assert values == expected_values
    assert all(value.equal(expected[name]) for name, value in weights.items())


def start(vits) -> dict:
    p, rows, _ = vits
    return {
        f"{n}.{k}": v for n, net in system_class("vits").fresh(p, rows).nets.items() for k, v in net.named_parameters()
    }


def test_one_scaler_serves_two_parts(vits, monkeypatch):
    """Scaling by a power of two is exact: the step is the one without a scaler."""
    _, plain, _ = learnt(vits, Progress())
    engine = session.engine(vits[0])
    monkeypatch.setitem(engine.state._shared_state, "_mixed_precision", "fp16")
    monkeypatch.setattr(session, "engine", lambda p: engine)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**4, growth_interval=1000)
    values, scaled, _ = learnt(vits, Progress(), scaler=scaler)
    assert values["grad_norm/discriminator"] > 0
    for name, value in start(vits).items():
        torch.testing.assert_close(scaled[name] - value, plain[name] - value, rtol=1e-3, atol=1e-7, msg=name)
