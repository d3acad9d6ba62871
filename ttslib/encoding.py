"""Clips through a system's `encode`: what the cache lacks is computed over cores and processes, the rest looked up.

Whoever computes a clip, its file is the same bit for bit: one thread each where several processes share the work.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ttslib import dealt, disk, encoders, lengths
from ttslib.features import BadClip, DatasetError, Example, Features, nbytes, row_key
from ttslib.lengths import Lengths

SUFFIX = ".safetensors"
PROBES, WORTH_SAYING = 32, 0.1  # clips, share of the budget


@dataclass(frozen=True)
class Work:
    """What makes a clip's example: `read(row) -> Tensor (samples,)` at `system.rate`; files lie in `folder`.

    `stamp(row)` changes when the recording does: a clip that was refused is tried again then. None tries it at every start.
    """

    system: object
    read: Callable
    folder: Path
    stamp: Callable | None = None

    def stamped(self, row):
        return self.stamp and self.stamp(row)

    def file(self, key: str) -> Path:
        return self.folder / f"{key}{SUFFIX}"

    def example(self, row) -> Example:
        """From its file, computed first where there is none. Raises `BadClip`."""
        file = self.file(row_key(row))
        return cached(file) or keep(file, checked(self.system.encode(row, self.read(row))))

    def told(self, row) -> tuple[int, int] | str:
        """Frames and bytes in RAM of a row's example, its file being there; or why there is none."""
        try:
            example = self.example(row)
        except BadClip as reason:
            return str(reason)
        return example[self.system.length_of].shape[-1], nbytes(example)


def encode_all(
    system, rows: Sequence, read: Callable, cache: Path, ram_gb: float, stamp: Callable | None = None,
    cores: int = 1, rank: int = 0, processes: int = 1,
) -> Features:  # fmt: skip
    """Encode `rows` with `system`, reusing what `cache` holds; what will not be small is foretold on stderr.

    `read(row) -> Tensor (samples,)` at `system.rate`. With `cores` > 1 worker processes help where that pays, and `read` has
    to be picklable. With several `processes` all of them call this, each computes its part, and all get all. See `Work` for
    `stamp`.
    Raises `DatasetError` when nothing survives, or when another process fails.
    """
    folder = cache / system.feature_key[:16]
    folder.mkdir(parents=True, exist_ok=True)
    disk.sweep(folder, "*.tmp")
    work = Work(system, read, folder, stamp)
    table, here = lengths.read(folder, system.feature_key), listed(folder)
    clips = [(row, row_key(row)) for row in rows]

    def settled(row, key: str) -> bool:
        return key in here if key in table.known else table.refuses(key, work.stamped(row))

    part = [clip for clip in clips[rank::processes] if not settled(*clip)]
    with encoders.threads(system, cores):
        probed = Lengths() if rank else learnt(work, part[:: -(-len(part) // PROBES) or 1], Lengths(), 1, ram_gb)
        if rank == 0:
            foretell(clips, part, table, probed, processes, ram_gb)
        made = dealt.parts(lambda: learnt(work, part, probed, cores, ram_gb, quiet=rank > 0), processes)
        for found in made:
            table.update(found)
        if rank == 0 and any(found.known or found.refused for found in made):
            lengths.write(folder, system.feature_key, table)
        features = gathered(work, clips, table, ram_gb * 2**30)
    for bad in features.quarantined:
        print(f"quarantined {bad['id']}: {bad['reason']}", file=sys.stderr)
    if not features.ids:
        reasons = "; ".join(sorted({b["reason"] for b in features.quarantined})) or "there were no clips"
        raise DatasetError(f"none of {len(rows)} clips can be encoded for {type(system).__name__}: {reasons}")
    return features


def listed(folder: Path) -> set[str]:
    """Row keys of the features that are there: one look at the folder, none at the files."""
    with os.scandir(folder) as entries:
        return {entry.name.removesuffix(SUFFIX) for entry in entries if entry.name.endswith(SUFFIX)}


def learnt(work: Work, part: Sequence[tuple], made: Lengths, cores: int, ram_gb: float, quiet: bool = True) -> Lengths:
    """Have every clip of this process's part on disk, but those already in `made`; what is known of them all then."""
    from tqdm import tqdm

    left, log = [clip for clip in part if clip[1] not in made], not sys.stderr.isatty()
    told = encoders.told(work, [row for row, _ in left], cores, ram_gb)
    pace = {"mininterval": 10 if log else 0.1, "delay": 5 if log else 0, "disable": quiet or not left}
    for (row, key), each in zip(left, tqdm(told, "features", len(left), unit="clip", **pace), strict=True):
        if isinstance(each, str):
            made.refused[key] = (each, work.stamped(row))
        else:
            made.known[key] = each
    return made


def gathered(work: Work, clips: Sequence[tuple], table: Lengths, budget: float) -> Features:
    """The features of all clips, those that fit in `budget` (bytes) read into RAM; a damaged one is computed again."""
    features = Features([], [], [])
    for row, key in clips:
        reason = None
        if key in table.known:
            frames, size = table.known[key]
            if size <= budget:
                try:
                    example = work.example(row)
                except BadClip as error:  # its file was damaged, and its recording has gone since
                    reason = str(error)
                else:
                    # A loaded tensor is a view of its mapped file: not in RAM yet, and a process may map some 65,000 files.
                    features.ram[len(features)] = {name: tensor.clone() for name, tensor in example.items()}
                    budget -= size
        else:
            reason, _ = table.refused[key]
        if reason is not None:
            features.quarantined.append({"id": row.id, "reason": reason})
            continue
        features.ids.append(row.id)
        features.files.append(work.file(key))
        features.lengths.append(frames)
    return features


def foretell(clips, part, table: Lengths, probed: Lengths, processes: int, ram_gb: float) -> None:
    """Say what the examples will take in RAM, where that is a good part of the budget."""
    missing, budget = {key for _, key in part}, ram_gb * 2**30
    expected = sum(table.known[key][1] for _, key in clips if key in table.known and key not in missing)
    sizes = {row: probed.known[key][1] for row, key in part if key in probed.known}
    expected += processes * foretold([row for row, _ in part], sizes)
    if expected > WORTH_SAYING * budget:
        hours, share = sum(row.end - row.start for row, _ in clips) / 3600, min(1.0, budget / expected)
        rest = "" if share == 1 else f"; data.ram_gb={ram_gb:g} holds {share:.0%}, the others are read in every epoch"
        print(f"features: {len(clips)} clips, {hours:.2f} h, {expected / 2**30:.2f} GB of RAM{rest}", file=sys.stderr)


def foretold(rows: Sequence, sizes: Mapping) -> float:
    """Bytes of all rows' examples, from the sizes of some: an example grows with its clip."""
    seconds = sum(row.end - row.start for row in sizes)
    return sum(sizes.values()) / seconds * sum(row.end - row.start for row in rows) if seconds else 0.0


def cached(file: Path) -> Example | None:
    """The stored example, or None when it is missing or was damaged (it is then computed again, and said so)."""
    if not file.exists():
        return None
    try:
        return load_file(file)
    except SafetensorError as error:
        print(f"feature file {file} is damaged ({error}); computing it again", file=sys.stderr)
        lengths.forget(file.parent)  # whoever damaged this one may have damaged others
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
