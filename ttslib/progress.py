"""Where a run stands, and what its history says of it."""

import math
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator

from ttslib.dataset import Position
from ttslib.evaluate.choice import Verdict


@dataclass
class Progress:
    """Where a run stands; all of it is stored in every checkpoint."""

    step: int = 0
    position: Position = Position()
    best: list[float] = field(default_factory=list)
    """what was told of the best evaluation so far, see `judge`"""
    judge_was: str | None = None
    """who listened to it"""
    stale: int = 0
    """evaluations since the best one"""
    evaluated: int = -1
    """step of the last evaluation"""
    skips: int = 0
    """steps skipped in a row for a non-finite loss or gradient"""
    halved: bool = False
    """every micro-batch is taken in two halves, because memory did not suffice"""
    window: dict[str, list[float]] = field(default_factory=dict)
    """loss terms and gradient norms since the last history row"""
    before: dict[str, float] = field(default_factory=dict)
    """validation loss of each guarded language before the first step"""
    rise: dict[str, float] = field(default_factory=dict)
    """by how much it was above that at the last evaluation"""

    def judge(self, loss: float, heard: Verdict | None = None, choose: str = "speech") -> None:
        """Is it better than the best before it: by what was heard, then by the validation loss? Another listener than before
        begins anew."""
        heard = heard if choose == "speech" else None
        told, who = [*(heard.key if heard else ()), loss], heard and heard.judge
        if self.best and who != self.judge_was:
            print(
                f"step {self.step}: {who} judges now, {self.judge_was} did before; `best` is chosen anew",
                file=sys.stderr,
            )
            self.best = []
        better = all(map(math.isfinite, told)) and (not self.best or told < self.best)
        if better or choose == "last":
            self.best, self.judge_was, self.stale = told, who, 0
        else:
            self.stale += 1
        self.evaluated = self.step

    @property
    def is_best(self) -> bool:
        """These very weights are the best so far, or the last ones where those are chosen."""
        return self.stale == 0 and self.evaluated == self.step

    def note(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.window.setdefault(name, []).append(value)


def row(now: Progress, system, engine: Accelerator) -> dict[str, float]:
    """The history row of the steps since the last one: mean loss terms and gradient norms, speeds over all processes."""
    sums = {name: sum(values) for name, values in now.window.items()}
    means = {name: sums[name] / len(values) for name, values in now.window.items()}
    now.window.clear()
    per_second = {name: sums[name] * engine.num_processes / sums["seconds"] for name in ("frames", "clips")}
    speeds = {"clips/s": per_second["clips"], "audio_s/s": per_second["frames"] * system.frame_seconds}
    rest = {"step_s": means["seconds"], "memory_gb": memory(engine.device)}
    return {k: v for k, v in means.items() if k not in ("frames", "clips", "seconds")} | speeds | rest


def memory(device: torch.device) -> float:
    """Peak memory (GB): of the GPU's allocator, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    status = Path("/proc/self/status")  # getrusage's peak has that of the process that started this one in it (Linux)
    if status.is_file() and (peak := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(peak[1]) / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
