"""Your own recordings: a `.txt` beside every audio file, or one table of paths and transcripts.

Tables: CSV, TSV, JSON Lines or a JSON list; Hugging Face's `metadata.csv`/`metadata.jsonl` with `file_name` is one
(https://huggingface.co/docs/datasets/audio_dataset). Relative paths start at the table's folder and must stay inside
it, symbolic links resolved: a corpus from elsewhere must not reach into the machine by `..` or by a link. An absolute path
states its intention, and is taken as written.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from ttslib.corpora import files, tables
from ttslib.corpora.clip import Clip, CorpusError, Dropped
from ttslib.corpora.languages import language_of
from ttslib.sections import Corpus

COLUMNS = {
    "audio": ("audio_path", "audio", "path", "file", "file_name", "filename", "audio_file", "wav"),
    "text": ("text", "sentence", "transcript", "transcription", "normalized_text"),
    "language": ("language", "lang", "locale"),
    "speaker": ("speaker", "speaker_id", "client_id"),
}


def read(corpus: Corpus, lang: str, folder: Path) -> Iterator[Clip | Dropped]:
    """Clips of the folder or table at `corpus.path`; `folder` is not used.

    Rows of other languages (where there is a language column) are counted in one `Dropped` a language.
    """
    place = files.place(corpus, lang)
    table = find_table(place) if place.is_dir() else place
    if table is None:
        return beside(corpus, lang, place)
    if table.suffix.lower() not in tables.SUFFIXES:
        raise CorpusError(f"{table}: not a table this reader knows ({', '.join(tables.SUFFIXES)})")
    return tabled(corpus, lang, table)


def find_table(place: Path) -> Path | None:
    found = sorted(path for path in place.iterdir() if path.suffix.lower() in tables.SUFFIXES and not path.is_dir())
    metadata = [path for path in found if path.stem.lower() == "metadata"]
    chosen = metadata or found
    if len(chosen) > 1:
        names = ", ".join(path.name for path in chosen)
        raise CorpusError(f"{place}: several tables ({names}); set corpus.path to the one to read")
    return files.inside(chosen[0], place) if chosen else None


def beside(corpus: Corpus, lang: str, place: Path) -> Iterator[Clip | Dropped]:
    recordings, strays = files.audio_files(place, place)
    texts: dict[str, list[Path]] = {}
    for path in sorted(place.rglob("*.txt")):
        texts.setdefault(files.key(path.relative_to(place).with_suffix("").as_posix()), []).append(path)
    if not recordings:
        raise CorpusError(f"{place}: no table ({', '.join(tables.SUFFIXES)}) and no audio files in this folder")
    yield from strays
    for stem, paths in recordings.items():
        written = texts.pop(stem, [])
        if len(paths) > 1:
            yield Dropped(str(place / stem), "several recordings", f"{[path.name for path in paths]}: keep one")
        elif len(written) > 1:
            yield Dropped(str(place / stem), "several transcripts", f"{[path.name for path in written]}: keep one")
        elif not written:
            yield Dropped(str(paths[0]), "no transcript", f"no {paths[0].stem}.txt beside it")
        elif isinstance(content := transcript(written[0], place), Dropped):
            yield content
        else:
            speaker = corpus.speaker or f"custom-{lang}"
            yield Clip(f"{lang}/{stem}", paths[0], content, lang, speaker, "custom", files.licence(corpus))
    for path in (path for written in texts.values() for path in written):
        yield Dropped(str(path), "no audio", f"no recording named {path.stem} beside it")


def transcript(path: Path, root: Path) -> str | Dropped:
    """The text of one file, its lines joined; one file that cannot be read costs its own clip, not the corpus."""
    if why := files.fault(path, root):
        return Dropped(str(path), *why)
    try:
        lines = list(files.lines(path))
    except CorpusError as error:
        return Dropped(str(path), "unreadable text", str(error).removeprefix(f"{path}: "))
    if broken := [line for line in lines if isinstance(line, Dropped)]:
        return broken[0]  # half a transcript is none
    content = " ".join(line.strip() for _, line in lines).strip()
    return content or Dropped(str(path), "empty text", "no transcript in it")


def tabled(corpus: Corpus, lang: str, table: Path) -> Iterator[Clip | Dropped]:
    rows = list(tables.rows(table))
    # Of JSON, one row may have a column that others lack: the table's columns are those of all its rows.
    names = {name: None for row in rows if not isinstance(row, Dropped) for name in row[1]}
    columns = choose(names, corpus, table) if names else {}  # no row is left: each was dropped for a reason of its own
    others: Counter[str] = Counter()
    seen: dict[str, str] = {}
    for row in rows:
        if isinstance(row, Dropped):
            yield row
            continue
        where, given = row[0], {role: row[1].get(column) for role, column in columns.items()}
        language = str(given.get("language") or "").strip()
        if language and language_of(language) != lang:
            others[language] += 1
            continue
        if "language" in columns and not language:
            yield Dropped(where, "no language", f"its {columns['language']} is empty")
            continue
        audio = files.locate(given["audio"], where, table.parent)
        if isinstance(audio, Dropped):
            yield audio
            continue
        inside = audio.is_relative_to(table.parent)
        name = files.key((audio.relative_to(table.parent) if inside else audio).as_posix())
        if name in seen:
            yield Dropped(where, "duplicate id", f"{name} is already at {seen[name]}")
            continue
        seen[name] = where
        text = given["text"]
        if not isinstance(text, str) or not text.strip():
            yield Dropped(where, "empty text", f"its {columns['text']} is {text!r}")
        else:
            speaker = str(given.get("speaker") or "").strip() or corpus.speaker or f"custom-{lang}"
            yield Clip(f"{lang}/{name}", audio, text.strip(), lang, speaker, "custom", files.licence(corpus))
    for language, count in others.items():
        yield Dropped(str(table), "other language", f"{count} rows of language {language}, not {lang}")


def choose(names: Iterable[str], corpus: Corpus, table: Path) -> dict[str, str]:
    """Role → column of this table: the one asked for in params, else the first of the usual names it has."""
    names, asked, chosen = list(names), {"audio": corpus.audio_column, "text": corpus.text_column}, {}
    for role, usual in COLUMNS.items():
        wanted = (asked[role].lower(),) if asked.get(role) else usual
        found = next((name for name in wanted if name in names), None)
        if found:
            chosen[role] = found
        elif role in asked:
            raise CorpusError(
                f"{table}: no {role} column among {', '.join(names) or 'nothing'}; looked for {', '.join(wanted)}:"
                f" set corpus.{role}_column"
            )
    return chosen
