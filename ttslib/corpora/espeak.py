"""Synthetic speech of the shipped sentences by espeak-ng: the corpus that is there when no other is.

The sentences are `sentences/<lang>.txt` (CC0-1.0), one a line, `#` for comments. They are spoken as they will be
trained, that is normalised (digits as words); the clip's text is the line as written.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from ttslib import audio, espeak
from ttslib.corpora import files
from ttslib.corpora.clip import Clip, CorpusError, Dropped
from ttslib.corpora.progress import bar
from ttslib.sections import Corpus

SENTENCES = Path(__file__).parent / "sentences"
SOURCE = "espeak (synthetic)"
LICENCE = "synthetic, sentences CC0-1.0"


def read(corpus: Corpus, lang: str, folder: Path) -> Iterator[Clip | Dropped]:
    """The first `corpus.sentences` sentences, dealt out in turn to `corpus.voices` (each a speaker).

    WAV files (22050 Hz) are written below `folder`, named by what was spoken, by which voice, how fast and by which
    espeak-ng; those already there are not spoken again.
    """
    from ttslib.text import normalise

    lines = shipped(lang)[: corpus.sentences]
    variants: list[str | None] = list(corpus.voices) or [None]
    try:
        version = espeak.version()
        for variant in variants:
            espeak.require(espeak.voice_of(lang, variant))
    except espeak.EspeakError as error:
        raise CorpusError(f"espeak: {error}") from None
    seen: dict[str, str] = {}
    for turn, line in enumerate(bar(lines, f"espeak {lang}")):
        if isinstance(line, Dropped):
            yield line
            continue
        where, text, variant = line[0], line[1].strip(), variants[turn % len(variants)]
        voice, spoken = espeak.voice_of(lang, variant), normalise(text, lang)
        asked = "\n".join((version, voice, str(corpus.words_per_minute), spoken))
        key = hashlib.blake2s(asked.encode(), digest_size=8).hexdigest()
        if key in seen:
            yield Dropped(where, "duplicate id", f"{voice} already says this at {seen[key]}")
            continue
        seen[key] = where
        path = folder / "espeak" / lang / f"{key}.wav"
        if not spoken.strip():
            yield Dropped(where, "empty text", f"nothing is left of {text!r} after normalisation")
            continue
        if not path.is_file():
            try:
                samples, rate = espeak.speak(spoken, voice, corpus.words_per_minute)
            except espeak.EspeakError as error:
                yield Dropped(where, "not spoken", str(error))
                continue
            audio.save(path, samples, rate)
        yield Clip(f"{lang}/{key}", path, text, lang, variant or corpus.speaker or "espeak", SOURCE, LICENCE)


def sentences(lang: str) -> list[str]:
    """The shipped sentences of a language, as written. Raises `CorpusError` where there are none."""
    return [line[1] for line in shipped(lang) if not isinstance(line, Dropped)]


def shipped(lang: str) -> list[tuple[str, str] | Dropped]:
    """`(where, sentence)` of every line that is not a comment."""
    table = SENTENCES / f"{lang}.txt"
    if not table.is_file():
        known = ", ".join(sorted(path.stem for path in SENTENCES.glob("*.txt")))
        raise CorpusError(f"espeak: no sentences for {lang} ({table}); there are sentences for {known}")
    found = (line if isinstance(line, Dropped) else (f"{table}:{line[0]}", line[1]) for line in files.lines(table))
    return [line for line in found if isinstance(line, Dropped) or wanted(line[1])]


def wanted(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("#")
