"""The checks of a merge: each raises `VocabError` that shows up to five lines, before and after."""

import re
from itertools import accumulate, groupby

from ttslib.vocab.tokenizer import METASPACE, Own, Token, Tokenizer, VocabError

SHOWN = 5
Read = list[Token]  # a line as a tokenizer reads it


def broken(what: str, cases: list[tuple[str, object, object]], of: int, advice: str) -> VocabError:
    shown = "\n".join(f"  {line!r}\n    before {before}\n    after  {after}" for line, before, after in cases[:SHOWN])
    return VocabError(f"merge refused: {what} in {len(cases)} of {of} lines; {advice}\n{shown}")


def kept_names(base: Tokenizer, merged: Tokenizer, tag: str | None) -> None:
    """Every name of the base has its id, no name stands twice, and the tag is one token."""
    if moved := [(i, a, b) for i, (a, b) in enumerate(zip(base.names, merged.names, strict=False)) if a != b]:
        raise VocabError(f"merge refused: names changed at ids {moved[:SHOWN]}; this is a fault of the merge")
    if len(merged) < len(base) or len(set(merged.names)) < len(merged):
        raise VocabError(f"merge refused: {len(base)} names became {len(set(merged.names))} different ones")
    if tag and (tag not in merged.special or [t.piece for t in merged.tokens(tag)].count(tag) != 1):
        pieces = [t.piece for t in merged.tokens(tag)]
        raise VocabError(f"merge refused: the tag {tag!r} is not read as one token but as {pieces}; choose another")


def kept_ids(merged: Tokenizer, lines: list[str], lang: str, read: list[Read]) -> None:
    """Not one id of the base language changes; `read` is how the base reads `lines`."""
    changed = []
    for line, before in zip(lines, read, strict=True):
        after = merged.tokens(merged.fronted(line, lang))
        if [t.id for t in before] != [t.id for t in after]:
            changed.append((line, [t.piece for t in before], [t.piece for t in after]))
    if changed:
        raise broken(
            f"{lang} would be read differently", changed, len(lines),
            "lines with characters the base does not know or with the tag belong to neither language: remove them",
        )  # fmt: skip


def kept_segments(merged: Tokenizer, own: Own | None, segment: re.Pattern, lines: list[str], read: list[Read]) -> None:
    """The new language loses nothing, and its runs of new letters are split as by their own tokenizer."""
    lossy = [merged.lossy(t) for tokens in read for t in tokens]
    if any(lossy):
        cases = [(line, "", [t.piece for t in tokens]) for line, tokens in zip(lines, read, strict=True)]
        cases = [case for case, tokens in zip(cases, read, strict=True) if any(map(merged.lossy, tokens))]
        raise broken("characters would still be lost", cases, len(lines), "this is a fault of the merge")
    if own is None:
        return
    known: dict[str, list[str]] = {}
    other = []
    for line, tokens in zip(lines, read, strict=True):
        for run, pieces in (split for word in words(tokens) for split in splits(word, segment, merged.special)):
            expected = known.get(run) or known.setdefault(run, list(own.split(run)))
            if pieces != expected:
                other.append((line, expected, pieces))
                break
    if other:
        raise broken(
            "letters would not be split as by their own tokenizer",
            other,
            len(lines),
            "try another `size`, or report it",
        )


def words(tokens: Read) -> list[list[str]]:
    """Pieces by pre-token, so that no run of letters is read across two of them."""
    return [[t.piece for t in word] for _, word in groupby(tokens, lambda t: t.word)]


def splits(word: list[str], segment: re.Pattern, special: frozenset[str]):
    """Pairs (run of new letters, its pieces) of one word; a tag may have letters and is none."""
    word = ["\0" if piece in special else piece for piece in word]
    text, ends = "".join(word), list(accumulate(map(len, word)))
    spans = list(zip([0, *ends[:-1]], ends, word, strict=True)) if word else []
    starts = {start for start, _, _ in spans}
    for match in segment.finditer(text):
        a, b = match.span()
        a += text[a] == METASPACE and a not in starts  # that space is part of a longer run of spaces
        yield text[a:b], [piece for start, end, piece in spans if start < b and end > a]


def round_trips(base: Tokenizer, lines: list[str], lang: str, read: list[Read]) -> bool:
    """Whether the base gives text of its own language back, where it knows the characters; some drop spaces."""
    known = [(line, tokens) for line, tokens in zip(lines, read, strict=True) if not any(map(base.lossy, tokens))]
    return bool(known) and all(base.decode([t.id for t in ts]) == base.spelt(line, lang) for line, ts in known)


def kept_text(merged: Tokenizer, lines: list[str], lang: str, read: list[Read]) -> None:
    """Decoding gives the new language's text back."""
    pairs = ((x, merged.spelt(x, lang), merged.decode([t.id for t in ts])) for x, ts in zip(lines, read, strict=True))
    if other := [(line, text, again) for line, text, again in pairs if text != again]:
        raise broken(f"{lang} would not decode to itself", other, len(lines), "characters would get lost on the way")
