"""vocab.json: characters, as VITS and MMS read them.

Names of one character are spelt; longer names that have no role (a language tag) are matched whole. `data` also keeps
what `tokenizer_config.json` says about special tokens, since vocab.json alone cannot tell padding from a letter.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

from ttslib.vocab.tokenizer import NONE, Own, Token, Tokenizer, VocabError, holed

ROLES = {"pad": "<pad>", "unk": "<unk>", "start": "<s>", "end": "</s>"}


@dataclass(frozen=True)
class Characters(Tokenizer):
    """A vocab.json: `{name: id}`. `declared` are roles a tokenizer_config.json gave, e.g. ("pad", "k") in MMS."""

    declared: tuple[tuple[str, str], ...] = ()
    uroman: bool = False
    """the system romanises text (uroman) before this vocabulary reads it"""

    kind: ClassVar[str] = "characters"
    file: ClassVar[str] = "vocab.json"

    @cached_property
    def table(self) -> dict[str, int]:
        try:
            found = json.loads(self.data)
        except ValueError as error:
            raise VocabError(f"vocab.json: not JSON ({error})") from error
        if not isinstance(found, dict) or not all(type(i) is int and i >= 0 for i in found.values()):
            raise VocabError("vocab.json: not a table of names and ids")
        return found

    @cached_property
    def names(self) -> tuple[str, ...]:
        return holed(self.table, self.file)

    @cached_property
    def roles(self) -> dict[str, str]:
        return {role: name for role, name in (ROLES | dict(self.declared)).items() if name in self.table}

    @cached_property
    def special(self) -> frozenset[str]:
        return frozenset(name for name in self.table if len(name) > 1)

    @cached_property
    def pattern(self) -> re.Pattern:
        whole = sorted(self.special - set(self.roles.values()), key=len, reverse=True)
        return re.compile("|".join([*map(re.escape, whole), "."]), re.DOTALL)

    def tokens(self, text: str) -> list[Token]:
        unk = self.roles.get("unk")
        found = []
        for piece in self.pattern.findall(text):
            name = piece if piece in self.table else unk
            found.append(Token(NONE, "", piece, 0) if name is None else Token(self.table[name], name, piece, 0))
        return found

    def decode(self, ids: Iterable[int]) -> str:
        return "".join(self.names[i] for i in ids)

    def unfronted(self, text: str) -> str:
        return text

    def state(self) -> dict:
        return super().state() | {"declared": dict(self.declared), "uroman": self.uroman}

    @classmethod
    def restore(cls, state: dict) -> Self:
        return replace(
            super().restore(state), declared=tuple(sorted(state["declared"].items())), uroman=state["uroman"]
        )

    def save(self, folder):
        path = super().save(folder)
        if self.declared or self.uroman:
            config = {f"{CONFIG[role]}_token": name for role, name in self.declared} | {"is_uroman": self.uroman}
            path.with_name("tokenizer_config.json").write_text(json.dumps(config, ensure_ascii=False), encoding="utf-8")
        return path

    # For merges

    bytes_level: ClassVar[bool] = False
    byte_fallback: ClassVar[bool] = False
    metaspace: ClassVar[bool] = False

    @property
    def plain_names(self) -> set[str]:
        return {name for name in self.table if len(name) == 1}

    def unspelt(self, text: str) -> str:
        return "".join(t.surface for t in self.tokens(text) if self.lossy(t))

    def learn(self, segments: list[str], size: int) -> Own:
        """Nothing to learn: the alphabet. `size` bounds pieces, and a letter is not one."""
        return Own(tuple(sorted(set("".join(segments)))), list)

    def extended(self, singles: Iterable[str], own: Own | None, tag: str | None) -> Self:
        table = dict(self.table)
        for name in [*sorted(singles), *(own.entries if own else ()), *([tag] if tag else ())]:
            table.setdefault(name, max(table.values(), default=-1) + 1)
        return replace(self, data=json.dumps(table, ensure_ascii=False).encode())


CONFIG = {"pad": "pad", "unk": "unk", "start": "bos", "end": "eos"}


def declared(config: dict) -> tuple[tuple[str, str], ...]:
    """Roles a tokenizer_config.json declares; a token is a string or an object with `content`."""
    found = {role: config.get(f"{token}_token") for role, token in CONFIG.items()}
    plain = {role: token["content"] if isinstance(token, dict) else token for role, token in found.items() if token}
    return tuple(sorted(plain.items()))
