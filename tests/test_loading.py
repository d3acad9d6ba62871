"""A run that loses its data ends with one line that says how it goes on, and ends then as if nothing had been lost."""

import os
import re
import signal
import subprocess

import pytest
import training
from test_checkpoint import save
from training import assert_same, small

from ttslib import checkpoint, loading, manifest, runs
from ttslib.dataset import DatasetError

EVERY = [
    "train.steps=40",
    "train.evaluate_every=20",
    "train.checkpoint_every=7",
    "train.log_every=1",
    "data.frames=400",
]


@pytest.fixture(scope="module")
def whole(stocked):
    return training.train(stocked, "run=whole", *EVERY)


# Of the worker that is left: whom it was just handing a batch to has gone.
SHARER = re.compile(r"Traceback \(most recent call last\):\n  File \S+/resource_sharer\.py.*\n(?: .*\n)+\w+(?:: .*)?\n")


def error(life: training.Life) -> str:
    """The one line that it ended with."""
    assert life.finish() == 1, life.words()
    words = SHARER.sub("", life.words())
    assert "Traceback" not in words, words
    (line,) = [line for line in words.splitlines() if line.startswith("error: ")]
    assert words.rstrip("\n").endswith(line)
    return line


def test_a_dead_worker_ends_the_run_with_one_line(stocked, whole):
    life = training.start(stocked, "run=dead", *EVERY, "data.workers=2")
    life.wait_for("step 9 ")
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(life.process.pid)], capture_output=True, text=True)
    workers = [int(pid) for pid in found.stdout.split()]
    assert len(workers) >= 2
    os.kill(workers[-1], signal.SIGKILL)
    said, run = error(life), whole.with_name("dead")
    latest = (run / "checkpoints/latest").resolve()
    assert said == (
        f"error: {run}: a worker process of the loader died, killed or out of memory; {latest} is whole: go on with "
        "resume=true; give it more memory, or none to die: data.workers=0"
    )
    assert 7 <= checkpoint.step_of(latest) < 40
    training.train(stocked, "run=dead", *EVERY, "data.workers=0", "resume=true")
    assert_same(whole, run)


@pytest.mark.parametrize(("workers", "harm"), [(0, "damaged"), (2, "gone")])
def test_a_feature_that_is_lost_is_named_and_computed_again(prepared, whole, workers, harm):
    few = [*EVERY, "data.ram_gb=1.0e-09", f"data.workers={workers}"]
    life = training.start(prepared, "run=lost", *few)
    life.wait_for("step 9 ")
    for file in prepared.glob("qaa/data/*/features/*/*.safetensors"):
        other = file.with_suffix(".other")  # put in its place: what is mapped of the old one stays as it is
        other.write_bytes(b"half")
        file.unlink() if harm == "gone" else other.replace(file)
    said, run = error(life), prepared / "qaa/acoustic/lost"
    why = r"it is gone" if harm == "gone" else r"Error while deserializing header: .+"
    latest = re.escape(str((run / "checkpoints/latest").resolve()))
    assert re.fullmatch(
        rf"error: {re.escape(str(prepared))}/qaa/data/\S+\.safetensors: the features of clip qaa/\w+ cannot be read: {why}; "
        rf"{latest} is whole: go on with resume=true, which computes it again",
        said,
    )
    training.train(prepared, "run=lost", *few, "resume=true")
    assert_same(whole, run)


def test_a_clip_that_no_longer_decodes_changes_nothing_for_the_others(prepared):
    """It is quarantined by name; the run is the one over the corpus without it, bit for bit."""
    found = manifest.prepare(small())
    bad = found.split("train")[4]
    path = found.audio(bad)
    path.write_bytes(path.read_bytes()[:40])
    for file in found.folder.glob("features/*/*"):
        file.unlink()
    with_it = training.train(prepared, "run=with", *EVERY)
    (told,) = checkpoint.read_json(with_it / "quarantined.json")
    assert told["id"] == bad.id and path.name in told["reason"]
    manifest.write(found.folder, [row for row in found.rows if row != bad], found.dropped)
    without = training.train(prepared, "run=without", *EVERY)
    assert checkpoint.read_json(without / "quarantined.json") == []
    assert_same(with_it, without)


@pytest.mark.parametrize(
    "first", [RuntimeError(f"{loading.DEAD}(s) 7) exited unexpectedly"), ConnectionResetError(104, "reset"), EOFError()]
)
def test_a_dead_worker_that_is_told_of_twice_is_one_error(tmp_path, first):
    """Torch's signal comes after the first error, which may be that of the tensor the worker was handing over."""
    run, p = runs.Run(tmp_path), small("data.workers=2")
    save(run.checkpoints, 3)

    def told(*_):
        raise RuntimeError(f"{loading.DEAD} 7) is killed by signal: Killed. ")

    @loading.told_when_lost
    def fit(system, train, val, p, run):
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        raise first

    before = signal.signal(signal.SIGALRM, told)
    try:
        with pytest.raises(DatasetError, match="epoch0_step3 is whole: go on with resume=true"):
            fit(None, None, None, p, run)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(("workers", "error"), [(0, ConnectionResetError(104, "reset")), (2, RuntimeError("a bug"))])
def test_another_error_is_no_dead_worker(tmp_path, workers, error):
    @loading.told_when_lost
    def fit(system, train, val, p, run):
        raise error

    with pytest.raises(type(error), match=r"reset|a bug"):
        fit(None, None, None, small(f"data.workers={workers}"), runs.Run(tmp_path))
