"""What the loop stands on: the Accelerate engine, optimizers, validation, and agreement between processes."""

import os
from collections.abc import Iterable, Mapping

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from ttslib import processes, sharding
from ttslib.dataset import Features, collate, plan, to_device
from ttslib.ema import Ema
from ttslib.params import Params, ParamsError


def engine(p: Params) -> Accelerator:
    """Accelerate, set up for `p.device`, `p.precision` and this process's share of the cores."""
    if p.device == "cuda" and not torch.cuda.is_available():
        raise ParamsError("device: cuda was asked for and PyTorch sees none; use device=auto or device=cpu")
    if p.device == "mps" and not torch.backends.mps.is_available():
        raise ParamsError("device: mps was asked for and PyTorch sees none; use device=auto or device=cpu")
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true":
        raise ParamsError("accelerate launch was asked for FSDP; leave that out there and set sharding=full")
    launched = "WORLD_SIZE" in os.environ
    AcceleratorState._reset_state(reset_partial_state=not launched)  # a notebook may train twice, with other settings
    if launched:
        processes.launched(p.device)
        sharding.forget()
    precision = "no" if arithmetic(p) == "fp32" else arithmetic(p)
    quiet = DistributedDataParallelKwargs(broadcast_buffers=False)  # validation shards may differ in length
    made = Accelerator(mixed_precision=precision, cpu=processes.on_cpu(p.device), kwargs_handlers=[quiet])
    torch.set_num_threads(p.threads or processes.cores())
    return made


def arithmetic(p: Params) -> str:
    """What `precision` comes to on this machine: fp32, bf16 or fp16."""
    if p.precision != "auto":
        return p.precision
    gpu = p.device in ("auto", "cuda") and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return "bf16" if gpu else "fp32"


def adamw(
    params: Iterable[nn.Parameter], p: Params, device: torch.device, new: Iterable[nn.Parameter] = (),
    factors: Mapping[nn.Parameter, float] | None = None, undecayed: Iterable[nn.Parameter] = (),
) -> torch.optim.AdamW:  # fmt: skip
    """AdamW that decays matrices only: biases, norms, other vectors, the `new` rows of tables and the matrices that are
    `undecayed` are left alone.

    A group's rate is `factor` times the schedule's (`factors` where they are not 1), and zero before step `begins`: new
    rows run ahead of the rest.
    """
    ids, begins = {id(q) for q in new}, p.adapt.rows_first if p.adapt.base else 0
    of, spared = {id(q): factor for q, factor in (factors or {}).items()}, {id(q) for q in undecayed}
    rows = [q for q in params if id(q) in ids]
    rest = [q for q in params if id(q) not in ids]
    groups = []
    for factor in sorted({of.get(id(q), 1.0) for q in rest}):
        alike = [q for q in rest if of.get(id(q), 1.0) == factor]
        matrices = [q for q in alike if q.ndim > 1 and id(q) not in spared]
        others = [q for q in alike if q.ndim <= 1 or id(q) in spared]
        common = {"factor": factor, "begins": begins}
        groups.append({"params": matrices, "weight_decay": p.train.weight_decay, **common})
        groups.append({"params": others, "weight_decay": 0.0, **common})
    groups.append({"params": rows, "weight_decay": 0.0, "factor": p.adapt.rows_lr, "begins": 0})
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=p.train.lr, betas=p.train.betas, fused=device.type in ("cpu", "cuda"))


def prepared(
    system, nets: Mapping[str, nn.Module], optimizers: Mapping[str, torch.optim.Optimizer], ema: Ema, p: Params,
    engine: Accelerator,
) -> tuple[dict, dict, dict]:  # fmt: skip
    """`(nets, parts, optimizers)` for all processes, each of which has all weights or, of `sharding=full`, its share."""
    if p.sharding == "full" and engine.num_processes > 1:  # the checks before a run are made in one process
        made = sharding.shard(system, nets, optimizers, ema, engine)
    else:
        made = engine.prepare(*nets.values(), *optimizers.values())
    return dict(zip(nets, made, strict=False)), system.parts(), dict(zip(optimizers, made[len(nets) :], strict=True))


def set_rates(optimizers: Mapping[str, torch.optim.Optimizer], rate: float, step: int) -> None:
    """Every group's learning rate for this step: what does not learn yet stands still, weight decay included."""
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"] if step >= group["begins"] else 0.0


@torch.no_grad()
def validate(system, val: Features, p: Params, engine: Accelerator) -> dict[str, float]:
    """Mean of every loss term over the validation clips: the same `losses`, dropout off, spread over the processes."""
    for net in system.nets.values():
        net.eval()
    sums: dict[str, Tensor] = {}
    batches = plan(val.lengths, p.data.frames, p.seed, 0)
    for indices in batches[engine.process_index :: engine.num_processes]:
        batch = to_device(collate([val[i] for i in indices]), engine.device)
        for terms in system.losses(batch):
            for name, value in (terms | {"": torch.ones((), device=engine.device)}).items():
                sums[name] = sums.get(name, 0) + value.detach().double() * len(indices)
    for net in system.nets.values():
        net.train()
    names = sorted({n for part in gather([*sums], engine) for n in part})
    totals = torch.stack([sums.get(n, torch.zeros((), dtype=torch.double, device=engine.device)) for n in names])
    means = dict(zip(names, engine.reduce(totals, "sum").tolist(), strict=True))
    clips = means.pop("") / len(system.parts())
    return {name: value / clips for name, value in means.items()}


def gather(value, engine: Accelerator) -> list:
    """The value of every process."""
    if engine.num_processes == 1:
        return [value]
    from accelerate.utils import gather_object

    return gather_object([value])


def agreed(value, engine: Accelerator):
    """The main process's value, on every process."""
    return gather(value, engine)[0]


def any_of(value, engine: Accelerator):
    """The first process's value that is not None, on every process: a signal may reach one alone."""
    return next((one for one in gather(value, engine) if one is not None), None)
