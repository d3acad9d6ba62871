"""Codes over the cores of a machine: those of one process, whoever computes them; one that dies leaves what it wrote."""

import multiprocessing
import os
import shutil
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ttslib import manifest, params, speech
from ttslib.codecs import CodecError, kept, spread
from ttslib.codecs.mel import MelCodec
from ttslib.sections import MelCodec as Settings
from ttslib.speech import Reader


@pytest.fixture
def codec():
    torch.manual_seed(0)
    made = MelCodec.fresh("mel-6561", Settings(width=24, depth=2, griffin_lim=2))
    made.net.mean.fill_(-6.0)
    made.net.std.fill_(2.0)
    return made


@pytest.fixture
def rows(spoken):
    return list(spoken.rows)


@pytest.fixture
def read(spoken, codec):
    return Reader(replace(spoken, rows=(), dropped=()), codec.rate, {spoken.rows[0].id: "it was never recorded"})


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    """Processes for the smallest job, and batches of few clips."""
    monkeypatch.setattr(spread, "WORTH", 0.0)
    monkeypatch.setattr(kept, "BUDGET", 4.0)


def writers(folder: Path) -> dict[str, int]:
    """Clips by who wrote them."""
    found: dict[str, int] = {}
    for file in folder.glob("*/codes-*.safetensors"):
        writer = file.name.split("-")[1]
        found[writer] = found.get(writer, 0) + len(load_file(file))
    return found


def same(left: kept.Kept, right: kept.Kept, rows) -> bool:
    return left.frames == right.frames and all(left[row].equal(right[row]) for row in rows if row in left)


def test_codes_are_those_of_one_process_and_each_has_its_part(codec, rows, read, tmp_path):
    alone = kept.keep(codec, tmp_path / "alone", rows, read)
    made = spread.keep(codec, tmp_path / "cores", rows, read, cores=2, ram_gb=1.0)
    assert same(made, alone, rows) and len(made) == len(rows) - 1
    assert made.quarantined == alone.quarantined == [{"id": rows[0].id, "reason": "it was never recorded"}]
    parts = writers(tmp_path / "cores")
    assert parts.keys() == {"0", "0.0", "0.1"} and abs(parts["0.0"] - parts["0.1"]) <= 1
    assert parts["0"] < min(parts["0.0"], parts["0.1"])
    again = spread.keep(codec, tmp_path / "cores", rows, read, cores=2, ram_gb=1.0)
    assert same(again, alone, rows) and writers(tmp_path / "cores") == parts


def test_training_asks_for_them_over_its_threads(codec, rows, spoken, tmp_path):
    """By `speech.codes`, which gives the processes what reads the recordings."""
    found = manifest.read(shutil.copytree(spoken.folder, tmp_path / "copy"))
    made = speech.codes(codec, found, found.rows, params.load("qaa", device="cpu", threads=2))
    assert same(made, kept.keep(codec, tmp_path / "alone", rows, speech.reader(codec, spoken)), rows)
    assert writers(found.folder / "codes").keys() == {"0", "0.0", "0.1"}


def test_processes_of_a_launch_have_cores_of_their_own(codec, rows, read, tmp_path):
    alone = kept.keep(codec, tmp_path / "alone", rows, read)
    for rank in (0, 1):
        spread.keep(codec, tmp_path / "both", rows, read, cores=2, ram_gb=1.0, rank=rank, processes=2)
    assert writers(tmp_path / "both").keys() == {"0", "0.0", "0.1", "1", "1.0", "1.1"}
    both, _ = kept.known(codec, tmp_path / "both", rows)
    assert same(both, alone, rows)


@pytest.mark.parametrize(("cores", "ram_gb", "worth"), [(1, 1.0, 0.0), (2, 1e-6, 0.0), (2, 1.0, 1e6)])
def test_one_process_where_there_is_one_core_no_room_or_little_to_do(
    codec, rows, read, tmp_path, monkeypatch, cores, ram_gb, worth
):
    monkeypatch.setattr(spread, "WORTH", worth)
    monkeypatch.setattr(spread, "pooled", lambda *_: pytest.fail("processes were started"))
    made = spread.keep(codec, tmp_path, rows, read, cores, ram_gb)
    assert len(made) == len(rows) - 1 and writers(tmp_path).keys() == {"0"}


@dataclass(frozen=True)
class Deadly:
    """Kills a worker process at its third clip."""

    read: Reader
    log: Path

    def __call__(self, row):
        if multiprocessing.parent_process() is not None:
            with self.log.open("a") as file:
                file.write(f"{os.getpid()}\n")
            if self.log.read_text().count(f"{os.getpid()}\n") == 3:
                os.kill(os.getpid(), signal.SIGKILL)
        return self.read(row)


def test_one_that_dies_is_one_error_and_the_next_call_goes_on(codec, rows, read, tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "SHARD_CLIPS", 1)  # of this process alone: workers begin with the module's own
    with pytest.raises(
        CodecError, match=r"a process that encodes with codec mel-6561 died .* start again, with threads=1"
    ):
        spread.keep(codec, tmp_path / "codes", rows, Deadly(read, tmp_path / "log"), cores=2, ram_gb=1.0)
    assert writers(tmp_path / "codes").keys() == {"0"}
    made = spread.keep(codec, tmp_path / "codes", rows, read, cores=2, ram_gb=1.0)
    assert same(made, kept.keep(codec, tmp_path / "alone", rows, read), rows)


@dataclass(frozen=True)
class Broken:
    """A bug that one worker meets while the other still has much to do."""

    read: Reader
    log: Path
    rows: tuple

    def __call__(self, row):
        if multiprocessing.parent_process() is not None:
            if row.id == self.rows[0]:
                raise ZeroDivisionError("a bug")
            time.sleep(0.3)
            with self.log.open("a") as file:
                file.write(f"{row.id}\n")
        return self.read(row)


def test_where_one_fails_the_other_leaves_at_its_next_clip(codec, rows, read, tmp_path):
    made, place = kept.known(codec, tmp_path, rows)
    left = kept.missing(made, rows, 0, 1)
    reader = Broken(read, tmp_path / "log", (left[0].id,))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        spread.pooled(codec, tmp_path, left, reader, 2, 0)
    (tmp_path / "log").touch()
    assert len((tmp_path / "log").read_text().split()) < len(left) // 2 - 2
    assert not [*place.glob("codes-*")]
