"""What VITS reads: characters or phonemes with the blank between them, as stock `VitsTokenizer` or Piper gives them, but
losing none."""

import json
import unicodedata
from collections.abc import Iterable
from dataclasses import replace

from ttslib.params import Params, ParamsError
from ttslib.text.romanise import romanizer
from ttslib.units import PAD, UnitsError
from ttslib.vocab.characters import Characters
from ttslib.vocab.fronts import vits as front
from ttslib.vocab.phonemes import Phonemes

BLANK = 0  # id of the blank (and of padding), whatever character has it: MMS gave it to a letter


def read(text: str, lang: str, tokenizer: Characters) -> str:
    """A normalised text as the vocabulary reads it: phonemes, or lower case, romanised where the model asks for uroman."""
    if isinstance(tokenizer, Phonemes):
        return tokenizer.fronted(text, lang)
    text = front(text, "")
    return romanizer().romanize_string(text) if tokenizer.uroman and not text.isascii() else text


def spoken(text: str, tokenizer: Characters) -> str:
    """Of what was `read`, without the punctuation and symbols that have no row, which are not spoken, as with
    `VitsTokenizer`; letters and digits stay, so that the tokenizer refuses them."""
    return "".join(c for c in text if c in tokenizer.table or unicodedata.category(c)[0] not in "PS").strip()


def ids(text: str, lang: str, tokenizer: Characters, blanks: bool) -> list[int]:
    """Ids of a normalised text, the blank between all and at both ends where the model was trained so (`add_blank`).

    A vocabulary with symbols for start and end is Piper's: start, blank, (symbol, blank) ..., end. Raises `UnitsError`
    naming letters and digits that have no row, and for a text of which nothing can be spoken.
    """
    found = tokenizer.encoded(spoken(read(text, lang, tokenizer), tokenizer), text)
    if not found:
        raise UnitsError(
            f"nothing to speak: this vocabulary has no row for any character of {text!r}; give a text of its language"
        )
    roles = tokenizer.roles if isinstance(tokenizer, Phonemes) else {}
    if {"start", "end"} <= roles.keys():
        start, end = (tokenizer.table[roles[role]] for role in ("start", "end"))
        return [i for x in (start, *found) for i in (x, BLANK)] + [end]
    if not blanks:
        return found
    spaced = [BLANK] * (2 * len(found) + 1)
    spaced[1::2] = found
    return spaced


def fit(lines: Iterable[tuple[str, str]], p: Params) -> Characters:
    """The characters or phonemes of `(normalised text, language)` lines after padding, as a vocab.json would list them."""
    lines, langs = list(lines), sorted({lang for _, lang in lines})
    if p.text.units == "tokenizer":
        return from_file(p, langs)
    if p.text.units == "phonemes":
        return Phonemes.fit(lines, p.text.homophones).made_for(*langs)
    letters = sorted({char for text, _ in lines for char in front(text, "")})
    table = {name: i for i, name in enumerate([PAD, *letters])}
    made = Characters(json.dumps(table, ensure_ascii=False).encode(), "vits", homophones=p.text.homophones)
    return made.made_for(*langs)


def extended(known: Characters, lines: Iterable[tuple[str, str]], p: Params) -> Characters:
    """`known`, every id unchanged, with the characters or phonemes that further lines need.

    Raises `ParamsError` where the params ask for the other of the two.
    """
    lines, langs = list(lines), sorted({lang for _, lang in lines})
    if p.text.units == "tokenizer" and p.text.tokenizer is not None:
        return from_file(p, langs)
    if (has := "phonemes" if isinstance(known, Phonemes) else "characters") != p.text.units != "tokenizer":
        raise ParamsError(
            f"text.units={p.text.units}, but adapt.base reads {has}: set text.units={has}, or name the base in "
            "vits.vocoder instead, which keeps how it sounds and starts a new text side"
        )
    new = {c for text, lang in lines for c in read(text, lang, known)} - known.table.keys()
    made = known.extended(new, None, None) if new else known
    return replace(made, homophones=p.text.homophones).made_for(*langs)


def from_file(p: Params, langs: Iterable[str]) -> Characters:
    """The vocab.json that `text.tokenizer` names."""
    from ttslib import vocab

    if p.text.tokenizer is None:
        raise ParamsError(
            "text.tokenizer: not given; text.units=tokenizer reads a file, notebook 01 makes one"
            "; set text.tokenizer to it"
        )
    found = vocab.read(p.text.tokenizer, "vits")
    if not isinstance(found, Characters):
        raise ParamsError(f"text.tokenizer: {p.text.tokenizer} is of kind {found.kind}; VITS reads a vocab.json")
    return found.made_for(*langs)
