"""What a training run holds, seen from outside: memory, handles and threads of its processes, and its files on disk."""

import contextlib
import re
from pathlib import Path

import psutil

HANDLES = ("descriptors", "threads", "mapped files")
Sample = dict[str, float]


def of_process(process: psutil.Process) -> Sample:
    """Of one process. `memory` (MB) are its anonymous and shared pages, its share of those it has in common with others of
    the run; pages of files, which any program may have in common with it, are in `RSS` only."""
    rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    kb = {name: int(value) for name, value in re.findall(r"(\w+): +(\d+) kB", rollup)}
    with Path(f"/proc/{process.pid}/maps").open() as maps:
        mapped = sum("/" in line for line in maps)
    memory = {"RSS": kb["Rss"] / 1024, "memory": (kb["Pss_Anon"] + kb["Pss_Shmem"]) / 1024}
    return memory | dict(zip(HANDLES, (process.num_fds(), process.num_threads(), mapped), strict=True))


def of_processes(main: psutil.Process) -> Sample:
    """Of a run's main process, its loader workers and W&B's processes: each kind, and all (threads: without W&B's)."""
    found: Sample = {}
    for process in (main, *main.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            kind = "main" if process == main else "workers" if "python" in Path(process.exe()).name else "W&B"
            for name, value in of_process(process).items():
                found[f"{kind} {name}"] = found.get(f"{kind} {name}", 0) + value
    totals = {name: sum(v for key, v in found.items() if key.endswith(f" {name}")) for name in ("memory", *HANDLES)}
    totals["threads"] -= found.get("W&B threads", 0)  # Go starts and parks some as it likes
    return found | totals


def of_disk(run: Path, outputs: Path) -> Sample:
    """Bytes of the run's checkpoints and of what grows with it; how many other files there are, litter included."""
    found = dict.fromkeys(("checkpoint", "history", "samples", "W&B rows", "W&B media", "other files"), 0)
    kinds = {"checkpoints": "checkpoint", "history.jsonl": "history", "samples": "samples", "wandb": "W&B rows"}
    for file in outputs.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # deleted in between
            if file.is_symlink() or not file.is_file():
                continue
            inside = file.relative_to(run).parts if file.is_relative_to(run) else ("elsewhere",)
            kind = "W&B media" if "media" in inside else kinds.get(inside[0], "other files")
            found[kind] += file.stat().st_size if kind != "other files" else 1
    names = [path.name for path in run.glob("checkpoints/*") if not path.is_symlink()]
    return found | {"checkpoints": len(names), "evaluations": len([*run.glob("samples/step_*")])}
