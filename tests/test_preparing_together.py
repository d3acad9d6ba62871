"""Two processes over gloo prepare one corpus: each a part, all of it known to both; where one fails, neither hangs."""

import json
import os
import shutil
import signal
import socket

import pytest
import torch
import training

from ttslib import encoding, manifest, measuring, speech
from ttslib.features import DatasetError

SETTINGS = ["system=t3", "t3.preset=unit"]


def pair(outputs, *arguments: str, before=None) -> list[training.Life]:
    """What torchrun starts for two processes: their places in the environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    arguments = (*arguments[:2], *training.QUIET, *arguments[2:])
    return [training.command(outputs, *arguments, before=before, RANK=r, LOCAL_RANK=r, **where) for r in "01"]


def told(lives) -> str:
    return "\n".join(f"--- {life.words()}" for life in lives)


def made(outputs) -> dict[str, bytes]:
    """The features and their table."""
    files = [*outputs.glob("qaa/data/*/features/*/*"), *outputs.glob("qaa/data/*/features/*.lengths")]
    return {str(file.relative_to(outputs)): file.read_bytes() for file in files}


def forget(outputs) -> None:
    for folder in outputs.glob("qaa/data/*/features"):
        shutil.rmtree(folder)


def watched() -> None:
    """Write down which clips this process encodes."""
    keep, own = encoding.keep, []

    def spy(file, example):
        own.append(file.stem)
        with open(f"{os.environ['TTSLIB_OUTPUTS']}/encoded-{os.environ.get('RANK')}.txt", "a") as log:
            log.write(f"{file.stem}\n")
        return keep(file, example)

    encoding.keep = spy


@pytest.fixture
def fresh(prepared):
    """The toy corpus with its codec, but no feature."""
    forget(prepared)
    return prepared


def test_each_encodes_its_part_and_both_know_all(fresh):
    lives = pair(fresh, "prepare", "qaa", before=watched)
    assert [life.finish() for life in lives] == [0, 0], told(lives)
    parts = [(fresh / f"encoded-{rank}.txt").read_text().split() for rank in "01"]
    found = manifest.read(next(fresh.glob("qaa/data/*")))
    rows = len(found.split("train")) + len(found.split("val"))
    assert not {*parts[0]} & {*parts[1]} and len(parts[0]) + len(parts[1]) == rows
    assert abs(len(parts[0]) - len(parts[1])) <= 2
    together = made(fresh)
    (line,) = [line for line in lives[0].words().splitlines() if line.startswith("{")]
    assert json.loads(line)["manifest"] == str(found.folder)
    forget(fresh)
    alone = training.command(fresh, "prepare", "qaa", *training.QUIET)
    assert alone.finish() == 0, alone.words()
    assert made(fresh) == together
    lives = pair(fresh, "prepare", "qaa", before=watched)
    assert [life.finish() for life in lives] == [0, 0], told(lives)
    assert [(fresh / f"encoded-{rank}.txt").read_text().split() for rank in "01"] == parts, "nothing is left to do"


def test_training_has_each_encode_its_part(fresh):
    """Codes too; and a clip that one of them refuses is known to be without in both."""
    few = ["system=t3", "t3.preset=unit", "run=a", "train.steps=2", "train.evaluate_every=100", "data.frames=200"]
    found = manifest.read(next(fresh.glob("qaa/data/*")))
    bad = found.split("train")[4]
    path = found.audio(bad)
    path.write_bytes(path.read_bytes()[:40])
    lives = pair(fresh, "train", "qaa", *few, before=watched)
    assert [life.finish() for life in lives] == [0, 0], told(lives)
    parts = [{*(fresh / f"encoded-{rank}.txt").read_text().split()} for rank in "01"]
    trainee = min(len(part) for part in parts)
    assert trainee > 5 and [*found.folder.glob("codes/*/codes-0-*")] and [*found.folder.glob("codes/*/codes-1-*")]
    (told_of,) = json.loads((fresh / "qaa/t3/a/quarantined.json").read_text())
    assert told_of["id"] == bad.id
    clips = json.loads((fresh / "qaa/t3/a/clips.json").read_text())
    assert {*clips} == {row.id for row in found.split("train")} - {bad.id}


FILES = ("manifest.jsonl", "dropped.jsonl", "suspects.jsonl", "summary.json")


def without_manifest(outputs) -> dict[str, bytes]:
    """Its four files, which are removed."""
    (folder,) = outputs.glob("qaa/data/*")
    content = {name: (folder / name).read_bytes() for name in FILES}
    for name in FILES:
        (folder / name).unlink()
    return content


def heard() -> None:
    """Write down which recordings this process measures."""
    measure = measuring.measure

    def spy(job):
        with open(f"{os.environ['TTSLIB_OUTPUTS']}/heard-{os.environ['RANK']}.txt", "a") as log:
            log.write(f"{job[0]}\n")
        return measure(job)

    measuring.measure = spy


def test_each_measures_its_part_and_the_manifest_is_that_of_one(fresh):
    (folder,) = fresh.glob("qaa/data/*")
    recordings = sorted(folder.glob("espeak/**/*.wav"))
    recordings[5].write_bytes(recordings[5].read_bytes()[:400])  # refused, by whichever process it falls to
    without_manifest(fresh)
    alone = training.command(fresh, "prepare", "qaa", *training.QUIET)
    assert alone.finish() == 0, alone.words()
    expected = without_manifest(fresh)
    assert b"truncated" in expected["dropped.jsonl"]
    lives = pair(fresh, "prepare", "qaa", before=heard)
    assert [life.finish() for life in lives] == [0, 0], told(lives)
    assert without_manifest(fresh) == expected
    parts = [(fresh / f"heard-{rank}.txt").read_text().split() for rank in "01"]
    assert sorted(parts[0] + parts[1]) == [str(path) for path in recordings] and abs(len(parts[0]) - len(parts[1])) <= 1


def deaf() -> None:
    if os.environ["RANK"] == "1":
        measuring.measure = lambda job: os.kill(os.getpid(), signal.SIGKILL)


def test_one_that_is_killed_while_it_measures_ends_the_other(fresh):
    without_manifest(fresh)
    lives = pair(fresh, "prepare", "qaa", before=deaf)
    assert lives[1].finish(60) == 128 + signal.SIGKILL
    assert lives[0].finish(60) == 1, told(lives)
    assert "error: another process of this launch died in the preparation" in lives[0].words()
    assert not [*fresh.glob("qaa/data/*/manifest.jsonl")]


def failing() -> None:
    if os.environ["RANK"] == "1":
        recording = speech.recording

        def broken(found, row, rate):
            if row == found_at:
                raise DatasetError("a shelf fell down; put it up again")
            return recording(found, row, rate)

        found_at = manifest.read(next(iter_folders())).split("train")[3]
        speech.recording = broken


def iter_folders():
    from pathlib import Path

    return Path(os.environ["TTSLIB_OUTPUTS"]).glob("qaa/data/*")


def test_one_that_fails_ends_both_with_what_is_done_kept(fresh):
    lives = pair(fresh, "prepare", "qaa", before=failing)
    assert [life.finish(60) for life in lives] == [1, 1], told(lives)
    assert "error: a shelf fell down; put it up again" in lives[1].words()
    assert "error: process 1 of 2 could not do its part of the preparation, and said why" in lives[0].words()
    assert len(made(fresh)) >= 8
    lives = pair(fresh, "prepare", "qaa")
    assert [life.finish() for life in lives] == [0, 0], told(lives)


def dying() -> None:
    if os.environ["RANK"] == "1":
        encoding.keep = lambda *a: os.kill(os.getpid(), signal.SIGKILL)


def test_one_that_is_killed_ends_the_other(fresh):
    lives = pair(fresh, "prepare", "qaa", before=dying)
    assert lives[1].finish(60) == 128 + signal.SIGKILL
    assert lives[0].finish(60) == 1, told(lives)
    assert "error: another process of this launch died in the preparation" in lives[0].words()


@pytest.mark.skipif(torch.cuda.is_available(), reason="device=auto is the GPU here")
def test_a_codec_is_trained_by_both_where_nobody_named_a_device(fresh):
    """With device=auto two processes on a CPU once knew nothing of each other, and wrote the same files."""
    lives = pair(fresh, "prepare", "qaa", "device=auto", "codec=mel-6561", "mel_codec.steps=4")
    assert [life.finish(120) for life in lives] == [0, 0], told(lives)
    assert lives[0].words().count("training one on") == 1 and "training one on" not in lives[1].words()
    (codec,) = fresh.glob("qaa/codecs/*")
    (line,) = [line for line in lives[0].words().splitlines() if line.startswith("{")]
    writers = {file.name.split("-")[1] for file in fresh.glob("qaa/data/*/codes/*/codes-*")}
    assert codec.name.startswith("mel-6561-") and json.loads(line)["codec"]["clips"] > 5 and writers == {"0", "1"}
