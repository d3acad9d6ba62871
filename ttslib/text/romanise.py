"""A text in another script as Latin letters: Ethiopic by our own rule, everything else by uroman.

uroman (Hermjakob, May and Knight, ACL 2018: the universal romanizer) has every script but reads the sixth Ethiopic order
as a vowel of its own; in Amharic it is mostly silent, so Ethiopic letters are spelled from their Unicode names instead.
"""

import functools
import re
import unicodedata

ETHIOPIC = re.compile(r"ETHIOPIC SYLLABLE (?:GLOTTAL|PHARYNGEAL)? ?([B-DF-HJ-NP-TV-Z]*?)(W?)(AA|EE|A|U|I|E|O|OA)$")
VOWELS = {"A": "e", "U": "u", "I": "i", "AA": "a", "EE": "e", "E": "", "O": "o", "OA": "oa"}
GUTTURALS = {"", "H", "HH", "X"}  # their first order is spoken with the vowel of the fourth
CONSONANTS = {
    "C": "ch",
    "KX": "h",
    "QH": "q",
    "SZ": "s",
    "X": "h",
    "HH": "h",
    "TZ": "ts",
    "TH": "t",
    "PH": "p",
    "CH": "ch",
    "ZH": "zh",
}


def romanise(text: str) -> str:
    """`text` in lower-case Latin letters; Latin text only loses its marks."""
    return "".join(ethiopic(c) if "ETHIOPIC SYLLABLE" in unicodedata.name(c, "") else other(c) for c in text)


def ethiopic(letter: str) -> str:
    """One Ethiopic syllable: consonant and vowel, the vowel of the sixth order silent (ሰ se, ሱ su, ስ s, ሷ swa)."""
    found = ETHIOPIC.match(unicodedata.name(letter))
    if not found:
        return other(letter)
    consonant, w, vowel = found.groups()
    vowel = "AA" if vowel == "A" and consonant in GUTTURALS and not w else vowel
    sound = CONSONANTS.get(consonant, consonant.lower()) + w.lower() + VOWELS[vowel]
    return sound or "i"  # እ and ዕ are a vowel alone


@functools.cache
def other(letter: str) -> str:
    plain = "".join(c for c in unicodedata.normalize("NFKD", letter.lower()) if not unicodedata.combining(c))
    return plain if plain.isascii() else romanizer().romanize_string(letter).lower()


@functools.cache
def romanizer():
    import uroman

    return uroman.Uroman()
