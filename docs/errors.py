"""Writes docs/errors.md: every message of the errors that are about a user's input, its cause and its cure.

    python docs/errors.py

Most messages hold both: the cure is the clause that begins with an order (`ORDERS`: give, set, take, ...), the cause is
what stands before it. A message that ends with what there is to choose from is cured by choosing. A message with no cure
in it has one in docs/cures.yaml; to improve the message is better.
"""

import re
import sys
from pathlib import Path
from typing import NamedTuple

import yaml

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]  # a script of the repository: ttslib may not be installed

from raises import Said, Source  # noqa: E402

ORDERS = (
    "accept|add|call|choose|collect|continue|convert|copy|correct|cut|download|export|extend|fetch|give|have|hear|hold|install"
    "|leave|let|look|lower|make|mend|merge|move|name|on|pass|pip|prepare|quote|raise|record|reinstall|remove|repeat|respell"
    "|reword|romanise|run|save|see|set|shorten|speak|split|start|take|train|try|unpack|use|write"
)
MARKS = (
    r"; (?:or )?",
    r"\n",
    r"(?<!e\.g)(?<!etc)\. ",
    r"\? ",
    r"(?:: |, )",
)  # the first that an order comes after counts
CLAUSES = [re.compile(rf"{mark}(?=(?i:{ORDERS})\b)") for mark in MARKS]
CHOICE = re.compile(r"[;,.:] (?:there (?:are|is)|it has|it knows|known are)(?! n)(?! fewer)[^;]*$", re.IGNORECASE)
CHOOSE = "choose one of those that the message names"
PYTHON = {
    "FileNotFoundError": ("[Errno 2] No such file or directory: {path}", "correct the path"),
    "IsADirectoryError": ("[Errno 21] Is a directory: {path}", "give a file"),
    "NotADirectoryError": ("[Errno 20] Not a directory: {path}", "give a folder"),
    "PermissionError": ("[Errno 13] Permission denied: {path}", "choose another path, or have its owner allow it"),
}
"""Errors of Python's own that a user can meet: nothing in the source raises them."""
HEAD = """# Errors

What `ttslib` says when something is wrong with what it was given, why, and what to do. The command line prints such an
error as one line, `error: ...`, and exits with 1; anything else that is raised is a bug and keeps its traceback.

{holes} stand for what is only known when it happens, [brackets] for what is said only at times. Many messages begin with
a file or a parameter: that is where to look. A message that ends in {error} repeats what a library said.

Written by `python docs/errors.py` from the source (tests/test_errors.py compares): do not edit.
"""


class Row(NamedTuple):
    error: str
    message: str
    places: tuple[str, ...]
    cause: str
    cure: str


def split(message: str) -> tuple[str, str]:
    """`(cause, cure)` of a message by the rule above; an empty cure where it has none."""
    for clause in CLAUSES:
        if found := list(clause.finditer(message)):
            at = found[-1 if clause is CLAUSES[-1] else 0]
            return message[: at.start()], message[at.end() :]
    return message, CHOOSE if CHOICE.search(message) else ""


class Cures:
    """docs/cures.yaml: what to do about a message; keys with a `*` (any text) serve those with no cure of their own."""

    def __init__(self, cures: dict[str, str]):
        self.exact = {key: cure for key, cure in cures.items() if "*" not in key}
        self.patterns = {key: cure for key, cure in cures.items() if "*" in key}
        self.used: set[str] = set()

    def split(self, message: str) -> tuple[str, str]:
        """`(cause, cure)`; an empty cure where there is none."""
        if message in self.exact:
            self.used.add(message)
            return message, self.exact[message]
        cause, cure = split(message)
        for key in self.patterns if not cure else ():
            if re.fullmatch(".*".join(map(re.escape, key.split("*"))), message, re.DOTALL):
                self.used.add(key)
                return message, self.patterns[key]
        return cause, cure

    def idle(self) -> list[str]:
        """Keys that no message has needed."""
        return [key for key in (*self.exact, *self.patterns) if key not in self.used]


def cures() -> Cures:
    return Cures(yaml.safe_load((DOCS / "cures.yaml").read_text(encoding="utf-8")))


def errors() -> set[str]:
    """Names of the errors that a user can meet: those that the command line prints, and a failed check's."""
    from ttslib.__main__ import expected

    return {kind.__name__ for kind in expected()} | {"Failed"}


def rows(said: list[Said], cures: Cures) -> list[Row]:
    """A row for each message of a class, wherever it is raised."""
    places: dict[tuple[str, str, str], list[str]] = {}
    for one in said:
        places.setdefault((one.error, one.message, one.advice), []).append(one.where)
    found = []
    for (error, message, advice), where in places.items():
        cause, cure = (message, advice) if advice else cures.split(message)
        found.append(Row(error, message, tuple(dict.fromkeys(where)), cause.strip(), cure.strip()))
    own = [Row(error, message, ("Python",), message, cure) for error, (message, cure) in PYTHON.items()]
    return found + own


def page(found: list[Row], classes: dict[str, tuple[list[str], str]]) -> str:
    lines = HEAD.splitlines()
    for error in sorted({row.error for row in found}):
        says = classes[error][1] if error in classes else "An error of Python's own."
        lines += ["", f"## {error}", "", " ".join(says.split()), "", "| cause | cure | from |", "|---|---|---|"]
        mine = sorted((row for row in found if row.error == error), key=lambda row: (row.places, row.message))
        lines += [f"| {cell(r.cause)} | {cell(r.cure)} | {', '.join(f'`{p}`' for p in r.places)} |" for r in mine]
    return "\n".join(lines) + "\n"


def cell(text: str) -> str:
    """Text that a table of Markdown shows as it is."""
    plain = " ".join(text.split()).replace("\\", "\\\\")
    return re.sub(r"([|<>*])", r"\\\1", plain)


def generated() -> str:
    source = Source(DOCS.parent / "ttslib")
    return page(rows(source.said(errors()), cures()), source.classes)


if __name__ == "__main__":
    (DOCS / "errors.md").write_text(generated(), encoding="utf-8")
