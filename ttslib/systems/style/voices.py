"""The styles that a manifest's rows were spoken with."""

from collections.abc import Sequence
from dataclasses import replace

from ttslib import dataset, pairs
from ttslib.dataset import BadClip
from ttslib.styles import Style


def style_of(row, model: str | None = None) -> Style:
    """The style that a row's recording was spoken with, of `model` where the file names none. Raises `BadClip` where it is
    no pair."""
    try:
        found = pairs.style(row.audio)
        return found if found.model else replace(found, model=model or "")
    except pairs.PairError as error:
        raise BadClip(str(error)) from None


def spoken_with(rows: Sequence, model: str | None = None) -> dict[str, Style]:
    """The style of every speaker among the rows (`style_of`). Raises `DatasetError` for recordings that are of no pair."""
    found: dict[str, Style] = {}
    for row in rows:
        if row.speaker not in found:
            try:
                found[row.speaker] = style_of(row, model)
            except BadClip as error:
                raise dataset.DatasetError(f"{error}; system style learns from corpus.source=style_npz") from None
    return found
