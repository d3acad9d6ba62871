"""Held-out clips, and what a run speaks of them while it trains: in which voices, and who hears it."""

import gc
import sys
from collections.abc import Callable, Sequence

from ttslib import audio, checkpoint, runs, show
from ttslib.evaluate import judges
from ttslib.evaluate.choice import Small, Verdict
from ttslib.evaluate.judges import Asked, Judges
from ttslib.manifest import Manifest, Row
from ttslib.params import Params
from ttslib.speech import recording
from ttslib.systems import system_class
from ttslib.track import Track


def held_out(found: Manifest, count: int | None = None, splits: Sequence[str] = ("test", "val", "train")) -> list[Row]:
    """The clips of the first of these splits that has any (where it is train, it says so in their `split`), those nearest
    3 s first: neither single words nor paragraphs."""
    rows = next(filter(None, map(found.split, splits)))
    return sorted(rows, key=lambda row: abs(row.seconds - 3.0))[:count]


def speakable(found: Manifest, splits: Sequence[str] = ("test", "val", "train")) -> list[Row]:
    """Held-out clips whose letters are all in the training texts; where a small training set has none such, its own."""
    letters = set("".join(row.text for row in found.split("train")))
    return [row for row in held_out(found, splits=splits) if set(row.text) <= letters] or found.split("train")


def fixed_sentences(p: Params, found: Manifest) -> list[Asked]:
    """What is spoken at every evaluation: the texts of `evaluate.small` validation clips, so that the test split chooses no
    checkpoint, and the params' own sentences, which have no recording."""
    known, rows = system_class(p.system), speakable(found, ("val", "test", "train"))
    asked = [
        Asked(row.id, "small", row.lang, row.raw, row.speaker, voice_of(known, found, row), row)
        for row in rows[: p.evaluate.small]
    ]
    return asked + [
        asked[0]._replace(id=f"own {i}", set="own", text=text, row=None) for i, text in enumerate(p.synthesis.sentences)
    ]


def voice_of(system, found: Manifest, row: Row) -> str:
    """A row's voice as `synthesize` takes it: its speaker, or of a system that clones voices, its recording."""
    return str(found.audio(row)) if hasattr(system, "clone") else row.speaker


def listener(run: runs.Run, system, found: Manifest, p: Params) -> Callable[..., Verdict | None]:
    """`listen(track, system, step)`: speaks the fixed sentences into `samples/step_<step>/` and to the dashboards, and has
    those with a recording read back. A system whose codes cannot be made sound here says so each time."""
    asked = fixed_sentences(p, found)
    small = [one for one in asked if one.row is not None]
    speaks = getattr(system, "reads", True) and not getattr(system, "mute", "")
    readers = judges.readers(p, found, dict.fromkeys(one.lang for one in small)) if speaks else {}
    recordings = [recording(found, one.row, system.rate) for one in small] if readers else []
    ears = Small(Judges(readers, homophones=p.evaluate.homophones), small, recordings, system.rate) if readers else None

    def listen(track: Track, system, step: int) -> Verdict | None:
        if mute := getattr(system, "mute", ""):
            print(f"step {step}: nothing to listen to; {mute}", file=sys.stderr)
            return None
        spoken = {}
        for i, one in enumerate(asked):
            rate = p.synthesis.speaking_rate
            wav = system.synthesize(one.text, voice=one.voice, lang=one.lang, speaking_rate=rate)
            file = audio.save(run.samples / f"step_{step:06d}" / f"{i}.wav", wav, system.rate)
            spoken[one.id] = wav
            if track.wandb:
                picture = show.png(show.mel(audio.log_mel(wav, system.rate).T, audio.HOP / system.rate))
                track.listen(str(i), file, one.text, picture, step)
        if track.wandb:
            gc.collect()  # the pictures: rings of objects with much memory, which Python finds after dozens of evaluations
        verdict = ears and ears.verdict(spoken, system.rate)
        if verdict:
            checkpoint.write_json(run.samples / f"step_{step:06d}" / "heard.json", verdict.sentences)
        return verdict

    return listen
