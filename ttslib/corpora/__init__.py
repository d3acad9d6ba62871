"""Corpora on disk → `Clip`s, one reader a file. What cannot become a clip comes out as `Dropped`, never in silence."""

import importlib
from collections.abc import Iterator
from pathlib import Path

from ttslib.corpora.clip import Clip, CorpusError, Dropped
from ttslib.sections import Corpus

READERS: dict[str, str] = {
    "espeak": "ttslib.corpora.espeak",
    "asterisk": "ttslib.corpora.asterisk",
    "ljspeech": "ttslib.corpora.ljspeech",
    "common_voice": "ttslib.corpora.common_voice",
    "custom": "ttslib.corpora.custom",
    "hub": "ttslib.corpora.hub",
    "style_npz": "ttslib.corpora.style_npz",
}


def read(corpus: Corpus, lang: str, folder: Path) -> Iterator[Clip | Dropped]:
    """Every clip of one language of the corpus, and every recording or line that could not become one.

    `folder` is where a reader may keep audio it has to make first (espeak's speech, downloads, hub bytes). Ids begin
    with `lang` and are unique. Raises `CorpusError` when the corpus as a whole cannot be read.
    """
    if corpus.source not in READERS:
        raise CorpusError(f"corpus.source: {corpus.source!r} is not one of {', '.join(READERS)}")
    return importlib.import_module(READERS[corpus.source]).read(corpus, lang, Path(folder))


__all__ = ["READERS", "Clip", "CorpusError", "Dropped", "read"]
