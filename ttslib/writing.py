"""Checkpoints written while training goes on: one at a time, in a thread of its own.

What is written was copied off the device before, which a checkpoint on a GPU needs anyway. On a CPU that copy takes as long
as the writing (docs/lab-log.md, 2026-11-22), so that there is nothing to gain.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Writer:
    """Does jobs at once, or `behind`: each after the one before it. A job's error is raised by whichever call comes next."""

    def __init__(self, behind: bool):
        self.pool = ThreadPoolExecutor(1, "writer") if behind else None
        self.pending: Future | None = None

    @property
    def behind(self) -> bool:
        return self.pool is not None

    def do(self, job: Callable[[], object]) -> None:
        self.wait()
        if self.pool is None:
            job()
        else:
            self.pending = self.pool.submit(job)

    def check(self) -> None:
        """Raise what a finished job raised; never waits."""
        if self.pending is not None and self.pending.done():
            self.wait()

    def wait(self) -> None:
        """Until the last job is done."""
        pending, self.pending = self.pending, None
        if pending is not None:
            pending.result()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_) -> None:
        try:
            self.wait()
        finally:
            if self.pool is not None:
                self.pool.shutdown()
