"""One optimizer step: every part of the system in turn, over all micro-batches."""

import math
from contextlib import ExitStack

import torch

from ttslib import losses, session
from ttslib.params import Params, ParamsError


class TrainError(RuntimeError):
    """Training cannot go on; the message says why and what is left."""


def feasible(system, p: Params, engine) -> None:
    """Raise `ParamsError` for micro-batches of a system of several parts over several processes.

    A net's forward for the last micro-batch arms the exchange of gradients, and all parts' forwards come before the first
    backward of the second part: it would send the first micro-batch's gradients and keep the others.
    """
    if (count := len(system.parts())) > 1 and p.data.accumulate > 1 and engine.num_processes > 1:
        raise ParamsError(
            f"data.accumulate={p.data.accumulate} with {engine.num_processes} processes cannot train the {count} parts "
            f"of {p.system}; set data.accumulate=1 and raise data.frames"
        )


def step(system, parts: dict, optimizers: dict, micros: list, p: Params, engine) -> dict[str, float] | None:
    """One optimizer step per part over all micro-batches: loss terms and gradient norms, or None if any was not finite.

    Raises `TrainError` with the parameters to change where a GPU's memory does not suffice."""
    try:
        return taken(system, parts, optimizers, micros, p, engine)
    except torch.OutOfMemoryError as error:
        raise TrainError(out_of_memory(system, micros, p, engine)) from error


def out_of_memory(system, micros: list, p: Params, engine) -> str:
    largest = max(
        len(batch[f"{system.length_of}_len"]) * int(batch[f"{system.length_of}_len"].max()) for batch in micros
    )
    advice = (
        f"set data.frames={p.data.frames // 2} and data.accumulate={p.data.accumulate * 2}: the same step in more parts"
    )
    if getattr(getattr(p, p.system), "checkpointing", None) is False:
        advice += f"; or {p.system}.checkpointing=true: less memory, a third more time"
    if engine.mixed_precision == "no" and engine.device.type == "cuda":
        advice += "; or precision=bf16"
    told = f"{engine.device} is out of memory at a micro-batch of {largest} frames, padding included"
    return f"{told}; {advice}. A run resumes with the data.frames and data.accumulate of its beginning only"


def taken(system, parts: dict, optimizers: dict, micros: list, p: Params, engine) -> dict[str, float] | None:
    turns, values = [system.losses(batch) for batch in micros], {}
    for part, optimizer in optimizers.items():
        sums: dict[str, torch.Tensor] = {}
        for i, turn in enumerate(turns):
            with ExitStack() as stack:
                if i < len(turns) - 1:  # gradients travel between processes only with the last micro-batch
                    for net in system.nets.values():
                        stack.enter_context(engine.no_sync(net))
                terms = next(turn)
                engine.backward(losses.total(terms) / len(turns))
            for name, value in terms.items():
                sums[name] = sums.get(name, 0) + value.detach() / len(turns)
        named = list(sums)
        sums[f"grad_norm/{part}"] = torch.as_tensor(engine.clip_grad_norm_(parts[part], p.train.clip_norm))
        read = dict(zip(sums, torch.stack([v.float() for v in sums.values()]).tolist(), strict=True))
        # fp16's scaler meets overflowing gradients as a matter of course: it skips that step itself and scales down
        judged = named if engine.scaler else list(read)
        healthy = session.agreed_all(all(math.isfinite(read[name]) for name in judged), engine)
        if healthy:
            optimizer.step()
        elif engine.scaler:
            engine.scaler.update()  # clipping has unscaled the gradients: the scaler must know that they are dropped
        for other in optimizers.values() if not healthy else [optimizer]:
            other.zero_grad(set_to_none=True)
        if not healthy:
            return None
        values |= {name: value for name, value in read.items() if math.isfinite(value)}
    return values
