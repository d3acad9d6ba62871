"""The head that makes a latent of noise, one frame at a time: Pocket TTS's `SimpleMLPAdaLN`, after MAR's (Li et al. 2024).

Names and arithmetic are those of pocket-tts 4.0.1 (`modules/mlp.py`), its norms written out: the forward-mode derivative of
PyTorch's own is off by 1e-5. `fast` takes PyTorch's where nobody needs that derivative. The RMS norm divides by the
*deviation* of its input, not by its mean square, because the published weights were trained so.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FREQUENCIES, SLOWEST = 128, 10000.0
TIMES = {"lsd": 2, "flow_matching": 1, "drifting": 0, "pointwise": 0}


class Norm(nn.Module):
    def __init__(self, dim: int, affine: bool = True):
        super().__init__()
        if affine:
            self.weight, self.bias = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor, fast: bool = False) -> Tensor:
        if fast:
            return F.layer_norm(x, x.shape[-1:], getattr(self, "weight", None), getattr(self, "bias", None), 1e-6)
        x = (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, unbiased=False, keepdim=True) + 1e-6)
        return x * self.weight + self.bias if hasattr(self, "weight") else x


class Deviation(nn.Module):
    """What the package calls RMSNorm."""

    def __init__(self, dim: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        var = 1e-5 + x.var(-1, keepdim=True)
        return (x * (self.alpha.to(var) * torch.rsqrt(var))).to(x.dtype)


class Time(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(2 * FREQUENCIES, dim), nn.SiLU(), nn.Linear(dim, dim), Deviation(dim))
        self.register_buffer("freqs", torch.exp(-math.log(SLOWEST) * torch.arange(FREQUENCIES) / FREQUENCIES))

    def forward(self, t: Tensor) -> Tensor:
        """`(..., 1)` in 0..1 -> `(..., dim)`."""
        angle = t * self.freqs.to(t.dtype)
        return self.mlp(torch.cat([angle.cos(), angle.sin()], -1))


class Block(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.in_ln = Norm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 3 * dim))

    def forward(self, x: Tensor, y: Tensor, fast: bool) -> Tensor:
        """`y` has been through the first of `adaLN_modulation`, which is the same in every block."""
        shift, scale, gate = self.adaLN_modulation[1](y).chunk(3, -1)
        return x + gate * self.mlp(self.in_ln(x, fast) * (1 + scale) + shift)


class Final(nn.Module):
    def __init__(self, dim: int, out: int):
        super().__init__()
        self.norm_final = Norm(dim, affine=False)
        self.linear = nn.Linear(dim, out)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 2 * dim))

    def forward(self, x: Tensor, y: Tensor, fast: bool) -> Tensor:
        shift, scale = self.adaLN_modulation[1](y).chunk(2, -1)
        return self.linear(self.norm_final(x, fast) * (1 + scale) + shift)


class Head(nn.Module):
    """Velocity of a latent on its way from noise (time 0) to speech (time 1), given the backbone's state of its frame."""

    def __init__(self, latent: int, dim: int, depth: int, cond: int, times: int):
        super().__init__()
        self.time_embed = nn.ModuleList(Time(dim) for _ in range(times))
        self.cond_embed = nn.Linear(cond, dim)
        self.input_proj = nn.Linear(latent, dim)
        self.res_blocks = nn.ModuleList(Block(dim) for _ in range(depth))
        self.final_layer = Final(dim, latent)
        self.start()

    def start(self) -> None:
        """DiT's start: Xavier, and nothing comes out at first."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for time in self.time_embed:
            nn.init.normal_(time.mlp[0].weight, std=0.02)
            nn.init.normal_(time.mlp[2].weight, std=0.02)
        for last in (*(b.adaLN_modulation[1] for b in self.res_blocks), self.final_layer.adaLN_modulation[1]):
            nn.init.zeros_(last.weight)
        nn.init.zeros_(self.final_layer.linear.weight)

    def forward(self, given: Tensor, *rest: Tensor, fast: bool = False) -> Tensor:
        """`given` (n, dim) is `cond_embed` of the states; then as many times `(n, 1)` as the head has, and the latents
        `(n, latent)` -> velocities `(n, latent)`. The states are projected once, however often a frame is drawn."""
        *times, x = rest
        if len(times) != len(self.time_embed):
            raise ValueError(f"this head takes {len(self.time_embed)} times, {len(times)} were given")
        y = given
        if times:
            y = y + sum(embed(t) for embed, t in zip(self.time_embed, times, strict=True)) / len(times)
        x, y = self.input_proj(x), F.silu(y)
        for block in self.res_blocks:
            x = block(x, y, fast)
        return self.final_layer(x, y, fast)


def drawn(head: Head, flow: str, z: Tensor, noise: Tensor, steps: int) -> Tensor:
    """Latents `(n, latent)` of noise of the same shape and states `(n, cond)`, in so many steps (a one-step head takes one).

    The last of a flow's steps ends at time 1 (pocket-tts 4.0.1, `models/flow_lm.py`).
    """
    given, x = head.cond_embed(z), noise
    if flow == "drifting":
        return head(given, noise)
    if flow == "pointwise":
        return noise + head(given, noise)
    one = torch.ones_like(noise[..., :1])
    for i in range(steps):
        times = (i / steps * one, (i + 1) / steps * one)[: TIMES[flow]]
        x = x + head(given, *times, x) / steps
    return x
