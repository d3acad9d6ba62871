"""Loss terms as pure functions: tensors in, one scalar out. Masks are True where there is something to learn."""

import torch
import torch.nn.functional as F
from torch import Tensor


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


def total(terms: dict[str, Tensor]) -> Tensor:
    """The sum that is differentiated."""
    return torch.stack(list(terms.values())).sum()
