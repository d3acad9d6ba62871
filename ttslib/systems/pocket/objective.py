"""What the head learns from: terms per frame as pure functions of what was drawn, and their weights.

Time 0 is noise `e`, time 1 the latent `x`; `velocity(s, t, y, fast=False)` is the head given the frame's state. Formulas are
those of pocket-tts 4.0.1's trainer (`training/modules/samplers.py`), after Lagrangian self-distillation (Boffi et al. 2025).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Velocity = Callable[..., Tensor]


def logit_normal(count: int, columns: int, mean: float, std: float) -> Tensor:
    """Times in 0..1 `(count, columns)`: the logistic of a normal, drawn on the CPU."""
    return torch.sigmoid(torch.randn(count, columns) * std + mean)


def diagonal(velocity: Velocity, x: Tensor, e: Tensor, t: Tensor) -> Tensor:
    """Flow matching where both times are `t` `(n, 1)`: squared error `(n,)`, summed over a latent's numbers."""
    return (velocity(t, t, t * x + (1 - t) * e, fast=True) - (x - e)).square().sum(-1)


def distillation(velocity: Velocity, x: Tensor, e: Tensor, s: Tensor, t: Tensor, stop: str) -> Tensor:
    """The step from `s` to a later `t` `(n, 1)` must arrive with the velocity that there is at `t`: squared error `(n,)`.

    The derivative in `t` of the step's end is one forward-mode product. `stop`: the velocity there is a constant
    (`classic`), or moves with the end but not with the head's parameters (`minimal`).
    """
    y = s * x + (1 - s) * e
    there, change = torch.func.jvp(lambda time: velocity(s, time, y), (t,), (torch.ones_like(t),))
    end, way = y + (t - s) * there, there + (t - s) * change
    if stop == "minimal":
        target = OfItsInput.apply(end, lambda z: velocity(t, t, z, fast=True))
    else:
        with torch.no_grad():
            target = velocity(t, t, end, fast=True)
    return (way - target).square().sum(-1)


def matching(velocity: Velocity, x: Tensor, e: Tensor, t: Tensor, least: float = 0.001) -> Tensor:
    """Plain flow matching of a head with one time (Lipman et al. 2023): mean squared error `(n,)`, noise of at least
    `least`."""
    y = (1 - (1 - least) * t) * e + t * x
    return (velocity(t, y, fast=True) - (x - (1 - least) * e)).square().mean(-1)


def weighed(raw: Tensor, precision: Tensor, dim: int) -> Tensor:
    """A term under a learned log-precision: raw x exp(w) / dim - w. It may be negative and is no measure of progress.

    The published trainer has a network of (s, t) for w, all of whose layers start at zero, so that nothing but its last
    bias ever learns: one number.
    """
    return raw * precision.exp() / dim - precision


def ends(logits: Tensor, last: Tensor) -> Tensor:
    """Binary cross-entropy of "speech is over" `(positions,)`, true after the `last` frame of a sample."""
    return nn.functional.binary_cross_entropy_with_logits(logits.float(), last.float())


class OfItsInput(torch.autograd.Function):
    """f(x) whose gradient reaches x, and nothing else that f is made of."""

    @staticmethod
    def forward(ctx, x: Tensor, f: Callable[[Tensor], Tensor]) -> Tensor:
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            y = f(x)
        ctx.save_for_backward(x, y)
        return y.detach()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        x, y = ctx.saved_tensors
        return torch.autograd.grad(y, x, gradient)[0], None
