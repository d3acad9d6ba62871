"""What is compared: folders as `ttslib generate` writes them, any folders of `<id>.wav`, and a run's own recordings."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ttslib import audio, checkpoint
from ttslib.listen.design import ListenError, Text
from ttslib.listen.sound import Sound

Source = str | Path | Mapping[str, str | Path | Sound]
"""a system's sounds: a folder of `<id>.wav`, or files or `(samples, Hz)` by id"""


def texts(folders: Mapping[str, str | Path]) -> list[Text]:
    """The sentences that all of these folders of `ttslib generate` were asked for, in the first one's order.

    Raises `ListenError` for a folder whose batch is not through, and for one id with two texts or languages.
    """
    if not folders:
        raise ListenError("no systems to compare; name two or more, each with its folder")
    told = {name: results(folder) for name, folder in folders.items()}
    (first, wanted), *others = told.items()
    faults = []
    for name, found in others:
        if lacking := [one for one in wanted if one not in found] + [one for one in found if one not in wanted]:
            faults.append(f"{first} and {name} were not asked for the same sentences: {some(lacking)}")
        faults += [
            f"{one}: {first} spoke {wanted[one]}, {name} {found[one]}"
            for one in wanted
            if one in found and (wanted[one].text, wanted[one].lang) != (found[one].text, found[one].lang)
        ]
    if faults:
        raise ListenError(
            f"these folders cannot be compared:\n  {chr(10).join(faults[:10])}\n"
            "speak one test set with every system, or give the texts to compare"
        )
    return list(wanted.values())


def results(folder: Source) -> dict[str, Text]:
    """Id -> text of a folder's `results.json`."""
    if isinstance(folder, Mapping):
        raise ListenError("sounds that are given by id come without their texts; give the texts, (id, text, lang) each")
    file = Path(folder) / "results.json"
    if not file.is_file():
        raise ListenError(f"{folder}: no results.json; let `ttslib generate` come to its end there, or give the texts")
    return {one["id"]: Text(one["id"], one["text"], one["lang"]) for one in checkpoint.read_json(file)["items"]}


def recordings(run: str | Path) -> tuple[list[Text], dict[str, Sound]]:
    """The held-out texts of a run and what was recorded of them, under the ids that `ttslib generate` gives them; silence
    at the ends is trimmed and the rate is the file's own."""
    from ttslib import items, manifest, rehearsal, speech  # every system's code: only where a run is read

    spoken = items.held_out(run)
    found = manifest.read(checkpoint.read_json(Path(run) / "data.json")["manifest"])
    rows = dict(zip((item.id for item in spoken), rehearsal.held_out(found), strict=True))
    return (
        [Text(item.id, item.text, item.lang) for item in spoken],
        {one: (speech.recording(found, row, row.rate).numpy(), row.rate) for one, row in rows.items()},
    )


def read(systems: Mapping[str, Source], wanted: Sequence[Text]) -> dict[tuple[str, str], Sound]:
    """`(system, text id)` -> sound of every system and text.

    Raises `ListenError` that names every sentence some system lacks: a test without it would compare other sentences than
    it says. Files that cannot be decoded are `AudioError`s.
    """
    for name, source in systems.items():
        said = results(source) if not isinstance(source, Mapping) and (Path(source) / "results.json").is_file() else {}
        if other := [text.id for text in wanted if text.id in said and said[text.id].text != text.text]:
            raise ListenError(f"{name}: {source} has other texts under the ids {some(other)}; speak these texts there")
    files = {(name, text.id): where(source, text.id) for name, source in systems.items() for text in wanted}
    lacking = {name: [text.id for text in wanted if files[name, text.id] is None] for name in systems}
    if any(lacking.values()):
        told = [f"{name} lacks {len(ids)} of {len(wanted)}: {some(ids)}" for name, ids in lacking.items() if ids]
        raise ListenError(
            "not every system has every sentence:\n  "
            + "\n  ".join(told)
            + "\nspeak them (results.json says what went wrong), or leave them out of the texts"
        )
    return {key: one if isinstance(one, tuple) else audio.load(one) for key, one in files.items()}


def where(source: Source, one: str) -> Path | Sound | None:
    """The file or the sound of one id; None where there is none."""
    if isinstance(source, Mapping):
        found = source.get(one)
        if isinstance(found, tuple):
            return np.asarray(found[0], dtype=np.float32), int(found[1])
        return Path(found) if found is not None and Path(found).is_file() else None
    file = Path(source) / f"{one}.wav"
    return file if file.is_file() else None


def some(ids: Sequence[str], most: int = 8) -> str:
    return ", ".join(ids[:most]) + (f" and {len(ids) - most} more" if len(ids) > most else "")
