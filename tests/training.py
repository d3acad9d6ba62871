"""Real training runs in processes of their own, to be killed: a fork server imports torch once for all of them."""

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ttslib import checkpoint, params, pipeline
from ttslib.paths import ROOT

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["ttslib.pipeline", "ttslib.train", "ttslib.baselines", "torch._dynamo", "torchaudio", "torch.utils.data"]
)
QUIET = ["tracking=disabled", "device=cpu", "threads=1", "evaluate.recogniser=null"]
# What no two runs have in common.
CLOCK = ("clips/s", "audio_s/s", "step_s", "eta_s", "epoch_eta_s", "elapsed_s", "memory_gb")


def small(*overrides: str, **dials) -> params.Params:
    """The toy language in small batches, for training in this process."""
    return params.load("qaa", [*QUIET, "data.frames=400", "train.log_every=1", *overrides], **dials)


def tracked_offline(folder: Path, env: dict[str, str]) -> str:
    """A row tracked offline, and what is said to it; in a process of its own: wandb reads its environment once and leaves a
    service behind."""
    code = (
        "from pathlib import Path; from ttslib import params, runs, track;"
        f"run = runs.Run(Path({str(folder / 'run')!r}));"
        "one = track.Track(params.load('qaa', tracking='offline', device='cpu'), run);"
        "one.log({'mel': 1.0}, 1); one.finish()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120,
                          env={**env, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert any((folder / "run").rglob("*.wandb"))
    return done.stdout + done.stderr


@dataclass
class Life:
    """One process of `python -m ttslib ...` and the file its words go to."""

    process: multiprocessing.Process
    log: Path

    def finish(self, seconds: float = 180) -> int:
        """The exit code, as a shell gives it."""
        self.process.join(seconds)
        if self.process.is_alive():
            self.process.kill()
            raise AssertionError(f"still running after {seconds} s:\n{self.words()}")
        code = self.process.exitcode
        return code if code >= 0 else 128 - code

    def words(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def wait_for(self, words: str, count: int = 1, seconds: float = 180) -> None:
        """Until `words` have been printed `count` times."""
        end = time.monotonic() + seconds
        while self.words().count(words) < count:
            assert self.process.is_alive(), f"ended before it said {words!r}:\n{self.words()}"
            assert time.monotonic() < end, f"{words!r} not said in {seconds} s:\n{self.words()}"
            time.sleep(0.002)

    def send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.process.join(30)


def start(outputs: Path, *overrides: str, before=None, **env: str) -> Life:
    """Train in a new process; `before()` is called in it first."""
    return command(outputs, "train", "qaa", *QUIET, *overrides, before=before, **env)


def command(outputs: Path, *arguments: str, before=None, **env: str) -> Life:
    """`python -m ttslib ARGUMENTS` in a new process; `before()` is called in it first."""
    outputs.mkdir(parents=True, exist_ok=True)
    log = outputs / f"life-{time.monotonic_ns()}.txt"
    process = SERVER.Process(target=live, args=(outputs, log, arguments, before, env))
    process.start()
    return Life(process, log)


def live(outputs: Path, log: Path, arguments: tuple[str, ...], before, env: dict[str, str]) -> None:
    os.environ.update(env, TTSLIB_OUTPUTS=str(outputs))
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    multiprocessing.set_start_method("fork", force=True)  # loader workers as in a run of one's own
    if before:
        before()
    from ttslib.__main__ import main

    sys.exit(main([*arguments]))


def train(outputs: Path, *overrides: str, **env: str) -> Path:
    """Train to the end, exit code 0, in a new process; the run's folder."""
    life = start(outputs, *overrides, **env)
    assert life.finish() == 0, life.words()
    return folder(outputs, overrides)


def folder(outputs: Path, overrides) -> Path:
    name = next(o.partition("=")[2] for o in overrides if o.startswith("run="))
    return outputs / "qaa" / "acoustic" / name


def history(run: Path) -> list[dict]:
    """The history rows without the clock's columns."""
    rows = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in rows]


def progress(run: Path) -> dict:
    """The counters in the latest checkpoint, without the clock's."""
    counters = checkpoint.load(run / "checkpoints" / "latest")[2]["progress"]
    counters["window"].pop("seconds", None)
    return counters


def assert_same(a: Path, b: Path) -> None:
    """Two runs ended in the same place, bit for bit: weights, optimizer, averages, random state, counters, history."""
    ends = [run / "checkpoints" / "latest" for run in (a, b)]
    assert ends[0].resolve().name == ends[1].resolve().name
    for name in ("model.safetensors", "state.safetensors"):
        left, right = (load_file(end / name) for end in ends)
        assert left.keys() == right.keys()
        differing = [k for k in left if not torch.equal(left[k], right[k])]
        assert not differing, f"{name} differs in {len(differing)} of {len(left)}: {differing[:5]}"
    assert progress(a) == progress(b)
    assert history(a) == history(b)
    assert (a / "checkpoints" / "best").resolve().name == (b / "checkpoints" / "best").resolve().name


def assert_near(a: Path, b: Path, but: tuple[str, ...] = (), rel: float = 1e-5) -> None:
    """Two runs took the same steps but for the order in which floats are summed: history, place in the data, weights and
    what the networks count, `but` for the names given. `rel`: of losses and gradient norms (of a large matrix that is a
    sum of many small squares)."""
    one, two = (history(run) for run in (a, b))
    assert [row["step"] for row in one] == [row["step"] for row in two]
    for left, right in zip(one, two, strict=True):
        assert left == pytest.approx(right, rel=rel, abs=1e-6)
    (left, _, was), (right, _, then) = (checkpoint.load(run / "checkpoints" / "latest") for run in (a, b))
    assert was["progress"]["position"] == then["progress"]["position"]
    assert left.keys() == right.keys()
    # Adam makes steps of full length also of gradients that are zero but for rounding, as of a key's bias in attention.
    far = {
        k: float((v.double() - right[k].double()).norm() / v.double().norm().clamp(min=1e-9)) for k, v in left.items()
    }
    assert not {k: v for k, v in far.items() if not v <= 2e-3 and k not in but}


def as_it_was(whole: Path, step: int, name: str) -> Path:
    """The run's folder as it was right after the save of `step`: later checkpoints and the end's files are not yet there."""
    run = whole.with_name(name)
    shutil.copytree(whole, run, symlinks=True)
    (run / "training_history.json").unlink()
    kept = run / "checkpoints"
    (here,) = (path for path in checkpoint.listed(kept) if checkpoint.step_of(path) == step)
    checkpoint.link(kept, "latest", here.name)
    checkpoint.link(kept, "best", "epoch0_step0")
    for path in checkpoint.listed(kept):
        if checkpoint.step_of(path) > step:
            shutil.rmtree(path)
    return run


def halved(few: dict, whole: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Train four steps into the run `whole`, and in this process again from a copy that was left after two; both have to end
    in the same bits. Returns the weights after two steps and after four."""
    quiet = {"tracking": "disabled", "device": "cpu", "threads": 1}
    pipeline.train(params.load("qaa", few, run="whole", **quiet))
    again = whole.with_name("again")
    shutil.copytree(whole, again, symlinks=True)
    (halfway,) = (path for path in (again / "checkpoints").iterdir() if path.name.endswith("step2"))
    checkpoint.link(again / "checkpoints", "latest", halfway.name)
    (again / "checkpoints" / "best").unlink()
    pipeline.train(params.load("qaa", few, run="again", resume=True, **quiet))
    for name in ("model.safetensors", "state.safetensors"):
        one, two = (load_file(run / "checkpoints" / "latest" / name) for run in (whole, again))
        assert one.keys() == two.keys()
        assert not [k for k in one if not one[k].equal(two[k])]
    return tuple(load_file(f / "model.safetensors") for f in (halfway, whole / "checkpoints" / "latest"))
