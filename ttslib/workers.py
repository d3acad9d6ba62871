"""Processes of this machine that share a job, gone with whoever started them."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait

SPAWN = multiprocessing.get_context("spawn")  # a fork of a process with torch's or a notebook's threads may hang
Died = BrokenProcessPool
"""raised where a result is asked for of a worker that is no more"""


@contextmanager
def pool(count: int, begin: Callable | None = None, *told) -> Iterator[ProcessPoolExecutor]:
    """`count` processes, each of which begins with `begin(*told)`; what they have not begun at the end is given up."""
    made = ProcessPoolExecutor(count, mp_context=SPAWN, initializer=enter, initargs=(begin, told))
    try:
        yield made
    finally:
        made.shutdown(cancel_futures=True)


def enter(begin: Callable | None, told: tuple) -> None:
    leave_with_parent()
    if begin is not None:
        begin(*told)


def leave_with_parent() -> None:
    """End this worker process when the one that started it is gone: one that is killed cannot tell its workers."""
    threading.Thread(target=leave, daemon=True).start()


def leave() -> None:
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
