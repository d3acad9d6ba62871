"""FSDP2 through Accelerate: each process keeps a share of the weights, their gradients, averages and optimizer state.

    shard(system, nets, optimizers, ema, engine)   # before the first step, after a checkpoint was put back
    with unsharded(nets): ...                      # all processes: whole weights, to validate, listen and save
    whole(state, keep)                             # all processes: a state of whole tensors, on the CPU

A checkpoint is the same as without: it is saved whole. Systems name in `blocks` the classes of the layers that are gathered
one by one; the rest of a network is gathered as one. Only the loop's own calls know of shards, a system does not.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin, PartialState
from accelerate.utils import DistributedType
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor

from ttslib.ema import Ema
from ttslib.params import Params, ParamsError
from ttslib.systems import system_class

HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_state_dict_pre_hooks")  # by which FSDP2 gathers and frees weights


def allowed(p: Params, engine: Accelerator) -> None:
    """Raise `ParamsError` where `p.sharding=full` cannot be, or makes no sense."""
    if p.sharding == "none":
        return
    if not getattr(system_class(p.system), "blocks", ()):
        raise ParamsError(
            f"sharding=full: {p.system} is small enough for every GPU, and not made to be split; set sharding=none: each "
            "process then has all of it (DDP)"
        )
    if engine.num_processes == 1:
        raise ParamsError(
            "sharding=full, and this is the only process; start several (processes=2, or torchrun), or set sharding=none"
        )
    if engine.mixed_precision == "fp16":
        raise ParamsError("sharding=full takes precision=bf16 or fp32: fp16's scaler knows no shards; set one of those")


def shard(
    system,
    nets: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    ema: Ema,
    engine: Accelerator,
) -> list:
    """The one net and its optimizers, prepared: their parameters and all that belongs to these are shards from here on."""
    (net,) = nets.values()
    if engine.mixed_precision != "no":  # the arithmetic is that of every other run: autocast, over weights in fp32
        net = engine.prepare_model(net, device_placement=False, evaluation_mode=True)
    scalars = [q for q in net.parameters() if q.ndim == 0]  # FSDP2 takes none; see `clipped`
    # What Accelerate does itself where it is given the plugin and begins on GPUs; here over gloo too, where it is tested.
    engine.state.distributed_type = PartialState().distributed_type = DistributedType.FSDP
    engine.state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=[*system.blocks],
        cpu_ram_efficient_loading=False,
        ignored_modules=[nn.ParameterList(scalars)],
    )
    kept = {part: [optimizer.state.pop(q, {}) for q in of(optimizer)] for part, optimizer in optimizers.items()}
    prepared = engine.prepare(net, *optimizers.values())
    for part, optimizer in optimizers.items():
        for q, state in zip(of(optimizer), kept[part], strict=True):
            optimizer.state[q] = {name: like(q, value) for name, value in state.items()}
        for group in optimizer.param_groups:
            if {isinstance(q, DTensor) for q in group["params"]} == {True, False}:
                group["fused"] = group["foreach"] = False  # shards and scalars cannot be taken in one call
    average = ema.average
    ema.follow(nets)
    ema.average = {name: like(ema.live[name], value) for name, value in average.items()}
    return list(prepared)


def forget() -> None:
    """Let the next run of these processes go without shards."""
    if (state := PartialState()).distributed_type == DistributedType.FSDP:
        cpu = state.device.type == "cpu"
        state.distributed_type = DistributedType.MULTI_CPU if cpu else DistributedType.MULTI_GPU


def of(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [q for group in optimizer.param_groups for q in group["params"]]


def like(q: Tensor, value: Tensor) -> Tensor:
    """This process's share of a whole tensor that belongs to a parameter; of any other, itself."""
    if not isinstance(q, DTensor) or value.shape != q.shape:
        return value
    return distribute_tensor(value.to(q.device), q.device_mesh, q.placements, src_data_rank=None)


def clipped(parameters: list[nn.Parameter], most: float, engine: Accelerator) -> Tensor:
    """The norm of all gradients, before they are cut to `most`."""
    if not engine.is_fsdp2:
        return torch.as_tensor(torch.nn.utils.clip_grad_norm_(parameters, most))
    for q in parameters:
        if q.grad is not None and not isinstance(q, DTensor):  # a scalar, whose gradient nobody has averaged
            q.grad.copy_(engine.reduce(q.grad, "mean"))
    norm = engine.clip_grad_norm_(parameters, most)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


@contextmanager
def unsharded(nets: Mapping[str, nn.Module]) -> Iterator[None]:
    """Inside, every process has all weights and waits for nobody when it computes: each may do what the others do not.
    Weights that are changed inside are lost. All processes have to enter and leave; without shards nothing happens."""
    every = [module for net in nets.values() for module in net.modules()]
    units = [module for module in every if isinstance(module, FSDPModule)]
    for unit in units:
        unit.unshard()
    aside = [(module, name, getattr(module, name)) for module in every if units for name in HOOKS]
    for module, name, _ in aside:
        setattr(module, name, OrderedDict())
    try:
        yield
    finally:
        for module, name, hooks in aside:
            setattr(module, name, hooks)
        for unit in units:
            unit.reshard()


def whole(value, keep: bool):
    """A nested state with whole tensors in the place of shards, on the CPU; None for each where it is not to be kept. All
    processes have to call it."""
    if isinstance(value, DTensor):
        full = value.full_tensor()
        return full.cpu() if keep else None
    if isinstance(value, dict):
        return {name: whole(one, keep) for name, one in value.items()}
    return value


def state_of(optimizer: torch.optim.Optimizer, keep: bool) -> dict:
    """Its state as one process has it. All processes have to call it."""
    state = optimizer.state_dict()
    usual = {name: optimizer.defaults[name] for name in ("fused", "foreach")}
    return {"state": whole(state["state"], keep), "param_groups": [group | usual for group in state["param_groups"]]}
