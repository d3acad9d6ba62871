"""Which sentences a voice is scored on: held-out clips, clips of its training, and the shipped sets of its languages."""

from collections.abc import Sequence

import numpy as np

from ttslib import items, rehearsal, testsets
from ttslib.evaluate.judges import IN_DOMAIN, Asked
from ttslib.manifest import Manifest, Row
from ttslib.params import Params

SEEN = "seen"


def asked(p: Params, system, found: Manifest) -> list[Asked]:
    """The sentences of a run: `in_domain` and `seen` have recordings, the shipped ones are spoken in the voice of the first
    held-out clip of their language. Ids are safe file names, the same for every voice of the corpus."""
    held = rehearsal.held_out(found)
    sets = {IN_DOMAIN: spread(held, p.evaluate.in_domain)}
    if held[0].split != "train":
        sets[SEEN] = spread(found.split("train"), p.evaluate.seen)
    plan = []
    for name, rows in sets.items():
        ids = items.file_names([f"{name}.{row.id}" for row in rows])
        plan += [
            Asked(one, name, row.lang, row.raw, row.speaker, rehearsal.voice_of(system, found, row), row)
            for one, row in zip(ids, rows, strict=True)
        ]
    firsts = {row.lang: row for row in reversed(held)}
    for lang, row in sorted(firsts.items()):
        voice = rehearsal.voice_of(system, found, row)
        for name in p.evaluate.sets if testsets.known(lang) else ():
            count = p.evaluate.per_set * (2 if name == testsets.PAIRS else 1)
            plan += [
                Asked(f"{lang}.{one.id}", name, lang, one.text, row.speaker, voice, note=one.note)
                for one in testsets.of(lang, [name])[:count]
            ]
    return plan


def spread(rows: Sequence[Row], count: int) -> list[Row]:
    """So many of the rows, evenly over their durations."""
    rows = sorted(rows, key=lambda row: row.seconds)
    places = np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)) if count else ()
    return [rows[i] for i in places]
