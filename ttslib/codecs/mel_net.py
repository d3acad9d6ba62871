"""The network of our own codecs: mels, a convolutional encoder, a bottleneck (FSQ or VAE), a decoder, mels.

All mel frames of a code are one input frame, so that everything runs at the rate of the codes: on a CPU, stages at a higher
rate cost twice as much a step. Blocks are ConvNeXt's (Liu et al. 2022, as in Vocos): a depthwise
convolution over time, two layers per frame. They see both sides: quality counts, and nothing here streams. Tensors are
`(batch, frames, channels)`; a mask `(batch, frames, 1)` keeps what lies behind the end of a clip at zero, which is what the
end of a clip alone looks like to a convolution.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ttslib.codecs.fsq import FSQ

KERNEL = 7


@dataclass(frozen=True)
class Kind:
    """What a name stands for: mel frames (of 10 ms) of one code, and FSQ `levels`, or `dim` latents of a VAE."""

    frames: int
    levels: tuple[int, ...] = ()
    dim: int | None = None


KINDS = {
    "mel-6561": Kind(4, (3,) * 8),
    "mel-8192": Kind(2, (8, 8, 8, 4, 4)),
    "mel-vae": Kind(8, dim=32),
}


class Block(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.over_time = nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        y = x if mask is None else x * mask
        y = self.over_time(y.transpose(1, 2)).transpose(1, 2)
        return x + self.narrow(F.gelu(self.wide(self.norm(y))))


class Net(nn.Module):
    def __init__(self, kind: Kind, mels: int, width: int, depth: int):
        super().__init__()
        self.kind, self.mels = kind, mels
        channels = len(kind.levels) or kind.dim
        self.register_buffer("mean", torch.zeros(mels))
        self.register_buffer("std", torch.ones(mels))
        self.fold = nn.Linear(kind.frames * mels, width)
        self.hearing = nn.ModuleList(Block(width) for _ in range(depth))
        self.squeeze = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, channels * (1 if kind.levels else 2)))
        self.stretch = nn.Linear(channels, width)
        self.speaking = nn.ModuleList(Block(width) for _ in range(depth))
        self.unfold = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, kind.frames * mels))
        if kind.levels:
            self.fsq = FSQ(kind.levels)
            with torch.no_grad():  # spread over the levels from the start
                self.squeeze[1].weight.mul_(2.0)
        else:
            self.register_buffer("latent_mean", torch.zeros(channels))
            self.register_buffer("latent_std", torch.ones(channels))

    def encode(self, mel: Tensor, mask: Tensor | None = None) -> Tensor:
        """Log-mels `(batch, mel frames, mels)` -> `(batch, codes, channels)` before the bottleneck: FSQ's z, or mean and
        log-variance side by side. The frames are a multiple of a code's; `mask` `(batch, codes, 1)` is 1 inside a clip."""
        x = (mel - self.mean) / self.std
        x = self.fold(x.reshape(len(x), -1, self.kind.frames * self.mels))
        for block in self.hearing:
            x = block(x, mask)
        return self.squeeze(x)

    def decode(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """What passed the bottleneck, `(batch, codes, channels)` -> log-mels `(batch, mel frames, mels)`."""
        x = self.stretch(z)
        for block in self.speaking:
            x = block(x, mask)
        x = self.unfold(x)
        return x.reshape(len(x), -1, self.mels) * self.std + self.mean

    def forward(self, mel: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Log-mels again, and for a VAE the KL divergence from N(0, 1) of each latent frame `(batch, codes)`, summed over
        the channels. In training the VAE draws its latents; otherwise it takes their means."""
        z = self.encode(mel, mask)
        if self.kind.levels:
            return self.decode(self.fsq(z.float()), mask), None  # bf16 has too few steps below a level's edge
        mean, log_var = z.float().chunk(2, dim=-1)
        log_var = log_var.clamp(-12, 8)
        drawn = mean + torch.randn_like(mean) * (0.5 * log_var).exp() if self.training else mean
        kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(-1)
        return self.decode(drawn, mask), kl
