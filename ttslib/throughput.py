"""Every system's training in one table: speed, share of this machine's own peak, where the time goes, memory.

    python -m ttslib bench qaa tracking=disabled --steps 30
    python -m ttslib bench fr device=cuda precision=bf16 t3.preset=multilingual --systems t3 --square 8192

It is the loop itself that runs (`pipeline.train`), in a process of its own for every system, three times over the same
batches: once as it is, for the speed; once with a clock that waits for the device, for the shares; once counting arithmetic.
The first third of the steps warms up and is left out. `of the peak` is against a square matrix product of the same precision
and threads, in the same process. Validation and checkpoints are no part of a step and are not counted. On a busy machine
take --cpu-seconds with threads=1: the process's own time.
"""

import json
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import date

import torch
from accelerate import Accelerator
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ttslib import params, pipeline, progress, provenance, session, step, systems, track, train

STAGES = ("data", "forward", "backward", "optimizer", "logging")
QUIET = [
    "train.evaluate_every=1000000",
    "train.checkpoint_every=1000000",
    "train.log_every=1",
    "evaluate.recogniser=null",
]


class BenchError(RuntimeError):
    """A system that did not train here; the message has its last words."""


OWN = {"style": "style_fast"}  # learns from pairs that it makes, not from a corpus of speech


class Flops(TorchDispatchMode):
    """Counts the arithmetic of what runs inside; `FlopCounterMode` does not bear `autograd.grad`."""

    total = 0

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        out = op(*args, **(kwargs or {}))
        if count := flop_registry.get(op._overloadpacket):
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out


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
    return {"steps": watch.steps, "memory_gb": progress.memory(engine.device), "peak": peak}


def measured(system: str, given: str, overrides: Sequence[str], steps: int, square: int, cpu_seconds: bool) -> dict:
    """The three runs of a system, each in a process of its own, and what they come to.

    Raises `BenchError` with what a run said last where it did not come to its end.
    """
    if system in OWN:
        given, overrides = OWN[system], [one for one in overrides if not one.startswith("corpus.")]
    found, settings = {}, [given, *QUIET, *overrides, f"system={system}", f"train.steps={steps}"]
    for what in ("speed", "shares", "arithmetic"):
        told = {"settings": [*settings, f"run=bench-{what}-{time.time_ns()}"]}
        told |= {"what": what, "square": square, "cpu_seconds": cpu_seconds}
        this = [sys.executable, "-m", "ttslib.throughput", json.dumps(told)]
        run = subprocess.run(this, capture_output=True, text=True)
        if run.returncode:
            last = (run.stderr.strip().splitlines() or ["nothing was said"])[-1]
            raise BenchError(
                f"bench: {system} did not train: {last.removeprefix('error: ')}; see that `train` works first"
            )
        found[what] = json.loads(run.stdout.splitlines()[-1])
    return summary(system, found, steps // 3)


def summary(system: str, found: dict, warm: int) -> dict:
    """The row of a system from its three runs, without their first `warm` steps."""
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


def machine(p: params.Params) -> str:
    """What the numbers belong to: device, its instructions, threads, precision, versions, commit, date."""
    versions, engine = provenance.describe(), session.engine(p)
    cuda = engine.device.type == "cuda"
    name = torch.cuda.get_device_name(engine.device) if cuda else provenance.processor()
    kind = "" if cuda else f", {torch.backends.cpu.get_cpu_capability()}"
    packages = ", ".join(f"{name} {versions[name]}" for name in ("torch", "transformers", "accelerate"))
    threads = f"{torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"
    return f"{date.today()}: {name}{kind}, {threads}, {session.arithmetic(p)}; {packages}; {versions['git'][:9]}"


def told(name: str, value) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.1%}" if name in (*STAGES, "of the peak") else f"{value:.3g}"


def table(rows: list[dict]) -> str:
    """As Markdown."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([told(*item) for item in row.items()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    try:
        p = params.load(asked["settings"][0], asked["settings"][1:])
    except params.ParamsError as error:
        sys.exit(f"error: {error}")
    print(json.dumps(one(p, asked["what"], asked["square"], asked["cpu_seconds"])))
