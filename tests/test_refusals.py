"""A run is never overwritten, and never resumed with other data, units or network; a refusal leaves it as it was."""

import json

import pytest
from training import small

from ttslib import pipeline, runs, text
from ttslib.checkpoint import CheckpointError
from ttslib.runs import RunError


def snapshot(folder) -> dict:
    return {f: f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_an_existing_run_is_never_overwritten(prepared):
    first = pipeline.train(small("train.steps=2", run="a"))
    before = snapshot(first.run.folder)
    with pytest.raises(RunError, match=r"run 'a' exists.*resume=true or choose another run name"):
        pipeline.train(small("train.steps=2", run="a"))
    assert snapshot(first.run.folder) == before
    second, third = (pipeline.train(small("train.steps=1")).run for _ in range(2))
    assert (second.name, third.name) == ("001", "002")
    assert snapshot(first.run.folder) == before


def test_only_an_existing_run_is_resumed(prepared):
    with pytest.raises(RunError, match="no run 'a' with a checkpoint"):
        pipeline.train(small(run="a", resume=True))
    with pytest.raises(RunError, match="no run with a checkpoint"):
        pipeline.train(small(resume=True))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("acoustic.dropout=0.2", "dropout: the checkpoint has 0.15, this run 0.2"),
        ("acoustic.preset=tiny", 'preset: the checkpoint has "unit", this run "tiny"'),
        ("text.units=phonemes", """tokenizer: kind: the checkpoint has "characters", this run "phonemes"; sha256: """),
        ("data.frames=500", "data.frames: the checkpoint has 400, this run 500"),
        (
            "data.accumulate=2",
            "has 1 x 1 = 1 micro-batches a step, this run 2 x 1 = 2; set data.accumulate=1",
        ),
        ("seed=2", "seed: the checkpoint has 1, this run 2"),
        ("corpus.sentences=22", "training clips gone: "),
    ],
)
def test_a_run_of_other_settings_is_not_resumed_and_not_touched(one_run, override, said):
    before = snapshot(one_run.folder)
    with pytest.raises(CheckpointError, match="cannot be resumed, it belongs to other settings") as error:
        pipeline.train(small("train.steps=4", override, run="a", resume=True))
    assert said in str(error.value)
    assert snapshot(one_run.folder) == before


@pytest.fixture
def one_run(prepared) -> runs.Run:
    return pipeline.train(small("train.steps=2", run="a")).run


def test_a_changed_recording_or_transcript_is_named(one_run, prepared):
    (file,) = prepared.glob("qaa/data/*/manifest.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    changed = next(row for row in rows if row["split"] == "train")
    changed["text"] = changed["text"][:-1] + "?"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(CheckpointError, match=f"training clips changed: 1 \\({changed['id']}\\)"):
        pipeline.train(small("train.steps=4", run="a", resume=True))


def test_a_letter_that_is_new_or_gone_is_named(one_run, prepared):
    """Another transcript brings a letter: the vocabulary differs, and is shown."""
    (file,) = prepared.glob("qaa/data/*/manifest.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    next(row for row in rows if row["split"] == "train")["text"] += "ß"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(CheckpointError, match=r"vocabularies: text: .*ß"):
        pipeline.train(small("train.steps=4", run="a", resume=True))


def test_another_normaliser_is_refused(one_run, monkeypatch):
    real = text.version
    monkeypatch.setattr(text, "version", lambda lang: real(lang) + ".1")
    before = snapshot(one_run.folder)
    with pytest.raises(CheckpointError, match=r'tokenizer: .*the checkpoint has "([^"]+)", this run "\1\.1"'):
        pipeline.train(small("train.steps=4", run="a", resume=True))
    assert snapshot(one_run.folder) == before


def test_another_base_is_refused(one_run, prepared):
    pipeline.train(small("train.steps=2", "seed=2", run="b"))
    bases = [str(one_run.folder.with_name(name)) for name in "ab"]
    few = ["train.steps=2", "adapt.rows_first=0"]
    pipeline.train(small(*few, f"adapt.base={bases[0]}", run="grown"))
    with pytest.raises(CheckpointError, match=r"base: .*the checkpoint has .*, this run "):
        pipeline.train(small(*few, f"adapt.base={bases[1]}", run="grown", resume=True))
