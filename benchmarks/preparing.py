"""What features cost a start and an epoch: over processes, with the table of lengths, in shards against a file each.

    python benchmarks/preparing.py --clips 4000 --seconds 3

Synthetic recordings (noise, `--files` different ones under so many clips), the acoustic system. `cpu` is processor time of
all processes that took part; on a shared machine compare ratios within one run.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from many_clips import corpus

from ttslib import dataset, encoding, lengths, manifest, params, sharded, shards, speech
from ttslib.features import Features
from ttslib.systems import system_class

TINY = 1e-6  # GB of RAM for features: nothing is preloaded


def cpu() -> float:
    """Seconds of this process and of those it waited for."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def timed(what: str, work: Callable, count: int, size: float = 0.0) -> tuple[object, float]:
    wall, began = time.perf_counter(), cpu()
    made = work()
    wall, used = time.perf_counter() - wall, cpu() - began
    speed = f"{size / 1e6 / wall:9.1f}" if size else 9 * " "
    print(f"{what:44} {wall:8.2f} {used:8.2f} {1000 * used / count:9.3f} {count / wall:9.0f} {speed}", flush=True)
    return made, used


def evict(files: list[Path]) -> None:
    """Have the page cache forget these files, and no others."""
    for file in files:
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def work(folder: Path, p: params.Params):
    made = manifest.read(folder)
    system = system_class(p.system).fresh(p, made.split("train")[:1])
    return made, system, speech.Reader(replace(made, rows=(), dropped=()), system.rate, {})


def encoded(folder: Path, p: params.Params, cache: str, ram_gb: float = TINY, **named) -> Features:
    made, system, read = work(folder, p)
    return encoding.encode_all(system, made.split("train"), read, folder / cache, ram_gb, read.stamp, **named)


def index(count: int) -> None:
    """Read an index of so many synthetic clips, and plan and begin an epoch with it; what all of it takes in RAM."""
    import psutil

    numbers = np.arange(count)
    told = [{"name": f"train-{n:05d}.tar", "split": "train", "bytes": 10**8} for n in range(-(-count // 1000))]
    columns = shards.Columns([f"clip{n}" for n in numbers], [f"{n:024x}" for n in numbers], 100 + numbers % 700,
                             numbers, numbers // 1000, numbers, numbers, numbers)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        shards.write_index(shards.Place(folder), {"shards": told}, columns)
        size = (Path(folder) / shards.INDEX).stat().st_size
        before = psutil.Process().memory_info().rss
        found, _ = timed("read the index", lambda: shards.read(folder), count)
    clips, _ = timed(
        "its clips, files, lengths",
        lambda: Features(
            found.columns.ids, [shards.Member(found, i) for i in range(count)], found.columns.frames.tolist()
        ),
        count,
    )
    stream = dataset.Stream(clips.lengths, 1800, 1, shards=clips.shards, window=8)
    timed("plan of an epoch, window by window", lambda: stream.epoch(0), count)
    grown = psutil.Process().memory_info().rss - before
    print(f"{count} clips: {size / 1e6:.0f} MB on disk, {grown / 1e6:.0f} MB of RAM with the plan")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--clips", type=int, default=4000)
    options.add_argument("--files", type=int, default=200)
    options.add_argument("--seconds", type=float, default=3.0, help="mean length of a clip")
    options.add_argument("--shard-mb", type=float, default=16.0)
    options.add_argument("--frames", type=int, default=6000, help="frames of a batch")
    options.add_argument("--index", type=int, help="only the index of so many clips")
    options.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    options.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    o = options.parse_args()
    p = params.load("default", {"system": "acoustic", "lang": "en", "device": "cpu"})
    torch.set_num_threads(1)
    if o.index:
        index(o.index)
        return
    if o.rank is not None:
        torch.distributed.init_process_group("gloo", rank=o.rank, world_size=2, init_method=f"file://{o.folder}/meet")
        encoded(o.folder, p, "ranks", rank=o.rank, processes=2)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        manifest.write(folder, corpus(folder, o.clips, o.files, o.seconds, 16000), [])
        print(f"{'':44} {'s':>8} {'cpu s':>8} {'cpu ms':>9} {'clips/s':>9} {'MB/s':>9}")
        alone, _ = timed("encode, one process", lambda: encoded(folder, p, "alone"), o.clips)
        timed("encode, 2 worker processes", lambda: encoded(folder, p, "cores", ram_gb=1.0, cores=2), o.clips)
        command = [sys.executable, __file__, "--folder", str(folder), "--rank"]
        timed("encode, 2 processes of a launch", lambda: [one.wait() for one in [
            subprocess.Popen([*command, str(rank)], env=os.environ) for rank in (0, 1)]], o.clips)  # fmt: skip
        size = sum(file.stat().st_size for file in alone.files)
        table = lengths.beside(alone.files[0].parent)
        _, after = timed("start with the table of lengths", lambda: encoded(folder, p, "alone"), o.clips)
        table.unlink()
        again, before = timed("start that opens every feature", lambda: encoded(folder, p, "alone"), o.clips)
        print(f"{'':44} the table takes {table.stat().st_size / o.clips:.0f} bytes a clip; ratio {after / before:.3f}")
        made, system, _ = work(folder, p)
        url = f"file://{folder}/shards"
        timed("write shards", lambda: sharded.write(system, made, {"train": again, "val": again}, url, o.shard_mb, 1),
              2 * o.clips, 2 * size)  # fmt: skip
        q = p.model_copy(update={"data": p.data.model_copy(update={"shards": url, "ram_gb": 8.0})})
        packed, _ = timed("start with shards (index alone)", lambda: sharded.opened(system, made, "train", q), o.clips)
        files = dataset.Stream(again.lengths, o.frames, 1)
        ours = dataset.Stream(packed.lengths, o.frames, 1, shards=packed.shards, window=4)
        places = {"files": [*alone.files], "shards": [*(folder / "shards").glob("*.tar")]}
        for what, some, stream in (("files", again, files), ("shards", packed, ours)):
            count = len(stream.epoch(0))

            def epoch(some=some, stream=stream, count=count) -> None:
                batches = dataset.loader(some, stream, 0, pin=False)
                for _ in range(count):
                    next(batches)

            evict(places[what])
            timed(f"an epoch of batches from {what}, from disk", epoch, o.clips, size)
            timed(f"an epoch of batches from {what}, page cache", epoch, o.clips, size)
        print(json.dumps({"clips": o.clips, "MB": size / 1e6, "shards": len({*packed.shards})}))
        print(f"index: {(folder / 'shards' / shards.INDEX).stat().st_size / (2 * o.clips):.0f} bytes a clip")


if __name__ == "__main__":
    main()
