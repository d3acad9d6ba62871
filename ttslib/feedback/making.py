"""A run's feedback set: what is trained on beside the corpus, how often, and a report of what became of each entry.

<run>/feedback/manifest.jsonl    the clips that were corrected, or generated again and agreed to
<run>/feedback/report.json       written last: a folder that has it is whole
<run>/feedback/generated/        all tries
"""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ttslib import checkpoint, doctor, features, generation, manifest
from ttslib.corpora import files
from ttslib.corpora.clip import Clip
from ttslib.features import Features
from ttslib.feedback import KINDS, Corrected, Entry, FeedbackError, Rejected
from ttslib.feedback.flags import marked, padded, patterns
from ttslib.feedback.sampling import sampled
from ttslib.manifest import Manifest
from ttslib.params import Params

LICENCE = "synthetic; as the licences of the base and of the text allow"


@dataclass(frozen=True)
class FeedbackSet:
    """The feedback's own clips, and the `report`: of it, `repeats` are the clips of an epoch (id -> so many times), and
    `superseded` those of the corpus whose recording has a corrected text now."""

    manifest: Manifest
    report: dict

    def beside(self, found: Manifest) -> Manifest:
        """The corpus and the feedback's clips in one, all of which are encoded."""
        own = [replace(row, audio=str(self.manifest.audio(row).absolute())) for row in self.manifest.rows]
        kept = [row for row in found.rows if row.id not in self.report["superseded"]]
        return replace(found, rows=(*kept, *own))

    def mixed(self, clips: Features, replayed: Mapping[str, Features]) -> Features:
        """An epoch's own clips out of those of `beside`, and behind them, to be replayed, the corpus and each language's."""
        own, mine = features.repeated(clips, self.report["repeats"]), {row.id for row in self.manifest.rows}
        if not len(own):
            raise FeedbackError(f"no clip of the feedback can be encoded: {clips.quarantined}")
        corpus = features.repeated(clips, {clip: 1 for clip in clips.ids if clip not in mine})
        corpus.quarantined = clips.quarantined
        return features.joined(own, {"corpus": corpus} | dict(replayed))


def prepared(
    entries: Sequence[Entry], system, recogniser_of: Callable, found: Manifest, p: Params, folder: Path
) -> FeedbackSet:
    """The set of these entries for the voice `system`, made in `folder` or found there; `recogniser_of(lang)` judges it.

    Raises `FeedbackError` when there is no clip to train on in it, for a system that reads no text, and when `p.resume`
    meets the set of other feedback.
    """
    if not getattr(system, "reads", True):
        raise FeedbackError(
            f"feedback: system {p.system} reads no text: it has no words to pronounce; leave `feedback` empty"
        )
    name, file = digest(entries, system, found, p), folder / "report.json"
    if file.is_file():
        report = checkpoint.read_json(file)
        if report["digest"] == name:
            return FeedbackSet(manifest.read(folder), report)
        if p.resume:
            raise FeedbackError(
                f"{folder}: the run to resume has learnt from other feedback (or another base, corpus, doctor or refine); "
                "start a new run, or restore what changed"
            )
    made = make(entries, system, recogniser_of, found, p, folder)
    checkpoint.write_json(file, made.report | {"digest": name})
    told = ", ".join(f"{count} {kind}" for kind, count in made.report["clips"].items())
    held = len(made.report["held_out_texts"])
    leaked = f"; {held} held-out clips have a text that is learnt now: they measure nothing new" if held else ""
    print(f"feedback: {told} clips to train on{leaked}; what became of each entry: {file}", file=sys.stderr)
    return made


def digest(entries: Sequence[Entry], system, found: Manifest, p: Params) -> str:
    """Names a set by all that it is made of: entries, audio included, the voice, the corpus, and the params."""
    told = [[type(entry).__name__, asdict(entry)] for entry in entries]
    settings = [p.refine.model_dump(), p.doctor.model_dump(), p.text.homophones, doctor.VERSION]
    content = [told, generation.identity(system), found.digest, settings]
    text = json.dumps(content, default=lambda path: [str(path), checkpoint.sha256(path)])
    return hashlib.sha256(text.encode()).hexdigest()


def make(entries: Sequence[Entry], system, recogniser_of, found: Manifest, p: Params, folder: Path) -> FeedbackSet:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").unlink(missing_ok=True)
    heard = {lang: most_heard(found, lang) for lang in {entry.lang for entry in entries}}
    wanted = [replace(e, speaker=e.speaker or heard[e.lang]) for e in entries if isinstance(e, Rejected)]
    again = list(dict.fromkeys(wanted))  # what several listeners rejected is spoken once
    told, floors = sampled(again, system, recogniser_of, found, p, folder / "generated")
    clips = [
        Clip(f"feedback/{e.lang}/corrected-{n:04d}", source="corrected", licence=files.licence(p.corpus), **vars(e))
        for n, e in enumerate(e for e in entries if isinstance(e, Corrected))
    ]
    kept = {f"feedback/{one['lang']}/generated-{n:04d}": one for n, one in enumerate(told) if one["kept"]}
    clips += [generated(clip, one, p, floors, folder) for clip, one in kept.items()]
    rows, dropped = doctor.examine(clips, p)
    for bad in dropped:
        if bad["id"] in kept:
            kept[bad["id"]] |= {"kept": False, "file": None, "why": f"{bad['reason']}: {bad['detail']}"}
    shas = {row.sha: row.text for row in rows}
    superseded = [row.id for row in found.split("train") if shas.get(row.sha, row.text) != row.text]
    train = [row for row in found.split("train") if row.id not in superseded]
    flagged, without = marked(patterns(entries), train)
    repeats = {row.id: p.refine.generated if row.id in kept else p.refine.corrected for row in rows}
    repeats |= dict.fromkeys(flagged, p.refine.flagged)
    said = {padded(row.text, row.lang) for row in rows}
    own = Counter("generated" if row.id in kept else "corrected" for row in rows)
    report = {
        "base": p.adapt.base,
        "entries": {name: sum(isinstance(e, of) for e in entries) for name, of in KINDS.items()},
        "clips": {"corrected": own["corrected"], "generated": own["generated"], "flagged": len(flagged)},
        "without_clips": without,
        "held_out_texts": [r.id for r in found.rows if r.split != "train" and padded(r.text, r.lang) in said],
        "superseded": superseded,
        "dropped": [bad for bad in dropped if bad["id"] not in kept],
        "floor": floors,
        "rejected": told,
        "repeats": repeats,
    }
    if not repeats:
        why = [f"{bad['where']}: {bad['reason']}: {bad['detail']}" for bad in report["dropped"]]
        why += [f"{one['text']!r}: {one['why']}" for one in told]
        why += [f"{one['text']!r}, flagged: in no training clip" for one in without]
        raise FeedbackError("the feedback leaves no clip to train on:\n  " + "\n  ".join(why))
    return FeedbackSet(manifest.write(folder, rows, dropped), report)


def most_heard(found: Manifest, lang: str) -> str:
    return Counter(row.speaker for row in found.split("train") if row.lang == lang).most_common(1)[0][0]


def generated(clip: str, told: Mapping, p: Params, floors: Mapping, folder: Path) -> Clip:
    source = f"generated by {p.adapt.base}, agreed by {floors[told['lang']]['recogniser']}"
    file = folder / "generated" / told["file"]
    return Clip(clip, file, told["text"], told["lang"], told["speaker"], source, LICENCE)
