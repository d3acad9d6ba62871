"""Flagged words in texts: whole words, as they are spoken, in letters that no ear tells apart."""

from collections import Counter
from collections.abc import Iterable, Sequence

from ttslib import transcripts
from ttslib.feedback import Entry, Flagged
from ttslib.manifest import Row

Pattern = tuple[str, str]
"""language, and what is in `padded` texts: ` word `, or `^ a whole sentence $`"""


def padded(text: str, lang: str) -> str:
    """A bare text with marks of its ends, which are in no bare text."""
    return f"^ {transcripts.bare(text, lang, homophones=True)} $"


def patterns(entries: Iterable[Entry]) -> Counter[Pattern]:
    """What is flagged: each word, or the sentence where it has none, with the flags of the sentences it is in."""
    found: Counter[Pattern] = Counter()
    for entry in entries:
        if isinstance(entry, Flagged):
            whole = padded(entry.text, entry.lang)
            for pattern in {padded(word, entry.lang).strip("^$") for word in entry.words} or {whole}:
                found[entry.lang, pattern] += entry.count
    return found


def marked(flags: Counter[Pattern], rows: Sequence[Row]) -> tuple[list[str], list[dict]]:
    """Ids of the rows with something flagged; and what is in none of them, most flagged first: `lang`, `text`, `count`."""
    found, seen = [], set()
    for row in rows:
        said = padded(row.text, row.lang)
        if here := {flag for flag in flags if flag[0] == row.lang and flag[1] in said}:
            found.append(row.id)
            seen |= here
    without = [(flag, count) for flag, count in flags.most_common() if flag not in seen]
    return found, [{"lang": lang, "text": text.strip("^ $"), "count": count} for (lang, text), count in without]
