"""Rejection sampling: rejected texts spoken again, several times, and of each the best kept if a recogniser agrees.

folder/seed_<n>/    a batch of `ttslib generate` a seed: what a kill left there is not spoken again
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ttslib import audio, generation, intervals, recognise, rehearsal, speech
from ttslib.evaluate.judges import Asked, Judges
from ttslib.feedback import Rejected
from ttslib.items import Item
from ttslib.manifest import Manifest
from ttslib.params import Params
from ttslib.recognise import Recogniser

FLOOR_CLIPS = 20


def sampled(
    entries: Sequence[Rejected], system, recogniser_of: Callable, found: Manifest, p: Params, folder: Path
) -> tuple[list[dict], dict]:
    """What became of each entry, in their order, and the floor of each language.

    Of an entry: `kept`, the `file` where it was, `why`, `same_sound` when the seeds do not matter to the system, and its
    `tries`, each with `seed`, `cer`, `faults` and what was `heard`, or with `refused`, why the system did not speak.
    """
    records = spoken(entries, system, p.refine.tries, folder)
    heard_by = {lang: recogniser_of(lang) for lang in sorted({entry.lang for entry in entries})}
    floors = {lang: floor(recogniser, found, lang) for lang, recogniser in heard_by.items()}
    limits = {lang: told["cer"]["value"] + p.refine.margin for lang, told in floors.items()}
    pairs = zip(entries, records, strict=True)
    return [judged(e, tries, heard_by[e.lang], limits[e.lang], folder) for e, tries in pairs], floors


def floor(recogniser: Recogniser, found: Manifest, lang: str) -> dict:
    """The recogniser's own CER, on up to `FLOOR_CLIPS` held-out recordings: nobody can be asked to be clearer."""
    own = replace(found, rows=tuple(row for row in found.rows if row.lang == lang))
    rows = rehearsal.held_out(own, FLOOR_CLIPS)
    errors = []
    for row in rows:
        wav = speech.recording(found, row, recognise.RATE)
        errors.append(scored(recogniser, row.text, wav, recognise.RATE, lang)["cer"])
    told = {"cer": intervals.rate(*zip(*errors, strict=True))._asdict(), "split": rows[0].split}
    return recognise.identity(recogniser) | told


def spoken(entries: Sequence[Rejected], system, tries: int, folder: Path) -> list[list[dict]]:
    """Of each entry the records of `generation.generate`, one a seed from 0 on; two where these are the same sound."""
    found: list[list[dict]] = [[] for _ in entries]
    left = {f"{n:04d}": entry for n, entry in enumerate(entries)}
    for seed in range(tries):
        items = [Item(one, entry.text, entry.lang, entry.speaker) for one, entry in left.items()]
        for record in generation.generate(system, items, folder / f"seed_{seed}", seed=seed)["items"] if items else ():
            found[int(record["id"])].append(record)
        left = {one: entry for one, entry in left.items() if not same(found[int(one)])}
    return found


def same(records: Sequence[dict]) -> bool:
    """Do the first two tries sound the same?"""
    return len(records) > 1 and records[0]["sha256"] is not None and records[0]["sha256"] == records[1]["sha256"]


def judged(entry: Rejected, records: Sequence[dict], recogniser: Recogniser, limit: float, folder: Path) -> dict:
    """See `sampled`. Of the tries without faults the one of the lowest CER is kept, unless that is above `limit`."""
    tries = [attempt(entry, record, recogniser, folder) for record in records]
    told = {"text": entry.text, "lang": entry.lang, "speaker": entry.speaker, "kept": False, "file": None}
    best = min((one for one in tries if one.get("faults") == []), key=lambda one: one["cer"], default=None)
    if all("refused" in one for one in tries):
        told["why"] = f"refused: {tries[0]['refused']}"
    elif best is None:
        told["why"] = "every try has a fault"
    elif best["cer"] > limit:
        told["why"] = f"lowest CER {best['cer']:.3f}, seed {best['seed']}: above {limit:.3f}, floor and refine.margin"
    else:
        told |= {"kept": True, "file": f"seed_{best['seed']}/{records[tries.index(best)]['file']}"}
        told["why"] = f"CER {best['cer']:.3f}, seed {best['seed']}: not above {limit:.3f}, floor and refine.margin"
    return told | {"same_sound": same(records), "tries": tries}


def attempt(entry: Rejected, record: dict, recogniser: Recogniser, folder: Path) -> dict:
    if record["error"] is not None:
        return {"seed": record["seed"], "refused": f"{record['kind']}: {record['error']}"}
    wav, rate = audio.load(folder / f"seed_{record['seed']}" / record["file"])
    told = {"seed": record["seed"]} | scored(recogniser, entry.text, wav, rate, entry.lang)
    ended = [f"ended by {record['ended']}"] if record["ended"] not in (None, "stop") else []
    return told | {"cer": round(told["cer"].rate, 4), "faults": told["faults"] + ended}


def scored(recogniser: Recogniser, text: str, wav, rate: int, lang: str) -> dict:
    """What is `heard` in `(samples,)` at `rate` Hz, its `cer` as `Errors`, and the names of its `faults`."""
    told = Judges({lang: recogniser}).read(Asked("", "", lang, text, "", None), wav, rate)
    return {name: told[name] for name in ("heard", "cer", "faults")}
