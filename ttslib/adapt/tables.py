"""Tables whose old rows cannot move: base rows in a buffer, new rows in a parameter, joined in the forward pass.

A gradient hook does not freeze: AdamW's decoupled weight decay and momentum from earlier steps move the rows all the
same (0.008 in 200 steps at weight decay 0.01). What no optimizer knows of cannot move.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ttslib.adapt.rows import AdaptError


@dataclass(frozen=True)
class Table:
    """An embedding or head `(rows, width)` of a system, whose rows belong to the tokens (or speakers) of `vocabulary`.

    `spare` names the rows after the last token that the published network has beside them, stated by the system:
    IndexTTS2's leftover start row, Pocket's padding row. A head is read against the softmax; its bias has rows too.
    """

    module: nn.Module
    vocabulary: str
    tokens: Sequence[str]
    spare: Sequence[str] = ()
    head: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.tokens, *self.spare)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """`weight`, and `bias` where it has rows. Raises `AdaptError` when there are not as many rows as names."""
        found = {n: getattr(self.module, n) for n in ("weight", "bias") if getattr(self.module, n, None) is not None}
        rows = found["weight"].shape[0]
        if rows != len(self.names):
            raise AdaptError(
                f"table of {self.vocabulary}: {rows} rows for {len(self.tokens)} tokens and {len(self.spare)} spare rows; "
                "the vocabulary is not this model's"
            )
        return found


class Rows(nn.Module):
    """Parametrization of a table `(rows, ...)`: `base` rows, a buffer unless they learn too, and the new ones."""

    def __init__(self, table: Tensor, fixed: Tensor, learn: bool):
        super().__init__()
        kept, fresh = fixed.nonzero()[:, 0], (~fixed).nonzero()[:, 0]
        self.register_buffer("kept", kept, persistent=False)
        self.register_buffer("fresh", fresh, persistent=False)
        order = torch.cat([kept, fresh]).argsort()
        self.register_buffer("order", None if order.equal(torch.arange(len(order))) else order, persistent=False)
        base = table.detach()[kept].clone()
        if learn:
            self.base = nn.Parameter(base)
        else:
            self.register_buffer("base", base)

    def forward(self, new: Tensor) -> Tensor:
        table = torch.cat([self.base, new])
        return table if self.order is None else table[self.order]

    def right_inverse(self, table: Tensor) -> Tensor:
        return table[self.fresh]


def split(table: Table, fixed: Sequence[bool], learn: bool = False) -> None:
    """Hold the rows where `fixed` is true (bit for bit, unless `learn`), and make the others a parameter of their own."""
    mask = torch.tensor(list(fixed), dtype=torch.bool)
    for name, tensor in table.tensors.items():
        if len(mask) != len(tensor):
            raise AdaptError(f"table of {table.vocabulary}: {len(mask)} flags for {len(tensor)} rows")
        if parametrize.is_parametrized(table.module, name):
            raise AdaptError(f"table of {table.vocabulary} is already split, or its {name} computed otherwise")
        if not mask.any():
            continue  # nothing to hold
        if mask.all() and not learn:
            tensor.requires_grad_(False)
        elif not mask.all():
            parametrize.register_parametrization(table.module, name, Rows(tensor, mask.to(tensor.device), learn))


def splits(net: nn.Module) -> Iterator[tuple[str, nn.Module, str, Rows]]:
    """`(path of the module, module, tensor's name, its rows)` of every split table in `net`."""
    for path, module in net.named_modules():
        if parametrize.is_parametrized(module):
            for name, steps in module.parametrizations.items():
                if isinstance(steps[0], Rows):
                    yield path, module, name, steps[0]


def new_rows(net: nn.Module) -> list[nn.Parameter]:
    """The parameters that hold new rows only."""
    return [module.parametrizations[name].original for _, module, name, _ in splits(net)]


def weights(net: nn.Module) -> dict[str, Tensor]:
    """What a checkpoint stores: the state dict with every split table folded into one plain tensor, under the names of
    the unsplit network; LoRA updates stay beside the layers they belong to."""
    state = net.state_dict()
    for path, module, name, _ in splits(net):
        prefix = f"{path}.parametrizations.{name}."
        state = {k: v for k, v in state.items() if not k.startswith(prefix)}
        state[f"{path}.{name}"] = getattr(module, name).detach()
    return state


def load(net: nn.Module, state: dict[str, Tensor]) -> None:
    """Load what `weights` gave into a network split and updated in the same way.

    Raises `AdaptError` when frozen rows in it are not those of `net`, bit for bit.
    """
    state = dict(state)
    for path, _, name, rows in splits(net):
        table = state.pop(f"{path}.{name}")
        if len(table) != len(rows.kept) + len(rows.fresh):
            raise AdaptError(
                f"{path}.{name}: {len(table)} rows, here {len(rows.kept) + len(rows.fresh)}; not this vocabulary"
            )
        table = table.to(rows.kept.device)
        base, prefix = table[rows.kept], f"{path}.parametrizations.{name}."
        if not rows.base.requires_grad and not torch.equal(base, rows.base):
            moved = int((base != rows.base).reshape(len(base), -1).any(1).sum())
            raise AdaptError(
                f"{path}.{name}: {moved} of {len(base)} frozen rows are not the base's; this is another base"
            )
        state |= {f"{prefix}original": table[rows.fresh], f"{prefix}0.base": base}
    net.load_state_dict(state)


def fingerprint(net: nn.Module) -> str:
    """SHA-256 over names, shapes and bytes of all weights."""
    sha = hashlib.sha256()
    for name, value in sorted(weights(net).items()):
        sha.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        sha.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def grow(old: Table | None, new: Table, sources: Sequence[int | None], fill: Tensor | None) -> None:
    """Fill `new` in place: copies of the base's rows where `sources` says so, `fill` `(new rows, width)` elsewhere.

    Without a base table (a first second speaker) old names get zero rows: adding zero changes nothing. The bias of a
    new head row is the base's mean less the log of its size, so that new tokens take little of the softmax's mass.
    """
    added = [i for i, source in enumerate(sources) if source is None]
    kept = [(i, source) for i, source in enumerate(sources) if source is not None]
    to, origin = [i for i, _ in kept], [s for _, s in kept]
    with torch.no_grad():
        for name, tensor in new.tensors.items():
            if old is None:
                tensor.zero_()
                continue
            base = old.tensors[name]
            if base.shape[1:] != tensor.shape[1:]:
                raise AdaptError(
                    f"table of {new.vocabulary}: width {tuple(tensor.shape[1:])}, the base's {tuple(base.shape[1:])}"
                )
            tensor[to] = base[origin].to(tensor)
            if added:
                tensor[added] = fill.to(tensor) if name == "weight" else base.mean() - math.log(len(base))
