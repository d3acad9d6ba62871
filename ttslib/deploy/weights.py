"""Weights in fewer bits: matrices as bfloat16 or int8, all else fp32. Loading gives fp32 back, so nothing computes in int8.

int8 is symmetric, with one scale an output channel: `w = q * scale`, `scale = max |w| / 127` over what enters that channel.
Stored as two tensors, `name` (int8) and `name::scale` (fp32, of a shape that multiplies). Norms, biases, statistics and
other vectors stay fp32: they are a hundredth of the bytes, and an error in one of them moves a whole channel. So do
matrices of no known layer, such as relative positions, whose output channel nobody states.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

KINDS = ("fp32", "bf16", "int8")
STEPS = 127  # int8 without -128: the range is symmetric
SCALE = "::scale"
FEWEST = 4  # entries an output channel; with fewer, the scale weighs as much as what it saves
CHANNELS = {nn.Linear: 0, nn.Conv1d: 0, nn.Conv2d: 0, nn.Embedding: 0, nn.ConvTranspose1d: 1}


def channels(net: nn.Module) -> dict[str, int]:
    """The matrices of a network by name, and the axis of their output channels; of an embedding, its rows.

    Under weight norm it is the direction (`original1`), whose scale the norm divides out again.
    """
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layer, transposed

    known, found = CHANNELS | {Conv1D: 1}, {}
    names = {name for name, value in net.state_dict().items() if value.is_floating_point()}
    for path, module in net.named_modules():
        axis = next((axis for kind, axis in known.items() if isinstance(module, kind)), None)
        for name in (f"{path}.weight", f"{path}.parametrizations.weight.original1") if axis is not None else ():
            if name in names:
                found[name] = axis
    return found


def reduced(weights: Mapping[str, Tensor], axes: Mapping[str, int], kind: str) -> dict[str, Tensor]:
    """`weights` with the matrices named in `axes` stored as `kind`; every other tensor as it is."""
    made: dict[str, Tensor] = {}
    for name, value in weights.items():
        if kind == "fp32" or name not in axes or value.numel() / value.shape[axes[name]] < FEWEST:
            made[name] = value
        elif kind == "bf16":
            made[name] = value.to(torch.bfloat16)
        else:
            made[name], made[name + SCALE] = quantised(value, axes[name])
    return made


def quantised(value: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """`(int8, scale)` of a matrix; the scale has one entry a channel of `axis` and 1 along the other axes."""
    others = [i for i in range(value.dim()) if i != axis]
    scale = value.float().abs().amax(others, keepdim=True).clamp(min=1e-12) / STEPS
    return (value.float() / scale).round().clamp(-STEPS, STEPS).to(torch.int8), scale


def restored(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Stored weights in fp32, as a network takes them; what was never reduced comes back as it is.

    Raises `ValueError` for int8 without its scale: its bare integers would load as a network of noise.
    """
    made: dict[str, Tensor] = {}
    for name, value in stored.items():
        if name.endswith(SCALE):
            continue
        if value.dtype == torch.int8:
            if name + SCALE not in stored:
                raise ValueError(f"{name} is int8 and its scale is missing")
            made[name] = value.float() * stored[name + SCALE]
        else:
            made[name] = value.float() if value.dtype == torch.bfloat16 else value
    return made


def error(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict:
    """How far weights moved: `max` and `mean` absolute, `relative` (root of the squares' share), and `worst`, the tensor
    that lost most in relation to itself; `parameters`, and the share of them that moved at all is `reduced`."""
    most, absolute, lost, power, count, moved, worst = 0.0, 0.0, 0.0, 0.0, 0, 0, (0.0, None)
    for name, value in before.items():
        if not value.is_floating_point():
            continue
        one = value.detach().cpu().double()
        off = (after[name].detach().cpu().double() - one).abs()
        squares, own = off.square().sum().item(), one.square().sum().item()
        most, absolute = max(most, off.max().item() if off.numel() else 0.0), absolute + off.sum().item()
        lost, power, count = lost + squares, power + own, count + value.numel()
        moved += value.numel() if squares else 0
        worst = max(worst, (math.sqrt(squares / own) if own else 0.0, name), key=lambda pair: pair[0])
    told = {
        "max": most,
        "mean": absolute / count,
        "relative": math.sqrt(lost / power),
        "worst": dict(zip(("relative", "tensor"), worst, strict=True)),
    }
    return told | {"parameters": count, "reduced": moved / count}
