"""What a tokenizer would do to a language, before anything is trained: one row a candidate, with advice in words.

A letter without a row is a sound the model can never be told to make, and nothing in a loss curve says so.
"""

import statistics
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping

from ttslib.vocab.fronts import SYSTEMS, TAGGING
from ttslib.vocab.merge import script_of
from ttslib.vocab.source import read
from ttslib.vocab.tokenizer import NONE, Tokenizer, VocabError, named

# Tokens a text may have: learned positions (T3, IndexTTS2), tokens of one generated chunk (Pocket), None = no limit.
LIMITS: dict[str, int | None] = {
    "t3": 2048, "chatterbox": 2048, "indextts": 600, "pocket": 50, "vits": None, "acoustic": None,
}  # fmt: skip
CLASSES = {"L": "letters", "M": "marks", "N": "digits", "P": "punctuation", "S": "punctuation"}
OF_FRONT = {"t3": "t3", "t3-english": "t3", "indextts": "indextts", "vits": "vits"}


def preflight(
    lines: Iterable[str],
    lang: str,
    candidates: Iterable[str | Tokenizer],
    limits: Mapping[str, int | None] | None = None,
) -> list[dict]:
    """One row for each candidate (a tokenizer, or where `vocab.read` finds one) on normalised lines of `lang`.

    `limits` overrides `LIMITS`: tokens per text, by system. A row has `candidate, kind, front, size, system, counts`
    (class → [unknown, all] characters), `unknown` (class → share), `unseen` (character → example sentence),
    `tokens_per_character, median, p95, longest` (tokens a line), `limit, over` (lines), `tag` (None where the front
    writes none), `notes` (what cannot be known here) and `verdict`; a candidate that cannot be had has `verdict` and
    `notes` only. Raises `VocabError` without lines.
    """
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise VocabError(f"no lines of {lang}: a preflight is measured on text; give some")
    return [row(lines, lang, candidate, {**LIMITS, **(limits or {})}) for candidate in candidates]


def row(lines: list[str], lang: str, candidate: str | Tokenizer, limits: Mapping[str, int | None]) -> dict:
    if isinstance(candidate, Tokenizer):
        tokenizer, name, system = candidate, f"{candidate.kind} of {len(candidate)}", ""
    else:
        name, system = str(candidate), str(candidate).partition("=")[0]
        try:
            tokenizer = read(candidate)
        except VocabError as error:
            return {"candidate": name, "verdict": "not at hand", "notes": [str(error)]}
    system = system if system in SYSTEMS else OF_FRONT.get(tokenizer.front)
    counts, unseen, lengths = measured(tokenizer, lines, lang)
    known = system in limits
    limit = limits.get(system)
    found = {
        "candidate": name,
        "kind": tokenizer.kind,
        "front": tokenizer.front,
        "size": len(tokenizer),
        "system": system,
        "counts": counts,
        "unknown": {kind: lost / of for kind, (lost, of) in counts.items()},
        "unseen": unseen,
        "tokens_per_character": sum(lengths) / sum(map(len, lines)),
        "median": statistics.median(lengths),
        "p95": sorted(lengths)[round(0.95 * (len(lengths) - 1))],
        "longest": max(lengths),
        "limit": limit,
        "over": sum(n > limit for n in lengths) if limit is not None else 0,
        "tag": bool(tokenizer.tag(lang)) if tokenizer.front in TAGGING else None,
        "notes": [],
    }
    if not known:
        found["notes"].append("limit unknown: the file does not tell its system; write <system>=<tokenizer>")
    if getattr(tokenizer, "uroman", False):
        found["notes"].append("the file asks for text romanised by uroman; it is measured on the text as it is written")
    return found | {"verdict": verdict(found, lang)}


def measured(tokenizer: Tokenizer, lines: list[str], lang: str) -> tuple[dict, dict, list[int]]:
    """Counts by class, unseen characters with an example each, tokens of every line."""
    every, lost, unseen, lengths = Counter(), Counter(), {}, []
    for line in lines:
        tokens = tokenizer.tokens(tokenizer.fronted(line, lang))
        gone = "".join(t.surface for t in tokens if tokenizer.lossy(t))
        every.update(map(class_of, tokenizer.spelt(line, lang).removeprefix(tokenizer.tag(lang))))
        lost.update(map(class_of, gone))
        unseen = {char: line for char in sorted(set(gone))} | unseen
        lengths.append(sum(t.id != NONE for t in tokens))
    # A normaliser inside the file may fold what the surface still shows: never more lost than there is.
    kinds = sorted(every | lost)
    return {k: [lost[k], max(every[k], lost[k])] for k in kinds}, dict(sorted(unseen.items())), lengths


def class_of(char: str) -> str:
    return CLASSES.get(unicodedata.category(char)[0], "other")


def verdict(found: dict, lang: str) -> str:
    """What to do, in words; "ready" when nothing."""
    advice = []
    letters = [char for char in found["unseen"] if class_of(char) in ("letters", "marks")]
    scripts = Counter((script_of(char) or "unclassified").capitalize() for char in letters)
    advice += [
        f"merge: {n} {script} {'letter has' if n == 1 else 'letters have'} no row" for script, n in scripts.items()
    ]
    if rest := [char for char in found["unseen"] if char not in letters]:
        advice.append(f"merge or respell: {named(rest[:5])}{' and more' if len(rest) > 5 else ''} without a row")
    if found["tag"] is False:
        advice.append(f"add the tag [{lang}]")
    if found["over"]:
        lines = "1 line has" if found["over"] == 1 else f"{found['over']} lines have"
        advice.append(f"too long: {lines} more than {found['limit']} tokens (longest {found['longest']}); split them")
    return "; ".join(advice) or "ready"


def gate(row: Mapping, limit: float) -> None:
    """Raise `VocabError` when more than the share `limit` (0..1) of letters and marks would be unknown.

    `row` is a row of `preflight`, or its `counts`; the letters are named where `unseen` is there to tell.
    """
    if row.get("verdict") == "not at hand":
        raise VocabError(f"{row['candidate']}: not at hand ({'; '.join(row['notes'])}); give a path, or download it")
    counts = row.get("counts", row)
    of = sum(counts[kind][1] for kind in ("letters", "marks") if kind in counts)
    lost = sum(counts[kind][0] for kind in ("letters", "marks") if kind in counts)
    if lost and lost / of > limit:
        unseen = row.get("unseen", {})
        letters = [char for char in unseen if class_of(char) in ("letters", "marks")]
        example = f", e.g. in {unseen[letters[0]]!r}" if letters else ""
        which = named(letters) if len(letters) <= 12 else " ".join(letters)
        raise VocabError(
            f"{lost / of:.1%} of letters ({lost} of {of}) have no row in {row.get('candidate', 'the tokenizer')}, "
            f"allowed {limit:.1%}: {which or 'not named in counts alone'}{example}; merge the language "
            f"(`vocab.merge`), respell, or raise vocab.unknown_letters"
        )
