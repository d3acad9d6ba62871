"""Features into shards, and back: who may train from them."""

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load

from ttslib import dealt, shards
from ttslib.features import Features, nbytes, row_key
from ttslib.manifest import Manifest
from ttslib.params import Params
from ttslib.shards import Columns, Member, Place, ShardError, Shards


class Clip(NamedTuple):
    """One clip to be packed."""

    id: str
    file: object
    frames: int


def write(
    system, found: Manifest, splits: Mapping[str, Features], url: str, megabytes: float, seed: int,
    rank: int = 0, processes: int = 1,
) -> dict:  # fmt: skip
    """Write the features of each split as shards of up to `megabytes` to a folder that has none, clips shuffled once by
    `seed`; the index comes last. With several `processes` each writes its part. Returns what the index says of them.

    Raises `ShardError` where there are shards already.
    """
    place = Place(url)
    if place.fs.exists(place.path(shards.INDEX)):
        raise ShardError(f"{url}: there are shards already, which a run may be reading; name another folder")
    plan = [(f"{split}-{n:05d}.tar", split, clips) for split, some in splits.items()
            for n, clips in enumerate(cut(shuffled(some, seed if split == "train" else None), megabytes * 1e6))]  # fmt: skip
    parts = dealt.parts(lambda: [packed(place, *one) for one in plan[rank::processes]], processes)
    made = [parts[n % processes][n // processes] for n in range(len(plan))]
    about = identity(system, found) | {"shards": [told for told, _ in made]}
    about["quarantined"] = {split: some.quarantined for split, some in splits.items()}
    if rank == 0:
        each = [column for n, (_, rows) in enumerate(made) for column in [(*row, n) for row in rows]]
        ids, keys, frames, sizes, offset, size, crc, number = zip(*each, strict=True)
        shards.write_index(place, about, Columns([*ids], [*keys], frames, sizes, number, offset, size, crc))
    dealt.parts(lambda: None, processes)  # nobody reads before the index is there
    return about


def shuffled(some: Features, seed: int | None) -> list[Clip]:
    """The clips in the order of the shards, each once: alike ones, side by side in a corpus, are to meet others."""
    order = range(len(some)) if seed is None else np.random.default_rng(seed).permutation(len(some)).tolist()
    return [Clip(some.ids[i], some.files[i], some.lengths[i]) for i in order]


def cut(clips: Sequence[Clip], budget: float) -> list[list[Clip]]:
    """Clips in order, as many in a shard as fit in `budget` bytes, at least one."""
    made, size = [], 0
    for clip in clips:
        more = clip.file.stat().st_size + 1024  # its header, and what fills its last block
        if not made or size + more > budget:
            made.append([])
            size = 0
        made[-1].append(clip)
        size += more
    return made


def packed(place: Place, name: str, split: str, clips: Sequence[Clip]) -> tuple[dict, list[tuple]]:
    """Write one shard; what the index says of it, and of each of its clips."""
    contents, sizes = [], []
    for clip in clips:
        try:
            contents.append(clip.file.read_bytes())
            sizes.append(nbytes(load(contents[-1])))
        except (OSError, SafetensorError) as error:
            raise ShardError(
                f"{clip.file}: the features of clip {clip.id} cannot be read: {error}; remove the file and prepare again"
            ) from None
    whole, begins = shards.packed([(clip.file.stem, content) for clip, content in zip(clips, contents, strict=True)])
    place.write(name, whole)
    sha = hashlib.sha256(whole).hexdigest()
    told = {"name": name, "split": split, "clips": len(clips), "bytes": len(whole), "sha256": sha}
    rows = [
        (clip.id, clip.file.stem, clip.frames, size, begin, len(content), zlib.crc32(content))
        for clip, content, size, begin in zip(clips, contents, sizes, begins, strict=True)
    ]
    return told, rows


def identity(system, found: Manifest) -> dict:
    """Whose features these are: plain JSON."""
    codec = getattr(system, "codec_state", None)
    return {
        "system": system.p.system,
        "tokenizer": system.tokenizer.digest,
        "codec": codec and {name: codec[name] for name in ("name", "hash")},
        "features": system.feature_key,
        "manifest": found.digest,
    }


def opened(system, found: Manifest, split: str, p: Params) -> Features:
    """The features of a split out of the shards `p.data.shards`; of `val`, those that fit in `p.data.ram_gb` go into RAM.

    Raises `ShardError` for shards of other features, naming the differences, and where a window would not fit in RAM.
    """
    if p.data.workers:
        raise ShardError(f"data.workers={p.data.workers}: a thread reads shards ahead; set data.workers=0")
    some = shards.read(p.data.shards)
    compare(some, system, found)
    named = [n for n, told in enumerate(some.about["shards"]) if told["split"] == split]
    budget, needed = p.data.ram_gb * 2**30, 2 * min(p.data.window, len(named)) * some.largest
    if needed > budget:
        raise ShardError(
            f"data.window={p.data.window}: so many shards of {p.data.shards}, and as many read ahead, take up to "
            f"{needed / 2**30:.2g} GB, data.ram_gb is {p.data.ram_gb:g}; lower data.window or raise data.ram_gb"
        )
    taken = np.flatnonzero(np.isin(some.columns.shard, named)).tolist()
    of = some.columns
    made = Features([of.ids[i] for i in taken], [Member(some, i) for i in taken], of.frames[taken].tolist())
    made.quarantined = some.about["quarantined"][split]
    if not len(made):
        raise ShardError(f"{p.data.shards}: no clip of split {split} in them; write them with one")
    if split != "train":
        keep(made, of.bytes[taken].tolist(), budget)
    return made


def keep(some: Features, sizes: Sequence[int], budget: float) -> None:
    """Read the first ones into RAM: validation goes through them again and again, in its own order."""
    count = int(np.searchsorted(np.cumsum(sizes), budget, side="right"))
    for index, example in zip(range(count), some, strict=False):
        some.ram[index] = example
    some.files[0].shards.held = {}


def compare(some: Shards, system, found: Manifest) -> None:
    """Refuse shards that are not of these clips for this system, naming each difference."""
    here = identity(system, found)
    wrong = [f"{name}: theirs {some.about[name]}, here {here[name]}" for name in here if some.about[name] != here[name]]
    if here["manifest"] != some.about["manifest"]:
        bad = {one["id"] for split in some.about["quarantined"].values() for one in split}
        rows = {row.id: row_key(row) for row in found.rows if row.split != "test" and row.id not in bad}
        theirs = dict(zip(some.columns.ids, some.columns.keys, strict=True))
        for what, ids in (
            ("only here", rows.keys() - theirs.keys()),
            ("only in the shards", theirs.keys() - rows.keys()),
            ("changed", {clip for clip in rows.keys() & theirs.keys() if rows[clip] != theirs[clip]}),
        ):
            if ids:
                wrong.append(f"clips {what}: {len(ids)} ({', '.join(sorted(ids)[:5])}{', ...' * (len(ids) > 5)})")
    if wrong:
        raise ShardError(
            f"{some.place.url}: these shards belong to another training:\n  " + "\n  ".join(wrong)
            + "\nWrite them anew with `python -m ttslib shard`, or restore what changed."
        )  # fmt: skip
