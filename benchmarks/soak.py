"""Does a long run keep its memory, its handles and its disk? Trains the toy language and watches from outside.

    python benchmarks/soak.py --minutes 30                                # acoustic
    python benchmarks/soak.py --minutes 4 --systems t3,vits train.ema=0.99

A short run goes first: it makes what all runs share (corpus, features, recogniser) and tells the pace, from which follows
how many steps lie between two evaluations, each with speech that is read back, W&B rows and a checkpoint. Prints medians
of every five minutes and a verdict on each promise; all samples go into a JSON file. Exit code 1 when one is broken.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import psutil
from holdings import HANDLES, Sample, of_disk, of_processes

ROOT = Path(__file__).resolve().parents[1]
KEEP, FLAT = 2, 0.02  # checkpoints; by how much memory may differ
BETWEEN, WINDOW = 2.0, 300  # seconds between samples, and of a line of the table
SHORT = 60  # steps of the short run
SET = ["device=cpu", "tracking=offline", "data.workers=2", "train.log_every=10"]
SET += ["evaluate.small=2", "evaluate.recogniser_steps=150", f"train.keep={KEEP}"]
SHOWN = ["memory", "main RSS", "main memory", "workers memory", "W&B memory"]
SHOWN += [*HANDLES, "W&B threads", "checkpoints", "other files"]


def verdict(samples: list[Sample], keep: int = KEEP) -> dict[str, tuple[bool, str]]:
    """Each promise: is it kept, and by how much. `samples` are those after the first evaluation.

    Memory: medians of the middle and the last third. The first is warm-up: allocators grow until they have met the largest
    batch, kernels are cached for each new shape, workers copy the pages they touch. What still grows in the last third may
    grow for ever. Handles: what three samples in four have at least, in the first and the last third; batches on their way
    from a worker come and go above that, evaluations a little below.
    """
    third = len(samples) // 3
    thirds = [samples[:third], samples[third : 2 * third], samples[2 * third :]]
    told = {}
    for name in ("memory", "main RSS"):
        _, middle, last = (statistics.median(s[name] for s in part) for part in thirds)
        told[name] = abs(last / middle - 1) <= FLAT, f"{middle:.1f} -> {last:.1f} MB ({last / middle - 1:+.2%})"
    for name in (*HANDLES, "other files"):
        first, middle, last = (sorted(s[name] for s in part)[len(part) // 4] for part in thirds)
        told[name] = last <= first, f"{first:g} -> {middle:g} -> {last:g}"
    allowed = keep + 2  # the best one and the one being written are beside those that are kept
    most, largest = (max(s[name] for s in samples) for name in ("checkpoints", "checkpoint"))
    whole = statistics.median(s["checkpoint"] / s["checkpoints"] for s in samples)
    kept = most <= allowed and largest <= 1.05 * allowed * whole
    told["checkpoints"] = kept, f"at most {most:g} of {allowed}, {largest / 2**20:.2f} MB"
    return told


def start(outputs: Path, name: str, *settings: str) -> subprocess.Popen:
    """`python -m ttslib train qaa run=<name>`, whose words go to <name>.txt; temporary files count as its own."""
    (outputs / "tmp").mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "ttslib", "train", "qaa", f"run={name}", *SET, *settings]
    env = os.environ | {"TTSLIB_OUTPUTS": str(outputs), "TMPDIR": str(outputs / "tmp")}
    with (outputs.parent / f"{name}.txt").open("w") as words:
        return subprocess.Popen(command, cwd=ROOT, env=env, stdout=words, stderr=words)


def rows(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


def soak(minutes: float, seconds: float, settings: list[str], home: Path) -> dict:
    """Facts and samples of one run in `home` with an evaluation about every so many seconds."""
    outputs, log = home.parents[1], home.parents[2] / "pace.txt"
    if start(outputs, "pace", *settings, f"train.steps={SHORT}", f"train.evaluate_every={SHORT}").wait():
        sys.exit(log.read_text()[-2000:])
    pace = statistics.median(row["step_s"] for row in rows(home / "pace") if "step_s" in row)
    every, run = max(1, round(seconds / pace)), home / "soak"
    often = [f"train.evaluate_every={every}", f"train.checkpoint_every={every}"]
    child, samples, began = start(outputs, "soak", *settings, *often, f"minutes={minutes}"), [], time.monotonic()
    while child.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):  # it ends just now
            held = of_processes(psutil.Process(child.pid)) | of_disk(run, outputs)
            samples.append({"seconds": time.monotonic() - began} | held)
        time.sleep(BETWEEN)
    if child.returncode:
        sys.exit((outputs.parent / "soak.txt").read_text()[-2000:])
    logged, last = rows(run), of_disk(run, outputs)
    if last["evaluations"] < 5:
        sys.exit(f"{settings[0]}: {last['evaluations']} evaluations in {minutes:g} minutes tell nothing; give it more")
    heard = [one["elapsed_s"] for one, after in pairwise(logged) if "elapsed_s" in one and "val/total" in after]
    counts = {"history": len(logged), "W&B rows": len(logged)}
    counts |= {"samples": last["evaluations"], "W&B media": last["evaluations"]}
    return {
        "settings": settings, "evaluate_every": every, "steps": logged[-1]["step"], "rows": len(logged),
        "evaluations": last["evaluations"], "seconds between them": statistics.median(b - a for a, b in pairwise(heard)),
        "bytes a row or evaluation": {name: round(last[name] / n) for name, n in counts.items()}, "samples": samples,
    }  # fmt: skip


def table(samples: list[Sample]) -> None:
    print(f"{'minutes':>8} " + " ".join(f"{name:>14}" for name in SHOWN))
    for window in sorted({s["seconds"] // WINDOW for s in samples}):
        part = [s for s in samples if s["seconds"] // WINDOW == window]
        medians = [statistics.median(s[name] for s in part) for name in SHOWN]
        print(f"{window * WINDOW / 60:8g} " + " ".join(f"{value:14.1f}" for value in medians))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("given", nargs="*", help="key=value, e.g. train.ema=0.99")
    options.add_argument("--systems", default="acoustic")
    options.add_argument("--minutes", type=float, default=30)
    options.add_argument("--seconds", type=float, default=20, help="between evaluations, at the pace of the short run")
    options.add_argument("--json", type=Path, default=Path("soak.json"), help="where all samples go")
    o = options.parse_args()
    told, broken = {}, []
    for system in o.systems.split(","):
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder) / "outputs" / "qaa" / system
            found = soak(o.minutes, o.seconds, [f"system={system}", *o.given], home)
        settled = [s for s in found["samples"] if s["evaluations"] > 1 and "workers RSS" in s]
        found["verdict"], told[system] = verdict(settled), found
        o.json.write_text(json.dumps(told, indent=1))
        print(f"\n{system}: {json.dumps({k: v for k, v in found.items() if k not in ('samples', 'verdict')})}")
        table(settled)
        for name, (kept, why) in found["verdict"].items():
            print(f"{'kept' if kept else 'BROKEN':8} {name:14} {why}", flush=True)
        broken += [f"{system} {name}" for name, (kept, _) in found["verdict"].items() if not kept]
    sys.exit(f"broken: {', '.join(broken)}" if broken else 0)


if __name__ == "__main__":
    main()
