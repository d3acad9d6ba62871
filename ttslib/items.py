"""What a test set consists of: a run's held-out clips, lines of a file, or a table with texts, languages and voices."""

import csv
import hashlib
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ttslib import checkpoint, manifest, rehearsal
from ttslib.corpora import files, tables
from ttslib.corpora.clip import Dropped

UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|\ud800-\udfff]|^[.\s]|[.\s]\Z|^\Z')
LONGEST_NAME = 200  # bytes of UTF-8; file systems take 255, suffixes included


class GenerationError(ValueError):
    """A test set that cannot be spoken as it is given; the message names every fault."""


class Item(NamedTuple):
    """A text to speak into `<id>.wav`; without `lang` or `voice` the system's first."""

    id: str
    text: str
    lang: str | None = None
    voice: str | None = None


def held_out(folder: str | Path, lang: str | None = None, voice: str | None = None) -> list[Item]:
    """The clips that a run's scorecard is made on, in their own speakers' voices, or all in `voice`; only those of `lang`
    where it is given. Ids are the clips' own, `am/0001` as `am-0001`.

    Raises `GenerationError` for a folder that does not know its manifest, and where no clip is of `lang`.
    """
    known = Path(folder) / "data.json"
    if not known.is_file():
        raise GenerationError(
            f"{folder}: not a run's folder (no data.json names its manifest); give the texts in a file"
        )
    held = rehearsal.held_out(manifest.read(checkpoint.read_json(known)["manifest"]))
    rows = [row for row in held if lang in (None, row.lang)]
    if not rows:
        told = ", ".join(sorted({row.lang for row in held}))
        raise GenerationError(f"{folder}: no clip of {lang} in split {held[0].split}; there are {told}")
    print(f"{folder}: {len(rows)} clips of split {rows[0].split}", file=sys.stderr)
    texts = zip(file_names([row.id for row in rows]), rows, strict=True)
    return [Item(name, row.raw, row.lang, voice or row.speaker) for name, row in texts]


def sentences(path: str | Path, lang: str | None = None, voice: str | None = None) -> list[Item]:
    """The items of a file; `lang` and `voice` are of those that name none.

    A table (.csv, .tsv, .jsonl, .json) has the columns id, text, lang and voice, of which only text has to be there; any
    other file has one text a line. Without an id an item has its number, 0000 the first. Raises `GenerationError` naming
    every fault, `CorpusError` for a file that is no table at all.
    """
    path = Path(path)
    if not path.is_file():
        raise GenerationError(f"{path}: no such file; correct the path")
    rows, faults, items = list(rows_of(path)), [], []
    columns = dict.fromkeys(name for row in rows if not isinstance(row, Dropped) for name in row[1])
    if unknown := [name for name in columns if name not in Item._fields]:
        faults.append(f"unknown columns: {', '.join(unknown)}; there are {', '.join(Item._fields)}")
    if columns and "text" not in columns:
        faults.append(f"no column text, only {', '.join(columns)}")
    for number, row in enumerate(rows):
        if isinstance(row, Dropped):
            faults.append(f"{row.where}: {row.reason}: {row.detail}")
            continue
        cells = {name: cell(row[1].get(name)) for name in Item._fields}
        wrong = [f"{name} is {value!r}, no text" for name, value in cells.items() if not is_text(value)]
        if cells["text"] is None and "text" in columns:
            wrong.append("no text")
        faults += [f"{row[0]}: {fault}" for fault in wrong]
        if not wrong and cells["text"] is not None:
            chosen = {"id": f"{number:04d}", "lang": lang, "voice": voice}
            items.append((row[0], Item(**chosen | {name: value for name, value in cells.items() if value is not None})))
    refuse(faults + id_faults((where, item.id) for where, item in items), path)
    return [item for _, item in items]


def rows_of(path: Path) -> Iterator[tuple[str, dict] | Dropped]:
    """`(where, cells)` of every row or line that is not blank; what is none comes as `Dropped`."""
    if path.suffix.lower() not in tables.SUFFIXES:
        lines = files.lines(path)
    elif path.suffix.lower() in (".csv", ".tsv") and header(path) == "text":
        lines = texts_alone(path)
    else:
        yield from tables.rows(path)
        return
    for line in lines:
        if isinstance(line, Dropped):
            yield line
        elif line[1].strip():
            yield f"{path}:{line[0]}", {"text": line[1]}


def header(path: Path) -> str:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return file.readline().strip().strip('"').lower()


def texts_alone(path: Path) -> Iterator[tuple[int, str] | Dropped]:
    """The numbered cells of a table of one column, which has no separator: in its texts a comma is a comma."""
    for line in list(files.lines(path))[1:]:
        if isinstance(line, Dropped):
            yield line
            continue
        try:
            yield line[0], "".join(next(csv.reader([line[1]], delimiter="\x1f", strict=True), []))
        except csv.Error as error:
            yield Dropped(f"{path}:{line[0]}", "quotes", f"{error}; a quote inside a quoted cell is doubled")


def cell(value):
    """A table's cell: without the spaces around it, None for an empty one, and a number of JSON as it is written."""
    if type(value) is int:
        return str(value)
    return (value.strip() or None) if isinstance(value, str) else value


def is_text(value) -> bool:
    """A string that can be written as UTF-8, or nothing."""
    return value is None or (isinstance(value, str) and not re.search(r"[\ud800-\udfff]", value))


def file_names(ids: Iterable[str]) -> list[str]:
    """Ids as safe file names; what would be too long, or the same as another, ends in a hash."""
    names, taken = [], set()
    for one in ids:
        name = UNSAFE.sub("-", one)
        if len(name.encode()) > LONGEST_NAME or compared(name) in taken:
            name = f"{name[:40]}-{hashlib.sha256(one.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
        taken.add(compared(name))
        names.append(name)
    return names


def id_faults(ids: Iterable[tuple[str, str]]) -> list[str]:
    """What is wrong with ids, each given with its place: they have to be file names, on any system, and no two the same."""
    faults, seen = [], {}
    for where, one in ids:
        if UNSAFE.search(one) or len(one.encode()) > LONGEST_NAME:
            faults.append(f"{where}: id {one!r} is no safe file name")
        elif (first := seen.setdefault(compared(one), where)) != where:
            faults.append(f"{where}: id {one!r} is also that of {first}")
    return faults


def compared(name: str) -> str:
    """A file name as macOS and Windows compare it."""
    return unicodedata.normalize("NFC", name).casefold()


def refuse(faults: Sequence[str], what) -> None:
    """Raise `GenerationError` with all faults, if there are any."""
    if faults:
        raise GenerationError(f"{what}: {len(faults)} to correct:\n  " + "\n  ".join(faults))
