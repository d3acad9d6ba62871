"""Text fronts: what each published system does to a normalised text before its tokenizer sees it.

A tokenizer trained on lower-case text is useless behind a front that upper-cases, so the front's name travels with the
tokenizer. Sources: resemble-ai/chatterbox 5de7a54 (English: spaces only; multilingual: lower case, NFKD, language tag),
index-tts ee40fa7 (`tokenize_by_CJK_char` upper-cases), transformers `VitsTokenizer` (lower case).
"""

import unicodedata
from collections.abc import Callable, Iterable

SPACE = "[SPACE]"


def plain(text: str, tag: str) -> str:
    return text


def t3(text: str, tag: str) -> str:
    return tag + unicodedata.normalize("NFKD", text.lower()).replace(" ", SPACE)


def t3_english(text: str, tag: str) -> str:
    """The English tokenizer has no `[en]`: English text gets no tag, a language merged with one does."""
    return tag + text.replace(" ", SPACE)


def indextts(text: str, tag: str) -> str:
    return text.upper()


def vits(text: str, tag: str) -> str:
    return text.lower()


FRONTS: dict[str, Callable[[str, str], str]] = {
    "plain": plain, "t3": t3, "t3-english": t3_english, "indextts": indextts, "vits": vits,
}  # fmt: skip
TAGGING = {"t3", "t3-english"}  # fronts that write the language tag into the text

# None: the file itself tells (`guess`)
SYSTEMS: dict[str, str | None] = {
    "t3": None, "chatterbox": None, "indextts": "indextts", "pocket": "plain", "vits": "vits", "supertonic": "plain",
    "acoustic": "plain",
}  # fmt: skip


def guess(kind: str, names: Iterable[str]) -> str:
    """Front of a file that nobody named a system for: T3's by its special tokens, VITS's by lower-case characters."""
    found = set(names)
    if {SPACE, "[START]", "[STOP]"} <= found:
        return "t3" if "[en]" in found else "t3-english"
    singles = {name for name in found if len(name) == 1}
    return "vits" if kind == "characters" and all(name == name.lower() for name in singles) else "plain"
