"""Markdown: cells, tables, numbers, links. What there is not is a dash, never None or nan."""

import math
from collections.abc import Iterable, Sequence
from urllib.parse import quote

DASH = "–"


def cell(value) -> str:
    """A value on one line, without what Markdown or HTML would read in it."""
    if value is None or value == "":
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    text = " ".join(str(value).split())
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def number(value: float | None, digits: int = 4) -> str:
    """`digits` significant ones; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}g}"


def hours(minutes: float) -> str:
    return f"{minutes / 60:.4f}"


def count(many: int, one: str) -> str:
    """`1 clip`, `2 clips`."""
    return f"{many:,} {one}" if many == 1 else f"{many:,} {one}s"


def table(names: Sequence[str], rows: Iterable[Sequence]) -> str:
    """A table; strings in `rows` are Markdown already."""
    lines = [
        names,
        ["---"] * len(names),
        *([one if isinstance(one, str) else cell(one) for one in row] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def link(text: str, path: str) -> str:
    """A link to a file below the card's folder."""
    return f"[{cell(text)}]({quote(path)})"
