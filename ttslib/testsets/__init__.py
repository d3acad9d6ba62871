"""Fixed sentences to listen to and to score by, the same in every run: `<lang>.tsv`, six sets a language, CC0-1.0.

    for sentence in of("am", ("numerals", "minimal_pairs")):
        heard[sentence.id] = recognise(speak(sentence.text))
    told_apart(of("am"), heard)

No sentence is in the shipped training sentences. A file has a header and the columns set, pair, text, note, with tabs
between them; `#` begins a comment. Minimal pairs differ in one sound, by the pair's id `p1`, `p2`, ... in a letter, by
`u1`, `u2`, ... in what is not written (gemination in Amharic, stress in Russian): only the rest of the sentence tells
which word it is, so a transcript shows nothing, and a listener must say whether the right one was spoken.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ttslib import text
from ttslib.corpora import files
from ttslib.corpora.clip import Dropped
from ttslib.edits import edits
from ttslib.transcripts import bare

SETS = ("out_of_domain", "numerals", "questions", "one_word", "long", "minimal_pairs")
PAIRS = "minimal_pairs"
HEADER = ["set", "pair", "text", "note"]
FOLDER = Path(__file__).parent


class TestsetError(ValueError):
    """A set that is not there or a file that is wrong: where, and what to do."""


class Sentence(NamedTuple):
    """`id` is the set and the number in it from 1 (`numerals-03`), a safe file name; `lang` is the code asked for."""

    id: str
    set: str
    text: str
    lang: str
    pair: str | None
    note: str


def of(lang: str, sets: Sequence[str] = SETS, folder: Path = FOLDER) -> list[Sentence]:
    """The sentences of `sets` in the order of the language's file, all of which is checked.

    Raises `TestsetError` (`CorpusError` for a file in UTF-16) with the file, the line and what to write there.
    """
    if strange := [name for name in sets if name not in SETS]:
        raise TestsetError(f"no set is called {', '.join(map(repr, strange))}; choose from {', '.join(SETS)}")
    path = place(lang, folder)
    if not path.is_file():
        there = ", ".join(sorted(table.stem for table in folder.glob("*.tsv"))) or "none"
        raise TestsetError(f"no test sentences for {lang} ({path}); there are some for {there}; write that file")
    found, numbers, pairs = [], Counter(), defaultdict(list)
    for where, (name, pair, line, note) in rows(path):
        if name not in SETS:
            raise TestsetError(f"{where}: no set is called {name!r}; write one of {', '.join(SETS)}")
        if not line.strip():
            raise TestsetError(f"{where}: the text is empty; write a sentence or delete the line")
        if bool(pair) != (name == PAIRS) or not re.fullmatch(r"([pu]\d+)?", pair):
            raise TestsetError(f"{where}: pair is {pair!r}; give p1, u1, ... in {PAIRS}, and nothing in other sets")
        numbers[name] += 1
        pairs[pair].append(where)
        found.append(Sentence(f"{name}-{numbers[name]:02d}", name, line.strip(), lang, pair or None, note.strip()))
    for pair, places in pairs.items():
        if pair and len(places) != 2:
            raise TestsetError(f"{places[0]}: pair {pair} is on {len(places)} rows; give it to exactly two")
    return [sentence for sentence in found if sentence.set in sets]


def known(lang: str, folder: Path = FOLDER) -> bool:
    """Whether there is a file for the language."""
    return place(lang, folder).is_file()


def place(lang: str, folder: Path) -> Path:
    """The file of a code, named as the language's normaliser is (`en-US` en, `kmr` ku), or by the code without one."""
    module = text.language(lang).__name__
    return folder / f"{lang if module == text.GENERIC else module.rpartition('.')[2]}.tsv"


def rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    """`(where, columns)` of each line below the header."""
    headed = False
    for line in files.lines(path):
        if isinstance(line, Dropped):
            raise TestsetError(f"{line.where}: {line.reason}: {line.detail}")
        if line[1].startswith("#"):
            continue
        where, columns = f"{path}:{line[0]}", line[1].split("\t")
        if not headed and columns != HEADER:
            raise TestsetError(f"{where}: the header is {columns}; write {HEADER} with tabs between them")
        if len(columns) != len(HEADER):
            raise TestsetError(f"{where}: {len(columns)} columns, not {len(HEADER)}; write {HEADER}, tabs between them")
        if headed:
            yield where, columns
        headed = True
    if not headed:
        raise TestsetError(f"{path}:1: no header; write {HEADER} with tabs between them")


def told_apart(sentences: Sequence[Sentence], heard: Mapping[str, str]) -> dict:
    """Of the minimal pairs among `sentences` (of one language), those that a transcript `heard[id]` tells apart: it has
    fewer edits to the sentence's own bare text than to its partner's. A tie or an empty transcript does not tell; a
    sentence without a transcript is not judged.

    `told_apart`, `judged` and `for_listeners` (both of a pair whose contrast is not written) count sentences, `confused`
    has the ids of those judged and not told apart. Raises `TestsetError` where half of a pair is missing.
    """
    pairs: dict[str, list[Sentence]] = defaultdict(list)
    for sentence in sentences:
        if sentence.pair:
            pairs[sentence.pair].append(sentence)
    right, confused, unwritten = 0, [], 0
    for pair, members in pairs.items():
        if len(members) != 2 or members[0].lang != members[1].lang:
            ids = ", ".join(f"{member.lang}/{member.id}" for member in members)
            raise TestsetError(f"pair {pair} has {ids}; pass both sentences of a pair, and one language at a time")
        texts = [bare(member.text, member.lang, homophones=True) for member in members]
        if pair.startswith("u") or texts[0] == texts[1]:
            unwritten += 2
            continue
        for member, own, other in zip(members, texts, reversed(texts), strict=True):
            if member.id not in heard:
                continue
            said = bare(heard[member.id], member.lang, homophones=True)
            if said and edits(own, said) < edits(other, said):  # silence is nearer to the shorter text
                right += 1
            else:
                confused.append(member.id)
    judged = right + len(confused)
    return {"told_apart": right, "judged": judged, "for_listeners": unwritten, "confused": confused}
