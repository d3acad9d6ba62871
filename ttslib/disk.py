"""A full disk in words: what could not be written, what is whole, and what to do. And what kills leave on it."""

import errno
import functools
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from ttslib import checkpoint

FULL = {errno.ENOSPC: "no space left on the disk", errno.EDQUOT: "the disk quota is used up"}

STALE = 3600.0  # seconds after which what is half-written is nobody's: the longest writing takes some of them


class DiskError(OSError):
    """Nothing more can be written; the message says where, and which checkpoint is whole."""


def reason(error: BaseException) -> str | None:
    """Why nothing more can be written, None where an error is about something else. Safetensors tells numbers in words."""
    told = re.search(r"\(os error (\d+)\)", str(error)) if isinstance(error, SafetensorError) else None
    return FULL.get(int(told[1]) if told else getattr(error, "errno", None))


def told_when_full(fit: Callable) -> Callable:
    """`fit(system, train, val, p, run, ...)`, raising `DiskError` instead of what the many writers raise on a full disk."""

    @functools.wraps(fit)
    def trained(system, train, val, p, run, *rest, **named):
        try:
            return fit(system, train, val, p, run, *rest, **named)
        except (OSError, SafetensorError) as error:
            if not (why := reason(error)):
                raise
            raise DiskError(f"{run.folder}: {why} while training; {left(run.checkpoints)}") from error

    return trained


def left(checkpoints: Path) -> str:
    """What a full disk has left of a run, and how it goes on."""
    try:
        return f"{checkpoint.newest(checkpoints)} is whole: free some, then go on with resume=true"
    except checkpoint.CheckpointError:
        return "there is no whole checkpoint yet: free some, then start again"


def sweep(folder: Path, pattern: str) -> None:
    """Remove what killed processes left half-written in `folder`; not what may belong to a living one."""
    for path in folder.glob(pattern):
        try:
            if time.time() - path.lstat().st_mtime < STALE:
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        except FileNotFoundError:
            continue  # its process lives, or another one sweeps too
