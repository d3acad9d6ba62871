"""Abbreviations to words: tables belong to the languages, how they are found belongs here."""

import functools
import re
from collections.abc import Mapping

from ttslib.text.surface import LETTER


def expand(text: str, table: Mapping[str, str], closing: bool = False, exact: bool = False, prefix: str = "") -> str:
    """Replace each abbreviation of `table` (`"z.B."`, `"Dr."`) that stands as a word of its own by its words.

    Inner stops may be followed by a space (`z. B.`). Case is ignored unless `exact`. A final stop that also ends the
    text is kept; with `closing`, so is one before a capital letter (`etc. Then`). `prefix` is a pattern of letters that
    may be written together with the abbreviation (Amharic prepositions).
    """
    pattern, found = compiled(tuple(table.items()), exact, prefix)

    def words(match: re.Match[str]) -> str:
        short = re.sub(r"\s", "", match["short"])
        long = found.get(short if exact else short.casefold())
        if long is None:  # regular expressions take ı and İ for i, which they are not
            return match[0]
        rest = match.string[match.end() :].lstrip(" '\"")
        ends = short.endswith(".") and (not rest or (closing and rest[0].isupper()))
        return match["prefix"] + long + ("." if ends else "")

    return pattern.sub(words, text)


@functools.lru_cache
def compiled(table: tuple[tuple[str, str], ...], exact: bool, prefix: str) -> tuple[re.Pattern[str], dict[str, str]]:
    """The pattern of a table's abbreviations, longest first, and their words by spelling without spaces."""
    keys = sorted(dict(table), key=len, reverse=True)
    spelt = [re.sub(r"\\ |(?<=\\\.)(?=.)(?!\\ )", r"\\s?", re.escape(key)) for key in keys]
    pattern = rf"(?<![\w.])(?P<prefix>{prefix})(?P<short>{'|'.join(spelt)})(?!{LETTER})"
    plain = {key.replace(" ", ""): words for key, words in table}
    found = plain if exact else {key.casefold(): words for key, words in plain.items()}
    return re.compile(pattern, 0 if exact else re.IGNORECASE), found


def initials(text: str) -> str:
    """`U.S.A.` becomes `U S A`, and the stops in `J. R. R. Tolkien` go: letters are named, without pauses."""

    def letters(match: re.Match[str]) -> str:
        rest = match.string[match.end() :].lstrip(" '\"")
        return " ".join(re.findall(LETTER, match[0])) + ("." if not rest else "")

    text = re.sub(rf"(?<![\w.])(?:{LETTER}\.){{2,}}(?!\w)|(?<![\w.])(?:{LETTER}\.)+{LETTER}(?![\w.])", letters, text)
    # "I." ends an English sentence more often than it begins a name.
    return re.sub(rf"(?<!\w)(?!I\.)({LETTER})\.(?=\s+{LETTER})", initial, text)


def initial(match: re.Match[str]) -> str:
    following = match.string[match.end() :].lstrip()[0]
    return match[1] if match[1].isupper() and following.isupper() else match[0]
