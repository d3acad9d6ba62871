"""Sequences of several streams, laid out contiguously: `[conditioning | text | codes]` of each sample without gaps.

Padding between the streams of a sample, as the published batch code has it, shifts what every later position attends to.
Here a sample's streams always touch, and padding comes after the last of them or not at all:

    rows   one sample a row, padded on the right                          (samples, longest, dim)
    flat   all samples in one row, each attending to itself alone         (1, positions, dim)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Read by Transformers as a mask that is ready: `each_alone` needs none, and none is worked out.
READY = torch.zeros(1, 1, 1, 1)


@dataclass(frozen=True)
class Ids:
    """The ids around a text and around its codes."""

    text_start: int
    text_stop: int
    start: int
    stop: int


class Positions(nn.Module):
    """Learnt positions `(count, dim)`, from 0 in each stream."""

    def __init__(self, count: int, dim: int):
        super().__init__()
        self.emb = nn.Embedding(count, dim)
        nn.init.normal_(self.emb.weight, std=0.02)


@dataclass(frozen=True)
class Packed:
    """Laid-out streams: `values` `(rows, length, dim)`, and where each stream's positions are in the flattened rows."""

    values: Tensor
    positions: Tensor
    """of each value within its sample `(rows, length)`; 0 where it is padding"""
    places: tuple[Tensor, ...]
    """for each stream, the flattened places of its values, sample after sample `(values of that stream,)`"""
    blocks: tuple[int, ...] | None
    """lengths of the samples in the one row of a flat layout; None where each has a row of its own"""

    def alone(self) -> dict:
        """What a backbone with `each_alone` has to be told, as keywords."""
        if self.blocks is None:
            return {}
        return {"blocks": self.blocks, "attention_mask": READY.to(self.values.device)}

    def stream(self, hidden: Tensor, index: int) -> Tensor:
        """What a network `(rows, length, dim)` made of one stream's positions, `(values of that stream, dim)`."""
        return hidden.reshape(-1, hidden.shape[-1])[self.places[index]]


def valid(lengths: Tensor, longest: int) -> Tensor:
    """`(batch, longest)`, True before each length."""
    return torch.arange(longest, device=lengths.device)[None] < lengths[:, None]


def pack(streams: Sequence[tuple[Tensor, Tensor]], flat: bool) -> Packed:
    """Lay out streams of `(values (batch, length, dim), lengths (batch,))`, in their order, for every sample.

    A stream may be of length 0 in some samples. Gradients reach all values that count and no padding.
    """
    lengths = torch.stack([count for _, count in streams])  # (streams, batch)
    whole, before = lengths.sum(0), lengths.cumsum(0) - lengths
    longest = int(whole.max())
    first = whole.cumsum(0) - whole if flat else longest * torch.arange(len(whole), device=whole.device)
    rows, length = (1, int(whole.sum())) if flat else (len(whole), longest)
    places, taken = [], []
    for (values, count), start in zip(streams, before, strict=True):
        mask = valid(count, values.shape[1])
        at = torch.arange(values.shape[1], device=values.device)[None] + (first + start)[:, None]
        places.append(at[mask])
        taken.append(values[mask])
    found = torch.cat(taken)
    out = found.new_zeros(rows * length, found.shape[-1]).index_copy(0, torch.cat(places), found)
    within = torch.arange(longest, device=whole.device).expand(len(whole), -1)
    positions = within[valid(whole, longest)][None] if flat else within * valid(whole, longest)
    blocks = tuple(whole.tolist()) if flat else None
    return Packed(out.view(rows, length, -1), positions, tuple(places), blocks)


def between(codes: Tensor, lengths: Tensor, ids: Ids) -> tuple[Tensor, Tensor]:
    """Codes `(batch, length)` between the start and, right after the last that counts, the stop id; their lengths."""
    framed = F.pad(codes, (1, 1), value=ids.start)
    return framed.scatter(1, lengths[:, None] + 1, ids.stop), lengths + 2


def shifted(ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """What a stream of `(batch, length)` ids predicts: `(predicting, targets)`.

    `predicting` marks the stream's values, sample after sample, that have a next id; `targets` are those ids. A sample of n
    ids has n - 1 targets: the first is never one, the last is one exactly once.
    """
    has_next, is_next = valid(lengths - 1, ids.shape[1]), valid(lengths, ids.shape[1])[:, 1:]
    return has_next[valid(lengths, ids.shape[1])], ids[:, 1:][is_next]


def each_alone(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **more):
    """Attention for Transformers: the stock one, or where `blocks` are given, causal within each block of the one row.

    `(1, heads, positions, head dim)` each. Costs the sum of the squared block lengths, and needs no mask.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if (blocks := more.pop("blocks", None)) is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **more)
    spans = zip(*(x.split(blocks, dim=2) for x in (query, key, value)), strict=True)
    settings = {"is_causal": True, "scale": more.get("scaling"), "dropout_p": more.get("dropout", 0.0)}
    out = [F.scaled_dot_product_attention(q, k, v, **settings) for q, k, v in spans]
    return torch.cat(out, dim=2).transpose(1, 2), None


def register() -> str:
    """Make `each_alone` known to Transformers; returns its name for `attn_implementation`."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register("each_alone", each_alone)
    AttentionMaskInterface.register("each_alone", sdpa_mask)
    return "each_alone"
