"""Loss terms as pure functions: tensors in, one scalar out. Masks are True where there is something to learn."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ttslib import packing


def masked_l1(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute error of `(batch, frames, mels)` over the frames where `mask` `(batch, frames)` is True."""
    error = (predicted.float() - target.float()).abs().mean(-1)
    return (error * mask).sum() / mask.sum()


def gaussian_prior(mean: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Negative log-likelihood per band of `(batch, frames, mels)` under N(mean, 1), constant dropped (Grad-TTS, eq. 11)."""
    error = 0.5 * (target.float() - mean.float()).square().mean(-1)
    return (error * mask).sum() / mask.sum()


def log_duration(predicted: Tensor, durations: Tensor, mask: Tensor) -> Tensor:
    """Squared error of log durations `(batch, tokens)` against log(frames per token) (FastSpeech, sec. 3.3)."""
    target = durations.clamp(min=1).float().log()
    return (F.mse_loss(predicted.float(), target, reduction="none") * mask).sum() / mask.sum()


def next_id(head: nn.Module, hidden: Tensor, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """`(logits (targets, rows), targets (targets,))` of a stream's next ids, nats to come from `F.cross_entropy`.

    `hidden` `(positions, dim)` is a backbone's, sample after sample, `ids` `(batch, length)` stand there. Of n ids n - 1 are
    targets, the last of them once. Only these pass the head: its logits are what costs most memory.
    """
    predicting, targets = packing.shifted(ids, lengths)
    return head(hidden[predicting]).float(), targets


@torch.no_grad()
def foretold(logits: Tensor, targets: Tensor, stop: int) -> dict[str, Tensor]:
    """For a look at them: `top1`, the share of ids foretold, and `end`, the probability of `stop` where it is the target."""
    last = targets == stop
    return {
        "top1": (logits.argmax(-1) == targets).float().mean(),
        "end": logits[last].softmax(-1)[:, stop].mean(),
    }


def total(terms: dict[str, Tensor]) -> Tensor:
    """The sum that is differentiated."""
    return torch.stack(list(terms.values())).sum()


def kl(z_p: Tensor, logs_q: Tensor, m_p: Tensor, logs_p: Tensor, mask: Tensor) -> Tensor:
    """KL divergence of posterior and prior per frame, summed over channels, from one sample (VITS, eq. 3-4).

    `z_p` is the posterior's sample after the flow; `logs_*` are log standard deviations, whatever Transformers calls them.
    All are `(batch, channels, frames)`, `mask` is `(batch, frames)`. fp32: exp(-2 logs_p) overflows half precision.
    """
    z_p, logs_q, m_p, logs_p = (x.float() for x in (z_p, logs_q, m_p, logs_p))
    each = logs_p - logs_q - 0.5 + 0.5 * (z_p - m_p).square() * torch.exp(-2 * logs_p)
    return (each.sum(1) * mask).sum() / mask.sum()


def least_squares_discriminator(real: list[Tensor], fake: list[Tensor]) -> Tensor:
    """Sum over discriminators of E[(D(real) - 1)^2] + E[D(fake)^2] (Mao et al. 2017; VITS, eq. 8)."""
    return sum((1 - r.float()).square().mean() + f.float().square().mean() for r, f in zip(real, fake, strict=True))


def least_squares_generator(fake: list[Tensor]) -> Tensor:
    """Sum over discriminators of E[(D(fake) - 1)^2] (VITS, eq. 9)."""
    return sum((1 - f.float()).square().mean() for f in fake)


def feature_matching(real: list[list[Tensor]], fake: list[list[Tensor]]) -> Tensor:
    """Mean absolute difference of every layer's features, summed over layers and discriminators (VITS, eq. 10).

    `real[k][l]` and `fake[k][l]` are layer `l` of discriminator `k`; no gradient reaches `real`.
    """
    pairs = ((r, f) for k in zip(real, fake, strict=True) for r, f in zip(*k, strict=True))
    return sum((r.detach().float() - f.float()).abs().mean() for r, f in pairs)


def direction(found: Tensor, meant: Tensor, least: float = 0.1) -> Tensor:
    """`(batch,)` cosines of `(batch, ...)`. What is shorter than `least` of the meant one counts in proportion to its
    length: a true cosine has no gradient at zero, where a head that starts there begins, and next to it an endless one."""
    a, b = found.flatten(1), meant.flatten(1)
    lengths = b.norm(dim=1)
    return (a * b).sum(1) / (torch.maximum(a.norm(dim=1), least * lengths) * lengths).clamp(min=1e-12)
