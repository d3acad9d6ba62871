"""Checks `learning` and `resume`: the real loop (`train.fit`), some steps of it on a few clips, in a folder of its own."""

import math
import shutil
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file

from ttslib import checkpoint, disk, pipeline, runs, session
from ttslib.checks.rows import Failed, few
from ttslib.checks.subject import Subject
from ttslib.dataset import Features
from ttslib.params import Params
from ttslib.runs import Run
from ttslib.sections import Replay
from ttslib.stop import STATUS, Stopped
from ttslib.track import Track
from ttslib.train import fit

STEPS, WARMUP = 20, 2
# Validation of the same clips is deterministic (dropout off, seeded draws), its rounding a millionth: a fall by this share
# is learning, even where only the new rows of a few letters learn (0.2 % in 20 steps). A rate of zero gives none at all.
FALL = 0.0002
ENDS = 0.5  # a probability of the stop code that need not rise any more: a loaded base knows where speech ends
# A GPU adds in any order: there a resumed run may be off by this share of the way from its checkpoint.
ELSEWHERE = 0.05


def learning(s: Subject) -> str:
    """The loss on a few clips falls when exactly these are trained on, with the run's own peak rate."""
    clips = s.clips()
    with folder(s) as place:
        rows = fitted(s.copied(), clips, settings(s.p, STEPS, STEPS), Run(place / "learning"))
    before, after = rows[0], rows[-1]
    told = f"{before['total']:.4g} -> {after['total']:.4g} on {len(clips)} clips in {STEPS} steps"
    if not after["total"] < (1 - FALL) * before["total"]:
        raise Failed(
            f"the loss does not fall: {told}",
            f"train.lr={s.p.train.lr:g} may be too low or far too high; see loss weights",
        )
    return told + end(s, before, after)


def end(s: Subject, before: dict[str, float], after: dict[str, float]) -> str:
    """Of a system of codes: the probability of the stop code where speech ends. Raises `Failed` when it is not learnt."""
    if s.codec() is None:
        return ""
    if not math.isfinite(after.get("end", math.nan)):
        raise Failed(
            f"the end of speech is no target: validation's `end` is {after.get('end', 'missing')}",
            "every clip's codes must be followed by the stop code (EOS), or speech will never stop",
        )
    told = f"probability of the end {before['end']:.2g} -> {after['end']:.2g}"
    rows_only = s.p.adapt.base is not None and s.p.adapt.body == "none"  # then what foretells the stop code is held
    if after["end"] <= before["end"] and after["end"] < ENDS and not rows_only:
        raise Failed(
            f"the end of speech is not learnt: {told}", "are the stop codes (EOS) among the targets, and not masked?"
        )
    return f"; {told}"


def resume(s: Subject) -> str:
    """Four steps give the same bits as two and, from their checkpoint, two more; and the last checkpoint loads."""
    clips, p = s.clips(), settings(s.p, 4, 2)
    with folder(s) as place:
        whole, again = Run(place / "resume" / "whole"), Run(place / "resume" / "again")
        trained = fitted(s.copied(), clips, p, whole)[-1]
        shutil.copytree(whole.folder, again.folder, symlinks=True)
        (half,) = (path for path in checkpoint.listed(again.checkpoints) if checkpoint.step_of(path) == 2)
        checkpoint.link(again.checkpoints, "latest", half.name)
        for path in checkpoint.listed(again.checkpoints):
            if path != half:
                shutil.rmtree(path)
        (again.checkpoints / "best").unlink(missing_ok=True)
        fitted(s.copied(), clips, p.model_copy(update={"resume": True}), again)
        ends = [run.checkpoints / "latest" for run in (whole, again)]
        files = ("model.safetensors", "state.safetensors")
        tensors = sum(compared(s, *(end / name for end in ends), half / name) for name in files)
        loaded = pipeline.load(ends[0])
    said = same_terms(s, loaded, clips, {k: v for k, v in trained.items() if k != "total"}, "the checkpoint")
    exact = "bit for bit" if s.engine.device.type == "cpu" else "but for the rounding of a GPU"
    return f"4 steps are 2 and 2 more, {exact} ({tensors} tensors); the checkpoint loads: {said}"


def compared(s: Subject, whole: Path, again: Path, half: Path) -> int:
    """How many tensors two files have alike. Raises `Failed` naming those that differ."""
    one, two, start = (load_file(file) for file in (whole, again, half))
    differing = sorted(one.keys() ^ two.keys())
    for name in one.keys() & two.keys():
        if one[name].equal(two[name]):
            continue
        way = (one[name].double() - start[name].double()).norm() if name in start else torch.zeros(())
        if s.engine.device.type == "cpu" or (one[name].double() - two[name].double()).norm() > ELSEWHERE * way:
            differing.append(name)
    if differing:
        raise Failed(
            f"a resumed run differs from the uninterrupted one in {len(differing)} of {len(one)} tensors of {whole.name}: "
            f"{few(sorted(differing), 3)}",
            "something that a step depends on is not in the checkpoint, or is stored with less precision",
        )
    return len(one)


def same_terms(s: Subject, loaded, clips: Features, expected: dict[str, float], what: str) -> str:
    """Validation of `clips` with the `loaded` system gives the `expected` terms, else `Failed` names those that differ."""
    for net in loaded.nets.values():
        net.to(s.engine.device)
    if hasattr(loaded, "pool"):  # the utterances that prompts are taken from belong to the data
        loaded.pool = s.system.pool
    found = s.validated(loaded, clips)
    most = 1e-4 if session.arithmetic(s.p) == "fp32" else 0.05  # what was trained was measured in half precision
    off = [
        f"{name} {value:.5g}, then {found[name]:.5g}" if name in found else f"{name} missing"
        for name, value in expected.items()
        if not math.isclose(found.get(name, math.inf), value, rel_tol=most, abs_tol=most)
        and not (math.isnan(value) and math.isnan(found.get(name, 0.0)))
    ]
    if off:
        raise Failed(
            f"{what} loads as another system: {few(off, 3)}",
            "some weights, statistics or settings are not stored, or with less precision",
        )
    return f"{len(expected)} validation terms the same"


def settings(p: Params, steps: int, every: int) -> Params:
    """The run's params for so few steps: its peak rate is reached, and nothing but the loop itself takes time."""
    short = {"steps": steps, "warmup": min(p.train.warmup, WARMUP), "evaluate_every": steps, "checkpoint_every": every}
    train = p.train.model_copy(update=short | {"each_epoch": False, "patience": None, "keep": 2})
    data = p.data.model_copy(update={"accumulate": 1, "workers": 0})
    adapted = p.adapt.model_copy(update={"rows_first": min(p.adapt.rows_first, WARMUP)})
    more = {"minutes": None, "resume": False, "tracking": "disabled", "replay": Replay()}
    return p.model_copy(update={"train": train, "data": data, "adapt": adapted, **more})


def fitted(system, clips: Features, p: Params, run: Run) -> list[dict[str, float]]:
    """Train in place; the validation terms before, then after, by name, `total` being what `best` is chosen by."""
    with checkpoint.own_rng(p.seed):
        track = Track(p, run)
        result = fit(system, clips, clips, p, run, track, engine=session.engine(p))  # an engine keeps what it prepared
    if result.stopped in STATUS:
        raise Stopped(f"the checks: stopped by {result.stopped}; call again", result.stopped)
    rows = [{k.removeprefix("val/"): v for k, v in row.items() if k.startswith("val/")} for row in track.rows]
    return [row for row in rows if row]


@contextmanager
def folder(s: Subject):
    """A folder that is gone afterwards, on the disk that has room for the run's checkpoints."""
    home = runs.home(s.p)
    home.mkdir(parents=True, exist_ok=True)
    disk.sweep(home, ".check-*")
    with TemporaryDirectory(prefix=".check-", dir=home) as place:
        yield Path(place)
