"""The style encoder through the one loop, its report beside what costs nothing, and the notebooks."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_notebooks import outputs_of, run

from ttslib import checkpoint, checks, dataset, manifest, params, pipeline, rehearsal, schedule, speech, styles
from ttslib.sections import Train
from ttslib.styles import Style
from ttslib.systems.style import report
from ttslib.systems.style.voices import style_of

QUIET = {"tracking": "disabled", "device": "cpu", "threads": 1}
FEW = {
    "style.preset": "unit", "pairs.voices": 20, "pairs.texts": 1, "style.longest": 2.0, "style.augment": 0.5,
    "train.epochs": None, "train.warmup_epochs": None, "train.steps": 4, "train.evaluate_every": 4,
    "train.checkpoint_every": 2, "train.log_every": 1, "data.frames": 800,
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TTSLIB_OUTPUTS", str(tmp_path_factory.mktemp("style")))
        yield manifest.prepare(params.load("style_fast", FEW, **QUIET)).folder.parents[2]


@pytest.fixture
def at_home(home, monkeypatch):
    monkeypatch.setenv("TTSLIB_OUTPUTS", str(home))
    return home / "style_fast" / "style"


@pytest.fixture(scope="module")
def done(home):
    """A short run over pairs made by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TTSLIB_OUTPUTS", str(home))
        return pipeline.train(params.load("style_fast", FEW, run="whole", **QUIET))


def test_training_resumes_to_the_same_bits(done, at_home):
    """Parts, noise, rooms and masks among what is drawn."""
    again = at_home / "again"
    shutil.copytree(at_home / "whole", again, symlinks=True)
    (halfway,) = (path for path in (again / "checkpoints").iterdir() if path.name.endswith("step2"))
    checkpoint.link(again / "checkpoints", "latest", halfway.name)
    pipeline.train(params.load("style_fast", FEW, run="again", resume=True, **QUIET))
    for name in ("state.safetensors", "model.safetensors"):
        one, two = (load_file(at_home / run / "checkpoints" / "latest" / name) for run in ("whole", "again"))
        assert one.keys() == two.keys()
        assert not [k for k in one if not one[k].equal(two[k])]
    assert not load_file(halfway / "model.safetensors")["net.ttl.last"].equal(one["net.ttl.last"])


def test_patience_ends_a_run_that_no_longer_learns(at_home):
    few = FEW | {"train.steps": 50, "train.evaluate_every": 1, "train.patience": 2, "train.lr": 1e-12}
    result = pipeline.train(params.load("style_fast", few, run="patient", **QUIET)).result
    assert (result.stopped, result.steps < 10) == ("patience", True)
    rows = json.loads((at_home / "patient" / "training_history.json").read_text())
    assert {"val/ttl_cosine", "val/dp_cosine", "val/ttl_mse_mean"} <= rows[-1].keys()


def test_epochs_become_steps_of_this_data(at_home, done):
    p = params.load("style_fast", FEW | {"train.epochs": 3, "train.warmup_epochs": 0.5}, run="epochs", **QUIET)
    features = speech.features(done.system, manifest.prepare(p), "train", p)
    batches = len(dataset.Stream(features.lengths, p.data.frames, p.seed).epoch(0))
    ended = pipeline.train(p)
    assert ended.result.steps == pytest.approx(3 * batches, abs=3)
    assert schedule.in_steps(Train(epochs=3, warmup_epochs=0.5), 8.0).model_dump()["warmup"] == 4
    assert schedule.in_steps(Train(), 8.0) == Train()


def test_a_run_is_the_base_of_another(done, at_home):
    few = FEW | {"adapt.base": str(done.run.folder), "train.steps": 2, "train.lr": 1e-9, "pairs.seed": 0}
    again = pipeline.train(params.load("style_fast", few, run="second", **QUIET)).system
    one, two = (s.net.state_dict() for s in (done.system, again))
    assert all(torch.allclose(one[k], two[k], atol=1e-6) for k in one)


def test_the_whole_pipeline_passes_its_checks(at_home):
    rows = checks.run(params.load("style_fast", FEW, **QUIET))
    assert all(row.passed for row in rows), checks.table(rows)
    told = {row.check: row.measured for row in rows}
    assert "reads no text" in told["text"]
    assert "set style.runtime" in told["synthesis"]


def test_with_a_runtime_training_is_heard_and_the_notebooks_speak(tmp_path, monkeypatch):
    """Pairs spoken by the stand-in of Supertonic's graphs; held-out voices are cloned from their recordings."""
    pytest.importorskip("supertonic")
    pytest.importorskip("onnx")
    import standin

    monkeypatch.setenv("TTSLIB_OUTPUTS", str(tmp_path / "outputs"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text("Hello there, how are you?\nI am well.\n")
    model = str(standin.write(tmp_path / "model"))
    few = FEW | {
        "pairs.runtime": "supertonic-3", "pairs.folder": model, "style.runtime": model, "pairs.voices": 2,
        "pairs.texts": 1, "pairs.text_file": str(tmp_path / "texts.txt"), "train.steps": 2,
    }  # fmt: skip
    p = params.load("style_fast", few, run="heard", **QUIET)
    rows = checks.run(p)
    assert all(row.passed for row in rows), checks.table(rows)
    pipeline.train(p)
    heard = run("04_listening", tmp_path, lang="style_fast", run="heard", overrides=few)
    page = "".join("".join(html) for html in outputs_of(heard, "text/html"))
    assert "before: the mean voice" in page and "after: cloned" in page
    spoken = [*(tmp_path / "outputs/style_fast/style/heard/samples").glob("step_*/*.wav")]
    assert len(spoken) >= 4
    written = [*(tmp_path / "outputs/style_fast/style/heard/spoken").glob("*.json")]
    assert written and all(styles.read(file, "supertonic-3") for file in written)


class Ear:
    """A system that hears whatever it is told to: the right style, none, or that of the next voice."""

    def __init__(self, system, heard):
        self.net, self.heard, self.rate = system.net, heard, system.rate

    def clone(self, wav) -> Style:
        return self.heard


def test_the_report_gives_a_constant_nothing_and_the_truth_everything(done, at_home):
    found = manifest.read(checkpoint.read_json(done.run.folder / "data.json")["manifest"])
    held, read = rehearsal.held_out(found), speech.reader(done.system, found)
    trained = {row.speaker: style_of(row) for row in found.split("train")}
    card = report.scorecard(done.system, held, trained, read)
    table = {row["style"]: row for row in card["table"]}
    assert [*table] == ["encoder", "encoder, noise at 10 dB", "mean style", "nearest training voice"]
    zero = {k: v for k, v in table["mean style"].items() if k not in ("style", "top3")}
    assert zero == {"ttl_cosine": 0, "ttl_r2": 0, "dp_cosine": 0, "dp_r2": 0, "top1": 0}
    assert card["voices"] == 2
    assert card["scored"] == len(held) == len(card["sentences"])
    assert card["sentences"] == sorted(card["sentences"], key=lambda line: line["ttl_cosine"])
    right = report.scorecard(Ear(done.system, style_of(held[0])), held[:1], trained, read)
    assert right["median"]["ttl_cosine"] == pytest.approx(1)
    assert right["median"]["ttl_r2"] == pytest.approx(1)
    assert right["median"]["top1"] == 1


def test_nearest_is_the_voice_that_is_most_alike(done, at_home):
    found = manifest.read(checkpoint.read_json(done.run.folder / "data.json")["manifest"])
    rows = found.split("train")
    row, cosine = done.system.nearest(style_of(rows[3]), rows)
    assert (row.speaker, cosine) == (rows[3].speaker, pytest.approx(1))


def test_the_space_is_spanned_by_the_training_voices(done, at_home):
    found = manifest.read(checkpoint.read_json(done.run.folder / "data.json")["manifest"])
    held = rehearsal.held_out(found)
    points = done.system.space(held, found.split("train"), speech.reader(done.system, found))
    assert points["trained"].shape == (16, 2)
    assert points["meant"].shape == points["heard"].shape == (len(held), 2)
    assert points["trained"].std(0)[0] >= points["trained"].std(0)[1] > 0
    assert np.abs(points["heard"]).max() < np.abs(points["trained"]).max()


def test_the_notebooks_show_voices(at_home, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    few = FEW | {"train.steps": 2}
    trained = run("03_train", tmp_path, lang="style_fast", run="shown", overrides=few)
    assert len(outputs_of(trained, "image/png")) >= 3
    page = "".join("".join(html) for html in outputs_of(trained, "text/html"))
    assert "nearest training voice" in page and page.count("<audio") >= 2
    heard = run("04_listening", tmp_path, lang="style_fast", run="shown", overrides=few)
    page = "".join("".join(html) for html in outputs_of(heard, "text/html"))
    assert "mean style" in page and "top1" in page and "about a third" in "".join(c.source for c in heard.cells)
    written = [*(at_home / "shown" / "spoken").glob("*.json")]
    assert written and all(styles.read(file, "parametric-1") for file in written)
