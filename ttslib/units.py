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
        return hashlib.sha256(json.dumps(self.state(), sort_keys=True).encode()).hexdigest()

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

    return list(espeak.phonemes(text, espeak.VOICES.get(lang, lang)))


def difference(mine: Sequence[str], other: Sequence[str]) -> str:
    """What distinguishes two vocabularies, in words: sizes, names only one has, ids that moved."""
    places = {name: i for i, name in enumerate(other)}
    gone = [repr(name) for name in mine if name not in places]
    extra = [repr(name) for name in sorted(set(other) - set(mine), key=places.get)]
    moved = [f"{name!r} {i} → {places[name]}" for i, name in enumerate(mine) if places.get(name, i) != i]
    said = [f"{len(mine)} rows against {len(other)}"] if len(mine) != len(other) else []
    for what, found in (("missing", gone), ("unknown", extra), ("moved", moved)):
        if found:
            said.append(f"{len(found)} {what}: {', '.join(found[:5])}{', …' if len(found) > 5 else ''}")
    return "; ".join(said) or "none"
