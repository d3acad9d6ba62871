"""What VITS reads: characters with the blank between them, as Transformers' `VitsTokenizer` gives them, but losing none."""

import json
import unicodedata
from collections.abc import Iterable
from dataclasses import replace

from ttslib.params import Params, ParamsError
from ttslib.text.romanise import romanizer
from ttslib.units import PAD, UnitsError
from ttslib.vocab.characters import Characters
from ttslib.vocab.fronts import vits as front

BLANK = 0  # id of the blank (and of padding), whatever character has it: MMS gave it to a letter


def readable(text: str, tokenizer: Characters) -> str:
    """A normalised text as the vocabulary reads it: lower case, romanised where the model asks for uroman.

    Punctuation and symbols without a row are not spoken, as with `VitsTokenizer`; letters and digits stay, so that the
    tokenizer refuses them.
    """
    text = lettered(text, tokenizer)
    return "".join(c for c in text if c in tokenizer.table or unicodedata.category(c)[0] not in "PS").strip()


def ids(text: str, lang: str, tokenizer: Characters, blanks: bool) -> list[int]:
    """Ids of a normalised text, the blank between all and at both ends where the model was trained so (`add_blank`).

    Raises `UnitsError` naming letters and digits that have no row, and for a text of which nothing can be spoken.
    """
    found = tokenizer.encode(readable(text, tokenizer), lang)
    if not found:
        raise UnitsError(f"nothing to speak: this vocabulary has no row for any character of {text!r}")
    if not blanks:
        return found
    spaced = [BLANK] * (2 * len(found) + 1)
    spaced[1::2] = found
    return spaced


def fit(lines: Iterable[tuple[str, str]], p: Params) -> Characters:
    """The characters of `(normalised text, language)` lines after padding, as a vocab.json would list them."""
    lines = list(lines)
    if p.text.units == "tokenizer":
        return from_file(p, {lang for _, lang in lines})
    letters = sorted({char for text, _ in lines for char in front(text, "")})
    table = {name: i for i, name in enumerate([PAD, *letters])}
    made = Characters(json.dumps(table, ensure_ascii=False).encode(), "vits", homophones=p.text.homophones)
    return checked(made, p).made_for(*sorted({lang for _, lang in lines}))


def extended(known: Characters, lines: Iterable[tuple[str, str]], p: Params) -> Characters:
    """`known`, every id unchanged, with the characters that further lines need."""
    lines = list(lines)
    if p.text.units == "tokenizer" and p.text.tokenizer is not None:
        return from_file(p, {lang for _, lang in lines})
    letters = {c for text, _ in lines for c in lettered(text, known)}
    made = known.extended(letters - known.table.keys(), None, None) if letters - known.table.keys() else known
    return checked(made, p).made_for(*sorted({lang for _, lang in lines}))


def lettered(text: str, tokenizer: Characters) -> str:
    """Lower case, and Latin letters where the model asks for them and the text has others."""
    text = front(text, "")
    return romanizer().romanize_string(text) if tokenizer.uroman and not text.isascii() else text


def from_file(p: Params, langs: Iterable[str]) -> Characters:
    """The vocab.json that `text.tokenizer` names."""
    from ttslib import vocab

    if p.text.tokenizer is None:
        raise ParamsError("text.tokenizer: not given; text.units=tokenizer reads a file, notebook 01 makes one")
    found = vocab.read(p.text.tokenizer, "vits")
    if not isinstance(found, Characters):
        raise ParamsError(f"text.tokenizer: {p.text.tokenizer} is of kind {found.kind}; VITS reads a vocab.json")
    return found.made_for(*sorted(langs))


def checked(tokenizer: Characters, p: Params) -> Characters:
    if p.text.units == "phonemes":
        raise ParamsError("text.units=phonemes: system vits reads characters; leave text.units out")
    return replace(tokenizer, homophones=p.text.homophones)
