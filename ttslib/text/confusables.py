"""Characters that look like a letter of the language but are another code point, and words that mix scripts.

A model learns the wrong letter as a different sound, and a reader of the transcript cannot see it.
"""

import re
import unicodedata

from ttslib.text.surface import APOSTROPHES, DASHES, LETTER, QUOTES

SCRIPTS = {
    "LATIN", "CYRILLIC", "GREEK", "ETHIOPIC", "ARABIC", "HEBREW", "ARMENIAN", "GEORGIAN", "DEVANAGARI", "BENGALI",
    "TAMIL", "TELUGU", "THAI", "HANGUL", "CJK", "HIRAGANA", "KATAKANA", "KHMER", "MYANMAR", "LAO", "SINHALA",
    "TIFINAGH", "SYRIAC", "THAANA", "TIBETAN", "GUJARATI", "GURMUKHI", "KANNADA", "MALAYALAM", "ORIYA",
}  # fmt: skip
JAPANESE = {"HIRAGANA", "KATAKANA", "CJK"}  # one writing system, mixed in every word

LATIN_OF_CYRILLIC = dict(zip("аеорсухкіѕјһԁԛԝАВЕКМНОРСТУХІЅЈҺԚԜ", "aeopcyxkisjhdqwABEKMHOPCTYXISJHQW", strict=True))
LATIN_OF_GREEK = dict(zip("αονικρυτχβΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "aovikputxßABEZHIKMNOPTYX", strict=True))
# Same script, another letter: dotless i, comma below for cedilla, script a and g, long s.
LATIN_VARIANTS = dict(zip("ıșȘɑɡſ", "işŞags", strict=True))
CYRILLIC_OF_LATIN = {latin: cyrillic for cyrillic, latin in LATIN_OF_CYRILLIC.items()} | {"ë": "ё", "Ë": "Ё"}
CYRILLIC_OF_GREEK = {g: CYRILLIC_OF_LATIN[latin] for g, latin in LATIN_OF_GREEK.items() if latin in CYRILLIC_OF_LATIN}
LOOKALIKES = {
    "LATIN": LATIN_OF_CYRILLIC | LATIN_OF_GREEK | LATIN_VARIANTS,
    "CYRILLIC": CYRILLIC_OF_LATIN | CYRILLIC_OF_GREEK,
}
MARKS = {chr(code): mark.strip() for code, mark in (APOSTROPHES | QUOTES | DASHES).items()} | {"−": "-"}


def script(char: str) -> str | None:
    """Script of a letter by its Unicode name, None for what is no letter or of a script not listed here."""
    words = unicodedata.name(char, "").removeprefix("FULLWIDTH ").removeprefix("HALFWIDTH ").split(" ")
    return words[0] if char.isalpha() and words[0] in SCRIPTS else None


def scripts(word: str) -> set[str]:
    found = {script(char) for char in word} - {None}
    return found - JAPANESE | {"CJK"} if found & JAPANESE else found


def mixed_scripts(text: str) -> set[str]:
    """Scripts (Unicode names: LATIN, CYRILLIC) met together inside one word; empty when every word has one."""
    return set().union(*(found for word in re.findall(r"\w+", text) if len(found := scripts(word)) > 1))


def find(text: str, letters: frozenset[str] | None) -> list[tuple[str, str]]:
    """Pairs (found, probably meant) of described characters of NFC `text` that are not among `letters`, sorted.

    Typographic apostrophes, quotes and dashes, compatibility and presentation forms, look-alikes of another script and
    variants of the same one. A letter of another script counts only in a word that has letters of this one, or that
    consists of look-alikes throughout: a foreign word is no disguise. With `letters` None, the commoner script of a
    word is the right one.
    """
    text = unicodedata.normalize("NFC", text)
    pairs = {(char, MARKS[char]) for char in set(text) & MARKS.keys() if letters is None or char not in letters}
    for word in set(re.findall(rf"{LETTER}+", text)):
        home = majority(word if letters is None else "".join(letters))
        table = {c: like for c, like in LOOKALIKES.get(home, {}).items() if known(like, letters)}
        strange = [char for char in word if letters is None or not known(char, letters)]
        pairs |= {(char, compatible(char)) for char in strange if known(compatible(char), letters) and compatible(char)}
        disguised = all(char in table or (letters and known(char, letters)) for char in word)
        if disguised or home in scripts(word):
            pairs |= {(char, table[char]) for char in strange if char in table and (letters or script(char) != home)}
    return sorted((describe(char), describe(meant)) for char, meant in pairs)


def known(chars: str, letters: frozenset[str] | None) -> bool:
    return letters is None or all(char in letters or char.lower() in letters for char in chars)


def majority(text: str) -> str | None:
    found = [s for s in map(script, text) if s]
    return max(sorted(set(found)), key=found.count, default=None)


def compatible(char: str) -> str:
    """What a compatibility form stands for (ﬁ, Ａ, Arabic presentation forms), "" for other characters and ª º."""
    plain = unicodedata.normalize("NFKC", char)
    return plain if plain != char and char not in "ªº" else ""


def describe(chars: str) -> str:
    return " + ".join(f"{char} U+{ord(char):04X} {unicodedata.name(char, 'UNNAMED')}" for char in chars)
