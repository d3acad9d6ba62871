"""A full disk ends a run with one message; the checkpoint before is whole, `latest` points at it, and the run goes on."""

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from safetensors import SafetensorError
from test_checkpoint import save
from training import QUIET, assert_same, small

from ttslib import audio, checkpoint, disk, pipeline, track
from ttslib.__main__ import main

EVERY = ["train.steps=6", "train.evaluate_every=6", "train.checkpoint_every=2", "evaluate.small=1"]
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
RUST = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
SYSTEM_CALLS = ("mkdir", "rename", "replace", "symlink", "fsync")  # a disk may notice as late as at the last


class Disk:
    """Counts whatever is written; the writes from number `full` on fail, half done, until something is deleted."""

    def __init__(self, monkeypatch, full: int | None = None):
        self.full, self.writes = full, 0
        for name in SYSTEM_CALLS:
            monkeypatch.setattr(os, name, self.limited(getattr(os, name), FULL))
        monkeypatch.setattr(
            checkpoint, "save_file", self.limited(checkpoint.save_file, RUST, lambda _, file, *__: half(file))
        )
        monkeypatch.setattr(Path, "write_text", self.limited(Path.write_text, FULL, lambda file, *_: half(file)))
        monkeypatch.setattr(os, "rmdir", self.roomy(os.rmdir))

    def limited(self, real, error: Exception, begin=lambda *_: None):
        def write(*given, **named):
            self.writes += 1
            if self.full is not None and self.writes > self.full:
                begin(*given)
                raise error
            return real(*given, **named)

        return write

    def roomy(self, real):
        def delete(*given, **named):
            self.full = None
            return real(*given, **named)

        return delete


def half(file: Path) -> None:
    with Path(file).open("wb") as opened:
        opened.write(b"half")


def refused(save_it) -> str | None:
    """Why the disk takes no more, None where it took all of it."""
    try:
        save_it()
    except (OSError, SafetensorError) as error:
        return disk.reason(error) or repr(error)
    return None


def writes_of_a_save(folder: Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        counted = Disk(patch)
        save(folder, 1)
        save(folder, 1)
        return counted.writes // 2 + 2


@pytest.mark.parametrize("again", [False, True], ids=["a new step", "the same step again"])
def test_whichever_write_of_a_save_meets_the_full_disk(tmp_path, again):
    met = 0
    for full in range(writes_of_a_save(tmp_path / "counted")):
        folder = tmp_path / str(full)
        for step in (1, 2):
            save(folder, step)
        with pytest.MonkeyPatch.context() as patch:
            Disk(patch, full)
            why = refused(lambda folder=folder: save(folder, 2 if again else 3))
        met += why is not None
        assert why in (None, "no space left on the disk")
        assert checkpoint.load(folder / "latest")[2]["step"] in ((2,) if again else (2, 3))
        assert checkpoint.newest(folder) == (folder / "latest").resolve()
        assert not [path for path in folder.iterdir() if path.name.startswith(".")], "what fills the disk stays"
        save(folder, 4)
        assert checkpoint.newest(folder).name == "epoch0_step4"
    assert met > 15


@pytest.fixture(scope="module")
def whole(stocked):
    return pipeline.train(small(*EVERY, run="whole")).run.folder


@pytest.mark.parametrize("writer", ["checkpoint", "history", "samples"])
def test_a_run_says_it_once_and_goes_on_when_there_is_room(whole, writer, monkeypatch):
    name = f"full-{writer}"
    place, call, good = {
        "checkpoint": (checkpoint, "write_weights", 2), "history": (track.Track, "log", 5), "samples": (audio, "save", 1),
    }[writer]  # fmt: skip
    with monkeypatch.context() as patch:
        real, left = getattr(place, call), iter(range(good))

        def write(*given, **named):
            if next(left, None) is None:
                raise FULL
            return real(*given, **named)

        patch.setattr(place, call, write)
        with pytest.raises(disk.DiskError) as error:
            pipeline.train(small(*EVERY, run=name))
    run = whole.with_name(name)
    latest = (run / "checkpoints" / "latest").resolve()
    checkpoint.load(latest)
    assert str(error.value) == (
        f"{run}: no space left on the disk while training; {latest} is whole: free some, then go on with resume=true"
    )
    pipeline.train(small(*EVERY, run=name, resume=True))
    assert_same(whole, run)


@pytest.fixture
def little(tmp_path):
    """A folder on a disk of 256 KiB, or, where nobody may mount one, on the usual disk."""
    folder = tmp_path / "little"
    folder.mkdir()
    mounted = mount(folder, "size=256k")
    yield folder, mounted
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


def mount(folder: Path, options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return bool(shutil.which("mount")) and subprocess.run(command, capture_output=True).returncode == 0


def test_a_disk_that_is_really_full(little, monkeypatch):
    """With ever less room: the save before stands, and with the ballast gone the next one succeeds."""
    folder, real = little
    kept, ballast = folder / "checkpoints", folder / "ballast"
    save(kept, 1)
    met = 0
    for step, room in enumerate(range(0, 48, 4), 2):
        before = checkpoint.newest(kept)
        if real:
            ballast.write_bytes(bytes(shutil.disk_usage(folder).free - room * 1024))
        with monkeypatch.context() as patch:
            if not real:
                Disk(patch, room // 4)
            why = refused(lambda step=step: save(kept, step))
        assert why in (None, "no space left on the disk")
        if why:
            assert checkpoint.newest(kept) == (kept / "latest").resolve() == before
            met += 1
        ballast.unlink(missing_ok=True)
        save(kept, step)
        checkpoint.prune(kept, 1)
    assert met >= 3


@pytest.mark.parametrize("room", [300, 1400, 2100])
def test_the_disk_is_full_before_training_begins(whole, little, room, monkeypatch, capsys):
    """While speech is made, among the features, in the first checkpoint. With more room the same command goes on."""
    folder, real = little
    if not real or not mount(folder, f"remount,size={room}k"):
        pytest.skip("no small disk can be mounted here")
    monkeypatch.setenv("TTSLIB_OUTPUTS", str(folder))
    command = ["train", "qaa", *QUIET, *EVERY, "data.frames=400", "train.log_every=1", "run=whole"]
    assert main(command) == 1
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "no space left on the disk" in said and "free some" in said and str(folder) in said
    assert mount(folder, "remount,size=100m")
    assert main(command) == 0
    assert_same(whole, folder / "qaa" / "acoustic" / "whole")
