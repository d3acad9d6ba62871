"""Check `text`: does the network read what is written, row by row and by name?"""

import unicodedata
from collections import Counter

from ttslib import pipeline, units
from ttslib.checks.rows import Failed, few
from ttslib.checks.subject import Subject, spread
from ttslib.text.romanise import romanizer
from ttslib.units import Units, UnitsError
from ttslib.vocab.tokenizer import named

READ = 300  # texts
LETTERS = "LM"  # Unicode's categories of letters and marks


def text(s: Subject) -> str:
    """No letter of the training texts is lost, ids name what the text spells, and a base's rows are where they were."""
    if not getattr(s.system, "reads", True):
        return "it reads no text"
    rows, system = spread(s.found.split("train"), READ), s.system
    told = [lost(s, rows)]
    written, known = system.vocabularies["text"], system.tokenizer.symbols
    if moved := [f"{n!r} at {i}" for i, n in enumerate(known) if i >= len(written) or written[i] != n]:
        raise Failed(
            f"{len(moved)} names of the vocabulary are not the tokenizer's: {few(moved)}",
            "the network's rows and the tokenizer belong to different files: use the tokenizer it was trained with",
        )
    for table in system.tables.values():
        table.tensors  # noqa: B018  raises AdaptError unless there are as many rows as names
    for row in rows:
        try:
            ids = system.ids(row.text, row.lang)
        except UnitsError as error:
            raise Failed(
                f"{row.id}: {error}", "respell the clip, or teach the tokenizer the language (notebook 01)"
            ) from None
        spelt, meant = spelling(system, [written[i] for i in ids]), read_as(system.tokenizer, row.text, row.lang)
        if letters(spelt) != letters(meant):
            raise Failed(
                f"{row.id}: the ids of {meant!r} spell {spelt!r}",
                "the vocabulary is permuted: its names and the tokenizer's ids must come from the same file",
            )
    told.append(f"ids of {len(rows)} texts spell them again ({len(written)} rows)")
    return "; ".join([*told, *kept(s)])


def lost(s: Subject, rows: list) -> str:
    """Share of the letters that have no row. Raises `Failed` beyond `vocab.unknown_letters`."""
    every, gone = 0, Counter()
    for row in rows:
        every += len(letters(row.text))
        gone.update(unread(s.system, row.text, row.lang))
    missing = {c: n for c, n in gone.items() if letters(c)}
    share = sum(missing.values()) / max(every, 1)
    if share > s.p.vocab.unknown_letters:
        raise Failed(
            f"{share:.1%} of the letters are unknown to the tokenizer: {few([named([c]) for c in sorted(missing)])}",
            "merge the language into the tokenizer (notebook 01), or respell; vocab.unknown_letters allows some",
        )
    marks = f", without a row: {few([named([c]) for c in sorted(gone)])}" if gone else ""
    return f"{share:.1%} of letters unknown{marks}"


def unread(system, text: str, lang: str) -> list[str]:
    """The characters (or phonemes) of a text that the vocabulary has no row for, with repetitions."""
    tokenizer = system.tokenizer
    if isinstance(tokenizer, Units):
        return [unit for unit in units.split(text, lang, tokenizer.kind) if unit not in tokenizer.symbols]
    return list(tokenizer.lost(romanised(tokenizer, text), lang))


def read_as(tokenizer, text: str, lang: str) -> str:
    """A normalised text as the vocabulary spells it: its phonemes, or its letters, romanised where the file asks for it."""
    if isinstance(tokenizer, Units):
        return "".join(units.split(text, lang, tokenizer.kind))
    return tokenizer.spelt(romanised(tokenizer, text), lang).removeprefix(tokenizer.tag(lang))


def romanised(tokenizer, text: str) -> str:
    return romanizer().romanize_string(text) if getattr(tokenizer, "uroman", False) and not text.isascii() else text


def spelling(system, names: list[str]) -> str:
    """What the names of a text's ids spell, without tags, start, end and the blanks that VITS has between them."""
    tokenizer = system.tokenizer
    if getattr(system, "blanks", False):  # by place: MMS's blank is also a letter
        blank = system.vocabularies["text"][0]
        names = names[1::2] if all(name == blank for name in names[::2]) else names[::2]
    special = getattr(tokenizer, "special", frozenset()) | {tokenizer.roles.get(role) for role in ("start", "end")}
    names = [name for name in names if name not in special or (len(name) == 1 and letters(name))]
    if isinstance(tokenizer, Units):
        return "".join(names)
    place = {name: i for i, name in enumerate(tokenizer.symbols)}
    return tokenizer.decode([place[name] for name in names if name in place])


def letters(text: str) -> str:
    """The letters of a text alone, whatever their case and composition: fronts change those, tidying punctuation."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    return "".join(c for c in unicodedata.normalize("NFKD", plain) if unicodedata.category(c)[0] in LETTERS)


def kept(s: Subject) -> list[str]:
    """That every token of `adapt.base` kept its own row, bit for bit, compared by name with the base loaded again."""
    if s.p.adapt.base is None:
        return []
    base, count, moved = pipeline.base(s.p), 0, []
    old, new = base.tokenizer.roles, s.system.tokenizer.roles
    renamed = {old[role]: new[role] for role in old if role in new}
    for name, table in base.tables.items():
        if (grown := s.system.tables.get(name)) is None:
            raise Failed(f"the base's table {name} is gone", "extend the base again")
        place = {token: i for i, token in enumerate(grown.names)}
        for tensor, values in table.tensors.items():
            ours = grown.tensors[tensor].detach().cpu()
            for i, token in enumerate(table.names):
                at = place.get(token, place.get(renamed.get(token)))
                count += 1
                if at is None or not ours[at].equal(values[i].detach().cpu().to(ours)):
                    moved.append(f"{token!r} in {name}{' (gone)' * (at is None)}")
    if moved:
        raise Failed(
            f"{len(moved)} of the base's {count} rows are not what they were: {few(moved)}",
            "the base has forgotten these tokens: extend it again from adapt.base",
        )
    return [f"{count} rows of the base kept by name, bit for bit"]
