"""What every reader yields."""

from dataclasses import dataclass
from pathlib import Path

ALL = "all"
"""asked for instead of a language: every one that the corpus has (style_npz)"""


@dataclass(frozen=True)
class Clip:
    """One recording and what is said in it.

    `id` is unique and stable within a corpus; `text` is the transcript as the corpus has it, not yet normalised; `split` is
    what the corpus itself decided, "" where it is ours to decide.
    """

    id: str
    audio: Path
    text: str
    lang: str
    speaker: str
    source: str
    licence: str
    split: str = ""


@dataclass(frozen=True)
class Dropped:
    """A recording or transcript line that cannot become a clip: where it is, a short reason code, and the details."""

    where: str
    reason: str
    detail: str = ""


class CorpusError(ValueError):
    """The corpus as a whole cannot be read: what is missing, where it was looked for and what to do."""
