"""Phonemes as the vocabulary of a voice: espeak-ng's IPA, a row a symbol, as Piper's voices read it.

The table is a vocab.json; which espeak-ng voice reads a language is part of the vocabulary. `^` and `$`, where the table
has them, stand at the ends of what is spoken.
"""

import json
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

from ttslib import espeak
from ttslib.vocab.characters import Characters

PAD, ROLES = "_", {"pad": "_", "start": "^", "end": "$"}


@dataclass(frozen=True)
class Phonemes(Characters):
    """A vocab.json of IPA symbols. Needs espeak-ng (the espeak extra) to read a text."""

    voices: tuple[tuple[str, str], ...] = ()
    """espeak-ng's voice by language, where it is not the usual one, e.g. ("en", "en-gb-x-rp")"""

    kind: ClassVar[str] = "phonemes"

    @cached_property
    def roles(self) -> dict[str, str]:
        return {role: name for role, name in (ROLES | dict(self.declared)).items() if name in self.table}

    def fronted(self, text: str, lang: str) -> str:
        """espeak-ng's IPA of a normalised text, its marks apart from their letters (NFD). Raises `EspeakError`."""
        return phonemes(text, dict(self.voices).get(lang) or espeak.voice_of(lang))

    def state(self) -> dict:
        return super().state() | {"voices": dict(self.voices)}

    @classmethod
    def restore(cls, state: dict) -> Self:
        return replace(super().restore(state), voices=tuple(sorted(state["voices"].items())))

    @classmethod
    def fit(cls, lines: Iterable[tuple[str, str]], homophones: bool = False) -> Self:
        """The symbols of `(normalised text, language)` lines after padding."""
        found = {c for text, lang in lines for c in phonemes(text, espeak.voice_of(lang))}
        table = {name: i for i, name in enumerate([PAD, *sorted(found - {PAD})])}
        return cls(json.dumps(table, ensure_ascii=False).encode(), homophones=homophones)


def phonemes(text: str, voice: str) -> str:
    return unicodedata.normalize("NFD", espeak.phonemes(text, voice))
