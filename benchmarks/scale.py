"""What an index of a million clips costs: time and memory of each stage from the doctor's rows to the first batch.

    python benchmarks/scale.py --rows 10000 100000 1000000
    python benchmarks/scale.py --rows 1000000 --against <another checkout> --json scale.json

Rows are synthetic and without audio: 1 to 15 s (log-normal, 5 s on average), four languages, a speaker per hundred clips.
Two fresh processes a size, as in use: one assigns splits and writes, one reads and plans. A stage's time is processor
time, `peak` the highest resident memory within it, `held` what is resident after it, both less what Python and the package
take before. `--against` runs each size with another checkout's package too, turn by turn, and prints ratios. Linux only.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
FRAMES, RATE = 62.5, 24000  # mel frames a second of the systems here; Hz
BUDGET = 1800  # frames of a micro-batch, as in params/default.yaml
SPOKEN = 14  # characters a second
LETTERS = {"en": "etaoinshrdlucmfw", "fr": "esaitnruloédcmpà", "ku": "aeinrdkbşêîûxwtl", "am": "ሰላምነገርቤትአበባውሃየደስ"}
PREPARING = ["splits", "write"]
STARTING = ["read", "digest", "index", "features", "plan", "resume", "log"]


def made(count: int) -> list:
    """Rows as the doctor hands them over."""
    from ttslib.manifest import Row

    rng = np.random.default_rng(0)
    seconds = np.clip(rng.lognormal(np.log(4.4), 0.5, count), 1, 15).round(3).tolist()
    langs, rows = [*LETTERS], []
    lexicon = {lang: words(letters, rng) for lang, letters in LETTERS.items()}
    for i, length in enumerate(seconds):
        lang = langs[i % len(langs)]
        picked = rng.integers(len(lexicon[lang]), size=max(1, round(length * SPOKEN / 6)))
        text = " ".join([lexicon[lang][k] for k in picked.tolist()])
        fields = {"lang": lang, "speaker": f"{lang}-{i // 400}", "source": "custom", "licence": "CC-BY-4.0"}
        span = {"start": 0.12, "end": round(0.12 + length, 3), "rate": RATE, "sha": rng.bytes(20).hex()}
        marked = (f"noise: quiet moments are only {i % 12} dB below loud ones",) if i % 20 == 0 else ()
        said = f"{text[0].upper()}{text[1:]}."
        file = f"/corpora/speech/clips/{i // 1000:04d}/clip-{i:08d}.flac"
        rows.append(Row(f"clip-{i:08d}", file, text, said, **fields, **span, suspects=marked))
    return rows


def words(letters: str, rng: np.random.Generator) -> list[str]:
    """2,000 words of 2 to 8 letters."""
    return ["".join(rng.choice([*letters], size)) for size in rng.integers(2, 9, 2000)]


def memory(name: str) -> float:
    """`VmRSS` or `VmHWM` of this process (MB)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


class Stages:
    """The cost of each stage, in order."""

    def __init__(self):
        gc.collect()
        self.base, self.told = memory("VmRSS"), {}

    def __call__(self, name: str, job: Callable):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the high-water mark starts anew
        began = time.process_time()
        result = job()
        spent = time.process_time() - began
        peak = memory("VmHWM") - self.base
        gc.collect()
        self.told[name] = {"s": spent, "peak": peak, "held": memory("VmRSS") - self.base}
        return result


def preparing(folder: Path, count: int) -> dict:
    from ttslib import manifest, splits

    stages = Stages()
    rows = stages("rows", lambda: made(count))
    rows = stages("splits", lambda: splits.assign(rows, 0.01, 0.01, 1))
    stages("write", lambda: manifest.write(folder, rows, []))
    return stages.told


def starting(folder: Path, count: int) -> dict:
    from ttslib import dataset, manifest

    try:
        from ttslib.features import row_key
    except ModuleNotFoundError:  # the commit before may be older than that module
        from ttslib.dataset import row_key

    stages = Stages()
    found = stages("read", lambda: manifest.read(folder))
    stages("digest", lambda: found.digest)
    cache = folder / "features" / "0123456789abcdef"

    def indexed() -> dataset.Features:
        """What `encode_all` leaves when `data.ram_gb` is used up: names, files and lengths."""
        features = dataset.Features([], [], [])
        for row in found.split("train"):
            features.ids.append(row.id)
            features.files.append(cache / f"{row_key(row)}.safetensors")
            features.lengths.append(round(row.seconds * FRAMES))
        return features

    clips = stages("index", indexed)
    stages("features", lambda: clips.digest)
    stream = dataset.Stream(clips.lengths, BUDGET, seed=1)
    batches = stages("plan", lambda: len(stream.epoch(0)))
    half = dataset.Position(0, batches // 2)
    later = dataset.Stream(clips.lengths, BUDGET, seed=1, start=half)
    place, _ = stages("resume", lambda: next(iter(later)))
    stages("log", lambda: later.left(place))
    size = sum(file.stat().st_size for file in folder.glob("manifest.jsonl"))
    return stages.told | {"about": {"bytes a row": size / count, "batches": batches, "rows": len(found.rows)}}


def alone(checkout: Path, folder: Path, count: int) -> dict:
    """One size with one checkout's package, in processes of its own."""
    told = {}
    for job in ("preparing", "starting"):
        command = [sys.executable, __file__, "--job", job, "--folder", str(folder), "--rows", str(count)]
        env = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        said = subprocess.run(command, env=env, cwd=checkout, check=True, stdout=subprocess.PIPE, text=True).stdout
        told |= json.loads(said.splitlines()[-1])
    return told


def table(found: dict, before: dict | None) -> str:
    """A line a stage; with `before`, also what it was there, and now as a ratio to that (time, peak)."""
    head = f"{'':10} {'s':>8} {'peak MB':>8} {'held MB':>8}"
    lines = [head + f"{'s before':>12} {'peak MB':>8} {'ratios':>14}" if before else head]
    for name in (*PREPARING, *STARTING):
        now = found[name]
        line = f"{name:10} {now['s']:8.2f} {now['peak']:8.0f} {now['held']:8.0f}"
        if before:
            old = before[name]
            ratios = f"x{now['s'] / max(old['s'], 1e-3):.2f} x{now['peak'] / max(old['peak'], 1.0):.2f}"
            line += f"{old['s']:12.2f} {old['peak']:8.0f} {ratios:>14}"
        lines.append(line)
    return "\n".join(lines)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    options.add_argument("--against", type=Path, help="another checkout of this repository, measured beside this one")
    options.add_argument("--json", type=Path, help="write the numbers here as well")
    options.add_argument("--job", choices=["preparing", "starting"], help=argparse.SUPPRESS)
    options.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    o = options.parse_args()
    if o.job:
        print(json.dumps({"preparing": preparing, "starting": starting}[o.job](o.folder, *o.rows)))
        return
    told = {}
    for count in o.rows:
        with tempfile.TemporaryDirectory() as folder:
            before = alone(o.against.resolve(), Path(folder), count) if o.against else None
            found = alone(ROOT, Path(folder), count)
        told[count] = {"now": found} | ({"before": before} if before else {})
        about = found["about"]
        print(f"\n{count:,} rows, {about['bytes a row']:.0f} bytes each, {about['batches']:,} batches an epoch")
        print(table(found, before), flush=True)
        if o.json:
            o.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
