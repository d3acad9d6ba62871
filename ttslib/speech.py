"""A manifest's clips as systems have them: the speech of a recording, the codes of a codec, a system's features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ttslib import audio, dataset, dealt, encoding, sharded
from ttslib.codecs import kept, spread
from ttslib.manifest import Manifest, Row
from ttslib.params import Params
from ttslib.processes import cores, launched, place


def recording(found: Manifest, row: Row, rate: int) -> Tensor:
    """The row's speech `(samples,)` at `rate`, silence at its ends trimmed as the manifest says.

    Raises `BadClip` when the file is gone or no longer decodes.
    """
    try:
        wav, native = audio.load(found.audio(row))
    except audio.AudioError as error:
        raise dataset.BadClip(str(error)) from None
    span = wav[round(row.start * native) : round(row.end * native)]
    if not len(span):
        raise dataset.BadClip(f"{found.audio(row)}: it ends before the clip's {row.start:.2f} s; has the file changed?")
    return torch.from_numpy(audio.resample(span, native, rate) if native != rate else span.copy())


def codes(codec, found: Manifest, rows: Sequence[Row], p: Params, shared: bool = False) -> kept.Kept:
    """The codes of these clips, kept beside the manifest; the missing ones are computed on the device of `p`.

    `shared`: all processes of this launch call this, each computes its part of what is missing, and all get all.
    Raises `CodecError`, and `DatasetError` where another process fails.
    """
    rank, count = place() if shared else (0, 1)
    made = dealt.parts(lambda: part(codec, found, rows, p, rank, count), count, tell=False)[rank]
    return made if count == 1 else part(codec, found, rows, p, 0, 1)


def part(codec, found: Manifest, rows: Sequence[Row], p: Params, rank: int, processes: int) -> kept.Kept:
    """The codes of process `rank`'s part of these clips, and of those that are kept already."""
    device, folder = launched(p.device).device, found.folder / "codes"
    read = reader(codec, found)
    if device.type == "cpu":
        return spread.keep(codec, folder, rows, read, p.threads or cores(), p.data.ram_gb, rank, processes)
    codec.to(device)
    made = kept.keep(codec, folder, rows, read, rank=rank, processes=processes)
    codec.to("cpu")  # what trains next needs the memory
    return made


@dataclass(frozen=True)
class Reader:
    """`recording` of a manifest's rows, as processes can be given it; rows in `without` (id -> reason) have none."""

    found: Manifest
    rate: int
    without: Mapping[str, str]

    def __call__(self, row: Row) -> Tensor:
        if row.id in self.without:
            raise dataset.BadClip(self.without[row.id])
        return recording(self.found, row, self.rate)

    def stamp(self, row: Row) -> list[int] | None:
        """When the row's file was last changed, and its size; None where it is gone."""
        if row.id in self.without:
            return None
        try:
            about = self.found.audio(row).stat()
        except OSError:
            return None
        return [about.st_mtime_ns, about.st_size]


def reader(system, found: Manifest, without: Mapping[str, str] | None = None) -> Reader:
    """`recording` of a row at the rate of a system or codec; it takes none of the manifest's rows along."""
    return Reader(replace(found, rows=(), dropped=()), system.rate, without or {})


def features(
    system, found: Manifest, split: str, p: Params, lang: str | None = None, shared: bool = False
) -> dataset.Features:
    """The encoded clips of one split (and one language), from the cache beside the manifest where they are already there,
    or out of the shards `data.shards`.

    `shared`: all processes of this launch call this, and each encodes its part of what is missing.
    A system that has a `codec` and `kept` (None at first) finds the codes of these clips, and of those before, in `kept`.
    """
    state = launched(p.device)
    rank, count = place() if shared else (0, 1)
    if p.data.shards is not None and lang is None:  # what is replayed is of another corpus, in files
        return sharded.opened(system, found, split, p)
    cache, rows = found.folder / "features", [row for row in found.split(split) if lang in (None, row.lang)]
    codeless = {}
    if hasattr(system, "kept"):  # not with a codec that is being trained: its codes are not worth keeping yet
        made = codes(system.codec, found, rows, p, shared)
        system.kept = made if system.kept is None else system.kept | made
        codeless = {bad["id"]: bad["reason"] for bad in made.quarantined}
    read = reader(system, found, codeless)
    listen_on = getattr(system, "listen_on", lambda device: None)
    listen_on(state.device)
    try:
        return encoding.encode_all(
            system, rows, read, cache, p.data.ram_gb, stamp=read.stamp, cores=p.threads or cores(),
            rank=rank, processes=count,
        )  # fmt: skip
    finally:
        listen_on("cpu")  # what trains next needs the memory


def vocoded(wav: Tensor, rate: int) -> Tensor:
    """`(samples,)` through mel and Griffin-Lim: what the vocoder alone does to a recording."""
    return audio.griffin_lim(audio.log_mel(wav, rate), rate)
