"""Before and after: the flagged sentences and others, spoken by the base and by what learnt from the feedback.

rows = of_run(done, p, found)     # and in <run>/feedback/compared.json
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from ttslib import checkpoint, generation, intervals, pipeline, rehearsal
from ttslib.feedback import Entry, Flagged, read
from ttslib.feedback.flags import marked, padded, patterns
from ttslib.feedback.sampling import scored
from ttslib.manifest import Manifest
from ttslib.params import Params

OTHERS = 20  # unflagged sentences
Text = tuple[str, str, str, str | None]
"""id, text, language, and a voice, None being the system's first"""


def sentences(entries: Iterable[Entry], found: Manifest) -> dict[str, list[Text]]:
    """The `flagged` sentences; and `unflagged` ones, held out, with no flagged word and of no entry's text."""
    entries = list(entries)
    told = dict.fromkeys((entry.text, entry.lang) for entry in entries if isinstance(entry, Flagged))
    trained = {padded(entry.text, entry.lang) for entry in entries}
    held = rehearsal.held_out(found)
    flagged = set(marked(patterns(entries), held)[0])
    others = [row for row in held if row.id not in flagged and padded(row.text, row.lang) not in trained][:OTHERS]
    return {
        "flagged": [(f"flagged-{n:04d}", text, lang, None) for n, (text, lang) in enumerate(told)],
        "unflagged": [(row.id, row.raw, row.lang, row.speaker) for row in others],
    }


def of_run(done, p: Params, found: Manifest) -> list[dict]:
    """What a finished run (`pipeline.Trained`) made of `p.feedback`: its base and itself `compared`, written there, too."""
    texts = sentences(read(p.feedback, p.langs), found)
    rows = compared(pipeline.base(p), done.system, texts, lambda lang: pipeline.recogniser(p, lang))
    checkpoint.write_json(done.run.folder / "feedback" / "compared.json", rows)
    return rows


def compared(before, after, texts: Mapping[str, Sequence[Text]], recogniser_of: Callable) -> list[dict]:
    """A row a group of `texts`: `cer_before`, `cer_after` (`Interval`), whether they are `distinguishable` (paired), counts
    of `faults_before`, `faults_after`; `sentences` counts those that both systems spoke, `refused` says why of the others.

    `recogniser_of(lang)` hears them; both speak with seed 0.
    """
    recognisers = {lang: recogniser_of(lang) for lang in sorted({one[2] for group in texts.values() for one in group})}
    rows = []
    for group, given in texts.items():
        scores, refused = {}, {}
        for one, text, lang, voice in given:
            try:
                wavs = [
                    np.asarray(s.synthesize(text, voice=voice, seed=0, lang=lang), np.float32) for s in (before, after)
                ]
            except generation.REFUSED as error:
                refused[one] = f"{type(error).__name__}: {error}"
                continue
            heard = zip(wavs, (before.rate, after.rate), strict=True)
            scores[one] = [scored(recognisers[lang], text, wav, rate, lang) for wav, rate in heard]
        told = {"group": group, "sentences": len(scores), "refused": refused, "distinguishable": None}
        sides = {side: {one: pair[i] for one, pair in scores.items()} for i, side in enumerate(("before", "after"))}
        errors = {side: {one: score["cer"] for one, score in found.items()} for side, found in sides.items()}
        for side, found in sides.items():
            told[f"cer_{side}"] = intervals.rate(*zip(*errors[side].values(), strict=True)) if scores else None
            told[f"faults_{side}"] = dict(Counter(fault for score in found.values() for fault in score["faults"]))
        if scores:
            told["distinguishable"] = intervals.distinguishable(errors["before"], errors["after"])
        rows.append(told)
    return rows
