"""Monotonic alignment search (Glow-TTS, Kim et al. 2020, algorithm 1): which frames belong to which token.

Serial only in frames; vectorised over batch and tokens in NumPy, which beats compiled per-item loops at these sizes and
needs no compiler.
"""

import numpy as np
import torch
from torch import Tensor

IMPOSSIBLE = -1e30  # far below any sum of log-likelihoods; the customary -1e9 is not, for long clips


def monotonic(score: Tensor, frames: Tensor, tokens: Tensor) -> Tensor:
    """Durations (frames per token) of the best monotonic path that gives every token at least one frame.

    `score` is `(batch, frames, tokens)`, the log-likelihood of each frame under each token; `frames` and `tokens` are
    the true lengths `(batch,)`. Returns int64 `(batch, tokens)` on the score's device; a row sums to its frames, padding
    is 0. Raises `ValueError` for an item with fewer frames than tokens (no path exists) or a non-finite score.
    """
    values = score.detach().float().cpu().numpy()
    count, width = frames.cpu().numpy().astype(np.int64), tokens.cpu().numpy().astype(np.int64)
    if (short := np.flatnonzero(count < width)).size:
        i = short[0]
        raise ValueError(f"item {i} of the batch has {count[i]} frames for {width[i]} tokens: no monotonic path exists")
    if not np.isfinite(values).all():
        raise ValueError("alignment scores are not finite")
    batch, longest, most = values.shape
    moved = np.zeros((longest, batch, most), dtype=bool)  # did the best path enter token x at frame t?
    best = np.full((batch, most), IMPOSSIBLE)
    best[:, 0] = values[:, 0, 0]
    before = np.full((batch, most), IMPOSSIBLE)
    for t in range(1, longest):
        before[:, 1:] = best[:, :-1]
        moved[t] = before > best
        best = np.maximum(best, before) + values[:, t]
    rows, token = np.arange(batch), width - 1
    durations = np.zeros((batch, most), dtype=np.int64)
    for t in range(longest - 1, -1, -1):
        live = t < count
        durations[rows[live], token[live]] += 1
        token = token - (live & moved[t, rows, token])
    return torch.from_numpy(durations).to(score.device)


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
