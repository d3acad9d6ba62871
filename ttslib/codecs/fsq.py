"""Finite scalar quantisation (Mentzer et al. 2023, "Finite Scalar Quantization: VQ-VAE Made Simple"): no codebook to learn.

Channel i of a frame takes one of `levels[i]` values, and the frame's id counts them like digits, the first one lowest:

    half   = 0.9990000128746033 * (L - 1) / 2
    offset = 0 for odd L, 1/2 for even L
    h      = tanh(z + atanh(offset / half)) * half - offset
    digit  = round(h) + L // 2                                   # 0 .. L - 1
    id     = sum of digit_i * (product of the levels before i)

For even L the offset puts h into (-L/2, L/2 - 1), so that round() meets each of the L levels: without it, and with half an
odd multiple of 1/2, it would meet L + 1 of them or L - 1. The shift keeps z = 0 at h = 0. For L = 3 this is, to the
constant, what S3Tokenizer v2 computes (`FSQCodebook`: h = tanh(z) * 0.9990000128746033, id = sum of (round(h) + 1) * 3^i),
so that `levels = [3] * 8` has the ids 0..6560 of Chatterbox. (The paper's listing has tan where atanh belongs.)
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

SHRINK = 0.9990000128746033  # 0.999 in single precision, as S3Tokenizer has it


class FSQ(nn.Module):
    """Between `(..., len(levels))` of any size, quantised values in [-1, 1], and ids. It has no parameters."""

    def __init__(self, levels: Sequence[int]):
        super().__init__()
        self.levels = tuple(levels)
        half = [SHRINK * (n - 1) / 2 for n in self.levels]
        offset = [0.0 if n % 2 else 0.5 for n in self.levels]
        shift = [math.atanh(o / h) for o, h in zip(offset, half, strict=True)]
        steps = [math.prod(self.levels[:i]) for i in range(len(self.levels))]
        for name, values in {"reach": half, "offset": offset, "shift": shift}.items():
            self.register_buffer(name, torch.tensor(values), persistent=False)
        self.register_buffer("centre", torch.tensor([n // 2 for n in self.levels]), persistent=False)
        self.register_buffer("steps", torch.tensor(steps), persistent=False)
        self.register_buffer("sizes", torch.tensor(self.levels), persistent=False)

    @property
    def vocab(self) -> int:
        return math.prod(self.levels)

    def bounded(self, z: Tensor) -> Tensor:
        """h: within half a step of the lowest and the highest level."""
        return torch.tanh(z + self.shift) * self.reach - self.offset

    def forward(self, z: Tensor) -> Tensor:
        """Quantised `(..., channels)`, its gradient that of the values before rounding (straight-through)."""
        h = self.bounded(z)
        return (h + (h.round() - h).detach()) / self.centre

    def ids(self, z: Tensor) -> Tensor:
        """`(..., channels)` -> `(...)` int64."""
        digits = self.bounded(z).round().long() + self.centre
        return (digits * self.steps).sum(-1)

    def values(self, ids: Tensor) -> Tensor:
        """`(...)` ids -> what `forward` gives for them, `(..., channels)` float32."""
        digits = ids[..., None] // self.steps % self.sizes
        return (digits - self.centre) / self.centre.float()
