"""What a model reads: normalised text as units (characters or espeak-ng phonemes) and their ids.

The same object encodes in training and at inference, and travels inside the checkpoint. A unit the vocabulary lacks is
an error that names it, never an unknown id.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ttslib import text as texts

PAD, START, END = "<pad>", "<s>", "</s>"  # START and END also absorb the silence at both ends of a clip


class UnitsError(ValueError):
    """Text with units the vocabulary does not have; the message names them."""


@dataclass(frozen=True)
class Units:
    """A plain vocabulary: ids are positions in `symbols`; the first three are padding, start and end."""

    kind: str
    symbols: tuple[str, ...]
    homophones: bool = False
    versions: dict[str, str] = field(default_factory=dict)
    """normaliser version per language, e.g. {"am": "am-1"}"""

    def __post_init__(self):
        object.__setattr__(self, "ids", {symbol: i for i, symbol in enumerate(self.symbols)})

    def __len__(self) -> int:
        return len(self.symbols)

    @classmethod
    def fit(cls, lines: Iterable[tuple[str, str]], kind: str, homophones: bool = False) -> "Units":
        """The vocabulary of all `(normalised text, language)` lines, symbols in code point order."""
        lines = list(lines)
        found = sorted({unit for line, lang in lines for unit in split(line, lang, kind)})
        versions = {lang: texts.version(lang) for lang in sorted({lang for _, lang in lines})}
        return cls(kind, (PAD, START, END, *found), homophones, versions)

    @property
    def roles(self) -> dict[str, str]:
        """Names of the special symbols by what they do, as tokenizer files have them."""
        roles = {"pad": PAD, "start": START, "end": END, "space": " "}
        return {role: name for role, name in roles.items() if name in self.ids}

    def extended(self, lines: Iterable[tuple[str, str]], homophones: bool = False) -> "Units":
        """This vocabulary, every id unchanged, with the units that further `(normalised text, language)` lines need."""
        more = Units.fit(lines, self.kind, homophones)
        new = [symbol for symbol in more.symbols if symbol not in self.ids]
        return Units(self.kind, (*self.symbols, *new), homophones, self.versions | more.versions)

    def normalise(self, text: str, lang: str) -> str:
        """Raw text as this vocabulary's training text was normalised."""
        return texts.normalise(text, lang, homophones=self.homophones)

    def encode(self, text: str, lang: str) -> list[int]:
        """Ids of a normalised text between START and END. Raises `UnitsError` naming units the vocabulary lacks."""
        units = split(text, lang, self.kind)
        if missing := sorted(set(units) - self.ids.keys()):
            named = ", ".join(f"{u!r} (U+{ord(u[0]):04X})" for u in missing)
            raise UnitsError(
                f"{self.kind} never seen in training: {named}, in {text!r}; add clips that have them or respell"
            )
        return [self.ids[START], *(self.ids[u] for u in units), self.ids[END]]

    @property
    def digest(self) -> str:
        return sha256(self.state())

    def state(self) -> dict:
        """Plain JSON; `Units.restore` is its inverse."""
        return {
            "kind": self.kind,
            "symbols": list(self.symbols),
            "homophones": self.homophones,
            "versions": dict(self.versions),
        }

    @classmethod
    def restore(cls, state: dict) -> "Units":
        return cls(state["kind"], tuple(state["symbols"]), state["homophones"], dict(state["versions"]))


def split(text: str, lang: str, kind: str) -> list[str]:
    """The units of a normalised text: its characters, or the characters of its phonemes."""
    if kind == "characters":
        return list(text)
    from ttslib import espeak

    return list(espeak.phonemes(text, espeak.voice_of(lang)))


def compared(mine: Sequence[str], other: Sequence[str]) -> tuple[list[str], list[str], list[tuple[str, int, int]]]:
    """Names only `mine` has, names only `other` has, and `(name, id in mine, id in other)` of those that moved."""
    ids, theirs = ({name: i for i, name in enumerate(names)} for names in (mine, other))
    gone, extra = [n for n in mine if n not in theirs], [n for n in other if n not in ids]
    return gone, extra, [(n, i, theirs[n]) for n, i in ids.items() if theirs.get(n, i) != i]


def difference(mine: Sequence[str], other: Sequence[str]) -> str:
    """What distinguishes two vocabularies, in words: sizes, names only one has, ids that moved."""
    gone, extra, moved = compared(mine, other)
    said = [f"{len(mine)} rows against {len(other)}"] if len(mine) != len(other) else []
    shown = {
        "missing": map(repr, gone),
        "unknown": map(repr, extra),
        "moved": (f"{n!r} {i} → {j}" for n, i, j in moved),
    }
    for what, found in shown.items():
        if found := list(found):
            said.append(f"{len(found)} {what}: {examples(found)}")
    return "; ".join(said) or "none"


def examples(some: Sequence[str], count: int = 5) -> str:
    return ", ".join(some[:count]) + (", …" if len(some) > count else "")


def sha256(content) -> str:
    """SHA-256 of plain JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
