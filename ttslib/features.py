"""Encoded clips: computed once per system, tokenizer and clip, kept on disk under a content hash, in RAM while they fit.

A clip that cannot be encoded is quarantined with its reason: it neither stops a run nor vanishes.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ttslib import lengths

Example = dict[str, Tensor]
OVERHEAD = 700  # bytes that Python and torch keep for each tensor


class BadClip(ValueError):
    """A clip that a system cannot learn from; the message says why."""


class DatasetError(ValueError):
    """No usable clip is left, or too many are bad."""


@dataclass
class Features:
    """The encoded examples of some manifest rows, in their order: a sequence of `dict[str, Tensor]` (CPU, unpadded)."""

    ids: list[str]
    files: list
    """where each example lies: a file of its own (`Path`), or a place in a shard (`shards.Member`); either has a `stem`"""
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

    @property
    def shards(self) -> list[int] | None:
        """Number of each example's shard, -1 for a file of its own; None where all have one."""
        numbers = [-1 if isinstance(file, Path) else file.shard for file in self.files]
        return numbers if max(numbers, default=-1) >= 0 else None

    @property
    def layout(self) -> str | None:
        """Names which clips lie in which shard, which decides the order of training; None without shards."""
        return next((file.shards.digest for file in self.files if not isinstance(file, Path)), None)

    def __getitem__(self, index: int) -> Example:
        """Raises `DatasetError` where its file has gone or changed since it was encoded."""
        if index in self.ram:
            return self.ram[index]
        file = self.files[index]
        if not isinstance(file, Path):
            return file.load(self.ids[index])
        try:
            return load_file(file)
        except (SafetensorError, OSError) as error:
            why = "it is gone" if isinstance(error, FileNotFoundError) else error
            lengths.forget(file.parent)  # whoever damaged this one may have damaged others
            raise DatasetError(f"{file}: the features of clip {self.ids[index]} cannot be read: {why}") from None

    def __iter__(self) -> Iterator[Example]:
        """All in their order; of what lies in shards, a whole shard is read at a time."""
        for index, file in enumerate(self.files):
            if index not in self.ram and not isinstance(file, Path):
                file.near()
            yield self[index]


def nbytes(example: Example) -> int:
    """What an example takes in RAM: its tensors, and what Python and torch keep for each."""
    return sum(t.nbytes + OVERHEAD for t in example.values())


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
