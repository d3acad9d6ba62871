"""Every system's training in one table: speed, share of this machine's own peak, where the time goes, memory.

    python benchmarks/throughput.py qaa tracking=disabled --steps 30
    python benchmarks/throughput.py fr device=cuda precision=bf16 t3.preset=multilingual --systems t3 --square 8192

It is the loop itself that runs (`pipeline.train`), in a process of its own for every system, three times over the same
batches: once as it is, for the speed; once with a clock that waits for the device, for the shares; once counting arithmetic.
The first third of the steps warms up and is left out. `of the peak` is against a square matrix product of the same precision
and threads, in the same process. Validation and checkpoints are no part of a step and are not counted. On a busy machine
take --cpu-seconds with threads=1: the process's own time. JSON beside it with --json.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import torch
from accelerate import Accelerator
from vits_step import Flops

from ttslib import params, pipeline, session, step, systems, track, train

STAGES = ("data", "forward", "backward", "optimizer", "logging")
QUIET = [
    "train.evaluate_every=1000000",
    "train.checkpoint_every=1000000",
    "train.log_every=1",
    "evaluate.recogniser=null",
]


class Watch:
    """Seconds by stage and step, of the functions that it stands before."""

    def __init__(self, read, device: torch.device, waits: bool):
        self.read, self.device, self.waits = read, device, waits
        self.steps: list[dict[str, float]] = []
        self.stages: dict[str, float] = defaultdict(float)

    def now(self) -> float:
        if self.waits and self.device.type == "cuda":
            torch.cuda.synchronize()
        return self.read()

    def around(self, stage: str, owner, name: str) -> None:
        plain = getattr(owner, name)

        def timed(*given, **named):
            began = self.now()
            try:
                return plain(*given, **named)
            finally:
                self.stages[stage] += self.now() - began

        setattr(owner, name, timed)

    def between(self, stage: str, owner, name: str) -> None:
        """The same for a generator: what it takes to get the next value."""
        plain = getattr(owner, name)

        def timed(*given, **named):
            values = iter(plain(*given, **named))
            while True:
                began = self.now()
                try:
                    value = next(values)
                except StopIteration:
                    return
                finally:
                    self.stages[stage] += self.now() - began
                yield value

        setattr(owner, name, timed)

    def whole(self) -> None:
        """A step is over when its row is written; the row before the first is the evaluation's."""
        plain, self.last = track.Track.log, None

        def log(history, row, at):
            plain(history, row, at)
            now = self.now()
            if "lr" in row and self.last is not None:
                self.steps.append({"whole": now - self.last, **self.stages, "audio_s": row["audio_s/s"] * row["step_s"],
                                   "clips": row["clips/s"] * row["step_s"]})  # fmt: skip
            self.stages.clear()
            self.last = now

        track.Track.log = log


def rate_of_products(p: params.Params, device: torch.device, square: int, read) -> float:
    """FLOP/s of a square matrix product in the precision of the run: the best of ten."""
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(session.arithmetic(p), torch.float32)
    x, best = torch.randn(square, square, device=device, dtype=kind), float("inf")
    for _ in range(11):
        if device.type == "cuda":
            torch.cuda.synchronize()
        began = read()
        x @ x
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, read() - began)
    return 2 * square**3 / best


def one(p: params.Params, what: str, square: int, cpu_seconds: bool) -> dict:
    """One run in this process; `what` is speed, shares or arithmetic."""
    engine, read = session.engine(p), time.process_time if cpu_seconds else time.perf_counter
    watch, flops = Watch(read, engine.device, what == "shares"), Flops()
    if what == "shares":
        watch.between("data", train, "loader")
        watch.around("data", train, "to_device")
        watch.between("forward", systems.system_class(p.system), "losses")
        watch.around("backward", Accelerator, "backward")
        watch.around("optimizer", step, "applied")
        watch.around("logging", track.Track, "log")
    if what == "arithmetic":
        plain, counted = train.step, []

        def step_counted(*given):
            before = flops.total
            with flops:
                values = plain(*given)
            counted.append(flops.total - before)
            return values

        train.step = step_counted
    else:
        watch.whole()
    shutil.rmtree(pipeline.train(p).run.folder)
    if what == "arithmetic":
        return {"flop": counted}
    peak = rate_of_products(p, engine.device, square, read)
    return {"steps": watch.steps, "memory_gb": session.memory(engine.device), "peak": peak}


def measured(system: str, o: argparse.Namespace) -> dict:
    """The three runs of a system, and what they come to."""
    found, command = {}, [sys.executable, __file__, o.params, *QUIET, *o.overrides, f"system={system}"]
    rest = [f"--square={o.square}", *(["--cpu-seconds"] if o.cpu_seconds else [])]
    for what in ("speed", "shares", "arithmetic"):
        this = [*command, f"train.steps={o.steps}", f"run=bench-{what}-{time.time_ns()}", "--one", what, *rest]
        said = subprocess.run(this, check=True, stdout=subprocess.PIPE).stdout
        found[what] = json.loads(said.splitlines()[-1])
    warm = o.steps // 3
    speed, shares = found["speed"]["steps"][warm:], found["shares"]["steps"][warm:]
    total = {name: sum(s.get(name, 0.0) for s in speed) for name in ("whole", "clips", "audio_s")}
    waited = sum(s["whole"] for s in shares)
    flop = sum(found["arithmetic"]["flop"][-len(speed) :])
    return {
        "system": system,
        "samples/s": total["clips"] / total["whole"],
        "audio s/s": total["audio_s"] / total["whole"],
        "s a step": total["whole"] / len(speed),
        "GFLOP a step": flop / len(speed) / 1e9,
        "of the peak": flop / total["whole"] / found["speed"]["peak"],
        **{stage: sum(s.get(stage, 0.0) for s in shares) / waited for stage in STAGES},
        "memory GB": found["speed"]["memory_gb"],
        "peak GFLOP/s": found["speed"]["peak"] / 1e9,
    }


def told(name: str, value) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.1%}" if name in (*STAGES, "of the peak") else f"{value:.3g}"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("params", help="a params file, or a language that has one")
    options.add_argument("overrides", nargs="*", metavar="key=value")
    options.add_argument("--systems", default="acoustic,vits,t3,indextts,pocket")
    options.add_argument("--steps", type=int, default=30)
    options.add_argument("--square", type=int, default=2048, help="size of the matrices that stand for the peak")
    options.add_argument(
        "--cpu-seconds", action="store_true", help="of the process, not the wall's: for a busy machine"
    )
    options.add_argument("--json", type=Path)
    options.add_argument("--one", choices=["speed", "shares", "arithmetic"], help=argparse.SUPPRESS)
    o = options.parse_args()
    if o.one:
        print(json.dumps(one(params.load(o.params, o.overrides), o.one, o.square, o.cpu_seconds)))
        return
    rows = [measured(system, o) for system in o.systems.split(",")]
    shown = [{name: told(name, value) for name, value in row.items()} for row in rows]
    widths = {name: max(len(name), *(len(row[name]) for row in shown)) for name in shown[0]}
    for line in ({name: name for name in widths}, *shown):
        print("  ".join(f"{line[name]:>{width}}" for name, width in widths.items()))
    if o.json:
        o.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
