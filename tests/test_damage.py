"""A damaged checkpoint is named: training goes on from the one before it, said loudly; nothing else speaks in its place."""

import os
import shutil

import pytest
import training
from test_checkpoint import FILES, flip, save
from training import assert_same, small

from ttslib import checkpoint, pipeline, runs, scorecard
from ttslib.checkpoint import CheckpointError

EVERY = ["train.steps=6", "train.evaluate_every=6", "train.checkpoint_every=2", "train.keep=9", "evaluate.small=1"]
HARMS = {"bit": flip, "cut": lambda file: os.truncate(file, file.stat().st_size - 1)}


@pytest.fixture(scope="module")
def whole(stocked):
    """A finished run of six steps with checkpoints after 0, 2, 4 and 6."""
    return pipeline.train(small(*EVERY, run="whole")).run.folder


@pytest.fixture
def run(whole):
    """A copy of it, to be damaged."""
    copy = runs.Run(whole.with_name("copy"))
    shutil.copytree(whole, copy.folder, symlinks=True)
    yield copy
    shutil.rmtree(copy.folder)


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("name", FILES)
def test_training_goes_on_from_the_one_before_and_ends_in_the_same_bits(whole, run, name, harm, capsys):
    kept = run.checkpoints
    damaged = (kept / "latest").resolve()
    HARMS[harm](damaged / name)
    pipeline.train(small(*EVERY, run="copy", resume=True))
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("WARNING")]
    assert len(said) == 1
    assert str(damaged) in said[0] and "damaged" in said[0]
    assert name == "checksums.json" or str(damaged / name) in said[0]
    (before,) = (path for path in checkpoint.listed(kept) if checkpoint.step_of(path) == 4)
    assert said[0].endswith(f"falling back to {before}")
    assert_same(whole, run.folder)


def test_a_latest_whose_folder_is_gone_is_said_too(whole, run, capsys):
    gone = (run.checkpoints / "latest").resolve()
    shutil.rmtree(gone)
    pipeline.train(small(*EVERY, run="copy", resume=True))
    assert f"WARNING: {gone}: missing; falling back to " in capsys.readouterr().err
    assert_same(whole, run.folder)


def test_where_none_is_whole_each_is_told_and_the_run_is_left_alone(run):
    every = sorted(checkpoint.listed(run.checkpoints), key=checkpoint.step_of)
    for path, name in zip(every, FILES, strict=False):
        flip(path / name)
    before = {file: file.read_bytes() for file in run.folder.rglob("*") if file.is_file()}
    with pytest.raises(CheckpointError, match="no whole checkpoint to resume from") as error:
        pipeline.train(small(*EVERY, run="copy", resume=True))
    assert all(f"{path / name}: damaged" in str(error.value) for path, name in zip(every, FILES, strict=False))
    assert {file: file.read_bytes() for file in run.folder.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_best_is_refused_and_no_other_voice_is_taken(run, name, harm):
    adapted = small(f"adapt.base={run.folder}")
    HARMS[harm](run.checkpoints / "best" / name)
    for use in (lambda: pipeline.voice(run), lambda: pipeline.base(adapted), lambda: scorecard.make(run.folder)):
        with pytest.raises(CheckpointError, match=r"best.*damaged.*Nothing else is taken in its place.*resume=true"):
            use()


def test_a_best_without_its_checksums_or_its_folder_is_refused(run):
    (run.checkpoints / "best" / "checksums.json").unlink()
    with pytest.raises(CheckpointError, match=r"no checksums\.json; not a complete checkpoint"):
        pipeline.voice(run)
    shutil.rmtree((run.checkpoints / "best").resolve())
    with pytest.raises(CheckpointError, match=r"best: it points at epoch\d+_step\d+, which is missing; restore"):
        pipeline.voice(run)


def test_every_single_bit_counts(tmp_path):
    """Of each byte of each file one, chosen by its place."""
    path = save(tmp_path, 1)
    for file in map(path.joinpath, FILES):
        content = file.read_bytes()
        for place in range(len(content)):
            harmed = bytearray(content)
            harmed[place] ^= 1 << place % 8
            file.write_bytes(harmed)
            with pytest.raises(CheckpointError):
                checkpoint.verify(path)
        file.write_bytes(content)
    checkpoint.verify(path)


def test_the_command_line_says_it_in_one_line(whole):
    copy = whole.with_name("refused")
    shutil.copytree(whole, copy, symlinks=True)
    for path in checkpoint.listed(copy / "checkpoints"):
        flip(path / "model.safetensors")
    life = training.start(whole.parents[2], *EVERY, "data.frames=400", "run=refused", "resume=true")
    assert life.finish() == 1
    assert "error: " in life.words() and "no whole checkpoint to resume from" in life.words()
    assert "Traceback" not in life.words()
