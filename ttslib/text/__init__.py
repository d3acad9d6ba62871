"""Text as it is spoken: one normaliser a language, the same one at training and at inference.

A normalised text is NFC, in lower case, with single spaces; numerals, abbreviations and symbols are words. Letters of
the language, the space and `. , ? ! ; : - '` are its character set (Amharic: ። ፣ ፤ ፥ ? ! -). A character without a rule
stays in place, is `unknown`, and is the caller's to report. Square brackets are such characters: corpora use them for
what is not speech. `version` changes when a normaliser's output does, and belongs into every checkpoint.
"""

import importlib
from collections import Counter
from collections.abc import Iterable
from types import ModuleType

from ttslib.text import confusables as _confusables
from ttslib.text.confusables import mixed_scripts
from ttslib.text.surface import settle

__all__ = [
    "LANGS", "census", "charset", "confusables", "mixed_scripts", "normalise", "unknown", "version",
]  # fmt: skip

LANGS = {
    "am": "ttslib.text.am",
    "de": "ttslib.text.de",
    "en": "ttslib.text.en",
    "es": "ttslib.text.es",
    "fr": "ttslib.text.fr",
    "it": "ttslib.text.it",
    "kmr": "ttslib.text.ku",
    "ku": "ttslib.text.ku",
    "qaa": "ttslib.text.qaa",
    "ru": "ttslib.text.ru",
}
GENERIC = "ttslib.text.generic"


def language(lang: str) -> ModuleType:
    """The module of a language code; a region is ignored (`en-US`), a script is not (`ku-Arab` is generic)."""
    code, *tags = lang.replace("_", "-").lower().split("-")
    regional = all(len(tag) == 2 or (len(tag) == 3 and tag.isdigit()) for tag in tags)
    return importlib.import_module(LANGS.get(code, GENERIC) if regional else GENERIC)


def normalise(text: str, lang: str, homophones: bool = False) -> str:
    """`text` as it is spoken in `lang` (ISO 639 code); idempotent and deterministic.

    `homophones` folds letters that sound alike, in Amharic; other languages have no such letters and ignore it. A
    language without a module gets Unicode form, whitespace, quotes, dashes and lower case only.
    """
    module = language(lang)
    if homophones and hasattr(module, "fold"):
        return settle(lambda t: module.fold(module.normalise(t)), text)
    return module.normalise(text)


def charset(lang: str) -> frozenset[str] | None:
    """Characters a normalised text may hold, space included; None where there is no module to say."""
    return language(lang).CHARSET


def version(lang: str) -> str:
    """Name and number of the normaliser, e.g. `am-1`; `generic-1` where the language has none."""
    return language(lang).VERSION


def unknown(text: str, lang: str) -> list[str]:
    """Distinct characters of a normalised text outside the language's set, sorted; empty without a set."""
    known = charset(lang)
    return [] if known is None else sorted(set(text) - known)


def census(texts: Iterable[str]) -> Counter[str]:
    """How often each character occurs in `texts`, which are taken as they are."""
    return Counter(char for text in texts for char in text)


def confusables(text: str, lang: str) -> list[tuple[str, str]]:
    """Characters of a raw text that only look like the language's, each with what was probably meant.

    Both as `а U+0430 CYRILLIC SMALL LETTER A`; see `ttslib.text.confusables.find`.
    """
    return _confusables.find(text, charset(lang))
