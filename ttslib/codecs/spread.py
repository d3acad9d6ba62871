"""Codes over the cores of a machine without a GPU: processes that hold the codec each, where there is enough to encode."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ttslib import codecs, workers
from ttslib.codecs import Codec, CodecError, Held, kept
from ttslib.codecs.encoding import batches
from ttslib.manifest import Row

WORTH = 20.0  # seconds of work left from which on starting processes pays (each takes some 3 s of a core)


def keep(
    codec: Codec, folder: Path, rows: Sequence[Row], read: Callable[[Row], Tensor], cores: int, ram_gb: float, rank: int = 0,
    processes: int = 1,
) -> kept.Kept:  # fmt: skip
    """`kept.keep` on a CPU. What would take long is dealt out to as many as `cores` processes, which hold up to `ram_gb` of
    codec together; `read` has to be picklable.

    Raises `CodecError` when one of them dies.
    """
    made, place = kept.known(codec, folder, rows, rank)
    left = kept.missing(made, rows, rank, processes)
    count = min(cores, int(ram_gb * 2**30 / max(1, size(codec))))
    first = batches(left, kept.BUDGET)[:1] if count > 1 else []
    began = time.monotonic()
    for batch in first:
        kept.compute(codec, made, place, batch, read, kept.BUDGET, str(rank), quiet=True)
    pace = (time.monotonic() - began) / sum(row.seconds for batch in first for row in batch) if first else 0.0
    left = left[sum(map(len, first)) :]
    if pace * sum(row.seconds for row in left) <= WORTH:
        kept.compute(codec, made, place, left, read, kept.BUDGET, str(rank), quiet=rank > 0)
        return made
    refused = pooled(codec, folder, left, read, min(count, len(left)), rank)
    found, _ = kept.known(codec, folder, rows, rank)
    found.quarantined = [*made.quarantined, *refused]
    return found


def size(codec: Codec) -> int:
    """Bytes of its weights."""
    held = [codec] if isinstance(codec, nn.Module) else vars(codec).values()
    return sum(value.nbytes for one in held if isinstance(one, nn.Module) for value in one.state_dict().values())


def pooled(codec: Codec, folder: Path, rows: Sequence[Row], read: Callable, count: int, rank: int) -> list[dict]:
    """Have these rows' codes in shards; the quarantined ones."""
    over, told = workers.SPAWN.Event(), (Held(codec).state, folder, read)
    with workers.pool(count, begin, over) as pool:
        try:
            parts = [
                pool.submit(part, *told, rows[n::count], f"{rank}.{n}", quiet=bool(rank or n)) for n in range(count)
            ]
            return [bad for job in parts for bad in job.result()]
        except workers.Died:
            raise CodecError(
                f"a process that encodes with codec {codec.name} died (crash or out of memory); what it had written is "
                "kept: start again, with threads=1 if it was memory"
            ) from None
        finally:
            over.set()


MINE = {}  # of a worker process: what tells it to leave


def begin(over) -> None:
    torch.set_num_threads(1)
    MINE["over"] = over


def part(state: dict, folder: Path, read: Callable, rows: Sequence[Row], writer: str, quiet: bool) -> list[dict]:
    """In a worker process: the codes of some rows."""

    def heard(row: Row) -> Tensor:
        if MINE["over"].is_set():
            raise CodecError("the process that asked for these codes has given up; see what it said, and start again")
        return read(row)

    codec = codecs.restore(state)
    made, place = kept.known(codec, folder, (), rank=1)
    kept.compute(codec, made, place, rows, heard, kept.BUDGET, writer, quiet)
    return made.quarantined
