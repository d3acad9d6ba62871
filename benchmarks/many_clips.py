"""What a large corpus costs before its first step: index, memory statement, preloading, plan, first batch.

    python benchmarks/many_clips.py --clips 42000 --seconds 4 --ram-gb 8

Makes a synthetic corpus once (noise, `--files` different waveforms under so many clips), then starts twice: cold, nothing
encoded yet, and warm, from the cache on disk as every later run does. `RAM` is what the process grew by, against what was
foretold.
"""

import argparse
import contextlib
import functools
import io
import re
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil
import soundfile
import torch

from ttslib import audio, dataset, encoding, manifest, params
from ttslib.manifest import Row
from ttslib.systems import system_class

TEXT = "she reads the old letter again and again until the evening comes"


def corpus(folder: Path, clips: int, files: int, seconds: float, rate: int) -> list[Row]:
    """Rows of `clips` clips over `files` waveforms, a third to five thirds of `seconds` long."""
    rng, rows = np.random.default_rng(0), []
    lengths = rng.uniform(seconds / 3, 5 * seconds / 3, files)
    for i, length in enumerate(lengths):
        wav = 0.1 * rng.standard_normal(int(rate * length))
        soundfile.write(folder / f"{i}.wav", wav.astype(np.float32), rate, subtype="PCM_16")
    for i in range(clips):
        end, sha = float(lengths[i % files]), f"{i:040x}"
        common = {"text": TEXT, "raw": TEXT, "lang": "en", "speaker": "one", "source": "noise", "licence": "CC0-1.0"}
        rows.append(Row(id=f"clip{i}", audio=f"{i % files}.wav", start=0.0, end=end, rate=rate, sha=sha, **common))
    return rows


def waveform(made: manifest.Manifest, row: Row) -> torch.Tensor:
    return torch.from_numpy(audio.load(made.audio(row))[0])


def start(folder: Path, p: params.Params, ram_gb: float) -> dict[str, float]:
    """One start of training up to its first batch, in a process of its own, so that its memory is its own."""
    torch.set_num_threads(1)
    clock = [time.perf_counter()]
    made = manifest.read(folder)
    clock.append(time.perf_counter())
    system = system_class(p.system).fresh(p, made.split("train")[:1])
    before, said = psutil.Process().memory_info().rss, io.StringIO()
    with contextlib.redirect_stderr(said):
        read = functools.partial(waveform, made)
        found = encoding.encode_all(system, made.split("train"), read, folder / "cache", ram_gb)
    clock.append(time.perf_counter())
    grown = (psutil.Process().memory_info().rss - before) / 2**30
    next(dataset.loader(found, dataset.Stream(found.lengths, p.data.frames, seed=1), 0, pin=False))
    clock.append(time.perf_counter())
    steps = dict(zip(("index (s)", "preload (s)", "plan, first batch (s)"), np.diff(clock), strict=True))
    foretold = float(re.search(r"([\d.]+) GB of RAM", said.getvalue())[1])
    return steps | {"all (s)": clock[-1] - clock[0], "RAM (GB)": grown, "foretold (GB)": foretold}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--system", default="vits")
    options.add_argument("--clips", type=int, default=42000)
    options.add_argument("--files", type=int, default=500)
    options.add_argument("--seconds", type=float, default=4.0, help="mean length of a clip")
    options.add_argument("--ram-gb", type=float, default=8.0)
    o = options.parse_args()
    p = params.load("default", {"system": o.system, "lang": "en", f"{o.system}.preset": "unit"})
    with tempfile.TemporaryDirectory() as folder:
        rows = corpus(Path(folder), o.clips, o.files, o.seconds, 16000)
        manifest.write(folder, rows, [])
        table = []
        for _ in range(2):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
                table.append(alone.submit(start, Path(folder), p, o.ram_gb).result())
    print(f"{'':24} {'cold':>9} {'warm':>9}")
    for name in table[0]:
        print(f"{name:24} " + " ".join(f"{found[name]:9.2f}" for found in table))


if __name__ == "__main__":
    main()
