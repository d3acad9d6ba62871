"""Manifest + `system.encode` -> cached features -> padded batches by a frames budget; order = f(seed, epoch).

Every feature is computed once per system, tokenizer and clip, kept on disk under a content hash and in RAM while the
budget lasts. A clip that cannot be encoded is quarantined with its reason: it neither stops a run nor vanishes.
"""

import hashlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader

from ttslib import disk

Example = dict[str, Tensor]
PROBES, OVERHEAD, WORTH_SAYING = 32, 700, 0.1  # clips, bytes a tensor, share of the budget
JITTER = 0.03  # of a length: 0.15 gives clips other companions in every epoch, and pads three times as much
ORDER = 2  # the version of `plan`: a run goes on only in the order in which it began


class BadClip(ValueError):
    """A clip that a system cannot learn from; the message says why."""


class DatasetError(ValueError):
    """No usable clip is left, or too many are bad."""


@dataclass
class Features:
    """The encoded examples of some manifest rows, in their order: a sequence of `dict[str, Tensor]` (CPU, unpadded)."""

    ids: list[str]
    files: list[Path]
    lengths: list[int]
    """frames of each example: the last axis of the tensor the system names in `length_of`"""
    quarantined: list[dict] = field(default_factory=list)
    ram: dict[int, Example] = field(default_factory=dict)
    replayed: int = 0
    """so many examples at the end are the base language's, of which `Stream` takes a share an epoch"""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def digest(self) -> str:
        """Names the clips and what their features were computed from."""
        told = [[clip, file.stem] for clip, file in zip(self.ids, self.files, strict=True)]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]

    def __getitem__(self, index: int) -> Example:
        """Raises `DatasetError` where its file has gone or changed since it was encoded."""
        if index in self.ram:
            return self.ram[index]
        try:
            return load_file(self.files[index])
        except (SafetensorError, OSError) as error:
            why = "it is gone" if isinstance(error, FileNotFoundError) else error
            raise DatasetError(
                f"{self.files[index]}: the features of clip {self.ids[index]} cannot be read: {why}"
            ) from None


def encode_all(system, rows: Sequence, read: Callable, cache: Path, ram_gb: float) -> Features:
    """Encode `rows` with `system`, reusing what `cache` holds; what will not be small is foretold on stderr.

    `read(row) -> Tensor (samples,)` at `system.rate`. Raises `DatasetError` when nothing survives.
    """
    from tqdm import tqdm

    folder = cache / system.feature_key[:16]
    folder.mkdir(parents=True, exist_ok=True)
    disk.sweep(folder, "*.tmp")
    features, budget = Features([], [], []), ram_gb * 2**30

    def made(row) -> tuple[Path, Example]:
        file = folder / f"{row_key(row)}.safetensors"
        return file, cached(file) or keep(file, checked(system.encode(row, read(row))))

    if (expected := foretold(rows, lambda row: made(row)[1])) > WORTH_SAYING * budget:
        hours, share = sum(row.end - row.start for row in rows) / 3600, min(1.0, budget / expected)
        rest = "" if share == 1 else f"; data.ram_gb={ram_gb:g} holds {share:.0%}, the others are read in every epoch"
        print(f"features: {len(rows)} clips, {hours:.2f} h, {expected / 2**30:.2f} GB of RAM{rest}", file=sys.stderr)
    quiet = not sys.stderr.isatty()
    for row in tqdm(rows, desc="features", unit="clip", mininterval=10 if quiet else 0.1, delay=5 if quiet else 0):
        try:
            file, example = made(row)
        except BadClip as reason:
            features.quarantined.append({"id": row.id, "reason": str(reason)})
            continue
        size = nbytes(example)
        if size <= budget:
            # A loaded tensor is a view of its mapped file: not in RAM yet, and a process may map some 65,000 files.
            features.ram[len(features)] = {name: tensor.clone() for name, tensor in example.items()}
            budget -= size
        features.ids.append(row.id)
        features.files.append(file)
        features.lengths.append(example[system.length_of].shape[-1])
    for bad in features.quarantined:
        print(f"quarantined {bad['id']}: {bad['reason']}", file=sys.stderr)
    if not features.ids:
        reasons = "; ".join(sorted({b["reason"] for b in features.quarantined})) or "there were no clips"
        raise DatasetError(f"none of {len(rows)} clips can be encoded for {type(system).__name__}: {reasons}")
    return features


def nbytes(example: Example) -> int:
    """What an example takes in RAM: its tensors, and what Python and torch keep for each."""
    return sum(t.nbytes + OVERHEAD for t in example.values())


def foretold(rows: Sequence, made: Callable) -> float:
    """Bytes of all rows' examples, from some of them: an example grows with its clip."""
    size = seconds = 0.0
    for row in rows[:: -(-len(rows) // PROBES) or 1]:
        with suppress(BadClip):  # met again, and quarantined, when it is its turn
            size += nbytes(made(row))
            seconds += row.end - row.start
    return size / seconds * sum(row.end - row.start for row in rows) if seconds else 0.0


def joined(own: Features, replayed: Mapping[str, Features]) -> Features:
    """The new language's features followed by those of the base's languages, as one sequence with unique ids."""
    whole = Features(own.ids[:], own.files[:], own.lengths[:], own.quarantined[:], dict(own.ram))
    taken = set(own.ids)
    for lang, more in replayed.items():
        whole.ram |= {len(whole) + i: example for i, example in more.ram.items()}
        for clip in more.ids:
            while clip in taken:
                clip = f"{lang}-{clip}"
            taken.add(clip)
            whole.ids.append(clip)
        whole.files += more.files
        whole.lengths += more.lengths
        whole.quarantined += more.quarantined
    whole.replayed = len(whole) - len(own)
    return whole


def repeated(features: Features, counts: Mapping[str, int]) -> Features:
    """The examples named by `counts`, each so many times, as `a`, `a#2`, `a#3`; what is quarantined is not carried over."""
    made, taken = Features([], [], []), set()
    for index, clip in enumerate(features.ids):
        for turn in range(1, counts.get(clip, 0) + 1):
            name = clip if turn == 1 else f"{clip}#{turn}"
            while name in taken:
                name += "#"
            taken.add(name)
            if index in features.ram:
                made.ram[len(made)] = features.ram[index]
            made.ids.append(name)
            made.files.append(features.files[index])
            made.lengths.append(features.lengths[index])
    return made


def row_key(row) -> str:
    """Names a feature by what it is computed from, so that a changed clip or transcript never meets a stale file."""
    content = [row.sha, row.start, row.end, row.text, row.lang, row.speaker]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:24]


def cached(file: Path) -> Example | None:
    """The stored example, or None when it is missing or was damaged (it is then computed again, and said so)."""
    if not file.exists():
        return None
    try:
        return load_file(file)
    except SafetensorError as error:
        print(f"feature file {file} is damaged ({error}); computing it again", file=sys.stderr)
        return None


def keep(file: Path, example: Example) -> Example:
    partial = file.with_suffix(f".{os.getpid()}.tmp")
    save_file({k: v.contiguous() for k, v in example.items()}, partial)
    os.replace(partial, file)
    return example


def checked(example: Example) -> Example:
    for name, tensor in example.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise BadClip(f"{name} is not finite")
    return example


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
    plans: dict[int, list[list[int]]] = field(default_factory=dict, init=False, repr=False, compare=False)
    """of the two epochs asked for last: the loader reads one while the sampler may be in the next"""

    def epoch(self, number: int) -> list[list[int]]:
        """The batches of one epoch, over all processes; not to be changed, since all who ask get the same lists."""
        if number not in self.plans:
            made = self.planned(number)
            for old in [*self.plans][:-1]:
                del self.plans[old]
            self.plans[number] = made
        return self.plans[number]

    def planned(self, number: int) -> list[list[int]]:
        own = len(self.lengths) - self.replayed
        if not self.replayed:
            return plan(self.lengths, self.budget, self.seed, number)
        taken = chosen(own, self.replayed, self.ratio, self.seed, number)
        batches = plan([self.lengths[i] for i in taken], self.budget, self.seed, number)
        return [[taken[i] for i in batch] for batch in batches]

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
    """`(position after it, indices, batch)` for every turn of the stream, prefetched by `workers` processes."""
    batches = DataLoader(
        features,
        batch_sampler=Indices(stream),
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin,
        generator=torch.Generator().manual_seed(0),  # its own, so that making a loader never moves the training RNG
    )
    return ((position, indices, batch) for (position, indices), batch in zip(stream, batches, strict=False))


def to_device(batch: Example, device: torch.device) -> Example:
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
