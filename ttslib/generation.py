"""A test set spoken, item by item, by any system: resumable, nothing lost, and counted.

    folder/<id>.wav       one file an item
    folder/items.jsonl    one line an item, written as soon as it is done; of an id's lines the last one counts
    folder/results.json   all items and the totals, once the batch is through

An item is spoken again when its text, voice, language, seed or checkpoint is another one, when its file is gone or changed,
or when it could not be spoken the last time.
"""

import csv
import hashlib
import json
import math
import os
import re
import statistics
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ttslib import audio, checkpoint, manifest, pipeline
from ttslib.adapt.tables import fingerprint
from ttslib.codecs import CodecError
from ttslib.corpora import files, tables
from ttslib.corpora.clip import Dropped
from ttslib.dataset import BadClip
from ttslib.params import ParamsError
from ttslib.units import UnitsError

REFUSED = (UnitsError, ParamsError, CodecError, BadClip, audio.AudioError)  # about an item; anything else is a bug
UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|\ud800-\udfff]|^[.\s]|[.\s]\Z|^\Z')
LONGEST_NAME = 200  # bytes of UTF-8; file systems take 255, suffixes included
NOTHING = -200.0  # dB, digital silence: JSON has no infinity


class GenerationError(ValueError):
    """A test set that cannot be spoken as it is given; the message names every fault."""


class Item(NamedTuple):
    """A text to speak into `<id>.wav`; without `lang` or `voice` the system's first."""

    id: str
    text: str
    lang: str | None = None
    voice: str | None = None


def generate(system, items: Iterable[Sequence], folder: str | Path, resume: bool = True, seed: int = 0) -> dict:
    """Speak every item `(id, text, lang, voice)` into `folder`; returns what `results.json` holds: `totals`, and `items`.

    Of an item: `seconds` of speech, `wall_s` of work, their ratio `rtf` (below 1 is faster than speech), `level_db` (RMS,
    of full scale), `silent`, how it `ended` (stop, loop or limit; None where the system cannot tell), `rerolled`, and the
    `error` it was refused with and its `kind`. None is what there is not. It succeeded when it was not refused (as samples
    that are not finite are, too), is not silent and ended by itself. Without `resume` all are spoken again.

    Raises `GenerationError` for no items, ids that are no file names, and a damaged `items.jsonl`. What is no refusal of
    an item (`REFUSED`) is raised, and everything before it is on disk.
    """
    from tqdm import tqdm

    items, folder = [Item(*item) for item in items], Path(folder)
    if not items:
        raise GenerationError("there is nothing to speak: no items")
    refuse(id_faults((f"item {number}", item.id) for number, item in enumerate(items)), "items")
    folder.mkdir(parents=True, exist_ok=True)
    before = recorded(folder / "items.jsonl") if resume else {}
    (folder / "results.json").unlink(missing_ok=True)  # of a batch before: until this one is through there is none
    same = {"seed": seed, "checkpoint": identity(system)}
    asked = [item._asdict() | same for item in items]
    done = {one["id"]: before[one["id"]] for one in asked if is_done(before.get(one["id"]), one, folder)}
    if done:
        print(f"{folder}: {len(done)} of {len(items)} are spoken already", file=sys.stderr)
    with (folder / "items.jsonl").open("a" if resume else "w", encoding="utf-8") as log:
        for item, one in zip(tqdm(items, desc="generate", unit="sentence", mininterval=10), asked, strict=True):
            if item.id not in done:
                done[item.id] = one | spoken(system, item, folder, seed)
                log.write(manifest.one_line(done[item.id]) + "\n")
                log.flush()
                os.fsync(log.fileno())
    results = [done[item.id] | {"succeeded": succeeded(done[item.id])} for item in items]
    made = same | {"rate": system.rate, "totals": totals(results), "items": results}
    checkpoint.write_json(folder / "results.json", made)
    return made


def identity(system) -> str:
    """Names a system by its weights and its state, so that speech of two checkpoints never meets in one batch."""
    weights = {name: fingerprint(net) for name, net in system.nets.items()}
    return hashlib.sha256(json.dumps([weights, system.state()], sort_keys=True).encode()).hexdigest()[:16]


def recorded(log: Path) -> dict[str, dict]:
    """The last record of every id. A last line without its end was being written at a kill: it is cut off the file."""
    content = log.read_bytes() if log.is_file() else b""
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        os.truncate(log, len(whole))
    found = {}
    for number, line in enumerate(whole.split(b"\n")[:-1], 1):
        try:
            record = json.loads(line)
            found[record["id"]] = record
        except (ValueError, KeyError, TypeError):
            raise GenerationError(
                f"{log}:{number}: not a record of a batch; remove the line, or speak all again"
            ) from None
    return found


def is_done(record: dict | None, asked: dict, folder: Path) -> bool:
    """Was this very thing spoken, and does its file still hold what was written then?"""
    if record is None or any(record.get(k) != v for k, v in asked.items()):
        return False
    file = folder / f"{asked['id']}.wav"
    return file.is_file() and checkpoint.sha256(file) == record.get("sha256")


def spoken(system, item: Item, folder: Path, seed: int) -> dict:
    """Speak one item to its file; what there is to record of it beside what was asked."""
    file = folder / f"{item.id}.wav"
    file.unlink(missing_ok=True)  # of another text, voice or checkpoint: it must not pass for this item's
    told = dict.fromkeys(("file", "sha256", "seconds", "wall_s", "rtf", "level_db", "silent"))
    told |= {"ended": None, "rerolled": None, "kind": None, "error": None}
    before, began = Counter(getattr(system, "tally", ())), time.perf_counter()
    try:
        wav = np.asarray(system.synthesize(item.text, voice=item.voice, seed=seed, lang=item.lang))
        told["wall_s"] = time.perf_counter() - began
        audio.save(file, wav, system.rate)
    except REFUSED as error:
        told |= {"kind": type(error).__name__, "error": str(error)}
    if hasattr(system, "tally"):
        told |= ending(Counter(system.tally) - before)
    if told["error"] is None:
        seconds, loudness = len(wav) / system.rate, level(wav)
        told |= {"file": file.name, "sha256": checkpoint.sha256(file), "seconds": seconds, "level_db": loudness}
        told |= {"rtf": told["wall_s"] / seconds if seconds else None, "silent": is_silent(loudness, system)}
    return told


def ending(grown: Counter) -> dict:
    """How speech ended, by what the system's `tally` grew by; of several pieces, as one that did not stop by itself."""
    ends = sorted(grown.keys() - {"spoken", "rerolled"}, key=lambda how: (how == "stop", how))
    return {"ended": ends[0] if ends else None, "rerolled": grown["rerolled"]}


def level(wav: np.ndarray) -> float:
    """RMS of `(samples,)` in dB of full scale, without its mean: a constant cannot be heard."""
    power = float(np.var(wav, dtype=np.float64)) if len(wav) else 0.0
    return max(NOTHING, 10 * math.log10(power)) if power else NOTHING


def is_silent(loudness: float, system) -> bool:
    """Too quiet for the doctor, who drops such recordings as silent (`doctor.min_rms_db`, -55 dB unless the params say
    otherwise): what would not be learnt from as speech is none. Speech has -35 to -15 dB, the steps of 16 bits -101 dB."""
    return loudness < system.p.doctor.min_rms_db


def succeeded(record: dict) -> bool:
    return record["error"] is None and not record["silent"] and record["ended"] in (None, "stop")


def totals(results: Sequence[dict]) -> dict:
    """Counts over all items; `no_end` did not stop by themselves; `seconds` and `median_rtf` are of those with a file."""
    rates = [one["rtf"] for one in results if one["rtf"] is not None]
    good = sum(one["succeeded"] for one in results)
    return {
        "items": len(results),
        "succeeded": good,
        "success_rate": good / len(results),
        "silent": sum(bool(one["silent"]) for one in results),
        "no_end": sum(one["ended"] not in (None, "stop") for one in results),
        "errors": dict(Counter(one["kind"] for one in results if one["kind"]).most_common()),
        "seconds": sum(one["seconds"] or 0.0 for one in results),
        "median_rtf": statistics.median(rates) if rates else None,
    }


def held_out(folder: str | Path, lang: str | None = None, voice: str | None = None) -> list[Item]:
    """The clips that a run's scorecard is made on, in their own speakers' voices, or all in `voice`; only those of `lang`
    where it is given. Ids are the clips' own, `am/0001` as `am-0001`.

    Raises `GenerationError` for a folder that does not know its manifest, and where no clip is of `lang`.
    """
    known = Path(folder) / "data.json"
    if not known.is_file():
        raise GenerationError(
            f"{folder}: not a run's folder (no data.json names its manifest); give the texts in a file"
        )
    held = pipeline.held_out(manifest.read(checkpoint.read_json(known)["manifest"]))
    rows = [row for row in held if lang in (None, row.lang)]
    if not rows:
        told = ", ".join(sorted({row.lang for row in held}))
        raise GenerationError(f"{folder}: no clip of {lang} in split {held[0].split}; there are {told}")
    print(f"{folder}: {len(rows)} clips of split {rows[0].split}", file=sys.stderr)
    texts = zip(file_names([row.id for row in rows]), rows, strict=True)
    return [Item(name, row.raw, row.lang, voice or row.speaker) for name, row in texts]


def sentences(path: str | Path, lang: str | None = None, voice: str | None = None) -> list[Item]:
    """The items of a file; `lang` and `voice` are of those that name none.

    A table (.csv, .tsv, .jsonl, .json) has the columns id, text, lang and voice, of which only text has to be there; any
    other file has one text a line. Without an id an item has its number, 0000 the first. Raises `GenerationError` naming
    every fault, `CorpusError` for a file that is no table at all.
    """
    path = Path(path)
    if not path.is_file():
        raise GenerationError(f"{path}: no such file")
    rows, faults, items = list(rows_of(path)), [], []
    columns = dict.fromkeys(name for row in rows if not isinstance(row, Dropped) for name in row[1])
    if unknown := [name for name in columns if name not in Item._fields]:
        faults.append(f"unknown columns: {', '.join(unknown)}; there are {', '.join(Item._fields)}")
    if columns and "text" not in columns:
        faults.append(f"no column text, only {', '.join(columns)}")
    for number, row in enumerate(rows):
        if isinstance(row, Dropped):
            faults.append(f"{row.where}: {row.reason}: {row.detail}")
            continue
        cells = {name: cell(row[1].get(name)) for name in Item._fields}
        wrong = [f"{name} is {value!r}, no text" for name, value in cells.items() if not is_text(value)]
        if cells["text"] is None and "text" in columns:
            wrong.append("no text")
        faults += [f"{row[0]}: {fault}" for fault in wrong]
        if not wrong and cells["text"] is not None:
            chosen = {"id": f"{number:04d}", "lang": lang, "voice": voice}
            items.append((row[0], Item(**chosen | {name: value for name, value in cells.items() if value is not None})))
    refuse(faults + id_faults((where, item.id) for where, item in items), path)
    return [item for _, item in items]


def rows_of(path: Path) -> Iterator[tuple[str, dict] | Dropped]:
    """`(where, cells)` of every row or line that is not blank; what is none comes as `Dropped`."""
    if path.suffix.lower() not in tables.SUFFIXES:
        lines = files.lines(path)
    elif path.suffix.lower() in (".csv", ".tsv") and header(path) == "text":
        lines = texts_alone(path)
    else:
        yield from tables.rows(path)
        return
    for line in lines:
        if isinstance(line, Dropped):
            yield line
        elif line[1].strip():
            yield f"{path}:{line[0]}", {"text": line[1]}


def header(path: Path) -> str:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return file.readline().strip().strip('"').lower()


def texts_alone(path: Path) -> Iterator[tuple[int, str] | Dropped]:
    """The numbered cells of a table of one column, which has no separator: in its texts a comma is a comma."""
    for line in list(files.lines(path))[1:]:
        if isinstance(line, Dropped):
            yield line
            continue
        try:
            yield line[0], "".join(next(csv.reader([line[1]], delimiter="\x1f", strict=True), []))
        except csv.Error as error:
            yield Dropped(f"{path}:{line[0]}", "quotes", f"{error}; a quote inside a quoted cell is doubled")


def cell(value):
    """A table's cell: without the spaces around it, None for an empty one, and a number of JSON as it is written."""
    if type(value) is int:
        return str(value)
    return (value.strip() or None) if isinstance(value, str) else value


def is_text(value) -> bool:
    """A string that can be written as UTF-8, or nothing."""
    return value is None or (isinstance(value, str) and not re.search(r"[\ud800-\udfff]", value))


def file_names(ids: Iterable[str]) -> list[str]:
    """Ids as safe file names; what would be too long, or the same as another, ends in a hash."""
    names, taken = [], set()
    for one in ids:
        name = UNSAFE.sub("-", one)
        if len(name.encode()) > LONGEST_NAME or compared(name) in taken:
            name = f"{name[:40]}-{hashlib.sha256(one.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
        taken.add(compared(name))
        names.append(name)
    return names


def id_faults(ids: Iterable[tuple[str, str]]) -> list[str]:
    """What is wrong with ids, each given with its place: they have to be file names, on any system, and no two the same."""
    faults, seen = [], {}
    for where, one in ids:
        if UNSAFE.search(one) or len(one.encode()) > LONGEST_NAME:
            faults.append(f"{where}: id {one!r} is no safe file name")
        elif (first := seen.setdefault(compared(one), where)) != where:
            faults.append(f"{where}: id {one!r} is also that of {first}")
    return faults


def compared(name: str) -> str:
    """A file name as macOS and Windows compare it."""
    return unicodedata.normalize("NFC", name).casefold()


def refuse(faults: Sequence[str], what) -> None:
    """Raise `GenerationError` with all faults, if there are any."""
    if faults:
        raise GenerationError(f"{what}: {len(faults)} to correct:\n  " + "\n  ".join(faults))
