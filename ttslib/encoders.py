"""Encoding over cores: some processes that hold the system each, where there is enough work for starting them to pay."""

import copy
import pickle
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn

from ttslib import workers
from ttslib.codecs import Held
from ttslib.features import DatasetError

FEW = 8  # clips encoded here before it is judged how long the rest will take
WORTH = 20.0  # seconds of work left from which on starting processes pays (each takes at least 2 s of a core)
CHUNK = 8  # clips handed over at a time

Told = tuple[int, int] | str


def told(work, rows: Sequence, cores: int, ram_gb: float) -> Iterator[Told]:
    """`work.told` of every row in order. With `cores` > 1 processes take over what would take long; together they hold up to
    `ram_gb` of system. One that listens on a device of its own (`listen_on`) stays in this process.

    Raises `DatasetError` when one of them dies.
    """
    began, done = time.monotonic(), 0
    for row in rows:
        yield work.told(row)
        done += 1
        left = (time.monotonic() - began) / done * (len(rows) - done)
        if done >= FEW and left > WORTH and shared(work.system, cores):
            break
    if done == len(rows):
        return
    copied = sent(work)
    size = len(pickle.dumps(copied))
    count = min(cores, int(ram_gb * 2**30 / size), -(-(len(rows) - done) // CHUNK))
    yield from pooled(work, copied, rows[done:], count) if count > 1 else map(work.told, rows[done:])


def shared(system, cores: int) -> bool:
    """Whether processes may take a part in encoding for this system."""
    return cores > 1 and not hasattr(system, "listen_on")


@contextmanager
def threads(system, cores: int):
    """One thread where processes may share the work, as each of them has: over several, sums differ in their last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if shared(system, cores) else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def pooled(work, copied, rows: Sequence, count: int) -> Iterator[Told]:
    waiting, chunks = deque(), iter(rows[at : at + CHUNK] for at in range(0, len(rows), CHUNK))
    first = rows[0]
    with workers.pool(count, begin, copied) as pool:
        try:
            while True:
                while len(waiting) < 3 * count and (chunk := next(chunks, None)):
                    waiting.append((chunk[0], pool.submit(several, [(row, codes(work.system, row)) for row in chunk])))
                if not waiting:
                    return
                first, future = waiting.popleft()
                yield from future.result()
        except workers.Died:  # handing over says so, too
            raise DatasetError(
                f"a process that encodes clips died (crash or out of memory) at or after clip {first.id}; what is "
                "encoded is kept: start again, with threads=1 if it was memory"
            ) from None


def codes(system, row):
    """The codes kept of a row, as an array: they travel with their row, not all of them to every process."""
    held = getattr(system, "kept", None)
    return held[row].numpy() if held is not None and row in held else None


MINE = {}  # of a worker process: its work


def begin(work) -> None:
    torch.set_num_threads(1)
    MINE["work"] = work


def several(jobs: Sequence) -> list[Told]:
    """In a worker process: `told` of some rows, each with its codes."""
    work, made = MINE["work"], []
    for row, codes in jobs:
        if hasattr(work.system, "kept"):
            work.system.kept = None if codes is None else {row: torch.from_numpy(codes)}
        made.append(work.told(row))
    return made


# --- a system on its way to another process ---------------------------------------------------------------------------


def sent(work):
    """A copy of the work for other processes: its networks without their weights, for `encode` reads their sizes alone, and
    without the codes that are kept; a codec is loaded there if it is needed."""
    system = work.system
    modules = {id(module): module for net in system.nets.values() for module in net.modules()}
    shells = {key: unmade(module) for key, module in modules.items()}
    copies = dict(shells) | {id(thing): None for name in ("kept", "pool") if (thing := getattr(system, name, None))}
    held = getattr(system, "held", None)
    if isinstance(held, Held) and held.state["hash"] is not None:
        copies[id(held)] = Held(held.state)
    for key, module in modules.items():
        plain = {k: v for k, v in vars(module).items() if not k.startswith("_") and not isinstance(v, torch.Tensor)}
        children = {k: child and shells[id(child)] for k, child in module._modules.items() if k != "parametrizations"}
        vars(shells[key]).update(copy.deepcopy(plain, copies), _parameters={}, _buffers={}, _modules=children)
    return replace(work, system=copy.deepcopy(system, copies))


def unmade(module: nn.Module) -> nn.Module:
    """Another of its class with nothing in it: to call it is an error."""
    kind = type(module)
    if nn.utils.parametrize.is_parametrized(module):  # such a class is made on the fly, and cannot be sent
        kind = kind.__bases__[0]
    return kind.__new__(kind)
