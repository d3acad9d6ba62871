"""What pocket-tts 4.0.1 does to a text before its tokenizer, and how it cuts a long one (`models/text_chunking.py`).

The package knows ASCII punctuation only: after "።" or "؟" it appends a full stop, and at neither does it cut a long text,
so that words are skipped. Marks of other scripts are therefore replaced by ASCII ones, in training and, by the same map, in
the exported config (`replacing`).
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ttslib.text.confusables import script
from ttslib.units import UnitsError

# Sentence marks by the script of the letters they go with, each as the ASCII mark of the same strength: one that ends a
# sentence as one at which the package cuts and after which it appends nothing (. ? !), a weaker one as one at which it cuts
# an over-long sentence (, ; :). The Ethiopic wordspace is a space; two of them are a full stop, which a map of single
# characters cannot say: the Amharic normaliser does. Marks inside numbers (٫ ٬) are a normaliser's as well.
_ARABIC = {"،": ",", "؛": ";", "؟": "?", "۔": ".", "⸮": "?", "⁏": ";", "⹁": ","}  # ⸮ ⁏ ⹁ are typed for ؟ ؛ ،
_DANDA = {"।": ".", "॥": "."}
_WIDE = {
    "。": ".", "．": ".", "｡": ".", "！": "!", "？": "?", "，": ",", "、": ",", "､": ",", "；": ";", "：": ":",
}  # fmt: skip
BY_SCRIPT = {
    "ETHIOPIC": {
        "፡": " ", "።": ".", "፣": ",", "፤": ";", "፥": ":", "፦": ":", "፧": "?", "፨": ".", "፠": ".",
    },
    "ARABIC": _ARABIC,
    **dict.fromkeys(("DEVANAGARI", "BENGALI", "GURMUKHI", "ORIYA"), _DANDA),
    **dict.fromkeys(("CJK", "HIRAGANA", "KATAKANA"), _WIDE),
}  # fmt: skip
SCRIPT = {mark: plain for marks in BY_SCRIPT.values() for mark, plain in marks.items()}

TERMINAL, WEAK, CLOSERS = ".!?…", ",;:-–—", "\"'”’)]»"
END_THEN_PAUSE = re.compile(rf"([{TERMINAL}])\s*[,;:]")


def _run(marks: str) -> re.Pattern[str]:
    """One or more of the marks, or of those of other scripts that stand for them (group 1), and quotes closed after them."""
    one = f"[{re.escape(marks + ''.join(mark for mark, plain in SCRIPT.items() if plain in marks))}]"
    return re.compile(rf"({one}+(?:\s+{one}+)*)[{re.escape(CLOSERS)}]*")


ENDS, PAUSES = _run(TERMINAL), _run(",;:")


@dataclass(frozen=True)
class Flags:
    """How a model's texts are prepared; the defaults are the package's. Raises `UnitsError` for keys of `replace` that are
    no single characters, which the package accepts and then fails at."""

    replace: Mapping[str, str] = field(default_factory=dict)
    """character -> what stands for it, "" deletes it"""
    semicolons: bool = False
    """whether ; becomes a comma"""
    terminal: bool = True
    """whether a text without a mark at its end gets a full stop"""
    capital: bool = True
    """whether the first letter is made a capital"""
    spaces: bool = False
    """whether a text of fewer than five words gets eight spaces before it"""

    def __post_init__(self):
        if long := [key for key in self.replace if len(key) != 1]:
            raise UnitsError(f"replace_characters: {', '.join(map(repr, long))}: a key is one character")


def replacing(texts: Iterable[str], base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The map to train with and to export as `replace_characters`: `base`, and the marks of every script that the texts (or
    the character sets of languages) are written in, whether or not they occur there. What `base` does not let through
    stays out: its "፥" is "," where ":" is.
    """
    base = dict(base or {})
    found = set().union(*texts)
    scripts = {script(char) for char in found}
    marks = {m: p for name, group in BY_SCRIPT.items() for m, p in group.items() if name in scripts or m in found}
    return base | {mark: base.get(plain, plain) for mark, plain in marks.items() if mark not in base}


def prepared(text: str, flags: Flags) -> str:
    """A text as the package hands it to its tokenizer. Raises `UnitsError` when nothing is left of it."""
    text, given = text.strip(), text
    if flags.replace:
        text = " ".join(text.translate(str.maketrans(dict(flags.replace))).split())
        text = END_THEN_PAUSE.sub(r"\1", text)  # deleted quotes leave '"Hi?", she said' as 'Hi?, she said'
    if not text:
        raise UnitsError(f"{given!r}: no text to speak" + (" once characters are replaced" if given.strip() else ""))
    text = text.replace("\n", " ").replace("\r", " ").replace("  ", " ")
    if flags.semicolons:
        text = text.replace(";", ",")
    if flags.capital and not text[0].isupper():
        text = text[0].upper() + text[1:]
    if flags.terminal:
        text = _ended(text)
    return " " * 8 + text if flags.spaces and len(text.split()) < 5 else text


def _ended(text: str) -> str:
    """With a mark at the end: a full stop in place of a pause or dash, and otherwise behind any closing quote."""
    core = text.rstrip(CLOSERS + " ")
    if not core or core[-1] in TERMINAL:
        return text
    if core[-1] in WEAK:
        return core.rstrip(WEAK + " ") + "." + text[len(core) :].strip()
    return text + "."


def chunks(text: str, flags: Flags, encode: Callable[[str], Sequence[int]], most: int = 50) -> list[str]:
    """A text as pieces to be spoken one by one, each of at most `most` tokens, each to be `prepared` once more.

    Cut where sentences end and, of longer sentences, at commas; as many as fit are put together. A clause that is too long
    still is cut at the spaces that part it evenly; a word is never cut. Joined, the pieces are the prepared text, up to
    spaces. Raises `UnitsError` as `prepared` does.

    The package also cuts inside "example.com" and "1,000", puts a space there, leaves a closing quote to the next sentence,
    does not cut between "1984." and "5", and keeps long clauses whole.
    """

    def length(piece: str) -> int:
        return len(encode(piece.strip()))

    parts = []
    for sentence in _cut(prepared(text, flags).strip(), ENDS):
        clauses = [sentence] if length(sentence) <= most else _cut(sentence, PAUSES)
        parts += [part for clause in clauses for part in _evenly(clause, length, most)]
    packed = parts[:1]
    for part in parts[1:]:
        if length(packed[-1] + part) <= most:
            packed[-1] += part
        else:
            packed.append(part)
    return [piece.strip() for piece in packed]


def sentences(text: str) -> list[str]:
    """A text behind each mark that ends a sentence, of any script; none of a text without a letter or figure."""
    return [part.strip() for part in _cut(text, ENDS)] if any(map(str.isalnum, text)) else []


def _cut(text: str, marks: re.Pattern[str]) -> list[str]:
    """A text behind each run of marks that has words on either side and does not stand inside a number or name."""
    cuts = [0]
    for run in marks.finditer(text):
        worded = any(map(str.isalnum, text[cuts[-1] : run.start()])) and any(map(str.isalnum, text[run.end() :]))
        if worded and not _inside(text[run.start() - 1], run[1], text[run.end(1)]):
            cuts.append(run.end())
    return [text[start:end] for start, end in zip(cuts, [*cuts[1:], None], strict=True)]


def _inside(before: str, mark: str, after: str) -> bool:
    """1.5, 10:30, example.com; but scripts without capitals may write their next sentence straight on."""
    cased = before.upper() != before.lower() and after.upper() != after.lower()
    return (before.isdigit() and after.isdigit()) or (mark == "." and cased)


def _evenly(text: str, length: Callable[[str], int], most: int) -> list[str]:
    """A text in about equal pieces of at most `most` tokens, cut at spaces before words as far as there are any."""
    spaces = [space.end() for space in re.finditer(r"(?<=\S)\s+(?=\S*\w)", text)]
    count = math.ceil(length(text) / most)
    if count < 2 or not spaces:
        return [text]
    goal = len(text) * (count // 2) / count
    at = min(spaces, key=lambda space: abs(space - goal))
    return _evenly(text[:at], length, most) + _evenly(text[at:], length, most)


def frames_after_end(text: str) -> int:
    """Frames to keep of a piece of `chunks` from the one on at which the model says that speech has ended; it says so of
    short ones too early."""
    return 5 if len(text.split()) <= 4 else 3


def most_frames(tokens: int, frame_rate: float) -> int:
    """Frames after which the package gives up waiting for the end of so many tokens: three a second, and two seconds."""
    return math.ceil((tokens / 3 + 2) * frame_rate)
