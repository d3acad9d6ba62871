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
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from ttslib import audio, batching, checkpoint, manifest, streaming, transcripts
from ttslib.adapt.tables import fingerprint
from ttslib.baselines import BaselineError
from ttslib.items import GenerationError, Item, id_faults, refuse

# about an item; anything else is a bug
REFUSED = (*batching.REFUSED, BaselineError)
NOTHING = -200.0  # dB, digital silence: JSON has no infinity


def generate(
    system, items: Iterable[Sequence], folder: str | Path, resume: bool = True, seed: int = 0, batch: int = 1
) -> dict:
    """Speak every item `(id, text, lang, voice)` into `folder`; returns what `results.json` holds: `totals`, and `items`.

    Of an item: `seconds` of speech, `wall_s` of work, their ratio `rtf` (below 1 is faster than speech), `level_db` (RMS,
    of full scale), `silent`, how it `ended` (stop, loop or limit; None where the system cannot tell), `rerolled`, and the
    `error` it was refused with and its `kind`; the size of the `batch` that it was spoken in; and of one spoken alone
    `first_audio_s`, when its first samples were there (`ttslib.streaming`; all of them, where the system does not stream).
    None is what there is not. It succeeded when it was not refused (as samples that are not finite are, too), is not silent
    and ended by itself. Without `resume` all are spoken again.

    So many as `batch` says are spoken together (`ttslib.batching`), where the system can, and each is recorded as soon as
    it is through. `wall_s` is then its share of the work: every moment is divided evenly among those not through yet.

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
    waiting = [item for item in items if item.id not in done]
    together = batch if hasattr(system, "synthesize_each") else 1
    bar = tqdm(total=len(waiting), desc="generate", unit="sentence", mininterval=10)
    with bar, (folder / "items.jsonl").open("a" if resume else "w", encoding="utf-8") as log:
        for first in range(0, len(waiting), together):
            for item, told in spoken(system, waiting[first : first + together], folder, seed):
                done[item.id] = item._asdict() | same | told
                log.write(manifest.one_line(done[item.id]) + "\n")
                log.flush()
                os.fsync(log.fileno())
                bar.update()
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


def spoken(system, items: Sequence[Item], folder: Path, seed: int) -> Iterator[tuple[Item, dict]]:
    """Speak these items to their files, together if they are several: each as it is through, with what there is to record of
    it beside what was asked."""
    for item in items:  # of another text, voice or checkpoint: it must not pass for this
        (folder / f"{item.id}.wav").unlink(missing_ok=True)
    shares = dict.fromkeys(range(len(items)), 0.0)
    tally, began = Counter(getattr(system, "tally", ())), time.perf_counter()
    for number, made in each(system, items, seed):
        share = (time.perf_counter() - began) / len(shares)
        shares = {other: spent + share for other, spent in shares.items()}
        told = dict.fromkeys(("file", "sha256", "seconds", "wall_s", "rtf", "level_db", "silent", "first_audio_s"))
        told |= {"ended": None, "rerolled": None, "kind": None, "error": None, "batch": len(items)}
        wall = shares.pop(number)
        if hasattr(system, "tally"):
            told |= ending(Counter(system.tally) - tally)
        told |= saved(system, made, wall, folder / f"{items[number].id}.wav")
        if len(items) == 1 and told["error"] is None:
            told["first_audio_s"] = first_audio(system, items[0], seed, wall)
        yield items[number], told
        tally, began = Counter(getattr(system, "tally", ())), time.perf_counter()  # saving is not speaking


def each(system, items: Sequence[Item], seed: int) -> batching.Given:
    """The waveform `(samples,)` of each item as it is through, or the error that it is refused with."""
    if len(items) > 1:
        yield from batching.each(system, [batching.Request(one.text, one.voice, seed, one.lang) for one in items])
        return
    (item,) = items
    try:
        made = system.synthesize(item.text, voice=item.voice, seed=seed, lang=item.lang)
    except REFUSED as error:
        made = error
    yield 0, made


def saved(system, made: Tensor | Exception, wall: float, file: Path) -> dict:
    """What is to be recorded of a waveform `(samples,)` that took `wall` seconds, written to its file, or of an error."""
    if isinstance(made, Exception):
        return {"kind": type(made).__name__, "error": str(made)}
    wav = np.asarray(made)
    try:
        audio.save(file, wav, system.rate)
    except audio.AudioError as error:
        return {"wall_s": wall, "kind": type(error).__name__, "error": str(error)}
    seconds, loudness = len(wav) / system.rate, level(wav)
    told = {"file": file.name, "sha256": checkpoint.sha256(file), "seconds": seconds, "level_db": loudness}
    return told | {"wall_s": wall, "rtf": wall / seconds if seconds else None, "silent": is_silent(loudness, system)}


def first_audio(system, item: Item, seed: int, whole: float) -> float:
    """Seconds until its first samples are there: of a system that streams measured anew, of others those of the whole."""
    if not streaming.streams(system):
        return whole
    return streaming.first_audio(system, item.text, voice=item.voice, seed=seed, lang=item.lang)


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
