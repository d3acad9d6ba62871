"""Hugging Face `datasets`: by hub id, or a local copy (https://huggingface.co/docs/datasets/audio_load).

A local copy is a folder written by `save_to_disk`, a folder of Parquet or Arrow files, or an audio folder. Audio is
never decoded here (that would need torchcodec): bytes are written below `folder` as they are, paths used in place.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ttslib import audio
from ttslib.corpora import files
from ttslib.corpora.clip import Clip, CorpusError, Dropped
from ttslib.corpora.languages import language_of
from ttslib.corpora.progress import bar
from ttslib.sections import Corpus

ERRORS = (OSError, ValueError, RuntimeError, ImportError)  # what `datasets` raises for the unreachable or unreadable
# Tried in this order. FLEURS' `transcription` has lost its punctuation, its `raw_transcription` has it.
TEXT = ("normalized_text", "raw_transcription", "sentence", "text", "transcription", "transcript")
AUDIO = ("audio", "path", "file", "audio_path", "file_name")
SPEAKER = ("speaker_id", "speaker", "client_id")
LANGUAGE = ("locale", "lang", "language")
MAGIC = ((b"RIFF", ".wav"), (b"fLaC", ".flac"), (b"OggS", ".ogg"), (b"ID3", ".mp3"), (b"\xff", ".mp3"))


def read(corpus: Corpus, lang: str, folder: Path) -> Iterator[Clip | Dropped]:
    """Clips of one split. Rows of other languages (where a column says so) are counted in one `Dropped` a language.

    Without a speaker column, FLEURS' `gender` tells at least two voices apart. Raises `CorpusError` when the data set
    cannot be reached or read.
    """
    if corpus.path is None and corpus.hub_id is None:
        raise CorpusError("corpus.hub_id: source hub needs hub_id (e.g. google/fleurs) or path (a local copy)")
    name = corpus.hub_id or files.place(corpus, lang).name
    dataset = load(corpus, lang)
    names = list(dataset.features or ())
    audio_column = choose("audio", corpus.audio_column, AUDIO, names, name)
    text_column = choose("text", corpus.text_column, TEXT, names, name)
    licence = corpus.licence or dataset.info.license or f"unknown (see {name})"
    home = files.place(corpus, lang) if corpus.path is not None else Path()
    others: Counter[str] = Counter()
    for index, row in enumerate(bar(rows(dataset, name), f"{name} {lang}", getattr(dataset, "num_rows", None))):
        where = f"{name} {corpus.hub_split}: row {index}"
        language = next((row[column] for column in LANGUAGE if row.get(column)), None)
        if language is not None and language_of(str(language)) != lang:
            others[str(language)] += 1
            continue
        text = row[text_column]
        if not isinstance(text, str) or not text.strip():
            yield Dropped(where, "empty text", f"its {text_column} is {text!r}")
            continue
        sound = recording(row[audio_column], home, folder / "hub", where)
        if isinstance(sound, Dropped):
            yield sound
            continue
        clip_id = f"{lang}/{corpus.hub_split}/{index:06d}"
        yield Clip(clip_id, sound, text.strip(), lang, speaker_of(row, corpus, lang), f"hub:{name}", licence)
    for language, count in others.items():
        yield Dropped(name, "other language", f"{count} rows of language {language}, not {lang}")


def load(corpus: Corpus, lang: str):
    """The data set, not downloaded but mapped or streamed where it is local. `HF_HUB_OFFLINE` is the library's own."""
    import datasets

    place = files.place(corpus, lang) if corpus.path is not None else None
    try:
        if place is None:
            return datasets.load_dataset(
                corpus.hub_id, corpus.hub_config, split=corpus.hub_split, revision=corpus.hub_revision
            )
        if not (place / "dataset_dict.json").is_file() and not (place / "state.json").is_file():
            return datasets.load_dataset(str(place), corpus.hub_config, split=corpus.hub_split, streaming=True)
        saved = datasets.load_from_disk(str(place))
    except (*ERRORS, datasets.exceptions.DatasetsError) as error:
        raise CorpusError(
            f"{unreadable(corpus, place)}: {type(error).__name__}: {error}{advice(error, place)}"
        ) from error
    splits = dict(saved) if isinstance(saved, datasets.DatasetDict) else {str(saved.split or corpus.hub_split): saved}
    if corpus.hub_split not in splits:
        raise CorpusError(f"{place}: has no split {corpus.hub_split}, but {', '.join(splits)}; set corpus.hub_split")
    return splits[corpus.hub_split]


def unreadable(corpus: Corpus, place: Path | None) -> str:
    if place is not None:
        return f"{place}: cannot be read as a data set"
    parts = [corpus.hub_id or "", corpus.hub_config or "", corpus.hub_split, corpus.hub_revision or "newest revision"]
    return f"hub data set {', '.join(part for part in parts if part)}: cannot be loaded"


def advice(error: Exception, place: Path | None) -> str:
    if place is not None:
        return "; corpus.path must name a save_to_disk folder, one of Parquet or Arrow files, or an audio folder"
    if "scripts are no longer supported" in str(error):
        return "; try corpus.hub_revision=refs/convert/parquet"
    return (
        "; if the hub is out of reach, copy it where it is not (huggingface-cli download --repo-type dataset) and set"
        " corpus.path to that folder"
    )


def rows(dataset: Any, source: str) -> Iterator[dict[str, Any]]:
    """Plain rows, straight from Arrow: nothing decodes the audio; class labels come as their names."""
    labels = {name: kind.names for name, kind in dataset.features.items() if hasattr(kind, "int2str")}
    batches, count = dataset.with_format("arrow").iter(batch_size=16), 0
    while True:
        try:
            batch = next(batches, None)
        except ERRORS as error:
            raise CorpusError(f"{source}: damaged after row {count}: {type(error).__name__}: {error}") from error
        if batch is None:
            return
        for row in batch.to_pylist():
            for name, known in labels.items():
                row[name] = known[row[name]] if row[name] is not None and row[name] >= 0 else None
            count += 1
            yield row


def choose(role: str, asked: str | None, usual: tuple[str, ...], names: list[str], source: str) -> str:
    found = next((name for name in ((asked,) if asked else usual) if name in names), None)
    if found is None:
        wanted = asked or ", ".join(usual)
        raise CorpusError(f"{source}: no {role} column {wanted} among {', '.join(names)}; set corpus.{role}_column")
    return found


def speaker_of(row: dict[str, Any], corpus: Corpus, lang: str) -> str:
    named = next((row[column] for column in SPEAKER if row.get(column) not in (None, "")), None)
    if named is not None or corpus.speaker:
        return str(corpus.speaker if named is None else named)
    return f"hub-{lang}-{row['gender']}" if row.get("gender") else f"hub-{lang}"


def recording(cell: Any, home: Path, folder: Path, where: str) -> Path | Dropped:
    """The file of one audio cell: bytes are written below `folder` (named by their hash), paths are used in place."""
    if isinstance(cell, str):
        cell = {"path": cell}
    if not isinstance(cell, dict):
        return Dropped(where, "no audio", f"its audio is {cell!r:.80}")
    if cell.get("array") is not None:
        data = np.asarray(cell["array"], np.float32)
        path = folder / f"{hashlib.sha256(data.tobytes()).hexdigest()[:16]}.wav"
        return path if path.is_file() else audio.save(path, data, int(cell["sampling_rate"]))
    named, data = cell.get("path") or "", cell.get("bytes")
    if data:
        suffix = Path(named).suffix.lower()
        if suffix not in files.AUDIO:
            suffix = next((suffix for magic, suffix in MAGIC if data.startswith(magic)), "")
        if not suffix:
            return Dropped(where, "unknown format", f"{named or 'unnamed'}: its bytes begin {data[:8]!r}")
        return kept(folder / f"{hashlib.sha256(data).hexdigest()[:16]}{suffix}", data)
    if home.is_absolute():
        return files.locate(named, where, home)
    path = Path(named)  # a data set of the hub names files of its cache, in full
    return (
        path if path.is_absolute() and path.is_file() else Dropped(where, "no audio", f"no bytes, and no file {path}")
    )


def kept(path: Path, data: bytes) -> Path:
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")  # renamed when whole: a killed run leaves no half file under the final name
        part.write_bytes(data)
        part.replace(path)
    return path
