"""Folders of pairs, spoken by a runtime: resumable, in parallel, nothing lost.

    folder/pairs.json             what the pairs are made of: model, settings, voices, digests of the texts and the jobs
    folder/<split>/<voice>-<NNNN>.npz
    folder/rejected.jsonl         the jobs without a pair, and why

A folder belongs to one plan. What is whole and of its job is kept, whatever else is there under its name is made anew.
"""

import functools
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ttslib import pairs
from ttslib.pairs import Pair
from ttslib.pairs.ledger import claim, described, kept, recorded
from ttslib.pairs.planning import SPLITS, BuildError, Job, Settings, plan
from ttslib.styles import Style, StyleError
from ttslib.workers import Died, pool

__all__ = ["BuildError", "Job", "Refused", "Runtime", "Settings", "build", "plan"]


class Refused(ValueError):
    """A text, language, seed or speed that a runtime cannot speak; the message says which and why."""


class Runtime(Protocol):
    """What speaks: `model` names the space of its styles ("supertonic-3"), `rate` is of its audio (Hz)."""

    model: str
    rate: int

    def presets(self) -> dict[str, Style]: ...

    def speak(self, text: str, style: Style, lang: str, seed: int, speed: float) -> np.ndarray:
        """`(samples,)` float32, the same for the same arguments. Raises `Refused`; `StyleError` for a foreign style."""


def build(
    runtime_factory: Callable[[], Runtime],
    jobs: Sequence[Job],
    folder: str | Path,
    settings: Settings,
    workers: int = 1,
) -> dict[str, Any]:
    """Speak the jobs of `plan(..., settings)` into `folder`; what is there already is not spoken again.

    With several workers each is a spawned process with a runtime of its own, so the factory must be picklable (a class, a
    `functools.partial`); with one all is done in this process. The pairs do not depend on how many there are. Remove
    `rejected.jsonl` to have rejected jobs tried again.

    Returns `pairs` and `voices` by split, `hours` of speech, and `rejected`. Raises `BuildError` for a folder of another
    plan, settings or model; what the factory raises; `StyleError` for a runtime of another model than the jobs' styles.
    """
    from ttslib.corpora.progress import bar  # loads pydantic, which workers can do without

    folder = Path(folder)
    claim(folder, described(jobs, settings))
    for partial in folder.glob("*/.*.partial"):  # of a process that was killed
        partial.unlink()
    log = folder / "rejected.jsonl"
    rejected = recorded(log)
    seconds = {job.file: length for job in bar(jobs, "keep", unit="pair") if (length := kept(folder, job)) is not None}
    pending = [job for job in jobs if job.file not in seconds and job.file not in rejected]
    with log.open("a", encoding="utf-8") as handle:
        results = rendered(runtime_factory, pending, folder, settings, workers)
        for job, (length, reason) in zip(pending, bar(results, "speak", len(pending), "pair"), strict=True):
            if reason is None:
                seconds[job.file] = length
                continue
            rejected[job.file] = job.record() | {"reason": reason}
            handle.write(json.dumps(rejected[job.file]) + "\n")
            handle.flush()
    if rejected:
        print(f"{log}: {len(rejected)} of {len(jobs)} jobs were rejected; each line says why", file=sys.stderr)
    made = [job for job in jobs if job.file in seconds]
    spoke = Counter(split for split, _ in {(job.voice.split, job.voice.name) for job in made})
    counted = Counter(job.voice.split for job in made)
    return {
        "pairs": {split: counted[split] for split in SPLITS},
        "voices": {split: spoke[split] for split in SPLITS},
        "hours": math.fsum(seconds.values()) / 3600,
        "rejected": len(rejected),
    }


class Renderer:
    """Speaks jobs into files; the runtime is made once, at the first job, where an error can still reach the caller."""

    def __init__(self, factory: Callable[[], Runtime], folder: Path, settings: Settings) -> None:
        self.factory, self.folder, self.settings = factory, folder, settings

    @functools.cached_property
    def runtime(self) -> Runtime:
        return self.factory()

    def __call__(self, job: Job) -> tuple[float, str | None]:
        """Seconds, and why they were rejected; None where they were not, and the file is written."""
        style, rate = job.voice.style, self.runtime.rate
        if style.model != self.runtime.model:
            raise StyleError(f"{job.file}: a style of {style.model}; the runtime speaks those of {self.runtime.model}")
        try:
            wav = self.runtime.speak(job.text, style, job.lang, job.seed, job.speed)
        except Refused as error:
            return 0.0, str(error)
        seconds = len(wav) / rate
        if (reason := fault(wav, seconds, self.settings)) is None:
            pairs.write(self.folder / job.file, Pair(wav, rate, style, job.text, job.lang, job.voice.name, job.seed))
        return seconds, reason


def fault(wav: np.ndarray, seconds: float, settings: Settings) -> str | None:
    """Why `(samples,)` are no speech to learn from, if they are none."""
    if unfit := np.count_nonzero(~np.isfinite(wav)):
        return f"{unfit} of {wav.size} samples are not finite"
    if not settings.min_seconds <= seconds <= settings.max_seconds:
        return f"{seconds:.2f} s long, not {settings.min_seconds:g} to {settings.max_seconds:g} s"
    power = float(np.var(wav, dtype=np.float64))  # without its mean: a constant cannot be heard
    if power < 10 ** (settings.min_level_db / 10):
        return (
            f"silent: {10 * math.log10(power) if power else -math.inf:.0f} dB, less than {settings.min_level_db:g} dB"
        )
    return None


def rendered(factory, jobs: Sequence[Job], folder: Path, settings: Settings, workers: int) -> Iterator:
    """The results of `Renderer`, in the order of the jobs."""
    renderer, done = Renderer(factory, folder, settings), 0
    if workers <= 1 or len(jobs) <= 1:
        yield from map(renderer, jobs)
        return
    with pool(min(workers, len(jobs)), enter, renderer) as made:
        try:
            for result in made.map(render, jobs):
                yield result
                done += 1
        except Died:
            raise BuildError(
                f"a process that speaks pairs died (crash or out of memory) at or after {jobs[done].file}; what is spoken "
                "is kept: start again, with fewer workers if it was memory"
            ) from None


def enter(renderer: Renderer) -> None:
    """What a worker begins with."""
    global RENDERER
    RENDERER = renderer


def render(job: Job) -> tuple[float, str | None]:
    return RENDERER(job)
