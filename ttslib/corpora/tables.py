"""Rows of a table file: CSV (RFC 4180 quoting; , ; tab or |), JSON Lines (https://jsonlines.org), or a JSON list."""

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ttslib.corpora import files
from ttslib.corpora.clip import CorpusError, Dropped

SUFFIXES = (".csv", ".tsv", ".jsonl", ".json")
Row = tuple[str, dict[str, Any]]


def rows(path: Path) -> Iterator[Row | Dropped]:
    """`(where, {column: cell})` for every row, column names lower-cased; lines that are no row come as `Dropped`."""
    if path.suffix.lower() == ".json":
        return json_list(path)
    if path.suffix.lower() == ".jsonl":
        return json_lines(path)
    return csv_rows(path)


def json_list(path: Path) -> Iterator[Row | Dropped]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path}: not readable as JSON: {error}") from None
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
            except json.JSONDecodeError as error:
                yield Dropped(f"{path}:{line[0]}", "not json", f"{error}: {line[1][:80]!r}")


def named(row: Any, where: str) -> Row | Dropped:
    if not isinstance(row, dict):
        return Dropped(where, "not an object", f"expected {{column: value}}, found {type(row).__name__}")
    return where, {str(column).strip().lower(): cell for column, cell in row.items()}


def csv_rows(path: Path) -> Iterator[Row | Dropped]:
    undecodable: list[Dropped] = []
    numbers: list[int] = []  # the file's line numbers of what the csv reader was fed: undecodable lines are left out

    def decoded(lines: Iterable[tuple[int, str] | Dropped]) -> Iterator[str]:
        for line in lines:
            if isinstance(line, Dropped):
                undecodable.append(line)
            else:
                numbers.append(line[0])
                yield line[1] + "\n"

    feed = decoded(files.lines(path))
    first = next(feed, "")
    delimiter = max(",;\t|", key=first.count)
    columns = [name.strip().lower() for name in next(csv.reader([first], delimiter=delimiter), [])]
    if len(columns) < 2:
        raise CorpusError(
            f"{path}: its first line must name the columns, separated by , ; tab or |; it is {first[:80]!r}"
        )
    if len(set(columns)) < len(columns):
        raise CorpusError(f"{path}: its first line names a column twice: {', '.join(columns)}")
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    while True:
        begun = len(numbers)
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield Dropped(span(path, numbers[begun:]), "quotes", f"{error}; a quote inside a quoted cell is doubled")
            continue
        yield from undecodable
        undecodable.clear()
        if cells is None:
            return
        if len(cells) == len(columns):
            yield span(path, numbers[begun:]), dict(zip(columns, cells, strict=True))
        elif any(cell.strip() for cell in cells):
            detail = f"expected {len(columns)} cells, found {len(cells)}: {delimiter.join(cells)[:80]!r}"
            yield Dropped(span(path, numbers[begun:]), "columns", detail)


def span(path: Path, numbers: list[int]) -> str:
    """`file:12`, or `file:12-40` for a row whose quoted cells hold line ends."""
    return f"{path}:{numbers[0]}" + (f"-{numbers[-1]}" if len(numbers) > 1 else "")
