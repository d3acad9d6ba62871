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

    `w` are frames per token and `mask` `(b, 1, n)`, `noise` `(b, 2, n)` is N(0, 1): u dequantises the whole numbers w, v
    augments them. The text is detached, as in the paper. Written out, since the training direction of Transformers' own
    layers exchanges w and v once more than their inference (a flip after the affine layer, which the reference has not):
    trained by it, the durations that are spoken are those of v, which nothing has learnt.
    """
    x = sdp.conv_pre(hidden.detach())
    if voice is not None:
        x = x + sdp.cond(voice.detach())
    x = sdp.conv_proj(sdp.conv_dds(x, mask)) * mask
    y = sdp.post_conv_proj(sdp.post_conv_dds(sdp.post_conv_pre(w), mask)) * mask
    noise = noise * mask
    gaussian = 0.5 * ((math.log(2 * math.pi) + noise.square()) * mask).sum((1, 2))
    latents, log_q = noise, -gaussian
    latents, change = flowed(sdp.post_flows, latents, mask, x + y)
    log_q = log_q - change
    u, v = latents.split(1, 1)
    log_q = log_q - ((F.logsigmoid(u) + F.logsigmoid(-u)) * mask).sum((1, 2))
    log_w = ((w - u.sigmoid()) * mask).clamp(min=1e-5).log() * mask
    latents, change = flowed(sdp.flows, torch.cat([log_w, v], 1), mask, x)
    log_p = change - log_w.sum((1, 2))
    return 0.5 * ((math.log(2 * math.pi) + latents.square()) * mask).sum((1, 2)) - log_p + log_q


def flowed(flows, latents: Tensor, mask: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
    """`latents` (b, 2, n) through an affine layer and the couplings, the halves exchanged after each coupling; and the log
    determinant `(b,)`. What `VitsStochasticDurationPredictor` undoes when it speaks."""
    affine, *couplings = flows
    latents, log_determinant = affine(latents, mask, global_conditioning=condition)
    for coupling in couplings:
        latents, change = coupling(latents, mask, global_conditioning=condition)
        latents, log_determinant = latents.flip(1), log_determinant + change
    return latents, log_determinant
