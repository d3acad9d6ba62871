"""Listeners' answers, read strictly: what page and form write, checked against the test's key.

    {"format", "test", "kind", "rater", "number", "session", "began", "finished", "trials": [trial]}
    trial: {"trial": place in the session, "sounds": [stimulus], "answer", "flags": [{"sound", "word"}], "plays", "seconds"}

`answer` is, for cmos, -3..3: how much better the second sound is than the first (ITU-T P.800 annex E); for abx, 1 or 2:
which sound X is; for mushra, a list of 0..100 in the order of `sounds`. `word` is a place in `words.pieces` of the text.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from ttslib.listen.design import FORMAT
from ttslib.listen.words import bare, pieces

ANSWERS = "ttslib-listen-answers-1"
FIELDS = ("format", "test", "kind", "rater", "number", "session", "began", "finished", "trials")


class AnswersError(ValueError):
    """Answers that cannot be counted; the message says what is wrong, in which file and trial, and what to do."""


def read_key(file: str | Path) -> dict:
    """A test's key, `<name>.key.json` as `build` wrote it."""
    key = parsed(Path(file))
    if not isinstance(key, dict) or key.get("format") != FORMAT or "test" not in key:
        raise AnswersError(f"{file}: no key of a listening test ({FORMAT}); give the .key.json that `build` wrote")
    return key


def read(key: Mapping, files: str | Path | Iterable) -> list[dict]:
    """The answers in a folder's `.json` files, in one file, or in several files or already parsed answers.

    Raises `AnswersError` with every fault of every file: another test's answers, an unfinished session, missing or doubled
    trials, values out of range, and a listener who is there twice.
    """
    sources = list(listed(files))
    if not sources:
        raise AnswersError(f"{files}: no answers; collect the .json files that listeners saved")
    found, faults, seen = [], [], {}
    for place, source in enumerate(sources, 1):
        name = f"answers {place}" if isinstance(source, Mapping) else str(source)
        one = source if isinstance(source, Mapping) else parsed(Path(source))
        wrong = check(key, one)
        faults += [f"{name}: {fault}" for fault in wrong]
        if wrong:
            continue
        if (first := seen.setdefault(one["rater"], name)) != name:
            faults.append(f"{name}: listener {one['rater']!r} is also in {first}; keep one, or rename one")
        found.append(dict(one))
    if faults:
        raise AnswersError(f"{len(faults)} to correct or leave out:\n  " + "\n  ".join(faults))
    return found


def listed(files: str | Path | Iterable) -> Iterable:
    if isinstance(files, Mapping):
        return [files]
    if not isinstance(files, str | Path):
        return files
    return (
        sorted(p for p in Path(files).glob("*.json") if not p.name.endswith(".key.json"))
        if Path(files).is_dir()
        else [files]
    )


def parsed(file: Path):
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise AnswersError(f"{file}: cannot be read as JSON ({error}); have it saved or copied once more") from None


def check(key: Mapping, one) -> list[str]:
    """Everything that is wrong with one listener's answers; empty where nothing is."""
    if not isinstance(one, Mapping) or one.get("format") != ANSWERS:
        return [f"no answers of a listening test ({ANSWERS})"]
    if lost := [name for name in FIELDS if name not in one]:
        return [f"{', '.join(lost)} missing"]
    if one["test"] != key["test"] or one["kind"] != key["kind"]:
        return [f"answers to test {one['test']}, the key is of {key['test']}; give the key built with that page"]
    if not isinstance(one["rater"], str) or not one["rater"].strip():
        return ["rater has no name"]
    if not whole(one["session"], 0, len(key["sessions"]) - 1):
        return [f"session {one['session']!r} is not one of the {len(key['sessions'])} of this test"]
    session, trials = key["sessions"][one["session"]], one["trials"]
    if not isinstance(trials, list):
        return ["trials is no list"]
    faults = [] if isinstance(one["finished"], str) else ["the session was not finished; have the listener continue it"]
    at = [t["trial"] if isinstance(t, Mapping) and whole(t.get("trial"), 0, len(session) - 1) else None for t in trials]
    faults += [f"entry {i} of trials is of no trial of its session" for i, place in enumerate(at) if place is None]
    faults += [
        f"trial {place} is answered {at.count(place)} times" for place in range(len(session)) if at.count(place) > 1
    ]
    if lacking := [str(place) for place in range(len(session)) if place not in at]:
        faults.append(f"no answer to trial {', '.join(lacking)} of {len(session)}")
    texts = {text["id"]: text["text"] for text in key["texts"]}
    for place, trial in zip(at, trials, strict=True):
        if place is not None:
            shown = session[place]
            faults += [f"trial {place}: {w}" for w in check_trial(one["kind"], shown, trial, texts[shown["text"]])]
    return faults


def check_trial(kind: str, shown: Mapping, trial: Mapping, text: str) -> list[str]:
    """What is wrong with one answer, against the trial of the key that it is to."""
    faults, answer = [], trial.get("answer")
    if trial.get("sounds") != shown["sounds"]:
        faults.append(f"sounds are {trial.get('sounds')}, the test has {shown['sounds']} there")
    if kind == "mushra":
        right = (
            isinstance(answer, list) and len(answer) == len(shown["sounds"]) and all(whole(v, 0, 100) for v in answer)
        )
        wanted = f"{len(shown['sounds'])} whole numbers from 0 to 100"
    else:
        low, high = (-3, 3) if kind == "cmos" else (1, 2)
        right, wanted = whole(answer, low, high), f"a whole number from {low} to {high}"
    if not right:
        faults.append(f"answer is {answer!r}, wanted {wanted}")
    flags, split = trial.get("flags"), pieces(text)
    if not isinstance(flags, list):
        return [*faults, "flags is no list"]
    for flag in flags:
        known = isinstance(flag, Mapping) and flag.get("sound") in shown["sounds"]
        if (
            not known
            or not whole(flag.get("word"), 0, len(split) - 1)
            or not bare(split[flag["word"]])
            or flag["word"] % 2
        ):
            faults.append(f"flag {flag!r} is of no word of a sound of this trial")
    if not isinstance(trial.get("seconds"), int | float) or not trial["seconds"] >= 0:
        faults.append(f"seconds is {trial.get('seconds')!r}, no duration")
    return faults


def whole(value, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high
