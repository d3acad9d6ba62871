"""A job dealt out to the processes of one launch: each does its part, then all know what came of every part."""

import functools
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import torch.distributed as dist

from ttslib.features import DatasetError

T = TypeVar("T")
PATIENCE = timedelta(days=1)  # for the slowest process: the engine's own limit is minutes, and a corpus takes hours


def parts(work: Callable[[], T], processes: int, tell: bool = True) -> list[T | None]:
    """What `work()` gave in every process, in their order; all of them have to call this, and each waits for the others.

    Where `tell` is false a process learns of the others only that they are done.

    What `work` raises is raised where it happened. Raises `DatasetError` in the others, and in all that are left where one
    has died.
    """
    if processes == 1:
        return [work()]
    made, done = None, False
    line()  # now, while all are alive: to connect with one that has died takes all of `PATIENCE`
    try:
        made = work()
        done = True
    finally:  # also where it failed: the others would wait for ever
        told = everyone((done, made if tell else None), processes)
    if failed := [rank for rank, (done, _) in enumerate(told) if not done]:
        raise DatasetError(
            f"process {', '.join(map(str, failed))} of {processes} could not do its part of the preparation, and said why"
            "; what is done is kept: start again when that is mended"
        )
    return [made if rank == dist.get_rank() else other for rank, (_, other) in enumerate(told)]


def everyone(value, processes: int) -> list:
    """The value of every process."""
    told = [None] * processes
    try:
        dist.all_gather_object(told, value, group=line())
    except RuntimeError as error:  # of the connection: what cannot be pickled is another error
        raise DatasetError(
            f"another process of this launch died in the preparation ({first_line(error)}); what is done is kept"
            ": start again"
        ) from None
    return told


@functools.cache
def line() -> dist.ProcessGroup:
    """A connection of its own, over the CPU whatever computes, that waits for hours."""
    return dist.new_group(backend="gloo", timeout=PATIENCE)


def first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
