"""Features -> padded batches by a frames budget; order = f(seed, epoch), and it goes on from any position."""

import math
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader

from ttslib.features import BadClip, DatasetError, Example, Features
from ttslib.windows import Ahead

JITTER = 0.03  # of a length: 0.15 gives clips other companions in every epoch, and pads three times as much
ORDER = 2  # the version of `plan`: a run goes on only in the order in which it began
T = TypeVar("T")
END = object()

__all__ = [
    "BadClip",
    "DatasetError",
    "Example",
    "Features",
    "Indices",
    "Position",
    "Stream",
    "chosen",
    "collate",
    "loader",
    "plan",
    "to_device",
]  # fmt: skip


def plan(lengths: Sequence[int], budget: int, seed: int, epoch: int) -> list[list[int]]:
    """The batches of one epoch: every index once, similar lengths together, batch order shuffled.

    A batch of `k` clips costs k x its longest, padding included, and stays within `budget` frames; a clip longer than the
    budget is a batch of its own. The same (lengths, budget, seed, epoch) always gives the same plan.
    """
    rng = np.random.default_rng([seed, epoch])
    jitter = np.asarray(lengths) * rng.uniform(1 - JITTER, 1 + JITTER, len(lengths))
    order = np.argsort(jitter, kind="stable")
    begins, longest = [0], 0
    for at, length in enumerate(np.asarray(lengths)[order].tolist()):
        if length > longest:
            longest = length
        if at > begins[-1] and longest * (at + 1 - begins[-1]) > budget:
            begins.append(at)
            longest = length
    order, ends = order.tolist(), [*begins[1:], len(order)]
    return [order[begins[i] : ends[i]] for i in rng.permutation(len(begins)).tolist()]


def chosen(own: int, replayed: int, ratio: float, seed: int, epoch: int) -> list[int]:
    """The indices of one epoch: the first `own` clips, and so many of the `replayed` ones behind them as make up `ratio`.

    The replayed clips are dealt like cards: an epoch takes the next ones of a shuffled deck, and a new shuffle follows
    when the deck is used up. Over the epochs their share is exact; in one epoch it is less than a clip off.
    """
    share = own * ratio / (1 - ratio) if replayed else 0.0
    first, last = math.floor(epoch * share), math.floor((epoch + 1) * share)
    taken = list(range(own))
    for deck in range(first // replayed, -(-last // replayed)) if last > first else ():
        # The tag keeps the decks' shuffles apart from those of `plan`.
        cards = np.random.default_rng([seed, deck, 0xDECC]).permutation(replayed) + own
        taken += cards[max(0, first - deck * replayed) : last - deck * replayed].tolist()
    return taken


@dataclass(frozen=True)
class Position:
    """The next micro-batch: `batch` within the plan of `epoch`."""

    epoch: int = 0
    batch: int = 0


@dataclass(frozen=True)
class Stream:
    """An endless sequence of index lists from `start` on; with several processes, each takes its turn.

    The last `replayed` of the lengths are the base language's clips: they make up `ratio` of every epoch.

    Iterating yields `(position after all processes took a batch, indices)`. No batch is dropped or repeated at an epoch's
    end: the next epoch follows on.
    """

    lengths: Sequence[int]
    budget: int
    seed: int
    start: Position = Position()
    rank: int = 0
    processes: int = 1
    replayed: int = 0
    ratio: float = 0.0
    shards: Sequence[int] | None = None
    """number of the shard of each clip, -1 for those that are in none; None where none is"""
    window: int = 8
    """shards whose clips are shuffled together; windows follow one another"""
    plans: dict[int, list[list[int]]] = field(default_factory=dict, init=False, repr=False, compare=False)
    """of the two epochs asked for last: the loader reads one while the sampler may be in the next"""

    def epoch(self, number: int) -> list[list[int]]:
        """The batches of one epoch, over all processes; not to be changed, since all who ask get the same lists."""
        made = self.plans.get(number)
        if made is None:
            made = self.planned(number)
            for old in [*self.plans][:-1]:
                self.plans.pop(old, None)  # the loader's thread asks, too
            self.plans[number] = made
        return made

    def planned(self, number: int) -> list[list[int]]:
        own = len(self.lengths) - self.replayed
        if not self.replayed and self.shards is None:
            return plan(self.lengths, self.budget, self.seed, number)
        taken = chosen(own, self.replayed, self.ratio, self.seed, number) if self.replayed else range(own)
        parts = [taken] if self.shards is None else self.parted(taken, number)
        batches = []
        for n, part in enumerate(parts):  # each with draws of its own
            planned = plan([self.lengths[i] for i in part], self.budget, self.seed, number * len(parts) + n)
            batches += [[part[i] for i in batch] for batch in planned] if len(part) else []
        return batches

    def windows(self, number: int) -> list[list[int]]:
        """The shards of one epoch in the order they are read, `window` at a time."""
        known = np.unique([shard for shard in {*self.shards} if shard >= 0])
        # The tag keeps the order of shards apart from the shuffles of `plan` and `chosen`.
        order = np.random.default_rng([self.seed, number, 0x5A4D]).permutation(known).tolist()
        return [order[at : at + self.window] for at in range(0, len(order), self.window)]

    def parted(self, taken: Sequence[int], number: int) -> list[list[int]]:
        """The clips of each window; those in no shard are dealt out to all."""
        windows, taken = self.windows(number), np.asarray(taken)
        shard = np.asarray(self.shards)[taken]
        of = np.zeros(max(self.shards) + 1, int)
        for n, window in enumerate(windows):
            of[window] = n
        place = of[shard]
        place[shard < 0] = np.arange(np.count_nonzero(shard < 0)) % len(windows)
        order = np.argsort(place, kind="stable")
        ends = np.searchsorted(place[order], np.arange(1, len(windows)))
        return [part.tolist() for part in np.split(taken[order], ends)]

    def left(self, position: Position) -> int:
        """Micro-batches that the epoch of `position` still has, over all processes."""
        return len(self.epoch(position.epoch)) - position.batch

    def __iter__(self) -> Iterator[tuple[Position, list[int]]]:
        epoch, batch, turn, mine = self.start.epoch, self.start.batch, 0, []
        while True:
            batches = self.epoch(epoch)
            while batch < len(batches):
                if turn == self.rank:
                    mine = batches[batch]
                batch, turn = batch + 1, turn + 1
                if turn == self.processes:
                    yield Position(epoch, batch), mine
                    turn = 0
            epoch, batch = epoch + 1, 0


class Indices:
    """The index lists of a stream, as the loader's batch sampler."""

    def __init__(self, stream: Stream):
        self.stream = stream

    def __iter__(self) -> Iterator[list[int]]:
        return (indices for _, indices in self.stream)


def collate(examples: Sequence[Example]) -> Example:
    """Pad the last axis of each named tensor with zeros and add `<name>_len` (batch,); scalars are stacked."""
    batch = {}
    for name in examples[0]:
        tensors = [e[name] for e in examples]
        if tensors[0].ndim == 0:
            batch[name] = torch.stack(tensors)
            continue
        lengths = [t.shape[-1] for t in tensors]
        padded = tensors[0].new_zeros(len(tensors), *tensors[0].shape[:-1], max(lengths))
        for row, tensor in zip(padded, tensors, strict=True):
            row[..., : tensor.shape[-1]] = tensor
        batch[name], batch[f"{name}_len"] = padded, torch.tensor(lengths)
    return batch


def loader(
    features: Features, stream: Stream, workers: int, pin: bool
) -> Iterator[tuple[Position, list[int], Example]]:
    """`(position after it, indices, batch)` for every turn of the stream; of features in shards, out of windows that threads
    read ahead.

    The next one is made while this one is in use: by `workers` processes, or, for a GPU (`pin`), by a thread. On a CPU that
    thread would take more from the training than it saves (docs/lab-log.md, 2026-11-22).
    """
    if stream.shards is not None:
        made = from_windows(features, stream, pin)
        return ahead(made) if pin else made
    batches = DataLoader(
        features,
        batch_sampler=Indices(stream),
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin,
        generator=torch.Generator().manual_seed(0),  # its own, so that making a loader never moves the training RNG
    )
    made = ((position, indices, batch) for (position, indices), batch in zip(stream, batches, strict=False))
    return ahead(made) if pin and not workers else made


def ahead(values: Generator[T, None, None]) -> Iterator[T]:
    """The same values, the next one made by a thread while the last one is used. What making one raises is raised where it
    would have been returned."""
    try:
        with ThreadPoolExecutor(1, "loader") as pool:
            coming = pool.submit(next, values, END)
            while (value := coming.result()) is not END:
                coming = pool.submit(next, values, END)
                yield value
    finally:
        values.close()


def from_windows(features: Features, stream: Stream, pin: bool) -> Iterator[tuple[Position, list[int], Example]]:
    ahead = Ahead(next(file.shards for file in features.files if not isinstance(file, Path)), stream)
    try:
        for position, indices in stream:
            ahead.hold({stream.shards[i] for i in indices} - {-1})
            batch = collate([features[i] for i in indices])
            yield position, indices, {name: t.pin_memory() for name, t in batch.items()} if pin else batch
    finally:
        ahead.close()


def to_device(batch: Example, device: torch.device) -> Example:
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
