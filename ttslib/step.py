"""One optimizer step: backward through every part of every micro-batch, then the optimizers of all parts."""

import math
import sys
from contextlib import ExitStack

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import Tensor

from ttslib import losses, sharding
from ttslib.dataset import Example
from ttslib.params import Params
from ttslib.progress import Progress


class TrainError(RuntimeError):
    """Training cannot go on; the message says why and what is left."""


def step(
    system, parts: dict, optimizers: dict, micros: list, p: Params, engine, now: Progress
) -> dict[str, float] | None:
    """One optimizer step per part over all micro-batches: loss terms and gradient norms. None if any was not finite; then no
    part has learnt.

    Where memory does not suffice, each micro-batch is taken in two halves from here on (`now.halved`), once in a run.
    Raises `TrainError` with the parameters to change where that does not help or cannot be done.
    """
    before = [(counter, counter.clone()) for counter in counters(system)]
    pieces = [halves(batch, system.length_of) if now.halved else [(batch, 1.0)] for batch in micros]
    try:
        made = gradients(system, pieces, engine)
    except RuntimeError as error:
        if not lacks_memory(error):
            raise
        again = not now.halved and engine.num_processes == 1 and any(len(size(b, system)) > 1 for b in micros)
        if not again:
            raise TrainError(f"{out_of_memory(system, micros, engine)}; {advice(p, engine, now)}") from error
        made = None
    if made is None:  # not in `except`: the error's traceback holds what filled the memory
        forget(optimizers)
        clear_device_cache(garbage_collection=True)
        for counter, value in before:
            counter.copy_(value)
        now.halved = True
        told = out_of_memory(system, micros, engine)
        print(f"step {now.step + 1}: {told}; from here on each is taken in two halves", file=sys.stderr)
        return step(system, parts, optimizers, micros, p, engine, now)
    taken = {"micro_batches": float(sum(map(len, pieces)))} if now.halved else {}
    values = applied(made, parts, optimizers, p, engine)
    return values and values | taken


def gradients(system, pieces: list[list[tuple[Example, float]]], engine) -> dict[str, Tensor]:
    """Loss terms, as means over the micro-batches, whose gradients are left in the parameters.

    Each of the `pieces` of a micro-batch counts by its share; they count as one batch where a network counts batches.
    """
    sums: dict[str, Tensor] = {}
    last = pieces[-1][-1]
    for some in pieces:
        before = [(counter, counter.clone()) for counter in counters(system)] if len(some) > 1 else []
        for piece in some:
            batch, share = piece
            for counter, value in before:
                counter.copy_(value)
            with ExitStack() as stack:
                # They travel between processes only with the last one; where weights are shards there is no room to wait.
                if piece is not last and not engine.is_fsdp2:
                    for net in system.nets.values():
                        stack.enter_context(engine.no_sync(net))
                for terms in system.losses(batch):
                    engine.backward(losses.total(terms) * (share / len(pieces)))
                    for name, value in terms.items():
                        sums[name] = sums.get(name, 0) + value.detach() * (share / len(pieces))
    return sums


def applied(sums: dict[str, Tensor], parts: dict, optimizers: dict, p: Params, engine) -> dict[str, float] | None:
    """Clip, judge, and let all parts learn or none. The loss terms told are means over all processes, as the gradients are,
    so that all judge alike."""
    scaler, told = engine.scaler, engine.reduce(torch.stack([v.float() for v in sums.values()]), "mean")
    engine.unscale_gradients()
    norms = [sharding.clipped(some, p.train.clip_norm, engine) for some in parts.values()]
    values = torch.cat([told, torch.stack(norms).to(told)]).tolist()
    read = dict(zip([*sums, *(f"grad_norm/{part}" for part in parts)], values, strict=True))
    # fp16's scaler meets overflowing gradients as a matter of course: it skips that step itself and scales down
    healthy = all(math.isfinite(read[name]) for name in (sums if scaler else read))
    if healthy and scaler:  # one update for all: Accelerate's own `step` would make one for each
        for optimizer in optimizers.values():
            scaler.step(optimizer.optimizer)
    elif healthy:
        for optimizer in optimizers.values():
            optimizer.step()
    if scaler:  # clipping has unscaled the gradients: the scaler must know, also where they are dropped
        scaler.update()
    forget(optimizers)
    return {name: value for name, value in read.items() if math.isfinite(value)} if healthy else None


def lacks_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error)


def forget(optimizers: dict) -> None:
    for optimizer in optimizers.values():
        optimizer.zero_grad(set_to_none=True)


def counters(system) -> list[Tensor]:
    """What the networks count in: their integer scalars."""
    every = (buffer for net in system.nets.values() for buffer in net.buffers())
    return [buffer for buffer in every if buffer.ndim == 0 and not buffer.is_floating_point()]


def size(batch: Example, system) -> Tensor:
    """Frames of each clip `(batch,)`."""
    return batch[f"{system.length_of}_len"]


def halves(batch: Example, length_of: str) -> list[tuple[Example, float]]:
    """The batch in two, as `collate` would have made them of its first and its last clips; their shares of its frames.

    Means over frames stay what they are; means over anything else are weighted by frames too.
    """
    frames = batch[f"{length_of}_len"]
    if len(frames) < 2:
        return [(batch, 1.0)]
    made = []
    for clips in (slice(None, len(frames) // 2), slice(len(frames) // 2, None)):
        half = {name: value[clips] for name, value in batch.items()}
        for name in batch:
            if f"{name}_len" in batch:
                half[name] = half[name][..., : int(half[f"{name}_len"].max())]
        made.append((half, float(frames[clips].sum() / frames.sum())))
    return made


def out_of_memory(system, micros: list, engine) -> str:
    largest = max(len(size(batch, system)) * int(size(batch, system).max()) for batch in micros)
    return f"{engine.device} is out of memory at a micro-batch of {largest} frames, padding included"


def advice(p: Params, engine, now: Progress) -> str:
    """What to change when there is too little memory."""
    told = "taken in halves, too; " if now.halved else ""
    told += (
        f"set data.frames={p.data.frames // 2} and data.accumulate={p.data.accumulate * 2}: the same step in more parts"
    )
    if getattr(getattr(p, p.system), "checkpointing", None) is False:
        told += f"; or {p.system}.checkpointing=true: less memory, a third more time"
    if engine.mixed_precision == "no" and engine.device.type == "cuda":
        told += "; or precision=bf16"
    return f"{told}. A run resumes with the data.frames and data.accumulate of its beginning only"
