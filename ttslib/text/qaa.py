"""The toy language of the smoke test: fifteen letters, two marks, digits that spell themselves.

A digit is the syllable of its place in the alphabet's consonants and vowels (0 ba, 1 de, 2 gi, 3 ko, 4 lu, 5 ma, 6 ne,
7 ri, 8 so, 9 tu); numbers are read digit by digit. `!` is read as a full stop, `, ; : - '` as spaces.
"""

import re

from ttslib.text.surface import settle, tidy, unify

VERSION = "qaa-1"
VOWELS, CONSONANTS = "aeiou", "bdgklmnrst"
CHARSET = frozenset(VOWELS + CONSONANTS + " .?")
DIGITS = {str(n): f" {CONSONANTS[n]}{VOWELS[n % 5]} " for n in range(10)}


def step(text: str) -> str:
    text = re.sub(r"[,;:'-]", " ", tidy(unify(text)).replace("!", "."))
    return tidy(text.translate(str.maketrans(DIGITS)))


def normalise(text: str) -> str:
    """Toy text in lower case; other letters stay and are `unknown`."""
    return settle(step, text)
