"""A voice of fewer bits beside the one it was made from: the same sentences, seeds and recogniser, read back and paired.

Both speak the run's held-out texts and the shipped sets of its scorecard; what the run was trained on is left out. Both are
read against the same floor, the recordings, so the difference of their floor-adjusted CER is the difference of their CER.
The lighter voice passes only where nothing speaks against it (`against`):

* its CER is no higher than the upper end of the full voice's own 95 % interval (no worse than another draw of sentences),
  or no higher than that of the recordings: below the floor the recogniser tells nothing;
* the 95 % interval of the paired difference does not lie above 0: sentence by sentence no loss can be shown. Pairing sees
  far less than the first, which a small corpus makes wide;
* it says every sentence that the full voice says.

That no loss can be shown is not that there is none: the upper end of the difference says how much could be missed. Where
nothing could be seen at all (fewer than `FEWEST` sentences, or a voice that is not understood to begin with), none passes.
"""

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor
from tqdm import tqdm

from ttslib import audio, checkpoint, intervals, manifest, recognise, runs, scorecard
from ttslib.compare.verdict import FEWEST
from ttslib.deploy import DeployError
from ttslib.evaluate import distances, judges, plan, summary
from ttslib.evaluate.choice import CHANCE
from ttslib.evaluate.judges import Asked, Judges
from ttslib.params import Params
from ttslib.speech import recording


def held(run: runs.Run, p: Params, full, lighter) -> dict:
    """The trial of `lighter` against `full`, the run's own voice: what was measured, and `against`, why it must not be
    taken (None where it passed).

    What the full voice says is kept with the run's scorecard (`evaluation/`) or taken from there; the other's is not kept.
    Raises `DeployError` where nobody can read it back.
    """
    if getattr(full, "mute", "") or not getattr(full, "reads", True):
        raise DeployError(
            f"{run.folder}: {full.mute or 'this system speaks no text'}, so nobody can read it back"
            "; give --unchecked, and listen yourself"
        )
    if p.evaluate.recogniser is None:
        raise DeployError(
            f"{run.folder}: evaluate.recogniser is null, so nobody can tell whether the lighter weights speak as well"
            "; name one (evaluate.recogniser=ctc), or give --unchecked"
        )
    found = manifest.read(checkpoint.read_json(run.folder / "data.json")["manifest"])
    asked = [one for one in plan.asked(p, full, found) if one.set != plan.SEEN]
    jury = Judges(judges.readers(p, found, dict.fromkeys(one.lang for one in asked)), homophones=p.evaluate.homophones)
    home = run.folder / "evaluation" / run.trained.resolve().name / "voice"
    clips = {one.id: (recording(found, one.row, full.rate), full.rate) for one in asked if one.row}
    with tempfile.TemporaryDirectory() as place:
        speech = {
            "recordings": clips,
            "full": scorecard.generated(full, asked, home, p.seed)["speech"],
            "lighter": scorecard.generated(lighter, asked, Path(place), p.seed)["speech"],
        }
    seconds = {key: len(wav) / rate for key, (wav, rate) in clips.items()}
    read = {name: heard(jury, asked, some, seconds, name) for name, some in speech.items()}
    told = compared(read["full"], read["lighter"], read["recordings"], len(asked))
    return told | {
        "recogniser": {lang: recognise.identity(one) for lang, one in jury.recognisers.items()},
        "seed": p.seed,
        "sounds": sounds(speech["full"], speech["lighter"]),
    }


def heard(jury: Judges, asked: Sequence[Asked], speech: Mapping, seconds: Mapping[str, float], name: str) -> list[dict]:
    return [
        {"id": one.id, "set": one.set} | jury.read(one, *speech[one.id], seconds.get(one.id))
        for one in tqdm(asked, desc=f"trial: {name}", unit="sentence", mininterval=10)
        if one.id in speech
    ]


def compared(full: Sequence[Mapping], lighter: Sequence[Mapping], floor: Sequence[Mapping], asked: int) -> dict:
    """Of sentences read back: CER of both with their intervals, each minus the floor on the sentences that were recorded,
    their paired `difference` (lighter minus full), and what is `against` the lighter one."""
    one, other = ({line["id"]: line["cer"] for line in some} for some in (full, lighter))
    recorded = {line["id"] for line in floor}
    told = {"asked": asked, "floor": intervals.rate(*zip(*[x["cer"] for x in floor], strict=True))._asdict()}
    for name, lines in (("full", full), ("lighter", lighter)):
        whole = summary.of(lines)
        beside = summary.of([line for line in lines if line["id"] in recorded], floor)
        told[name] = {key: whole[key] for key in ("sentences", "cer", "faulty", "faults")}
        told[name]["cer_minus_floor"] = beside.get("cer_minus_floor")
    same = sorted(one.keys() & other.keys())
    difference = (
        intervals.difference({key: other[key] for key in same}, {key: one[key] for key in same}) if same else None
    )
    told |= {"difference": difference and difference._asdict(), "sentences": len(same)}
    return told | {"against": against(told, len(one.keys() - other.keys()))}


def against(told: Mapping, unsaid: int) -> str | None:
    """Why the lighter voice must not be taken, None where nothing is against it; see the module."""
    full, lighter, difference = told["full"]["cer"], told["lighter"].get("cer"), told["difference"]
    if told["sentences"] < FEWEST:
        return f"only {told['sentences']} sentences that both spoke, of fewer than {FEWEST} nothing is concluded"
    if full["value"] >= CHANCE:
        return f"the full voice itself is not understood (CER {full['value']:.3f}), so no loss could be seen"
    if unsaid:
        return f"{unsaid} sentences that the full voice says are refused"
    if lighter["value"] > max(full["high"], told["floor"]["value"]):
        return f"its CER {lighter['value']:.4f} lies above the full voice's interval {interval(full)}"
    if difference["low"] > 0:
        return f"the interval of the paired difference of CER {interval(difference)} lies above 0"
    return None


def interval(told: Mapping) -> str:
    return f"[{told['low']:.4f}, {told['high']:.4f}]"


def sounds(full: Mapping[str, tuple[Tensor, int]], lighter: Mapping[str, tuple[Tensor, int]]) -> dict:
    """Medians over the sentences: mel-cepstral distortion (dB) between the two voices along a DTW path, and the ratio of
    their lengths. A system that samples its codes may say the same otherwise: far is not worse."""
    pairs = [(full[key], lighter[key]) for key in full.keys() & lighter.keys()]
    return {
        "mcd_db": statistics.median(distance(a, b) for a, b in pairs),
        "length_ratio": statistics.median(len(b[0]) / max(len(a[0]), 1) for a, b in pairs),
    }


def distance(a: tuple[Tensor, int], b: tuple[Tensor, int]) -> float:
    one, other = (distances.cepstra(audio.resampled(wav, rate, distances.RATE)) for wav, rate in (a, b))
    return float(np.round(distances.mcd(one, other, distances.warp(one, other)), 4))
