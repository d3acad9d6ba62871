"""Where a run lives: `outputs/<lang>/<system>/<run>/`."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ttslib import checkpoint, paths
from ttslib.params import Params


class RunError(ValueError):
    """A run that does not exist, or would be overwritten."""


@dataclass(frozen=True)
class Run:
    """The folder of one run and the fixed names in it."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def samples(self) -> Path:
        return self.folder / "samples"

    @property
    def history(self) -> Path:
        return self.folder / "history.jsonl"

    @property
    def begun(self) -> Path:
        """There while a training that another job asked for is not at its end (`pipeline.trained`)."""
        return self.folder / "begun"

    def rows(self) -> list[dict]:
        """The training history, one row a log call."""
        return checkpoint.read_json(self.folder / "training_history.json")

    def spoken(self, number: int) -> list[tuple[int, Path]]:
        """`(step, file)` of one fixed sentence at every evaluation, oldest first."""
        files = sorted(self.samples.glob(f"step_*/{number}.wav"))
        return [(int(file.parent.name.removeprefix("step_")), file) for file in files]

    @property
    def trained(self) -> Path | None:
        """The checkpoint to listen to: `best`, else `latest`, else None.

        Raises `CheckpointError` for a `best` whose folder is gone: `latest` would be another voice.
        """
        named = [link for a in ("best", "latest") if os.path.lexists(link := self.checkpoints / a)]
        if named and not named[0].exists():
            raise checkpoint.CheckpointError(
                f"{named[0]}: it points at {os.readlink(named[0])}, which is missing; restore that from a copy, name a "
                "checkpoint folder of the run, or go on training with resume=true"
            )
        return named[0] if named else None


def home(p: Params) -> Path:
    return paths.outputs() / p.lang / p.system


def existing(p: Params) -> list[Run]:
    """The runs of this language and system that have a checkpoint, oldest first."""
    folders = [f for f in home(p).glob("*/checkpoints") if checkpoint.listed(f)]
    return [Run(f.parent) for f in sorted(folders, key=lambda f: (f.stat().st_mtime_ns, f.parent.name))]


def start(p: Params) -> Run:
    """The run to train: a new folder, or, with `resume`, the one to continue. Never another run's files."""
    if p.resume:
        return find(p)
    if p.run is not None:
        run = Run(home(p) / p.run)
        if checkpoint.listed(run.checkpoints):
            raise RunError(
                f"run {p.run!r} exists in {run.folder}; continue it with resume=true or choose another run name"
            )
        return run
    taken = [int(f.name) for f in home(p).glob("*") if re.fullmatch(r"\d+", f.name)]
    return Run(home(p) / f"{max(taken, default=0) + 1:03d}")


def begun(p: Params) -> Run | None:
    """The run that another job asked for and that was killed before its first checkpoint, None where there is none."""
    marked = [Run(mark.parent) for mark in sorted(home(p).glob("*/begun"))]
    left = [run for run in marked if p.run in (None, run.name) and not checkpoint.listed(run.checkpoints)]
    return left[0] if left else None


def find(p: Params) -> Run:
    """The run `p.run` names, or the one trained last."""
    runs = existing(p)
    if p.run is not None:
        runs = [run for run in runs if run.name == p.run]
    if not runs:
        what = "no run" if p.run is None else f"no run {p.run!r}"
        raise RunError(
            f"{what} with a checkpoint in {home(p)}; train one first: python -m ttslib train params/{p.lang}.yaml"
        )
    return runs[-1]
