"""Keys and values of what a Transformers backbone has read, written in place, of one sequence or of several side by side.

A cache that grows by concatenation copies everything it holds for every code. Here room is taken once. Sequences of
different lengths are joined so that all of them end at the same place:

    a a a a a | codes ...
    . . b b b | codes ...        `blank` positions before b are zero, masked, and counted by nobody

Each is read alone before it is joined, so that what stands before its first code is that of the sequence alone, bit by bit.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer


class Room(DynamicLayer):
    """Keys and values of one layer, `(rows, heads, room, width)` each, the first `read` positions valid."""

    is_croppable = False

    def __init__(self, room: int):
        super().__init__()
        self.room, self.read = room, 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        rows, heads, _, width = key_states.shape
        self.keys, self.values = (key_states.new_zeros(rows, heads, self.room, width) for _ in range(2))
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args, **more) -> tuple[Tensor, Tensor]:
        """All that was read, with what comes now. Raises `RuntimeError` for more than there is room for."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        until = self.read + key_states.shape[2]
        if until > self.room:  # written into an empty slice it would be lost without a word
            raise RuntimeError(f"{until} positions, there is room for {self.room}")
        self.keys[:, :, self.read : until] = key_states
        self.values[:, :, self.read : until] = value_states
        self.read = until
        return self.keys[:, :, :until], self.values[:, :, :until]

    def get_seq_length(self) -> int:
        return self.read

    def get_max_length(self) -> int:
        return self.room

    def keep(self, rows: Tensor) -> None:
        """Only these rows, in this order, from now on; no more than there were, but one may be named twice, as beams are."""
        for name in ("keys", "values"):
            buffer = getattr(self, name)
            buffer[: len(rows), :, : self.read] = buffer[rows, :, : self.read]
            setattr(self, name, buffer[: len(rows)])


class Read:
    """What a backbone of so many layers has read; `room` positions in all."""

    def __init__(self, layers: int, room: int):
        self.layers = [Room(room) for _ in range(layers)]
        self.cache, self.blank = Cache(layers=self.layers), None

    @property
    def length(self) -> int:
        return self.layers[0].read

    def more(self) -> dict:
        """What a backbone has to be told, as keywords, to read on: of joined sequences one position at a time."""
        told = {"past_key_values": self.cache, "use_cache": True}
        if self.blank is not None:
            places = torch.arange(self.length + 1, device=self.blank.device)
            told["attention_mask"] = (places >= self.blank[:, None])[:, None, None]
            told["position_ids"] = (self.length - self.blank)[:, None]
        return told

    def keep(self, rows: Sequence[int]) -> None:
        """Only these rows, in this order, from now on."""
        if list(rows) == list(range(self.layers[0].keys.shape[0])):
            return
        index = torch.tensor(rows, device=self.layers[0].keys.device)
        for layer in self.layers:
            layer.keep(index)
        if self.blank is not None:
            self.blank = self.blank[index]


def joined(parts: Sequence[Read], room: int) -> Read:
    """Sequences read apart, side by side with `room` positions more; one alone stays as it is, if it has that room."""
    if len(parts) == 1 and parts[0].layers[0].room >= parts[0].length + room:
        return parts[0]
    longest, made = max(part.length for part in parts), Read(len(parts[0].layers), 0)
    for number, layer in enumerate(made.layers):
        layers = [part.layers[number] for part in parts]
        rows = sum(len(one.keys) for one in layers)
        layer.room, layer.read = longest + room, longest
        _, heads, _, width = layers[0].keys.shape
        layer.keys, layer.values = (layers[0].keys.new_zeros(rows, heads, layer.room, width) for _ in range(2))
        layer.is_initialized, first = True, 0
        for one in layers:
            place = slice(first, first + len(one.keys)), slice(None), slice(longest - one.read, longest)
            layer.keys[place], layer.values[place] = one.keys[:, :, : one.read], one.values[:, :, : one.read]
            first += len(one.keys)
    counts = [longest - part.length for part in parts for _ in range(len(part.layers[0].keys))]
    if any(counts):
        made.blank = torch.tensor(counts, device=parts[0].layers[0].keys.device)
    return made


def drawn(logits: Tensor, generators: Sequence[torch.Generator | None]) -> Tensor:
    """An id `(rows, 1)` of each row of logits `(rows, ids)`, drawn on the CPU by the row's own generator; without one the
    likeliest."""
    chances, likeliest = logits.softmax(-1).cpu(), logits.argmax(-1, keepdim=True).cpu()
    ids = [
        likeliest[row] if generator is None else torch.multinomial(chances[row], 1, generator=generator)
        for row, generator in enumerate(generators)
    ]
    return torch.stack(ids).to(logits.device)
