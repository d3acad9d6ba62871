"""Codes of clips, computed once for a clip and codec and kept beside the manifest.

    codes/mel-6561-0123456789ab/   codec.json   codes-<writer>-<number>.safetensors

A clip's codes depend on its samples alone, so they lie under its `sha`, `start` and `end`: another text, speaker, tokenizer
or system finds them again. A shard gets its name when every byte of it is on disk, so a kill costs what was computed since
the last one, a minute at most. Several processes take disjoint parts of the work and see each other's in the next `keep`.
"""

import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Self

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ttslib import checkpoint, codecs, disk
from ttslib.codecs import Codec, CodecError
from ttslib.codecs.encoding import batches, by_length, computed
from ttslib.dataset import BadClip
from ttslib.manifest import Row

SHARD_CLIPS, SHARD_BYTES, SHARD_SECONDS = 500, 8 * 2**20, 60.0  # a shard is full at whichever comes first
BUDGET = 120.0  # seconds of audio that go through a codec together


class Kept:
    """What is kept of some rows: `kept[row]` is `(frames,)` int64, or latents `(frames, dim)` float32.

    Codes are held in RAM (100 h at 25 Hz are 18 MB), latents read from their shard when asked for.
    """

    def __init__(self, codec: Codec):
        self.name, self.hash = codec.name, codec.hash  # once: a hash is over all weights
        self.codes: dict[str, Tensor] = {}
        self.files: dict[str, Path] = {}
        """shard of each clip's latents"""
        self.frames: dict[str, int] = {}
        """of every clip"""
        self.quarantined: list[dict] = []
        """`{"id", "reason"}` of every row that has no codes; it is tried again by the next `keep`"""
        self.shards: dict[Path, safe_open] = {}

    def __len__(self) -> int:
        return len(self.frames)

    def __contains__(self, row: Row) -> bool:
        return clip_key(row) in self.frames

    def __getitem__(self, row: Row) -> Tensor:
        """Raises `CodecError` for a row that is not there, or whose shard has gone since."""
        key = clip_key(row)
        if key in self.codes:
            return self.codes[key].long()
        if key not in self.files:
            raise CodecError(f"{row.id}: no codes of codec {self.name} ({self.hash[:12]}) kept; `prepare` makes them")
        file = self.files[key]
        try:
            if file not in self.shards:
                self.shards[file] = safe_open(file, "pt")
            return self.shards[file].get_tensor(key).clone()  # not a view of the mapped file
        except (SafetensorError, FileNotFoundError) as error:
            raise CodecError(f"{file}: has gone or changed since it was opened ({error}); start again") from None

    def __or__(self, other: Self) -> "Kept":
        """What is in either. Raises `CodecError` when they are of two codecs."""
        codecs.require(self, {"name": other.name, "hash": other.hash}, "other codes")
        both = Kept(self)
        for mapping in ("codes", "files", "frames"):
            setattr(both, mapping, getattr(self, mapping) | getattr(other, mapping))
        both.quarantined = [*self.quarantined, *(bad for bad in other.quarantined if bad not in self.quarantined)]
        return both

    def summary(self) -> dict:
        """Whose codes, of how many clips, how many in all (frames), and the clips that have none."""
        clips, codes = len(self.frames), sum(self.frames.values())
        return {"name": self.name, "hash": self.hash, "clips": clips, "codes": codes, "quarantined": self.quarantined}

    def take(self, file: Path, wanted: set[str]) -> None:
        """Learn what a shard holds of the `wanted` clips. Raises `SafetensorError`, and `CodecError` for another codec."""
        with safe_open(file, "pt") as shard:
            codecs.require(self, {"name": "unknown", "hash": "unknown"} | (shard.metadata() or {}), file)
            for key in wanted.intersection(shard.keys()):
                frames, *width = shard.get_slice(key).get_shape()
                if width:
                    self.files[key] = file
                else:
                    self.codes[key] = shard.get_tensor(key).clone()
                self.frames[key] = frames


def keep(
    codec: Codec, folder: Path, rows: Sequence[Row], read: Callable[[Row], Tensor], budget_seconds: float = BUDGET,
    rank: int = 0, processes: int = 1,
) -> Kept:  # fmt: skip
    """The codes of `rows`, those that no whole shard in `folder/<codec>/` holds yet being computed first.

    `read(row) -> (samples,)` at `codec.rate`; clips go through the codec in batches of up to `budget_seconds` of audio,
    padding included. Process `rank` of `processes` computes its part and returns that and what was there before.
    A clip that cannot be read (`BadClip`) or has no frame is quarantined. Raises `CodecError` for another codec's folder.
    """
    kept, place = known(codec, folder, rows, rank)
    compute(codec, kept, place, missing(kept, rows, rank, processes), read, budget_seconds, str(rank), quiet=rank > 0)
    return kept


def known(codec: Codec, folder: Path, rows: Sequence[Row], rank: int = 0) -> tuple[Kept, Path]:
    """What whole shards hold of `rows`, and where these lie. Raises `CodecError` for another codec's folder."""
    kept = Kept(codec)
    place = opened(codec, kept, folder)
    keys = {clip_key(row) for row in rows}
    for file in sorted(place.glob("codes-*.safetensors")):
        try:
            kept.take(file, keys)
        except SafetensorError as error:
            print(f"{file} is damaged ({error}); computing its clips again", file=sys.stderr)
            if rank == 0:  # one process alone, so that none removes what another has just written under that name
                file.unlink()
        except FileNotFoundError:
            continue  # damaged, and the first process was faster: its clips count as missing here too
    return kept, place


def missing(kept: Kept, rows: Sequence[Row], rank: int, processes: int) -> list[Row]:
    """The part of this process. All rows are dealt out, not the missing ones: what is missing changes while others write."""
    return [row for row in by_length(rows)[rank::processes] if row not in kept]


def compute(
    codec: Codec, kept: Kept, place: Path, rows: Sequence[Row], read: Callable[[Row], Tensor], budget_seconds: float,
    writer: str, quiet: bool,
) -> None:  # fmt: skip
    """Have the codes of these rows in `kept` and in shards of `place`, under names of `writer`, which nobody else uses."""
    fresh: dict[str, Tensor] = {}
    size, began = 0, time.monotonic()

    def write() -> None:
        nonlocal fresh, size, began
        if fresh:
            kept.take(shard(place, writer, fresh, kept), {*fresh})
        fresh, size, began = {}, 0, time.monotonic()

    for row, codes in computed(codec, batches(rows, budget_seconds), read, quiet):
        if isinstance(codes, BadClip):
            kept.quarantined.append({"id": row.id, "reason": str(codes)})
            continue
        fresh[clip_key(row)] = codes
        size += codes.nbytes
        if len(fresh) >= SHARD_CLIPS or size >= SHARD_BYTES or time.monotonic() - began > SHARD_SECONDS:
            write()
    write()


def clip_key(row: Row) -> str:
    """Names a clip by its samples alone."""
    return hashlib.sha256(json.dumps([row.sha, row.start, row.end]).encode()).hexdigest()


def opened(codec: Codec, kept: Kept, folder: Path) -> Path:
    """The codec's folder in `folder`, made where it is missing. Raises `CodecError` when it is another codec's."""
    place = folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', kept.name)}-{kept.hash[:12]}"
    place.mkdir(parents=True, exist_ok=True)
    if (place / "codec.json").is_file():
        codecs.require(kept, checkpoint.read_json(place / "codec.json"), place)
    else:
        checkpoint.write_json(place / "codec.json", codecs.described(codec))
    disk.sweep(place, ".codes-*.tmp")
    return place


def shard(place: Path, writer: str, codes: dict[str, Tensor], kept: Kept) -> Path:
    """Write one shard, whole or not at all, under the writer's next free number."""
    names = (place / f"codes-{writer}-{n:05d}.safetensors" for n in count(len([*place.glob(f"codes-{writer}-*")])))
    file = next(name for name in names if not name.exists())
    partial = place / f".{file.stem}-{os.getpid()}.tmp"
    save_file(codes, partial, {"name": kept.name, "hash": kept.hash})
    checkpoint.sync(partial)
    os.replace(partial, file)
    checkpoint.sync(place)
    return file
