"""Shards read a window ahead: while one window is trained on, threads fetch the next; both are in RAM, no other is."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, count, dropwhile

from ttslib.shards import Shards

READERS = 4  # shards fetched at a time


class Ahead:
    """Has the shards of the current batch in `shards.held`, taking the windows of a stream one after the other."""

    def __init__(self, shards: Shards, stream):
        self.shards, self.pool = shards, ThreadPoolExecutor(READERS, "shards")
        self.left: Iterator[list[int]] = chain.from_iterable(map(stream.windows, count(stream.start.epoch)))
        self.now: dict[int, bytes] = {}
        self.coming: dict[int, Future] | None = None

    def hold(self, needed: set[int]) -> None:
        """Have these shards, which are of one window. Raises `ShardError` for one that cannot be read."""
        if self.coming is None:  # a resumed run: windows before this one are not read
            self.left = dropwhile(lambda window: not needed <= {*window}, self.left)
            self.fetch()
        while not needed <= self.now.keys():
            self.now = self.shards.held = {}  # let go of it before the window after the next is asked for
            self.now = {number: future.result() for number, future in self.coming.items()}
            self.fetch()
        self.shards.held = self.now

    def fetch(self) -> None:
        self.coming = {number: self.pool.submit(self.shards.whole, number) for number in next(self.left)}

    def close(self) -> None:
        self.shards.held = {}
        self.pool.shutdown(wait=False, cancel_futures=True)
