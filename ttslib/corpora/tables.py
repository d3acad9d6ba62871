"""Rows of a table file: CSV (RFC 4180 quoting; , ; tab or |), JSON Lines (https://jsonlines.org), or a JSON list."""

import csv
import json
import re
from collections.abc import Iterator
from itertools import dropwhile
from pathlib import Path
from typing import Any

from ttslib.corpora import files
from ttslib.corpora.clip import CorpusError, Dropped

UNREADABLE = (ValueError, RecursionError)  # json: what is no JSON and huge numbers; brackets in brackets without end
SUFFIXES = (".csv", ".tsv", ".jsonl", ".json")
Row = tuple[str, dict[str, Any]]
HALF = re.compile("[\ud800-\udfff]")  # a lone surrogate, which JSON can write but no file can hold


def rows(path: Path) -> Iterator[Row | Dropped]:
    """`(where, {column: cell})` for every row, column names lower-cased; lines that are no row come as `Dropped`."""
    if path.suffix.lower() == ".json":
        return json_list(path)
    if path.suffix.lower() == ".jsonl":
        return json_lines(path)
    return csv_rows(path)


def json_list(path: Path) -> Iterator[Row | Dropped]:
    data = files.content(path)
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}: is not UTF-8: {error}; convert it with iconv") from None
    except UNREADABLE as error:
        raise CorpusError(
            f"{path}: not readable as JSON: {error}; correct it, or use .jsonl with one row a line"
        ) from None
    if not isinstance(content, list):
        raise CorpusError(f"{path}: must hold a list [{{...}}, {{...}}], found {type(content).__name__}")
    for number, row in enumerate(content, 1):
        yield named(row, f"{path}: item {number}")


def json_lines(path: Path) -> Iterator[Row | Dropped]:
    for line in files.lines(path):
        if isinstance(line, Dropped):
            yield line
        elif line[1].strip():
            try:
                yield named(json.loads(line[1]), f"{path}:{line[0]}")
            except UNREADABLE as error:
                yield Dropped(f"{path}:{line[0]}", "not json", f"{error}: {line[1][:80]!r}")


def named(row: Any, where: str) -> Row | Dropped:
    if not isinstance(row, dict):
        return Dropped(where, "not an object", f"expected {{column: value}}, found {type(row).__name__}")
    if broken := [
        name for name, cell in row.items() if HALF.search(f"{name}{cell}" if isinstance(cell, str) else name)
    ]:
        return Dropped(where, "half a character", f"{broken[0]!r} holds a \\ud800 to \\udfff escape without its pair")
    return where, {str(column).strip().lower(): cell for column, cell in row.items()}


def csv_rows(path: Path) -> Iterator[Row | Dropped]:
    given = list(dropwhile(lambda line: not isinstance(line, Dropped) and not line[1].strip(), files.lines(path)))
    if given and isinstance(given[0], Dropped):
        raise CorpusError(f"{given[0].where}: the line that names the columns is {given[0].reason}: {given[0].detail}")
    yield from (line for line in given if isinstance(line, Dropped))
    lines = [line for line in given if not isinstance(line, Dropped)]
    columns, delimiter = header(path, lines[0][1] if lines else "")
    at = 1
    while at < len(lines):
        # A reader of its own for each row: one that has failed has already eaten the lines behind an open quote.
        reader = csv.reader((lines[i][1] + "\n" for i in range(at, len(lines))), delimiter=delimiter, strict=True)
        try:
            cells = next(reader)
        except csv.Error as error:
            where, content = f"{path}:{lines[at][0]}", lines[at][1]
            reason = "quotes" if '"' in content else "not csv"
            yield Dropped(where, reason, f"{error}; a quote inside a quoted cell is doubled: {content[:80]!r}")
            at += 1
            continue
        begun, at = at, at + reader.line_num
        where = span(path, [number for number, _ in lines[begun:at]])
        if len(cells) == len(columns):
            yield where, dict(zip(columns, cells, strict=True))
        elif any(cell.strip() for cell in cells):
            detail = f"expected {len(columns)} cells, found {len(cells)}: {delimiter.join(cells)[:80]!r}"
            yield Dropped(where, "columns", detail)


def header(path: Path, first: str) -> tuple[list[str], str]:
    """Column names and delimiter of a table with this first line."""
    delimiter = max(",;\t|", key=first.count)
    try:
        columns = [name.strip().lower() for name in next(csv.reader([first], delimiter=delimiter), [])]
    except csv.Error as error:
        raise CorpusError(f"{path}: its first line cannot be read: {error}; it is {first[:80]!r}; correct it") from None
    if len(columns) < 2:
        raise CorpusError(
            f"{path}: its first line must name the columns, separated by , ; tab or |; it is {first[:80]!r}"
        )
    if len(set(columns)) < len(columns):
        raise CorpusError(f"{path}: its first line names a column twice: {', '.join(columns)}; keep one of each")
    return columns, delimiter


def span(path: Path, numbers: list[int]) -> str:
    """`file:12`, or `file:12-40` for a row whose quoted cells hold line ends."""
    return f"{path}:{numbers[0]}" + (f"-{numbers[-1]}" if len(numbers) > 1 else "")
