"""The plan of a blind listening test: which sounds meet, in which order, for which listener. Plain JSON.

    {"format", "test", "kind", "title", "seed", "systems", "texts": [{"id", "text", "lang"}],
     "stimuli": {"s01": {"system", "text"}}, "sessions": [[trial]], "training": trial}
    trial: {"text": id, "sounds": ["s07", "s02"], "x" or "reference": "s02", "repeats": place of the first hearing or None}

Listener number n gets session n modulo their count. In `sounds` is what is heard first, second, ...; every session has every
comparison once, and a share of them a second time with the sounds in other places. The plan is the key: it alone knows which
system a stimulus is of. Page and answers carry `public(plan)` and stimuli's numbers only.

Balance, without the second times. cmos: of two listeners in a row, each hears every pair the other way around, and within
a session a pair starts with either system equally often (for an odd number of texts, one more). abx: of four in a row each
has another combination of order and X. mushra: over as many listeners as there are conditions, each stands in every place
equally often (a Latin square by rotation), for every text.
"""

import hashlib
import json
import random
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

from ttslib.listen.words import direction, pieces

FORMAT = "ttslib-listen-1"
KINDS = ("cmos", "abx", "mushra")
REFERENCE, ANCHOR = "reference", "low anchor"
LEAST_SESSIONS = 12  # so that not only the sides but also the order of trials differs between listeners


class ListenError(ValueError):
    """A listening test that cannot be made as it is asked for; the message names what is missing and what to do."""


class Text(NamedTuple):
    """A sentence to judge; `id` names its file in every system's folder, `lang` (ISO 639) its fonts and screen reader."""

    id: str
    text: str
    lang: str | None = None


def plan(
    systems: Sequence[str], texts: Sequence[Text], kind: str, seed: int = 0,
    pairs: Sequence[tuple[str, str]] | None = None, repeats: float = 0.2, title: str = "Listening test",
) -> dict:  # fmt: skip
    """The plan of a test; still without `test`, the digest that `sealed` adds.

    `pairs` are those that are compared (cmos, abx); all without it. `repeats` is the share of trials heard twice. In
    mushra every text has the hidden `reference` and the `low anchor` (ITU-R BS.1534) beside the systems. Raises
    `ListenError` naming every fault.
    """
    systems, texts = list(systems), [Text(*text) for text in texts]
    refuse(faults(systems, texts, kind, pairs, repeats))
    draw = random.Random(seed)
    if kind == "mushra":
        groups = [(*systems, REFERENCE, ANCHOR)]
    else:
        groups = [tuple(pair) for pair in (pairs or combinations(systems, 2))]
    conditions = list(dict.fromkeys(name for group in groups for name in group))
    numbers = {key: n for n, key in enumerate(shuffled([(c, t.id) for c in conditions for t in texts], draw), 1)}
    names = {key: f"s{n:0{len(str(len(numbers)))}d}" for key, n in numbers.items()}
    ranks = {group: shuffled([text.id for text in texts], draw) for group in groups}
    comparisons = [(group, text, p + i) for p, group in enumerate(groups) for i, text in enumerate(ranks[group])]
    turns = {"cmos": 2, "abx": 4, "mushra": len(groups[0])}[kind]

    def trial(comparison, session: int, first: int | None = None) -> dict:
        group, text, phase = comparison
        phase += session + (0 if first is None else max(1, turns // 2) if kind == "mushra" else 1)
        shift = phase % len(group)
        sounds = [names[name, text] for name in group[shift:] + group[:shift]]
        told = {"text": text, "sounds": sounds, "repeats": first}
        if kind == "abx":
            told["x"] = sounds[phase % 4 // 2]
        if kind == "mushra":
            told["reference"] = names[REFERENCE, text]
        return told

    again = max(1, round(repeats * len(comparisons))) if repeats else 0
    sessions = []
    for session in range(turns * -(-LEAST_SESSIONS // turns)):
        places = order(len(comparisons), again, draw)
        sessions.append([trial(comparisons[place], session, first) for place, first in places])
    by_number = sorted(names.items(), key=lambda item: item[1])
    return {
        "format": FORMAT,
        "kind": kind,
        "title": title,
        "seed": seed,
        "systems": conditions,
        "texts": [text._asdict() for text in texts],
        "stimuli": {number: {"system": name, "text": text} for (name, text), number in by_number},
        "sessions": sessions,
        "training": trial(draw.choice(comparisons), 0),
    }


def order(trials: int, again: int, draw: random.Random) -> list[tuple[int, int | None]]:
    """A session's `(comparison, place of its first hearing)`: each once, and `again` of the first half a second time in
    the second half, with another one between."""
    once = shuffled(range(trials), draw)
    half = (trials + 1) // 2
    twice = draw.sample(once[:half], min(again, half))
    late = [*once[half : half + 1], *shuffled([*once[half + 1 :], *twice], draw)]
    return [(one, None) for one in once[:half]] + [
        (one, once.index(one) if one in once[:half] else None) for one in late
    ]


def sealed(made: dict, sounds: dict[str, bytes]) -> dict:
    """The plan with each stimulus's `sha256` and `test`, the digest of all that a listener meets: answers to another one
    are told apart by it."""
    stimuli = {k: v | {"sha256": hashlib.sha256(sounds[k]).hexdigest()} for k, v in made["stimuli"].items()}
    made = made | {"stimuli": stimuli}
    told = json.dumps(made, sort_keys=True, ensure_ascii=True)
    return made | {"test": hashlib.sha256(told.encode()).hexdigest()[:16]}


def public(made: dict) -> dict:
    """What a listener's page may know: no system, no id of a text, no seed, no second times."""
    places = {text["id"]: i for i, text in enumerate(made["texts"])}
    seen = ("sounds", "x", "reference")

    def blind(trial: dict) -> dict:
        return {"text": places[trial["text"]]} | {k: trial[k] for k in seen if k in trial}

    texts = [{"pieces": pieces(t["text"]), "lang": t["lang"] or "", "dir": direction(t["text"])} for t in made["texts"]]
    sessions = [[blind(trial) for trial in session] for session in made["sessions"]]
    same = {name: made[name] for name in ("test", "kind", "title")}
    return same | {"texts": texts, "sessions": sessions, "training": blind(made["training"])}


def faults(systems: list[str], texts: list[Text], kind: str, pairs, repeats: float) -> list[str]:
    """All that is wrong with what a test was asked for."""
    found, ids = [], [text.id for text in texts]
    if kind not in KINDS:
        found.append(f"there is no kind {kind!r}; there are {', '.join(KINDS)}")
    if len(systems) < (1 if kind == "mushra" else 2):
        found.append(f"{len(systems)} systems are too few to compare in kind {kind}")
    if taken := [name for name in (REFERENCE, ANCHOR) if name in systems]:
        found.append(f"no system may be called {' or '.join(taken)}; give it another name")
    if not texts:
        found.append("there are no texts")
    found += [f"system {name!r} is there twice" for name in sorted({n for n in systems if systems.count(n) > 1})]
    found += [f"text {one!r} is there twice" for one in sorted({one for one in ids if ids.count(one) > 1})]
    found += [f"text {text.id!r} is empty" for text in texts if not text.text.strip()]
    if pairs is not None and kind == "mushra":
        found.append("pairs are of cmos and abx; mushra compares all systems at once")
    for pair in pairs or ():
        if len(pair) != 2 or pair[0] == pair[1] or not set(pair) <= set(systems):
            found.append(f"{tuple(pair)} is no pair of two of the systems {', '.join(systems)}")
    if pairs is not None and len({frozenset(pair) for pair in pairs}) < max(1, len(pairs)):
        found.append("pairs is empty, or has one pair twice")
    if not 0 <= repeats <= 0.5:
        found.append(f"repeats is {repeats}; it is a share of the trials, from 0 to 0.5")
    return found


def refuse(found: list[str]) -> None:
    if found:
        raise ListenError("this listening test cannot be made:\n  " + "\n  ".join(found))


def shuffled(things, draw: random.Random) -> list:
    mixed = list(things)
    draw.shuffle(mixed)
    return mixed
