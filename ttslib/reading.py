"""What a system reads: a vocabulary of its own (`units.Units`) or a tokenizer file, behind the same few calls."""

from collections.abc import Sequence

from ttslib.params import Params, ParamsError
from ttslib.units import Units, UnitsError

Lines = Sequence[tuple[str, str]]  # (normalised text, language)


def fitted(p: Params, lines: Lines):
    """The vocabulary for training on these lines: fitted to them, or the file `text.tokenizer`.

    Raises `VocabError` when the file cannot spell them, `ParamsError` when it is not given.
    """
    if p.text.units != "tokenizer":
        return Units.fit(lines, p.text.units, p.text.homophones)
    return file(p, lines)


def extended(known, p: Params, lines: Lines):
    """`known` for a language more: the file `text.tokenizer` where it is given, else `known` with what the lines need."""
    if p.text.tokenizer is not None and p.text.units == "tokenizer":
        return file(p, lines, getattr(known, "front", None))  # what stands before the base's tokenizer stays
    return known.extended(lines, p.text.homophones) if isinstance(known, Units) else gated(known, p, lines)


def kind(tokenizer) -> str:
    """What `text.units` calls it."""
    return tokenizer.kind if isinstance(tokenizer, Units) else "tokenizer"


def restore(state: dict):
    """What the `state()` of either describes."""
    if "symbols" in state:
        return Units.restore(state)
    from ttslib import vocab

    return vocab.restore(state)


def file(p: Params, lines: Lines, front: str | None = None):
    """The tokenizer `text.tokenizer` names, behind the text front `front` or its own.

    Raises `VocabError` when it cannot spell the lines.
    """
    from ttslib import vocab

    if p.text.tokenizer is None:
        raise ParamsError(
            "text.tokenizer: not given; text.units=tokenizer reads a file, notebook 01 makes one"
            "; set text.tokenizer to it"
        )
    return gated(vocab.read(p.text.tokenizer, front), p, lines)


def gated(tokenizer, p: Params, lines: Lines):
    """`tokenizer`, unless it would lose more of the letters than `vocab.unknown_letters`: `VocabError` names them."""
    from ttslib import vocab

    langs = sorted({lang for _, lang in lines})
    for lang in langs:
        (row,) = vocab.preflight([text for text, of in lines if of == lang], lang, [tokenizer])
        vocab.gate(row, p.vocab.unknown_letters)
    return tokenizer.made_for(*langs)


def ends(tokenizer) -> tuple[int, int]:
    """Ids of the start and end tokens. Raises `UnitsError` for a tokenizer file that has none."""
    roles, names = tokenizer.roles, tokenizer.symbols
    if not {"start", "end"} <= roles.keys():
        raise UnitsError(
            "text.tokenizer: this system needs start and end tokens, the file has none"
            "; add them to the file, or give another"
        )
    return names.index(roles["start"]), names.index(roles["end"])


def ids(tokenizer, text: str, lang: str) -> list[int]:
    """Ids of a normalised text between start and end. Raises `UnitsError` for what the vocabulary lacks."""
    found = tokenizer.encode(text, lang)
    if isinstance(tokenizer, Units):
        return found
    start, end = ends(tokenizer)
    return [start, *found, end]


def known(name: str | None, names: Sequence[str], what: str) -> str:
    """`name`, or the first of `names` where none is given. Raises `ParamsError` for one that is not among them."""
    if name is None:
        return names[0]
    if name not in names:
        raise ParamsError(
            f"{what} {name!r} is not one this voice was trained on: {', '.join(names)}; choose one of them"
        )
    return name
