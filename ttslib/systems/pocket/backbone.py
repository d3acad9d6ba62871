"""The causal transformer of Pocket TTS, in two ways that give the same: whole sequences to train, frames as they come.

Names of pocket-tts 4.0.1 (`modules/transformer.py`, `attention.py`, `rope.py`): norm first, no biases but the norms',
rotary positions over interleaved pairs in fp32, queries of `attn_dim`, keys and values shared by groups of heads.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class State:
    """Keys and values of what streams have read: of each layer `(2, batch, room, heads, width)`, the first `read` valid.

    Streams of different lengths end at the same place: before each are `blank` positions `(batch,)` that do not count.
    """

    caches: list[Tensor]
    read: int = 0
    blank: Tensor | None = None

    def room(self, more: int) -> None:
        """Make place for so many positions more; grows by doubling."""
        have, need = self.caches[0].shape[2], self.read + more
        if need > have:
            size = max(need, 2 * have)
            self.caches = [F.pad(cache, (0, 0, 0, 0, 0, size - have)) for cache in self.caches]

    def copied(self, more: int = 0) -> "State":
        """The same reading, to go on from in another way, with place for so many positions more."""
        return joined([self], more)

    def keep(self, rows: Sequence[int]) -> None:
        """Only these streams, in this order, from now on; in place."""
        index = torch.tensor(rows, device=self.caches[0].device)
        for cache in self.caches:
            cache[:, : len(rows), : self.read] = cache[:, index, : self.read]
        self.caches = [cache[:, : len(rows)] for cache in self.caches]
        self.blank = self.blank if self.blank is None else self.blank[index]

    def seen(self, more: int) -> Tensor | None:
        """Which positions `(batch, 1, 1 or more, read + more)` the next ones may attend to; None for all before them."""
        places = torch.arange(self.read + more, device=self.caches[0].device)
        causal = places <= self.read + torch.arange(more, device=places.device)[:, None]
        if self.blank is not None:
            return causal & (places >= self.blank[:, None, None])[:, None]
        return causal if more > 1 and self.read else None


def joined(states: Sequence[State], more: int) -> State:
    """Streams read apart, side by side, with place for so many positions more."""
    read, made = max(state.read for state in states), []
    for caches in zip(*(state.caches for state in states), strict=True):
        rows = sum(cache.shape[1] for cache in caches)
        out, first = caches[0].new_zeros(2, rows, read + more, *caches[0].shape[3:]), 0
        for cache, state in zip(caches, states, strict=True):
            out[:, first : first + cache.shape[1], read - state.read : read] = cache[:, :, : state.read]
            first += cache.shape[1]
        made.append(out)
    counts = [read - state.read for state in states for _ in range(state.caches[0].shape[1])]
    return State(made, read, torch.tensor(counts, device=made[0].device) if any(counts) else None)


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int, kv_heads: int, width: int):
        super().__init__()
        self.heads, self.kv_heads, self.width = heads, kv_heads, width
        self.in_proj = nn.Linear(dim, (heads + 2 * kv_heads) * width, bias=False)
        self.out_proj = nn.Linear(heads * width, dim, bias=False)

    def forward(
        self, x: Tensor, turn: tuple[Tensor, Tensor], blocks: tuple[int, ...] | None, cache: Tensor | None, read: int,
        seen: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """`(batch, length, dim)`; `turn` are those of its positions. With a `cache`, what was `read` comes before `x`, and
        `seen` says what of it counts (`State.seen`)."""
        q, k, v = self.in_proj(x).unflatten(-1, (-1, self.width)).split([self.heads, self.kv_heads, self.kv_heads], -2)
        q, k = turned(q, turn), turned(k, turn)
        if cache is not None:
            until = read + x.shape[1]
            cache[0, :, read:until], cache[1, :, read:until] = k, v
            k, v = cache[0, :, :until], cache[1, :, :until]
        q, k, v = (y.transpose(1, 2) for y in (q, k, v))
        shared = {"enable_gqa": True} if self.kv_heads != self.heads else {}
        if blocks is not None:
            spans = zip(*(y.split(blocks, dim=2) for y in (q, k, v)), strict=True)
            out = torch.cat([F.scaled_dot_product_attention(*s, is_causal=True, **shared) for s in spans], 2)
        elif cache is None or read == 0:
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True, **shared)
        else:
            out = F.scaled_dot_product_attention(q, k, v, seen, **shared)
        return self.out_proj(out.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    def __init__(self, dim: int, heads: int, kv_heads: int, width: int, ff: int):
        super().__init__()
        self.self_attn = Attention(dim, heads, kv_heads, width)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.linear1, self.linear2 = nn.Linear(dim, ff, bias=False), nn.Linear(ff, dim, bias=False)

    def forward(self, x: Tensor, *more) -> Tensor:
        x = x + self.self_attn(self.norm1(x), *more)
        return x + self.linear2(F.gelu(self.linear1(self.norm2(x)), approximate="tanh"))


class Transformer(nn.Module):
    def __init__(self, shape):
        """`shape` is a `configs.Shape`."""
        super().__init__()
        self.width = (shape.attn_dim or shape.dim) // shape.heads
        self.kv_heads, self.period = shape.kv_heads or shape.heads, shape.max_period
        sizes = (shape.dim, shape.heads, self.kv_heads, self.width, shape.ff)
        self.layers = nn.ModuleList(Layer(*sizes) for _ in range(shape.layers))

    def forward(self, x: Tensor, positions: Tensor, blocks: tuple[int, ...] | None = None) -> Tensor:
        """Whole sequences `(rows, length, dim)`, each causal, or each block of the one row for itself; `positions`
        (rows, length) count within a sample."""
        turn = turns(positions, self.width, self.period)
        for layer in self.layers:
            x = layer(x, turn, blocks, None, 0)
        return x

    def begun(self, batch: int, room: int) -> State:
        """A state that has read nothing, with place for so many positions."""
        weight = self.layers[0].self_attn.in_proj.weight
        size = (2, batch, room, self.kv_heads, self.width)
        return State([weight.new_zeros(size) for _ in self.layers])

    def read(self, x: Tensor, state: State) -> Tensor:
        """What follows the reading so far, `(batch, length, dim)`; the state then has read it too."""
        state.room(x.shape[1])
        places, seen = torch.arange(state.read, state.read + x.shape[1], device=x.device)[None], state.seen(x.shape[1])
        turn = turns(places if state.blank is None else places - state.blank[:, None], self.width, self.period)
        for layer, cache in zip(self.layers, state.caches, strict=True):
            x = layer(x, turn, None, cache, state.read, seen)
        state.read += x.shape[1]
        return x


def turns(positions: Tensor, width: int, period: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines `(rows, length, 1, width / 2)` of positions, in fp32 (Su et al. 2022)."""
    rates = torch.exp(torch.arange(width // 2, device=positions.device).float() * (-math.log(period) * 2 / width))
    angle = rates * positions[..., None, None].float()
    return angle.cos(), angle.sin()


def turned(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """`(rows, length, heads, width)`, neighbours being the parts of a complex number, turned by their positions."""
    (cos, sin), (real, imaginary) = turn, x.float().unflatten(-1, (-1, 2)).unbind(-1)
    pairs = torch.stack([real * cos - imaginary * sin, real * sin + imaginary * cos], -1)
    return pairs.flatten(-2).to(x.dtype)
