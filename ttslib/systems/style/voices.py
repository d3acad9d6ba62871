"""The styles that a manifest's rows were spoken with."""

from collections.abc import Sequence

from ttslib import dataset, pairs
from ttslib.dataset import BadClip
from ttslib.styles import Style


def style_of(row) -> Style:
    """The style that a row's recording was spoken with. Raises `BadClip` where its file is no pair."""
    try:
        return pairs.style(row.audio)
    except pairs.PairError as error:
        raise BadClip(str(error)) from None


def spoken_with(rows: Sequence) -> dict[str, Style]:
    """The style of every speaker among the rows. Raises `DatasetError` for recordings that are of no pair."""
    found: dict[str, Style] = {}
    for row in rows:
        if row.speaker not in found:
            try:
                found[row.speaker] = style_of(row)
            except BadClip as error:
                raise dataset.DatasetError(f"{error}; system style learns from corpus.source=style_npz") from None
    return found
