"""Features in shards: tar files in WebDataset's layout, in a folder or an object store, and one index of all of them.

    index.safetensors   train-00000.tar   train-00001.tar   val-00000.tar

A shard holds `<row key>.safetensors` members. The index is written last and says of every clip where it lies and how long it
is, so that a start reads nothing else, and of every shard what its bytes hash to. Any filesystem of fsspec will do.
"""

import hashlib
import io
import json
import posixpath
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import fsspec
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ttslib import lengths
from ttslib.features import DatasetError, Example

INDEX, VERSION = "index.safetensors", 1
NUMBERS = ("frames", "bytes", "shard", "offset", "size", "crc")


class ShardError(DatasetError):
    """Shards that cannot be read or written, or are not those of this training: which, and what to do."""


@dataclass
class Columns:
    """The clips of a folder of shards, in their order there."""

    ids: list[str]
    keys: list[str]
    frames: np.ndarray
    bytes: np.ndarray
    """that the example takes in RAM"""
    shard: np.ndarray
    """number of its shard in `about["shards"]`"""
    offset: np.ndarray
    size: np.ndarray
    """where its member begins in the shard and how long it is (bytes)"""
    crc: np.ndarray
    """CRC-32 of the member"""

    def tensors(self) -> dict[str, Tensor]:
        names = [clip.encode() for clip in self.ids]
        told = {name: torch.from_numpy(np.array(getattr(self, name), np.int64)) for name in NUMBERS}
        told["ids"] = torch.frombuffer(bytearray(b"".join(names)), dtype=torch.uint8)
        told["id_size"] = torch.tensor([len(name) for name in names])
        return told | {"keys": lengths.packed(self.keys)}

    @classmethod
    def of(cls, stored: Mapping[str, Tensor]) -> "Columns":
        whole, ends = stored["ids"].numpy().tobytes(), stored["id_size"].cumsum(0).tolist()
        ids = [whole[begin:end].decode() for begin, end in zip([0, *ends], ends, strict=False)]
        return cls(ids, lengths.unpacked(stored["keys"]), *(stored[name].numpy() for name in NUMBERS))


class Place:
    """A folder, wherever fsspec finds it."""

    def __init__(self, url: str):
        try:
            self.fs, self.root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:  # no package for this protocol, or no such protocol
            raise ShardError(
                f"{url}: {error}; install what reads it (s3:// is read by s3fs, gs:// by gcsfs), or correct the address"
            ) from None
        self.url = url.rstrip("/")

    def path(self, name: str) -> str:
        return posixpath.join(self.root, name)

    def read(self, name: str, begin: int | None = None, end: int | None = None) -> bytes:
        """A file, or a part of it. Raises `ShardError` where there is none, or it cannot be read."""
        try:
            return self.fs.cat_file(self.path(name), start=begin, end=end)
        except FileNotFoundError:
            raise ShardError(f"{self.url}/{name}: no such file; `python -m ttslib shard` writes it") from None
        except OSError as error:
            raise ShardError(f"{self.url}/{name}: cannot be read: {error}; try again when it can") from error

    def write(self, name: str, content: bytes) -> None:
        """Whole, or under another name: a filesystem moves it into place, an object store takes it in at once."""
        self.fs.makedirs(self.root, exist_ok=True)
        with self.fs.transaction:
            self.fs.pipe_file(self.path(name), content)


class Shards:
    """What an index says, and the shards that are in RAM just now."""

    def __init__(self, place: Place, about: dict, columns: Columns, digest: str):
        self.place, self.about, self.columns, self.digest = place, about, columns, digest
        self.held: dict[int, bytes] = {}

    def whole(self, number: int) -> bytes:
        """A shard, its bytes being those that were written."""
        told = self.about["shards"][number]
        content = self.place.read(told["name"])
        if hashlib.sha256(content).hexdigest() != told["sha256"]:
            raise ShardError(
                f"{self.place.url}/{told['name']}: damaged: {len(content)} bytes (of {told['bytes']}) that hash to "
                "something else than when they were written; copy it again, or write the shards anew"
            )
        return content

    def member(self, index: int) -> bytes:
        """One clip's bytes, out of a shard in RAM or by themselves."""
        of = self.columns
        number, begin, size = int(of.shard[index]), int(of.offset[index]), int(of.size[index])
        if number in self.held:
            return self.held[number][begin : begin + size]
        name = self.about["shards"][number]["name"]
        content = self.place.read(name, begin, begin + size)
        if len(content) != size or zlib.crc32(content) != of.crc[index]:
            raise ShardError(
                f"{self.place.url}/{name}: damaged: clip {of.ids[index]} ({size} bytes from {begin} on) is not what was "
                "written; copy it again, or write the shards anew"
            )
        return content

    @cached_property
    def largest(self) -> int:
        """Bytes of the largest shard."""
        return max(told["bytes"] for told in self.about["shards"])


@dataclass(frozen=True, slots=True)
class Member:
    """Where a clip's example lies: number `index` of `shards`."""

    shards: Shards
    index: int

    @property
    def stem(self) -> str:
        return self.shards.columns.keys[self.index]

    @property
    def shard(self) -> int:
        return int(self.shards.columns.shard[self.index])

    def load(self, clip: str) -> Example:
        try:
            return load(self.shards.member(self.index))
        except SafetensorError as error:
            raise ShardError(f"{self.shards.place.url}: clip {clip}: {error}; write the shards anew") from None

    def near(self) -> None:
        """Have its shard in RAM, and no other."""
        if self.shard not in self.shards.held:
            self.shards.held = {}
            self.shards.held = {self.shard: self.shards.whole(self.shard)}


def read(url: str) -> Shards:
    """The shards of a folder, of which only the index is read. Raises `ShardError`."""
    place = Place(url)
    content = place.read(INDEX)
    try:
        stored, size = load(content), int.from_bytes(content[:8], "little")
        about = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["about"])
        if about["version"] != VERSION:
            raise ShardError(f"{url}: shards of version {about['version']}, known is {VERSION}; write them anew")
        return Shards(place, about, Columns.of(stored), hashlib.sha256(content).hexdigest())
    except (SafetensorError, KeyError, ValueError) as error:
        if isinstance(error, ShardError):
            raise
        raise ShardError(f"{url}/{INDEX}: damaged: {error}; copy it again, or write the shards anew") from None


def write_index(place: Place, about: dict, columns: Columns) -> None:
    place.write(INDEX, save(columns.tensors(), {"about": json.dumps(about | {"version": VERSION})}))


def packed(files: Sequence[tuple[str, bytes]]) -> tuple[bytes, list[int]]:
    """`(row key, content)` as a tar file, and where each content begins in it."""
    import tarfile

    out, begins = io.BytesIO(), []
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for key, content in files:
            about = tarfile.TarInfo(f"{key}.safetensors")
            about.size = len(content)
            begins.append(out.tell() + tarfile.BLOCKSIZE)  # behind the header, which takes one block
            tar.addfile(about, io.BytesIO(content))
    return out.getvalue(), begins
