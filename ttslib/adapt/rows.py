"""Row maps: which row of a base table each row of a grown table comes from, by name and never by position."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ttslib.units import difference, sha256


class AdaptError(ValueError):
    """A base model that cannot learn the language as asked; the message says what does not fit and what to do."""


@dataclass(frozen=True)
class RowMap:
    """`sources[i]` is the base row that row `i` of the grown table is a copy of, None where the row is new."""

    old: tuple[str, ...]
    """names of the base's rows, spare rows included"""
    new: tuple[str, ...]
    """names of the grown table's rows"""
    sources: tuple[int | None, ...]

    def __post_init__(self):
        if len(self.sources) != len(self.new):
            raise AdaptError(f"row map is truncated: {len(self.sources)} sources for {len(self.new)} rows")
        used = [s for s in self.sources if s is not None]
        if len(set(used)) != len(used) or any(not 0 <= s < len(self.old) for s in used):
            raise AdaptError(f"row map: sources must be distinct rows of the base's {len(self.old)}")

    @classmethod
    def between(cls, old: Sequence[str], new: Sequence[str], roles: Mapping[str, str] | None = None) -> "RowMap":
        """The map by equal names; `roles` pairs special rows of another name, `{new name: old name}`.

        Raises `AdaptError` when a name occurs twice or names a role that is not there.
        """
        for names, what in ((old, "base"), (new, "new")):
            if twice := sorted({n for n in names if names.count(n) > 1} if len(set(names)) < len(names) else ()):
                raise AdaptError(
                    f"{what} vocabulary: {len(twice)} names occur twice, among them {twice[:5]}; mend the tokenizer's file"
                )
        index = {name: i for i, name in enumerate(old)}
        sources = [index.get(name) for name in new]
        for ours, theirs in (roles or {}).items():
            if theirs not in index or ours not in new:
                raise AdaptError(
                    f"role {ours!r} = {theirs!r}: {'the base' if theirs not in index else 'new'} has no such row"
                )
            sources[new.index(ours)] = index[theirs]
        return cls(tuple(old), tuple(new), tuple(sources))

    @property
    def added(self) -> list[int]:
        """Rows of the grown table that are new."""
        return [i for i, source in enumerate(self.sources) if source is None]

    @property
    def dropped(self) -> list[str]:
        """Names of base rows that the grown table does not have."""
        used = set(self.sources)
        return [name for i, name in enumerate(self.old) if i not in used]

    def state(self) -> dict:
        """Plain JSON; `RowMap.restore` is its inverse. Unmoved rows are one number, new rows are null."""
        body = {"old": list(self.old), "new": list(self.new), "sources": list(self.sources)}
        return body | {"digest": sha256(body)}

    @classmethod
    def restore(cls, state: dict, where: str = "row map") -> "RowMap":
        """Raises `AdaptError` for a map that is cut short or was changed by hand."""
        body = {name: state.get(name) for name in ("old", "new", "sources")}
        if missing := [name for name, value in body.items() if not isinstance(value, list)]:
            raise AdaptError(f"{where}: truncated: no {', '.join(missing)}; make it again with notebook 02")
        if sha256(body) != state.get("digest"):
            raise AdaptError(
                f"{where}: its rows are not the ones its digest was written for: truncated or changed"
                "; make it again with notebook 02"
            )
        return cls(*(tuple(body[name]) for name in ("old", "new", "sources")))

    def check(self, old: Sequence[str] | None = None, new: Sequence[str] | None = None) -> None:
        """Raise `AdaptError` with a readable difference unless the vocabularies are the ones the map was made for."""
        for names, mine, what in ((old, self.old, "base"), (new, self.new, "grown")):
            if names is not None and tuple(names) != mine:
                raise AdaptError(
                    f"this row map belongs to another {what} vocabulary: {difference(mine, names)}"
                    "; make it again with notebook 02"
                )


def write(path: str | Path, maps: Mapping[str, RowMap], tokenizers: Mapping[str, str]) -> Path:
    """Save the maps of all vocabularies with both tokenizers' hashes, `{"old": sha256, "new": sha256}`."""
    content = {"tokenizers": dict(tokenizers), "maps": {name: m.state() for name, m in maps.items()}}
    Path(path).write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
    return Path(path)


def read(path: str | Path, tokenizers: Mapping[str, str] | None = None) -> dict[str, RowMap]:
    """The maps of a file that `write` made. Raises `AdaptError` for a damaged one or other tokenizers than given."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        maps, theirs = content["maps"], content["tokenizers"]
    except (ValueError, KeyError, TypeError) as error:
        raise AdaptError(f"{path}: not a whole row map ({error}); make it again with notebook 02") from None
    for which, sha in (tokenizers or {}).items():
        if theirs.get(which) != sha:
            raise AdaptError(
                f"{path}: made for another {which} tokenizer (sha256 {str(theirs.get(which))[:12]}…, given {sha[:12]}…)"
            )
    return {name: RowMap.restore(state, f"{path}: {name}") for name, state in maps.items()}
