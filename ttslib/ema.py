"""Exponential moving average of weights, swapped in to listen, evaluate and export."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """`decay` 0 means none: the average is then the weights themselves and costs nothing.

    The decay is warmed up, min(decay, (1 + step) / (10 + step)), so that early averages are not the initial weights.
    """

    def __init__(self, nets: dict[str, nn.Module], decay: float):
        self.decay = decay
        self.follow(nets)
        self.average = {k: v.detach().clone() for k, v in self.live.items()} if decay else {}

    def follow(self, nets: dict[str, nn.Module]) -> None:
        """Read the weights from these nets: sharding gives them other parameters."""
        self.live = {f"{name}.{k}": v for name, net in nets.items() for k, v in net.named_parameters()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        if self.decay:
            weight = 1 - min(self.decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(self.average.values()), [self.live[k] for k in self.average], weight)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Inside, the nets hold the average."""
        kept = {k: self.live[k].detach().clone() for k in self.average}
        self.copy(self.average)
        try:
            yield
        finally:
            self.copy(kept)

    @torch.no_grad()
    def copy(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self.live[name].copy_(value)
