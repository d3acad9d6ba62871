"""Any language without a module: Unicode form, whitespace, quotes, dashes and case only.

Numbers, abbreviations and symbols stay as written, and nothing is checked against a character set. Modifier letters
that look like apostrophes (ʻ ʼ) and full-width punctuation belong to languages that use them and stay.
"""

import re
import unicodedata

from ttslib.text.surface import settle

VERSION = "generic-1"
CHARSET = None

TABLE = (
    dict.fromkeys(map(ord, "“”„‟«»"), '"')
    | dict.fromkeys(map(ord, "‘’‚‛‹›"), "'")
    | dict.fromkeys(map(ord, "‐‑‒–"), "-")
    | dict.fromkeys(map(ord, "—―"), " - ")
)


def step(text: str) -> str:
    text = unicodedata.normalize("NFC", text).translate(TABLE).lower()
    return unicodedata.normalize("NFC", re.sub(r"\s+", " ", text).strip())


def normalise(text: str) -> str:
    """NFC, single spaces, `" ' -` for their typographic variants, lower case by Unicode's default mapping."""
    return settle(step, text)
