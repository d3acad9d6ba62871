"""What every kind of tokenizer file can do: the interface of `ttslib.units.Units` over a published file's bytes."""

import base64
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

from ttslib import text as texts
from ttslib.units import UnitsError, sha256
from ttslib.vocab.fronts import FRONTS, SPACE

NONE = -1  # id of a character that a tokenizer without an unknown token drops
METASPACE = "▁"  # how SentencePiece and Metaspace write a space


class VocabError(UnitsError):
    """A tokenizer that cannot be had, cannot spell a text, or cannot be merged as promised; the message says which."""


class Token(NamedTuple):
    """One token of a text: its id, its name, the characters it stands for, and the word (pre-token) it is part of."""

    id: int
    piece: str
    surface: str
    word: int


class Own(NamedTuple):
    """A tokenizer learnt from segments of new letters alone: `entries` as `extended` takes them, and `split`."""

    entries: tuple
    split: Callable[[str], list[str]]


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer file. `data` are its bytes, exactly as `save` writes them; ids are positions in `names`."""

    data: bytes
    front: str = "plain"
    versions: dict[str, str] = field(default_factory=dict, hash=False)
    """normaliser version per language that the vocabulary was made or merged for, e.g. {"am": "am-1"}"""
    homophones: bool = False

    kind: ClassVar[str]
    file: ClassVar[str]
    """official file name"""

    def __post_init__(self):
        if self.front not in FRONTS:
            raise VocabError(f"no text front named {self.front!r}; there are {', '.join(FRONTS)}")

    # What a kind has to say: `names` (tuple), `roles` (role -> name), `special` (names no text spells: tags, pad),
    # `tokens`, `unfronted`, and for merges `learn` and `extended`.

    @property
    def symbols(self) -> tuple[str, ...]:
        """`names`, as `Units` calls them."""
        return self.names

    def __len__(self) -> int:
        return len(self.names)

    def made_for(self, *langs: str) -> Self:
        """The same tokenizer that records the current normaliser version of `langs`."""
        return replace(self, versions=self.versions | {lang: texts.version(lang) for lang in langs})

    def normalise(self, text: str, lang: str) -> str:
        """Raw text as this vocabulary's training text was normalised."""
        return texts.normalise(text, lang, homophones=self.homophones)

    def tag(self, lang: str) -> str:
        """The language's tag, `[am]`, or "" where the vocabulary has none."""
        tag = f"[{lang}]"
        return tag if tag in self.special else ""

    def fronted(self, text: str, lang: str) -> str:
        """A normalised text as the tokenizer reads it."""
        return FRONTS[self.front](text, self.tag(lang))

    def spelt(self, text: str, lang: str) -> str:
        """A normalised text as `decode` gives it back when nothing is lost."""
        return self.unfronted(self.fronted(text, lang).replace(SPACE, " "))

    def encode(self, text: str, lang: str) -> list[int]:
        """Ids of a normalised text, without start and end. Raises `VocabError` naming every character it would lose,
        and for text that spells padding, start or end."""
        return self.encoded(self.fronted(text, lang), text)

    def encoded(self, fronted: str, text: str) -> list[int]:
        """`encode` of what the front made of `text`."""
        tokens = self.tokens(fronted)
        if lost := sorted(set("".join(t.surface for t in tokens if self.lossy(t)))):
            raise VocabError(
                f"no row for {named(lost)}, in {text!r}; merge the language into this vocabulary (`vocab.merge`) "
                f"or respell"
            )
        reserved = {self.roles.get(role) for role in ("pad", "start", "end")} & self.special
        if spelt := sorted({t.piece for t in tokens} & reserved):
            raise VocabError(f"{', '.join(spelt)} is reserved and stands in {text!r}; remove it")
        return [t.id for t in tokens]

    def ids(self, text: str, lang: str) -> list[int]:
        """`encode` with unknown ids allowed. Raises `VocabError` where the file has no unknown token to give."""
        tokens = self.tokens(self.fronted(text, lang))
        if lost := sorted({t.surface for t in tokens if t.id == NONE}):
            raise VocabError(f"no row for {named(lost)} and no unknown token, in {text!r}")
        return [t.id for t in tokens]

    def pieces(self, text: str, lang: str) -> list[str]:
        """Names of the tokens of a normalised text."""
        return [t.piece for t in self.tokens(self.fronted(text, lang))]

    def lossy(self, token: Token) -> bool:
        return token.id == NONE or token.piece == self.roles.get("unk")

    def lost(self, text: str, lang: str) -> str:
        """The characters of the fronted text that become unknown, in order, with repetitions."""
        return "".join(t.surface for t in self.tokens(self.fronted(text, lang)) if self.lossy(t))

    def unknown(self, text: str, lang: str) -> list[str]:
        """Distinct characters of a normalised text (as the front leaves them) that become unknown, sorted."""
        return sorted(set(self.lost(text, lang)))

    @property
    def digest(self) -> str:
        return sha256(self.state())

    def state(self) -> dict:
        """Plain JSON; `vocab.restore` is its inverse."""
        return {
            "kind": self.kind,
            "front": self.front,
            "versions": dict(self.versions),
            "homophones": self.homophones,
            "data": base64.b64encode(self.data).decode("ascii"),
        }

    @classmethod
    def restore(cls, state: dict) -> Self:
        return cls(base64.b64decode(state["data"]), state["front"], dict(state["versions"]), state["homophones"])

    def save(self, folder: str | Path) -> Path:
        """Write the official file into `folder`, made if need be; returns its path."""
        path = Path(folder) / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}-{os.getpid()}")
        partial.write_bytes(self.data)
        os.replace(partial, path)  # whole or not at all: what reads with half of it would still read
        return path


def named(chars: Iterable[str]) -> str:
    """`'ሰ' (U+1230)`, comma-separated."""
    return ", ".join(f"{c!r} ({' '.join(f'U+{ord(x):04X}' for x in c)})" for c in chars)


def holed(ids: dict[str, int], where: str) -> tuple[str, ...]:
    """Names by position; ids nobody uses are `<hole N>`. Raises `VocabError` when two names share an id."""
    by_id = {i: name for name, i in ids.items()}
    if len(by_id) < len(ids):
        doubled = sorted(name for name, i in ids.items() if by_id[i] != name)
        raise VocabError(f"{where}: an id with two names: {', '.join(doubled[:5])}; mend the file")
    return tuple(by_id.get(i, f"<hole {i}>") for i in range(max(by_id, default=-1) + 1))
