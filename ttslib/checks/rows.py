"""What a check found, as a row: for a terminal, for a notebook, for `check.json`."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

OUTCOMES = {True: "ok", False: "FAILED", None: "not run"}
COLUMNS = ("check", "", "measured", "what to do")


@dataclass(frozen=True)
class Row:
    """One check: what was measured, or why it failed or was not run. `advice` is empty unless it failed."""

    check: str
    passed: bool | None
    """None: not run, because a check that it depends on failed"""
    measured: str
    advice: str = ""

    @property
    def cells(self) -> tuple[str, str, str, str]:
        return self.check, OUTCOMES[self.passed], self.measured, self.advice


class Rows(list[Row]):
    """The rows of a run of the checks, which notebooks render as a table."""

    def _repr_html_(self) -> str:
        from ttslib import show

        return show.table([dict(zip(COLUMNS, row.cells, strict=True)) for row in self], COLUMNS)


class Failed(Exception):
    """A check's verdict: what was measured, and what to do about it."""

    def __init__(self, measured: str, advice: str):
        super().__init__(measured)
        self.measured, self.advice = measured, advice


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text, a line each below a heading; the last column is there only where something failed."""
    lines = [COLUMNS, *(row.cells for row in rows)]
    widths = [max(width(line[i]) for line in lines) for i in range(3)]
    padded = [
        (*(cell + " " * (w - width(cell)) for cell, w in zip(line, widths, strict=False)), line[3]) for line in lines
    ]
    advised = any(row.advice for row in rows)
    return "\n".join("  ".join(line if advised else line[:3]).rstrip() for line in padded)


def width(cell: str) -> int:
    """Columns of a terminal that a text takes: marks none, East Asian wide letters two."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in cell
    )  # fmt: skip


def one_line(text: str) -> str:
    return " ".join(text.split())


def few(items: Sequence[str], count: int = 5) -> str:
    """The first of some names, and how many there are."""
    rest = len(items) - count
    return ", ".join(items[:count]) + (f" and {rest} more" if rest > 0 else "")
