"""Sentences as words to tap: cut at spaces and at the Ethiopic wordspace, whatever the script."""

import re
import unicodedata

GAP = re.compile(r"([\s\u1361]+)")
"""what stands between words; U+1361 is the Ethiopic wordspace, ZWNJ (Kurdish, Persian) is inside of words"""


def pieces(text: str) -> list[str]:
    """The text in pieces, words at the even places and what stands between them at the odd ones; joined, they are the text.

    A script that is written without spaces (Thai, Chinese) is one word a sentence.
    """
    return GAP.split(text)


def bare(piece: str) -> str:
    """A piece without the marks around it, in NFC and lower case; empty where it is nothing but marks."""
    folded = unicodedata.normalize("NFC", piece).casefold()
    kept = [i for i, char in enumerate(folded) if unicodedata.category(char)[0] in "LMN"]
    return folded[kept[0] : kept[-1] + 1] if kept else ""


def direction(text: str) -> str:
    """ "rtl" where most letters are of a right-to-left script. HTML's `dir=auto` goes by the first letter alone, which a
    foreign name at the start turns around."""
    kinds = [unicodedata.bidirectional(char) for char in text]
    return "rtl" if sum(k in ("R", "AL") for k in kinds) > kinds.count("L") else "ltr"
