"""LoRA (Hu et al. 2021) through PEFT: small updates of a network's linear layers beside fully trained new rows."""

import copy
import re

import torch
from torch import Tensor, nn

from ttslib.adapt.rows import AdaptError

TOLERANCE = 1e-4  # of the largest output; fp32 sums in another order


def targets(net: nn.Module, endings: list[str], tables: set[nn.Module]) -> list[str]:
    """Full names of the linear and Conv1D layers to update: those that end as asked, else all but the token tables.

    Raises `AdaptError` when an ending names no such layer.
    """
    from transformers.pytorch_utils import Conv1D

    found = [n for n, m in net.named_modules() if isinstance(m, nn.Linear | Conv1D) and m not in tables and n]
    if not endings:
        if not found:
            raise AdaptError(f"LoRA: {type(net).__name__} has no linear or Conv1D layer; use adapt.body=all")
        return found
    chosen = [n for n in found if any(n == e or n.endswith(f".{e}") for e in endings)]
    for ending in endings:
        if not any(n == ending or n.endswith(f".{ending}") for n in chosen):
            last = sorted({n.split(".")[-1] for n in found})
            raise AdaptError(
                f"adapt.lora.targets: no linear or Conv1D layer ends in {ending!r}; there are {', '.join(last)}"
            )
    return chosen


def inject(net: nn.Module, layers: list[str], rank: int, alpha: float, dropout: float) -> None:
    """Put trainable updates beside the named layers, in place; every other parameter keeps its `requires_grad`."""
    from peft import LoraConfig, inject_adapter_in_model

    learning = {id(p): p.requires_grad for p in net.parameters()}
    updated = {id(p) for name in layers for p in net.get_submodule(name).parameters()}
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules="|".join(map(re.escape, layers)), bias="none"
    )
    inject_adapter_in_model(config, net)
    for p in net.parameters():  # PEFT freezes all it does not know; what learns beside the updates is not its business
        if id(p) in learning:
            p.requires_grad_(learning[id(p)] and id(p) not in updated)


def updated(net: nn.Module) -> dict[str, nn.Module]:
    """The layers that carry an update, by the name they had before."""
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in net.named_modules() if isinstance(module, LoraLayer)}


@torch.no_grad()
def merged(net: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """`state` of a network with updates as that of the plain one: weight + alpha / rank * B A, official names.

    Every merged layer is compared with its unmerged self on random input. Raises `AdaptError` when they disagree.
    """
    state = dict(state)
    for name, layer in updated(net).items():
        weight = (layer.get_base_layer().weight + layer.get_delta_weight("default")).detach()
        agree(name, layer, weight)
        bias = state.get(f"{name}.base_layer.bias")
        state = {k: v for k, v in state.items() if not k.startswith(f"{name}.")}
        state[f"{name}.weight"] = weight
        if bias is not None:
            state[f"{name}.bias"] = bias
    return state


def agree(name: str, layer: nn.Module, weight: Tensor) -> None:
    base = layer.get_base_layer()
    probe = torch.randn(8, layer.in_features, generator=torch.Generator().manual_seed(0)).to(base.weight)
    quiet = copy.deepcopy(layer).eval()
    plain = copy.deepcopy(base).eval()
    plain.weight.copy_(weight)
    expected, found = quiet(probe), plain(probe)
    if (difference := float((expected - found).abs().max() / expected.abs().max().clamp(min=1e-6))) > TOLERANCE:
        raise AdaptError(f"LoRA: {name}: merged and unmerged differ by {difference:.1e} of the output; not exported")
