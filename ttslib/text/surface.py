"""The written surface every normaliser shares: Unicode form, quotes, dashes, whitespace, punctuation.

A language's normaliser is one pass `unify → abbreviations → numerals → symbols → tidy`, repeated by `settle` until
nothing changes. What has no rule stays in the text: a character the language does not know must reach the caller.
"""

import re
import unicodedata
from collections.abc import Callable

PUNCTUATION = frozenset(" .,?!;:-'")  # what a normalised text in an alphabetic script holds beside its letters
LETTER = r"[^\W\d_]"

# Typesetting only: soft hyphen, zero-width space, word joiner, byte-order mark, direction marks and embeddings.
INVISIBLE = dict.fromkeys(
    [0xAD, 0x200B, 0x2060, 0xFEFF, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
)
QUOTES = dict.fromkeys(map(ord, "“”„‟«»＂"), '"')
APOSTROPHES = dict.fromkeys(map(ord, "‘’‚‛‹›ʼʻʽ`´＇"), "'")
DASHES = dict.fromkeys(map(ord, "‐‑‒–﹘﹣"), "-") | dict.fromkeys(map(ord, "—―"), " - ")
FULLWIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
MARKS = FULLWIDTH | QUOTES | APOSTROPHES | DASHES

# 'Quoted' words: an opening apostrophe before a word and a closing one after a word. Others stay: o'clock, 'tis, po'.
SINGLE_QUOTED = re.compile(r"(?<!\w)'((?=\S)(?:[^']|(?<=\w)'(?=\w))*(?<=\S))'(?!\w)")

PASSES = 10  # two are usual; ten would mean two rules that undo each other


def marks(text: str) -> str:
    """NFC with one form each of quote, apostrophe, hyphen, dash (` - `); the minus sign U+2212 and spaces stay."""
    return unicodedata.normalize("NFC", text).translate(MARKS)


def unify(text: str) -> str:
    """`marks`, without invisible characters, ellipses as one full stop, every Unicode digit as an ASCII one.

    Digits that do not stand in a row (², ①) become words of their own, hence the spaces around them. No-break spaces
    stay, because between digits they group thousands.
    """
    text = marks(text.translate(INVISIBLE))
    text = re.sub(r"\.{2,}", ".", text.replace("…", "."))
    return "".join(ascii_digit(char) if char.isdigit() else char for char in text)


def ascii_digit(char: str) -> str:
    value = str(unicodedata.digit(char))
    return value if char.isdecimal() else f" {value} "


def tidy(text: str, strength: str = "?!.;:,") -> str:
    """Lower-case NFC with single spaces and single punctuation marks; the last step of a pass.

    Double quotes have no sound and go, round and curly brackets become commas (square ones stay: they mark what is not
    speech). Of adjacent marks the one first in `strength` stays; marks and dashes that open the text go.
    """
    pause = "," if "," in strength else "፣"
    mark = f"[{re.escape(strength)}]"
    text = text.replace("−", "-")
    text = re.sub(rf"(?<={LETTER})\(({LETTER}{{1,3}})\)", r"\1", text)  # option(s)
    text = re.sub(r"[(){}]", f"{pause} ", text.replace('"', " "))
    text = re.sub(rf"\s+(?={mark})", "", text)
    text = SINGLE_QUOTED.sub(r" \1 ", text)
    text = re.sub(rf"(?<!{LETTER})'+(?!{LETTER})", " ", re.sub("''+", "'", text))
    text = re.sub(rf"(?<=\w\w)\.(?={LETTER})", stop_before_capital, text)
    text = re.sub(rf"({mark})(?=['\w])", space_after, text)
    text = re.sub(r"(?<!\S)-+(?!\S)|--+", " - ", text)
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"-(?: -)+", "-", text)
    text = re.sub(rf" - ?(?={mark}|$)", " ", text)
    text = re.sub(rf"{mark}(?: ?{mark})+", lambda run: min(run[0].replace(" ", ""), key=strength.index), text)
    text = re.sub(rf" +({mark})", r"\1", text)
    text = re.sub(rf"^(?:{mark}|\s|-(?!\w))+", "", text).strip()
    return unicodedata.normalize("NFC", text.lower())


def stop_before_capital(match: re.Match[str]) -> str:
    # "end.Next" is two sentences, "example.com" is not.
    return ". " if match.string[match.end()].isupper() else "."


def space_after(match: re.Match[str]) -> str:
    return match[0] if match[0] == "." else match[0] + " "


def settle(step: Callable[[str], str], text: str) -> str:
    """The fixed point of `step`, reached from `text`: what makes a normaliser idempotent by construction.

    One pass may reveal work for the next (a removed quote joins an abbreviation). Raises `RuntimeError` when the text
    still changes after ten passes, which is a fault in the language's rules.
    """
    for _ in range(PASSES):
        after = step(text)
        if after == text:
            return text
        text = after
    raise RuntimeError(f"the rules do not settle on a normal form; last seen {text!r}")
