"""A test set spoken, item by item, by any system: resumable, nothing lost, and counted.

    folder/<id>.wav       one file an item
    folder/items.jsonl    one line an item, written as soon as it is done; of an id's lines the last one counts
    folder/results.json   all items and the totals, once the batch is through

An item is spoken again when its text, voice, language, seed or checkpoint is another one, when its file is gone or changed,
or when it could not be spoken the last time.
"""

import hashlib
import json
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ttslib import audio, checkpoint, manifest, transcripts
from ttslib.adapt.tables import fingerprint
from ttslib.baselines import BaselineError
from ttslib.codecs import CodecError
from ttslib.dataset import BadClip
from ttslib.items import GenerationError, Item, id_faults, refuse
from ttslib.params import ParamsError
from ttslib.units import UnitsError

# about an item; anything else is a bug
REFUSED = (UnitsError, ParamsError, CodecError, BadClip, BaselineError, audio.AudioError)
NOTHING = -200.0  # dB, digital silence: JSON has no infinity


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
        raise GenerationError("there is nothing to speak: no items; give at least one text")
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
    """`transcripts.level`, as JSON can hold it."""
    return max(NOTHING, transcripts.level(wav))


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
