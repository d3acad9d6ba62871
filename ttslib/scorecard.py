"""A run before its judges: every sentence spoken and scored, beside its floors and beside other voices.

    card = scorecard.make("outputs/am/acoustic/first")                                   # as its params.yaml says
    card = scorecard.make(folder, params.load("am", ["evaluate.recogniser=transformers=openai/whisper-small"]))

    <run>/scorecard.json                         `voices` (summaries by set), `sentences`, and who judged
    <run>/evaluation/<checkpoint>/voice/         what was spoken, as `ttslib generate` keeps it
    <run>/evaluation/baselines/<name>/           the same of the other voices
    <run>/evaluation/scores.jsonl                a line a judged sound: an interrupted scorecard goes on where it was

Voices: `recordings` and their copies through mel and Griffin-Lim, and through the codec that the system learns, are the
floors; `voice` is the run; the others are `evaluate.baselines`.
"""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ttslib import audio, checkpoint, generation, items, manifest, params, pipeline, rehearsal, runs
from ttslib.evaluate import judges, plan, summary
from ttslib.evaluate.judges import Asked, Judges
from ttslib.manifest import Manifest
from ttslib.params import Params
from ttslib.progress import memory
from ttslib.similarity import Speakers
from ttslib.speech import reader, recording, vocoded

RECORDINGS, VOICE, VOCODED = "recordings", "voice", "Griffin-Lim copy"
FORMAT = 2
Speech = Mapping[str, tuple[Tensor, int]]


def make(folder: str | Path, p: Params | None = None) -> dict:
    """Score a run and write its `scorecard.json`, as `evaluate` of `p` says, or of its own params.

    Raises `RunError` for a folder without a checkpoint, and what the judges raise where they cannot be had.
    """
    run = runs.Run(Path(folder))
    if run.trained is None:
        raise runs.RunError(f"{folder}: no checkpoint in it; give a run's folder, outputs/<lang>/<system>/<run>")
    found = manifest.read(checkpoint.read_json(run.folder / "data.json")["manifest"])
    p, system = p or params.load(run.folder / "params.yaml"), pipeline.voice(run)
    held = rehearsal.held_out(found)
    told = {
        "format": FORMAT, "run": str(run.folder), "checkpoint": run.trained.resolve().name, "source": held[0].source,
        "split": held[0].split,
    }  # fmt: skip
    if hasattr(system, "scorecard"):
        card = system.scorecard(held, found.split("train"), reader(system, found)) | told
    else:
        card = told | scored(p, run, system, found)
    checkpoint.write_json(run.folder / "scorecard.json", card)
    return card


def scored(p: Params, run: runs.Run, system, found: Manifest) -> dict:
    ours = {RECORDINGS, VOICE, VOCODED, f"{system.codec.name} copy" if hasattr(system, "codec") else VOICE}
    if bad := [name for name in p.evaluate.baselines if name in ours or items.UNSAFE.search(name)]:
        raise params.ParamsError(f"evaluate.baselines: {bad[0]!r} is taken, or no safe file name; give it another name")
    asked = plan.asked(p, system, found)
    jury = judges.of(p, found, dict.fromkeys(one.lang for one in asked))
    home = run.folder / "evaluation"
    spoken = {VOICE: generated(system, asked, home / run.trained.resolve().name / "voice", p.seed)}
    spoken |= {
        name: baseline(spec, asked, home / "baselines" / name, p.seed) for name, spec in p.evaluate.baselines.items()
    }
    recordings = {one.id: (recording(found, one.row, system.rate), system.rate) for one in asked if one.row}
    speech = {RECORDINGS: recordings} | copies(system, recordings)
    named = {one.id: (one.speaker, *recordings[one.id]) for one in asked if one.row}
    speakers = Speakers(jury.encoder, named) if jury.encoder else None
    for key, reason in (speakers.failed if speakers else {}).items():
        print(f"speaker similarity goes without the recording {key}: {reason}", file=sys.stderr)
    kept = Kept(home / "scores.jsonl", jury)
    sentences = []
    for name, voice in (speech | {name: told["speech"] for name, told in spoken.items()}).items():
        lines = spoken[name]["lines"] if name in spoken else {}
        for one in tqdm(asked, desc=f"scores: {name}", unit="sentence", mininterval=10):
            if one.id in voice or one.id in lines:
                line = {
                    "voice": name,
                    "set": one.set,
                    "id": one.id,
                    "lang": one.lang,
                    "text": one.text,
                    "note": one.note,
                }
                line |= lines.get(one.id, {})
                if one.id in voice:
                    line |= kept.scores(one, *voice[one.id], speakers, recordings.get(one.id), name)
                sentences.append(line)
    floor = [line for line in sentences if line["voice"] == RECORDINGS]
    names = dict.fromkeys(line["voice"] for line in sentences)
    lines = {name: [line for line in sentences if line["voice"] == name] for name in names}
    voices = {name: summary.by_set(some, floor if name != RECORDINGS else ()) for name, some in lines.items()}
    for name in spoken.keys() - {VOICE} if jury.recognisers else ():
        voices[name]["all"]["distinguishable_from_voice"] = summary.distinguishable(lines[name], lines[VOICE])
    return jury.identity() | {
        "floors": list(speech),
        "voices": voices,
        "totals": {name: told["totals"] for name, told in spoken.items()},
        "told_apart": told_apart(lines),
        "sentences": sentences,
    }


def generated(system, asked: Sequence[Asked], folder: Path, seed: int) -> dict:
    """Everything spoken into `folder`, what there already is taken from there: `speech` by id, `lines` of how it went, and
    `totals`. Raises `GenerationError` where nothing could be spoken at all."""
    made = generation.generate(
        system, [items.Item(one.id, one.text, one.lang, one.voice) for one in asked], folder, seed=seed
    )
    if not any(one["file"] for one in made["items"]):
        first = next(one["error"] for one in made["items"] if one["error"])
        raise items.GenerationError(
            f"{folder}: none of {len(asked)} sentences could be spoken: {first}; correct that first"
        )
    speech = {one["id"]: sound(folder / one["file"]) for one in made["items"] if one["file"]}
    lines = {
        one["id"]: {"file": str(folder / one["file"]) if one["file"] else None, "error": one["error"], "rtf": one["rtf"],
                    "first_audio_s": one.get("first_audio_s", one["wall_s"]), "ended": one["ended"],
                    "rerolled": one["rerolled"]}
        for one in made["items"]
    }  # fmt: skip
    device = next((q.device for net in system.nets.values() for q in net.parameters()), torch.device("cpu"))
    return {"speech": speech, "lines": lines, "totals": made["totals"] | {"memory_gb": memory(device)}}


def baseline(spec: str, asked: Sequence[Asked], folder: Path, seed: int) -> dict:
    """Another voice: spoken now, or found as `<id>.wav` in a folder of its own, where what is missing counts as failed."""
    from ttslib import baselines

    kind, _, source = spec.partition("=")
    if kind != "folder":
        other = baselines.of(spec)
        known = getattr(other, "speakers", ())  # of a voice that it does not have, its first
        known = known if isinstance(known, list | tuple) else ()
        return generated(other, [o._replace(voice=o.voice if o.voice in known else None) for o in asked], folder, seed)
    files = {one.id: Path(source) / f"{one.id}.wav" for one in asked}
    speech = {key: sound(file) for key, file in files.items() if file.is_file()}
    if not speech:
        raise items.GenerationError(
            f"folder={source}: no <id>.wav of this run's sentences, such as {asked[0].id}.wav"
            "; name the files by the sentences' ids"
        )
    lines = {
        key: {"file": str(file)} if key in speech else {"file": None, "error": f"no {file}"}
        for key, file in files.items()
    }
    return {"speech": speech, "lines": lines, "totals": {"items": len(files), "succeeded": len(speech)}}


def copies(system, recordings: Speech) -> dict[str, Speech]:
    """What vocoder and codec leave of the recordings: no voice through them is understood better."""
    made = {VOCODED: {key: (vocoded(wav, rate), rate) for key, (wav, rate) in recordings.items()}}
    if (codec := getattr(system, "codec", None)) is not None:
        made[f"{codec.name} copy"] = copied = {}
        for key, (wav, rate) in recordings.items():
            heard = audio.resampled(wav, rate, codec.rate)
            copied[key] = codec.decode(codec.encode(heard), codec.voice(heard) or None), codec.rate_out
    return made


def sound(file: Path) -> tuple[Tensor, int]:
    wav, rate = audio.load(file)
    return torch.from_numpy(wav), rate


def told_apart(lines: Mapping[str, Sequence[Mapping]]) -> dict[str, dict]:
    """Of each voice, how many members of minimal pairs were read as themselves and not as their partner."""
    from ttslib import testsets

    told = {}
    for name, some in lines.items():
        pairs = [line for line in some if line["set"] == "minimal_pairs" and line.get("heard") is not None]
        langs = dict.fromkeys(line["lang"] for line in pairs)
        if langs:
            heard = {line["id"]: line["heard"] for line in pairs}
            told[name] = {
                lang: testsets.told_apart(
                    testsets.of(lang, ["minimal_pairs"]),
                    {key.removeprefix(f"{lang}."): words for key, words in heard.items() if key.startswith(f"{lang}.")},
                )
                for lang in langs
            }
    return told


class Kept:
    """Scores that are not made twice: a line a sound, named by its samples, its text, its recording and the judges."""

    def __init__(self, file: Path, jury: Judges):
        self.file, self.jury = file, jury
        file.parent.mkdir(parents=True, exist_ok=True)
        self.made = generation.recorded(file)

    def scores(self, one: Asked, wav: Tensor, rate: int, speakers, reference, voice: str) -> dict:
        told = hashlib.sha256(wav.numpy().tobytes())
        beside = sorted(speakers.vectors) if speakers else None
        told.update(repr((FORMAT, rate, one.text, one.lang, one.speaker, beside, self.jury.identity())).encode())
        told.update(reference[0].numpy().tobytes() if reference else b"")
        key = f"{voice}:{one.id}:{told.hexdigest()}"
        if key not in self.made:
            line = json.dumps(
                {"id": key, "scores": self.jury.scores(one, wav, rate, speakers, reference)}, ensure_ascii=False
            )
            self.made[key] = json.loads(line)
            with self.file.open("a", encoding="utf-8") as log:
                log.write(line + "\n")
        return self.made[key]["scores"]
