"""Where new rows start: mean of the base's rows, of its pieces of the token, of the token's romanisation, or a copy."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ttslib.adapt.rows import AdaptError, RowMap
from ttslib.text.romanise import romanise

WORD_START = "▁Ġ"  # how SentencePiece and byte-level BPE write the space before a word


@dataclass(frozen=True)
class Recipe:
    """How one new row was made: `how` is copy, pieces, romanised or mean; `rows` are names of base rows averaged."""

    name: str
    how: str
    rows: tuple[str, ...]


def recipes(rows: RowMap, init: str, like: Mapping[str, str] | None = None) -> list[Recipe]:
    """One recipe per new row, in order. What `init` (a value of `adapt.init`) cannot do falls to the next simpler.

    Raises `AdaptError` when `like` names a base token that does not exist.
    """
    added = {rows.new[i] for i in rows.added}
    known, like = set(rows.old), {name: base for name, base in (like or {}).items() if name in added}
    if wrong := sorted(base for base in like.values() if base not in known):
        raise AdaptError(f"adapt.like: the base has no row for {', '.join(map(repr, wrong))}; name tokens of the base")
    out = []
    for name in (rows.new[i] for i in rows.added):
        if name in like:
            out.append(Recipe(name, "copy", (like[name],)))
        elif init in ("pieces", "romanised") and (spelt := spell(name, known)):
            out.append(Recipe(name, "pieces", spelt))
        elif init == "romanised" and any(map(str.isalpha, name)) and (spelt := spell(romanise(bare(name)), known)):
            out.append(Recipe(name, "romanised", spelt))
        else:
            out.append(Recipe(name, "mean", rows.old))
    return out


def bare(name: str) -> str:
    return name.lstrip(WORD_START)


def spell(token: str, known: set[str]) -> tuple[str, ...]:
    """The base's rows that spell all of a token, longest first (é is e where there is no mark), or nothing."""
    rest, spelt = unicodedata.normalize("NFKD", bare(token)), []
    if all(unicodedata.combining(c) or not c.isalnum() for c in rest):
        return ()
    while rest:
        size = next((n for n in range(len(rest), 0, -1) if rest[:n] in known), 0)
        folded = next((c for c in (rest[0].lower(), rest[0].upper()) if c in known), None)
        if size:
            spelt.append(rest[:size])
        elif folded:
            spelt.append(folded)
        elif not unicodedata.combining(rest[0]):
            return ()
        rest = rest[max(size, 1) :]
    return tuple(spelt)


def values(table: Tensor, rows: RowMap, made: Sequence[Recipe], noise: float, generator: torch.Generator) -> Tensor:
    """New rows `(new, width)` for a base table `(old, width)`: the means the recipes ask for, plus Gaussian noise of
    `noise` times the table's standard deviation, so that no two rows are equal (equal rows would learn alike)."""
    index = {name: i for i, name in enumerate(rows.old)}
    table = table.detach().float().cpu()
    mean, spread = table.mean(0), table.std() if len(table) > 1 else torch.zeros(())
    out = torch.empty(len(made), table.shape[1])
    for row, recipe in zip(out, made, strict=True):
        row.copy_(mean if recipe.how == "mean" else table[[index[name] for name in recipe.rows]].mean(0))
    return out + noise * spread * torch.randn(out.shape, generator=generator)
