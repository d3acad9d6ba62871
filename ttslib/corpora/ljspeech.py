"""LJSpeech layout: `metadata.csv` and `wavs/` beside it (https://keithito.com/LJ-Speech-Dataset/).

A line is `id|transcript` or `id|transcript|normalised transcript`; quotes and tabs are plain text. The id is a file
name below `wavs/`, with or without its suffix. A layout, not one corpus: the licence is what `corpus.licence` says.
"""

from collections.abc import Iterator
from pathlib import Path

from ttslib.corpora import files
from ttslib.corpora.clip import Clip, CorpusError, Dropped
from ttslib.sections import Corpus


def read(corpus: Corpus, lang: str, folder: Path) -> Iterator[Clip | Dropped]:
    """Clips of the folder (or the metadata file itself) at `corpus.path`; `folder` is not used."""
    place = files.place(corpus, lang)
    table = files.inside(place / "metadata.csv", place) if place.is_dir() else place
    if not table.is_file():
        raise CorpusError(f"{place}: no metadata.csv here; corpus.path must name the folder that holds it")
    wavs = table.parent / "wavs"
    if not wavs.is_dir():
        raise CorpusError(f"{wavs}: no such folder; an LJSpeech corpus keeps its recordings there")
    recordings, strays = files.audio_files(files.inside(wavs, table.parent), table.parent)
    yield from strays
    seen: dict[str, int] = {}
    taken: set[Path] = set()
    for line in files.lines(table):
        if isinstance(line, Dropped):
            yield line
            continue
        number, content = line
        if not content.strip():
            continue  # a blank line is neither a recording nor a transcript
        where, (name, *texts) = f"{table}:{number}", content.split("|")
        spoken, stem = [text.strip() for text in texts if text.strip()], files.key(name)
        if len(texts) not in (1, 2):
            yield Dropped(
                where, "columns", f"expected 2 or 3 columns separated by |, found {len(texts) + 1}: {content[:80]!r}"
            )
            continue
        if stem in seen:
            yield Dropped(where, "duplicate id", f"{stem} is already on line {seen[stem]}; this is line {number}")
            continue
        seen[stem] = number
        candidates = recordings.get(stem, [])
        audio = files.pick(name, candidates)
        if not candidates:
            yield Dropped(where, "no audio", f"no recording named {stem} below {wavs}")
        elif audio is None:
            names = [path.name for path in candidates]
            yield Dropped(where, "several recordings", f"{names}: keep one, or write the id with its suffix")
        elif not spoken:
            taken.add(audio)
            yield Dropped(where, "empty text", f"no transcript for {audio.name}")
        else:
            taken.add(audio)
            speaker = corpus.speaker or f"ljspeech-{lang}"
            yield Clip(f"{lang}/{stem}", audio, spoken[-1], lang, speaker, "ljspeech", files.licence(corpus))
    for path in sorted({path for paths in recordings.values() for path in paths} - taken):
        yield Dropped(str(path), "no transcript", f"no line of {table.name} became a clip of this recording")
