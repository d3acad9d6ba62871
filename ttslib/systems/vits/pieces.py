"""Pieces of VITS's training forward: masks, slices, the alignment's likelihood, the bound of the duration predictor.

Legend of shapes: b batch, n tokens, t spectrogram frames, c channels. `(b, c, n|t)` throughout.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def within(lengths: Tensor, longest: int) -> Tensor:
    """`(b, longest)`: True where there is no padding."""
    return torch.arange(longest, device=lengths.device) < lengths[:, None]


def cut(x: Tensor, start: Tensor, size: int) -> Tensor:
    """From `(b, c, t)` the `(b, c, size)` that begins at each item's own `start`."""
    place = start[:, None] + torch.arange(size, device=x.device)
    return x.gather(2, place[:, None].expand(-1, x.shape[1], -1))


@torch.no_grad()
def likelihood(z_p: Tensor, m_p: Tensor, logs_p: Tensor) -> Tensor:
    """Log-likelihood `(b, t, n)` of each frame under each token's N(m_p, exp(logs_p)), the square multiplied out."""
    precision, frames = torch.exp(-2 * logs_p), z_p.transpose(1, 2)
    of_token = (-0.5 * math.log(2 * math.pi) - logs_p - 0.5 * m_p.square() * precision).sum(1, keepdim=True)
    return of_token - 0.5 * frames.square() @ precision + frames @ (m_p * precision)


def duration_bound(sdp, hidden: Tensor, w: Tensor, mask: Tensor, noise: Tensor, voice: Tensor | None) -> Tensor:
    """Variational bound of -log p(w | text) `(b,)` by the stochastic duration predictor's layers (VITS, sec. 2.2.2).

    `w` are frames per token and `mask` `(b, 1, n)`, `noise` `(b, 2, n)` is N(0, 1). Written out, since Transformers' own
    draws its noise inside: u dequantises the whole numbers w, v augments them. The text is detached, as in the paper.
    """
    x = sdp.conv_pre(hidden.detach())
    if voice is not None:
        x = x + sdp.cond(voice.detach())
    x = sdp.conv_proj(sdp.conv_dds(x, mask)) * mask
    y = sdp.post_conv_proj(sdp.post_conv_dds(sdp.post_conv_pre(w), mask)) * mask
    noise = noise * mask
    gaussian = 0.5 * ((math.log(2 * math.pi) + noise.square()) * mask).sum((1, 2))
    latents, log_q = noise, -gaussian
    for flow in sdp.post_flows:
        latents, change = flow(latents, mask, global_conditioning=x + y)
        latents, log_q = latents.flip(1), log_q - change
    u, v = latents.split(1, 1)
    log_q = log_q - ((F.logsigmoid(u) + F.logsigmoid(-u)) * mask).sum((1, 2))
    log_w = ((w - u.sigmoid()) * mask).clamp(min=1e-5).log() * mask
    latents, log_p = torch.cat([log_w, v], 1), -log_w.sum((1, 2))
    for flow in sdp.flows:
        latents, change = flow(latents, mask, global_conditioning=x)
        latents, log_p = latents.flip(1), log_p + change
    return 0.5 * ((math.log(2 * math.pi) + latents.square()) * mask).sum((1, 2)) - log_p + log_q
