"""Monotonic alignment search (Glow-TTS, Kim et al. 2020, algorithm 1): which frames belong to which token.

Serial only in frames; vectorised over batch and tokens, in NumPy on a CPU and in torch where the score is on a GPU.
No compiler is needed; benchmarks/alignment.py compares with packages that need one.
"""

import numpy as np
import torch
from torch import Tensor

IMPOSSIBLE = -1e30  # far below any sum of log-likelihoods; the customary -1e9 is not, for long clips


def monotonic(score: Tensor, frames: Tensor, tokens: Tensor) -> Tensor:
    """Durations (frames per token) of the best monotonic path that gives every token at least one frame.

    `score` is `(batch, frames, tokens)`, the log-likelihood of each frame under each token; `frames` and `tokens` are
    the true lengths `(batch,)`. Returns int64 `(batch, tokens)` on the score's device; a row sums to its frames, padding
    is 0. Of equally good paths, the one that stays longest in the later tokens. Raises `ValueError` for an item with
    fewer frames than tokens (no path exists), lengths that the score does not have, or a non-finite score.
    """
    score, frames, tokens = score.detach().float(), frames.to(score.device), tokens.to(score.device)
    for i in (frames < tokens).nonzero()[:1, 0].tolist():
        raise ValueError(
            f"item {i} of the batch has {frames[i]} frames for {tokens[i]} tokens: no monotonic path exists"
        )
    _, longest, most = score.shape
    for i in ((frames > longest) | (tokens > most) | (tokens < 1)).nonzero()[:1, 0].tolist():
        raise ValueError(
            f"item {i} of the batch has {frames[i]} frames and {tokens[i]} tokens in {longest} x {most} scores"
        )
    if not all(bound.isfinite() for bound in score.aminmax()):  # NaN propagates; one pass, no temporary
        raise ValueError("alignment scores are not finite")
    if score.is_cuda:
        return searched_by_torch(score, frames, tokens)
    return torch.from_numpy(searched_by_numpy(score.numpy(), frames.numpy(), tokens.numpy()))


def searched_by_numpy(score: np.ndarray, frames: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """`monotonic` of checked arguments, on the CPU. Sums are float64, in which no path wins by rounding."""
    batch, longest, most = score.shape
    table = np.full((batch, most + 1), IMPOSSIBLE)  # a column to the left of the first token, never reached
    before, best = table[:, :-1], table[:, 1:]
    best[:, 0] = score[:, 0, 0]
    moved = np.zeros((longest, batch, most), dtype=bool)  # did the best path enter token x at frame t?
    better = np.empty((batch, most))
    for t in range(1, longest):
        np.greater(before, best, out=moved[t])
        np.maximum(before, best, out=better)
        np.add(better, score[:, t], out=best)
    live = np.arange(longest)[:, None] < frames
    moved &= live[:, :, None]
    steps = moved.reshape(longest, -1).view(np.uint8)
    path = np.empty((longest, batch), dtype=np.int64)  # cells of the flattened (batch, tokens)
    path[-1] = np.arange(batch) * most + tokens - 1
    for t in range(longest - 1, 0, -1):
        np.subtract(path[t], steps[t].take(path[t]), out=path[t - 1])
    return np.bincount(path[live], minlength=batch * most).reshape(batch, most)


def searched_by_torch(score: Tensor, frames: Tensor, tokens: Tensor) -> Tensor:
    """The same operations in the same order, hence the same durations, without leaving the score's device.

    Five launches a frame, whatever the batch; on a CPU NumPy does them several times faster.
    """
    batch, longest, most = score.shape
    table = torch.full((batch, most + 1), IMPOSSIBLE, dtype=torch.float64, device=score.device)
    before, best = table[:, :-1], table[:, 1:]
    best[:, 0] = score[:, 0, 0]
    moved = torch.zeros(longest, batch, most, dtype=torch.bool, device=score.device)
    better = torch.empty(batch, most, dtype=torch.float64, device=score.device)
    for t in range(1, longest):
        torch.gt(before, best, out=moved[t])
        torch.maximum(before, best, out=better)
        torch.add(better, score[:, t], out=best)
    live = torch.arange(longest, device=score.device)[:, None] < frames
    moved &= live[:, :, None]
    steps = moved.view(longest, -1).view(torch.uint8)
    path = torch.empty(longest, batch, dtype=torch.int64, device=score.device)
    path[-1] = torch.arange(batch, device=score.device) * most + tokens - 1
    for t in range(longest - 1, 0, -1):
        torch.sub(path[t], steps[t].take(path[t]), out=path[t - 1])
    durations = torch.zeros(batch * most, dtype=torch.int64, device=score.device)
    return durations.scatter_add_(0, path.flatten(), live.flatten().long()).view(batch, most)


def expand(durations: Tensor, longest: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """From durations `(batch, tokens)` to what each frame sees.

    Returns `token` (index of the token at each frame), `place` (how far into the token, 0..1, at the frame's middle)
    and `mask`, each `(batch, frames)`. Padding frames have token 0, place 0 and mask False.
    """
    ends = durations.cumsum(1)
    longest = int(ends[:, -1].max()) if longest is None else longest
    frame = torch.arange(longest, device=durations.device).expand(len(durations), -1).contiguous()
    mask = frame < ends[:, -1:]
    token = torch.searchsorted(ends, frame, right=True).clamp(max=durations.shape[1] - 1) * mask
    length = durations.gather(1, token).clamp(min=1)
    start = ends.gather(1, token) - length
    place = (frame - start + 0.5) / length * mask
    return token, place, mask
