"""Merge a language into a tokenizer that others have trained a model with.

The promise: on lines of the base language not one id changes, and every name keeps its id; the new language loses no
character, and letters in a script new to the base are segmented exactly as a tokenizer of their own would. A merge
that cannot keep it is refused.

How: new names hold only characters the base cannot spell, so they can match nothing in old text. Letters of a script
the base has are appended alone and compose with what is there (Kurmanji onto English: ç ê î ş û). Letters of a new
script bring pieces learnt from their runs. Appending whole pieces of a second tokenizer instead moved ids in 2 to 9 %
of base lines (google/sentencepiece #739, #958; measured here); appending a tokenizer's names without its merges left
every longer name unreachable.
"""

import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from ttslib.text.confusables import script
from ttslib.vocab import promise
from ttslib.vocab.tokenizer import METASPACE, Tokenizer, VocabError


@dataclass(frozen=True)
class Report:
    """What a merge did, measured on the lines it was given."""

    lang: str
    base_lang: str
    script: str
    """of the missing letters: new, old (to the base), both, or none (nothing was missing)"""
    base_lines: int
    changed: int
    """base lines whose ids changed: 0, or there is no report"""
    lines: int
    base_size: int
    size: int
    added: list[str]
    tag: str | None
    tag_id: int | None
    unknown_before: float
    """share of the new language's characters without a row (0..1)"""
    unknown_after: float
    tokens_per_character_before: float
    tokens_per_character_after: float
    tokens_per_word_before: float
    tokens_per_word_after: float
    round_trip: bool
    """whether decoding gives the text back; False only where the base loses text of its own language too"""

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, indent=2)


@dataclass(frozen=True)
class Merged:
    tokenizer: Tokenizer
    report: Report


def merge(
    base: Tokenizer,
    lines: Iterable[str],
    lang: str,
    base_lines: Iterable[str],
    base_lang: str,
    size: int = 500,
    tag: str | None = None,
) -> Merged:
    """`base` and what it lacks for `lines`: normalised text of `lang`. `base_lines` are normalised text to verify on.

    `size` bounds the pieces learnt for a new script (its letters always fit); `tag` becomes one added token. Raises
    `VocabError` with up to five lines, segmented before and after, when the promise cannot be kept; for no lines, and
    for files that cannot be merged.
    """
    if not isinstance(base, Tokenizer):
        raise VocabError(f"a {type(base).__name__} cannot be merged; give a tokenizer (`vocab.read`)")
    lines, base_lines = ([line for line in some if line.strip()] for some in (lines, base_lines))
    for some, code in ((lines, lang), (base_lines, base_lang)):
        if not some:
            raise VocabError(f"no lines of {code}: a merge is learnt from and verified on text; give some")
    if tag is not None and (not tag.strip() or tag != tag.strip() or " " in tag):
        raise VocabError(f"{tag!r} cannot be a language tag; give one without spaces, e.g. '[{lang}]'")

    texts = [base.spelt(line, lang).removeprefix(base.tag(lang)) for line in lines]
    fresh, singles = missing(base, texts)
    segment = run_of(fresh, base.metaspace)
    own = base.learn(runs(base, texts, segment), size) if fresh else None
    merged = base.extended(singles, own, tag) if fresh or singles or tag else base
    merged = merged.made_for(lang)

    before, after = ([t.tokens(t.fronted(line, lang)) for line in lines] for t in (base, merged))
    promise.kept_names(base, merged, tag)
    read = [base.tokens(base.fronted(line, base_lang)) for line in base_lines]
    promise.kept_ids(merged, base_lines, base_lang, read)
    promise.kept_segments(merged, own, segment, lines, after)
    if round_trip := promise.round_trips(base, base_lines, base_lang, read):
        promise.kept_text(merged, lines, lang, after)

    script = {(False, False): "none", (False, True): "old", (True, False): "new", (True, True): "both"}
    count = [
        sum(t.piece != mine.tag(lang) for ts in read for t in ts) for mine, read in ((base, before), (merged, after))
    ]
    lost = [sum(len(t.surface) for ts in read for t in ts if base.lossy(t)) for read in (before, after)]
    return Merged(merged, Report(
        lang, base_lang, script[bool(fresh), any(map(script_of, singles))],
        len(base_lines), 0, len(lines), len(base), len(merged), list(merged.names[len(base):]),
        tag, merged.names.index(tag) if tag else None,
        *(n / sum(map(len, texts)) for n in lost),
        *(n / sum(map(len, lines)) for n in count),
        *(n / sum(len(line.split()) for line in lines) for n in count),
        round_trip,
    ))  # fmt: skip


def missing(base: Tokenizer, texts: list[str]) -> tuple[set[str], set[str]]:
    """Characters the base cannot spell: those of scripts it does not have, and the others, which go in alone.

    Bytes spell everything: such a base lacks at most the bytes that its own training never saw.
    """
    if base.bytes_level:
        return set(), {c for text in texts for c in base.bytes_of(text)} - {*base.names}
    absent = {c for text in texts for c in base.unspelt(text) if not c.isspace() or base.kind == "characters"}
    scripts = {script_of(c) for name in base.plain_names for c in name}
    fresh = {c for c in absent if script_of(c) and script_of(c) not in scripts}
    return fresh, set() if base.byte_fallback else absent - fresh


def run_of(letters: set[str], metaspace: bool) -> re.Pattern:
    """Pattern of a run of new letters, with the space before it where the base writes it as part of the word."""
    return re.compile(
        f"{METASPACE + '?' if metaspace else ''}(?:{'|'.join(map(re.escape, sorted(letters))) or '(?!)'})+"
    )


def runs(base: Tokenizer, texts: list[str], segment: re.Pattern) -> list[str]:
    """All runs of new letters, of every text."""
    if base.metaspace:
        texts = [METASPACE + text.replace(" ", METASPACE) for text in texts]
    return [run for text in texts for run in segment.findall(text)]


def script_of(char: str) -> str | None:
    """Script of a letter or of a mark that belongs to one (vowel signs); None for digits, punctuation, loose marks."""
    if unicodedata.category(char)[0] not in "LM":
        return None
    first = unicodedata.name(char, "UNNAMED").split(" ")[0]
    return script(char) or (None if first in ("COMBINING", "MODIFIER", "VARIATION", "UNNAMED") else first)
