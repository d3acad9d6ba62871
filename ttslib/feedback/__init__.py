"""What listeners said of a voice, as entries of a file that the voice is trained on with.

    from ttslib import feedback
    from ttslib.feedback.gathering import gathered

    feedback.write("again.jsonl", gathered("test.key.json", "answers/", "mine", corrected="recorded/"))
    papermill notebooks/03_train.ipynb out.ipynb -p lang am -p feedback again.jsonl -y "overrides: {adapt.base: <run>}"

One JSON object a line; an audio path is relative to the file and below its folder, or absolute:

    {"kind": "flagged", "text", "lang", "words", "count"}       mispronounced words of a sentence; no words: all of it
    {"kind": "corrected", "audio", "text", "lang", "speaker"}   a clip that was recorded again, or has a better text
    {"kind": "rejected", "text", "lang", "speaker"}             to be generated again
"""

import json
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path

from ttslib import manifest, text, transcripts
from ttslib.corpora import files
from ttslib.corpora.clip import Dropped
from ttslib.params import Params, ParamsError


class FeedbackError(ValueError):
    """Feedback that cannot be read or trained on; the message names every fault, and where."""


@dataclass(frozen=True)
class Flagged:
    """A sentence with words that listeners marked as mispronounced, marked `count` times; without words, all of it was."""

    text: str
    lang: str
    words: tuple[str, ...] = ()
    count: int = 1


@dataclass(frozen=True)
class Corrected:
    """A clip that was recorded again, or whose text was corrected."""

    audio: Path
    text: str
    lang: str
    speaker: str


@dataclass(frozen=True)
class Rejected:
    """A generation that was judged badly; without `speaker`, by the corpus's most heard one of the language."""

    text: str
    lang: str
    speaker: str | None = None


Entry = Flagged | Corrected | Rejected
KINDS = {"flagged": Flagged, "corrected": Corrected, "rejected": Rejected}


def asked(p: Params) -> list[Entry]:
    """The entries of `p.feedback`, none where there is no such file asked for.

    Raises `ParamsError` without a base to train on, `FeedbackError` for what `read` refuses.
    """
    if p.feedback is None:
        return []
    if p.adapt.base is None:
        raise ParamsError(
            "feedback: a trained voice is taught with it; give adapt.base, the folder of the run that was judged"
        )
    return read(p.feedback, p.langs)


def read(path: str | Path, langs: Collection[str] | None = None) -> list[Entry]:
    """The entries of a file, in their order; `langs` are the languages it may have (default: all with a normaliser).

    Raises `FeedbackError` with every fault of every line.
    """
    path = Path(path)
    if not path.is_file():
        raise FeedbackError(f"{path}: no such file; `ttslib feedback` writes it")
    found, faults = [], []
    for line in files.lines(path):
        if isinstance(line, Dropped):
            faults.append(f"{line.where}: {line.reason}: {line.detail}")
        elif line[1].strip():
            entry = parsed(line[1], path.parent, tuple(text.LANGS if langs is None else langs))
            if isinstance(entry, list):
                faults += [f"{path}:{line[0]}: {fault}" for fault in entry]
            else:
                found.append(entry)
    if faults:
        raise FeedbackError(f"{path}: {len(faults)} to correct:\n  " + "\n  ".join(faults))
    if not found:
        raise FeedbackError(f"{path}: there are no entries in it; collect more answers")
    return found


def write(path: str | Path, entries: Iterable[Entry]) -> None:
    """Write what `read` reads, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    names = {of: kind for kind, of in KINDS.items()}
    told = ({"kind": names[type(entry)], **asdict(entry)} for entry in entries)
    beside = (
        {k: manifest.placed(os.path.abspath(v), path.parent) if k == "audio" else v for k, v in t.items()} for t in told
    )
    manifest.replace_file(path, manifest.lines(beside))


def parsed(line: str, root: Path, langs: tuple[str, ...]) -> Entry | list[str]:
    """The entry of a line, or all that is wrong with it."""
    try:
        told = json.loads(line)
    except (ValueError, RecursionError) as error:
        return [f"not a line of JSON: {error}"]
    if not isinstance(told, dict):
        return [f"expected an object, found {type(told).__name__}"]
    kind = told.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        return [f"kind is {kind!r}; there are {', '.join(KINDS)}"]
    if faults := wrong(told, KINDS[kind], langs, root):
        return faults
    if "audio" in told:
        told["audio"] = Path(os.path.abspath(files.locate(told["audio"], "", root)))
    return KINDS[kind](**told | ({"words": tuple(told["words"])} if "words" in told else {}))


def wrong(told: Mapping, of: type, langs: tuple[str, ...], root: Path) -> list[str]:
    needed = {field.name: field.default is MISSING for field in fields(of)}
    found = [f"missing {name}" for name, must in needed.items() if must and name not in told]
    found += [
        f"unknown key {name}; {of.__name__.lower()} has {', '.join(needed)}" for name in told if name not in needed
    ]
    lang = told["lang"] if told.get("lang") in langs else "und"

    def letters(value) -> bool:
        return isinstance(value, str) and bool(transcripts.bare(value, lang))

    def named(value) -> bool:
        return (isinstance(value, str) and bool(value.strip())) or (value is None and not needed["speaker"])

    rules = {
        "text": (letters, "a text with letters"),
        "lang": (lambda value: value in langs, f"one of {', '.join(langs)}"),
        "words": (lambda value: isinstance(value, list) and all(map(letters, value)), "a list of words"),
        "count": (lambda value: type(value) is int and value > 0, "a whole number above 0"),
        "speaker": (named, "a name"),
    }
    found += [
        f"{name} must be {what}, found {told[name]!r}"
        for name, (right, what) in rules.items()
        if name in needed and name in told and not right(told[name])
    ]
    if "audio" in needed and "audio" in told and isinstance(fault := files.locate(told["audio"], "", root), Dropped):
        found.append(f"{fault.reason}: {fault.detail}")
    return found
