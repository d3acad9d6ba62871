"""What a folder of pairs is made of (`pairs.json`), and what of it is there: pairs that are whole, and rejected jobs."""

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ttslib import pairs
from ttslib.pairs import PairError
from ttslib.pairs.planning import BuildError, Job, Settings


def described(jobs: Sequence[Job], settings: Settings) -> dict[str, Any]:
    """The content of `pairs.json`. Raises `BuildError` for no jobs, two of one file, and styles of several models."""
    if not jobs or len({job.file for job in jobs}) != len(jobs):
        raise BuildError("jobs: there are none, or two write the same file; take those of one plan")
    if len(models := sorted({job.voice.style.model for job in jobs})) > 1 or not models[0]:
        raise BuildError(f"jobs: styles of the models {', '.join(map(repr, models))}; they must name one and the same")
    voices = {job.voice.name: job.voice for job in jobs}
    told = {name: {"split": v.split, "style": v.style.digest} | dict(v.parts) for name, v in voices.items()}
    texts = sorted({(job.text, job.lang) for job in jobs})
    about = {"model": models[0], "settings": asdict(settings), "voices": told, "texts": sha256(texts)}
    return json.loads(json.dumps(about | {"jobs": sha256([job.record() for job in jobs])}))


def sha256(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def claim(folder: Path, mine: Mapping[str, Any]) -> None:
    """Write `pairs.json` into a folder without pairs. Raises `BuildError` for one whose pairs were made otherwise."""
    file = folder / "pairs.json"
    try:
        theirs = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(theirs, dict):
            raise ValueError("no JSON object")
    except FileNotFoundError:
        if next(folder.glob("*/*.npz"), None):
            raise BuildError(
                f"{folder}: there are pairs but no pairs.json to say of what; take another folder"
            ) from None
        folder.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".{file.name}.partial")
        partial.write_text(json.dumps(mine, indent=1), encoding="utf-8")
        os.replace(partial, file)
        return
    except ValueError as error:
        raise BuildError(f"{file}: damaged: {error}; take another folder") from None
    if theirs != mine:
        raise BuildError(f"{folder}: its pairs were made otherwise: {difference(theirs, mine)}; take another folder")


def difference(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> str:
    """What distinguishes two `pairs.json`, in words."""
    flat = [{"model": of.get("model")} | of.get("settings", {}) for of in (theirs, mine)]
    names = sorted(flat[0].keys() | flat[1].keys())
    said = [f"{n} {flat[0].get(n)!r} there, {flat[1].get(n)!r} here" for n in names if flat[0].get(n) != flat[1].get(n)]
    a, b = theirs.get("voices", {}), mine["voices"]
    if others := sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name)):
        said.append(f"{len(others)} voices ({', '.join(others[:5])}{', …' if len(others) > 5 else ''})")
    return "; ".join(said + ["other texts"] * (theirs.get("texts") != mine["texts"])) or "other draws of the same texts"


def recorded(log: Path) -> dict[str, dict[str, Any]]:
    """Rejected jobs by their file. A last line without its end was being written at a kill: it is cut off."""
    content = log.read_bytes() if log.is_file() else b""
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        os.truncate(log, len(whole))
    try:
        return {record["file"]: record for record in map(json.loads, whole.splitlines())}
    except (ValueError, KeyError, TypeError) as error:
        raise BuildError(f"{log}: not a list of rejected jobs ({error!r}); remove it to try them again") from None


def kept(folder: Path, job: Job) -> float | None:
    """Seconds of the job's pair, or None where there is none, it is not whole, or it is another job's."""
    if not (file := folder / job.file).is_file():
        return None
    try:
        pair = pairs.read(file)
    except PairError as error:
        print(f"{error}; made anew", file=sys.stderr)
        return None
    theirs = (pair.voice, pair.text, pair.lang, pair.seed, pair.style.model, pair.style.digest)
    style = job.voice.style
    same = theirs == (job.voice.name, job.text, job.lang, job.seed, style.model, style.digest)
    return len(pair.audio) / pair.rate if same else None
