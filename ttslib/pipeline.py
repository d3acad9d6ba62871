"""The jobs a notebook and the command line share: a training run, a trained voice, spoken sentences."""

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ttslib import (
    adapt,
    audio,
    checkpoint,
    dataset,
    forgetting,
    manifest,
    rehearsal,
    runs,
    schedule,
    session,
    sharding,
    speech,
    together,
)
from ttslib import text as normalisers
from ttslib.evaluate import judges
from ttslib.features import joined
from ttslib.feedback import Entry
from ttslib.feedback import asked as given
from ttslib.manifest import Manifest, Row
from ttslib.params import Params, ParamsError
from ttslib.stop import STATUS, Stopped
from ttslib.systems import system_class
from ttslib.track import Track
from ttslib.train import Result, fit


@dataclass
class Trained:
    """A finished run and the voice it trained, with the best weights loaded."""

    system: object
    run: runs.Run
    result: Result


def replay(system, p: Params) -> tuple[dict[str, dataset.Features], dict[str, dataset.Features]]:
    """Clips of each base language that must not be forgotten: those to train on, and those to watch, for `fit`'s `guard`.

    Nothing without `replay.lang`. All processes of a launch call this. Raises `DatasetError` for what the system does not
    know, or where it would watch no clip.
    """
    if p.replay.lang is None:
        return {}, {}
    base = forgetting.corpus(p)
    found = manifest.prepare(base, shared=True)
    splits = ("train", "val") if p.replay.ratio else ("val",)
    rows = [row for split in splits for row in found.split(split)]
    if hasattr(system, "welcome"):  # voices are prompts to it: it can replay any speaker
        system.welcome(rows)
    forgetting.require(system, rows, p.replay.lang)
    if blind := sorted({*base.langs} - {row.lang for row in found.split("val")}):
        raise dataset.DatasetError(
            f"replay.lang={p.replay.lang}: no validation clip to watch {', '.join(blind)} with"
            "; give more clips of it, or raise doctor.val_share"
        )
    taken = {
        split: {lang: speech.features(system, found, split, p, lang, shared=True) for lang in base.langs}
        for split in splits
    }
    return taken.get("train", {}), taken["val"]


def train(p: Params, watch: Callable | None = None) -> Trained:
    """Prepare what is missing, train, and load the best checkpoint of the run."""
    if p.processes > 1:
        run, result = together.train(p, watch)
        return Trained(voice(run), run, result)
    engine, entries = session.engine(p), given(p)
    sharding.allowed(p, engine)
    run = session.agreed(runs.start(p), engine)
    found = manifest.prepare(p, shared=True)
    with engine.main_process_first():
        heard = refined(entries, found, p, run) if entries else None
    taught = heard.beside(found) if heard else found
    system = beginning(p, taught.split("train"))  # all together: it may have to train a codec first
    p = system.p
    parts = [speech.features(system, taught, split, p, shared=True) for split in ("train", "val")]
    replayed, guard = replay(system, p)
    parts[0] = heard.mixed(parts[0], replayed) if heard else joined(parts[0], replayed)
    if (p.train.epochs, p.train.warmup_epochs) != (None, None):
        p = p.model_copy(update={"train": schedule.in_steps(p.train, epoch_steps(p, parts[0], engine.num_processes))})
    system.measure(parts[0])
    if hasattr(system, "meet"):  # what speaking in its voices takes beside their features
        system.meet(taught.split("train"), lambda row: speech.recording(taught, row, system.rate))
    listen = rehearsal.listener(run, system, found, p) if engine.is_main_process else None
    quarantined = [bad for part in (*parts, *guard.values()) for bad in part.quarantined]
    if engine.is_main_process and not p.resume:  # a resume may be refused, and then must leave the run as it was
        run.folder.mkdir(parents=True, exist_ok=True)
        checkpoint.write_json(run.folder / "data.json", {"manifest": str(found.folder), "digest": found.digest})
        checkpoint.write_json(run.folder / "quarantined.json", quarantined)
    track = Track(p, run, watch, main=engine.is_main_process)
    result = fit(system, *parts, p, run, track, listen and partial(listen, track), engine, guard)
    if result.stopped not in STATUS:
        run.begun.unlink(missing_ok=True)
    return Trained(voice(run), run, result)


def refined(entries: Sequence[Entry], found: Manifest, p: Params, run: runs.Run):
    """The run's feedback set, which the base is asked for: see `feedback.making.prepared`."""
    from ttslib.feedback.making import prepared

    return prepared(entries, base(p), lambda lang: recogniser(p, lang), found, p, run.folder / "feedback")


def recogniser(p: Params, lang: str):
    """Who reads speech of `lang` back. Raises `ParamsError` where `evaluate.recogniser` is nobody."""
    if p.evaluate.recogniser is None:
        raise ParamsError(
            "feedback: evaluate.recogniser is null, and somebody has to read the new attempts back; name one"
        )
    return judges.readers(p, manifest.read(manifest.folder(p)), [lang])[lang]


def epoch_steps(p: Params, clips: dataset.Features, processes: int) -> float:
    """Optimizer steps in a pass over the training clips, on average: batches are planned anew for each."""
    stream = dataset.Stream(
        clips.lengths,
        p.data.frames,
        p.seed,
        replayed=clips.replayed,
        ratio=p.replayed,
        shards=clips.shards,
        window=p.data.window,
    )
    return statistics.mean(len(stream.epoch(n)) for n in range(5)) / (p.data.accumulate * processes)


def beginning(p: Params, rows: Sequence[Row]):
    """The system as training starts: fresh, or grown from `p.adapt.base` with everything but what is to learn held."""
    if p.adapt.base is None:
        return system_class(p.system).fresh(p, rows)
    system = adapt.extend(base(p), p, rows)
    asked, taken = (getattr(some, p.system).model_dump() for some in (p, system.p))
    if differing := [f"{p.system}.{k}={taken[k]} (asked: {asked[k]})" for k in asked if asked[k] != taken[k]]:
        print(f"adapt.base decides: {', '.join(differing)}", file=sys.stderr)
    adapt.freeze(system, p.adapt)
    return system


def base(p: Params):
    """The trained system `p.adapt.base` names: a run, a checkpoint or exported folder, or what the system's `load` takes."""
    where, known = Path(p.adapt.base), system_class(p.system)
    if (where / "checkpoints").is_dir() or (where / "system.json").is_file():
        found = load(checkpoint_of(where))
    else:
        found = known.load(p.adapt.base)
    if not isinstance(found, known):
        raise adapt.AdaptError(
            f"adapt.base: {where} is of system {found.state()['system']}, this run is {p.system}"
            "; set system, or name another base"
        )
    return found


def checkpoint_of(folder: Path) -> Path:
    """The checkpoint to use in a run's folder (its best), or the folder itself when it is one."""
    if (folder / "system.json").is_file():
        return folder
    if (best := runs.Run(folder).trained) is None:
        raise runs.RunError(
            f"{folder}: neither a run with a checkpoint nor a checkpoint folder"
            "; give one, such as outputs/<lang>/<system>/<run>"
        )
    return best


def voice(run: runs.Run):
    """The best checkpoint of a run, ready to speak."""
    return load(run.trained)


def load(folder: str | Path):
    """The system stored in a checkpoint or exported folder, whichever system it is."""
    checkpoint.sound(Path(folder), only="system.json")  # the system verifies the rest as it loads it
    state = checkpoint.read_json(Path(folder) / "system.json")
    system = system_class(state["system"]).load(folder)
    for lang, trained in system.tokenizer.versions.items():
        if (here := normalisers.version(lang)) != trained:
            print(f"{folder}: trained on text of normaliser {trained}, which is now {here}: numerals and "
                  "abbreviations may be spoken otherwise than it learnt", file=sys.stderr)  # fmt: skip
    return system


def speak(system, texts: Sequence[str], folder: Path, **choices) -> list[Path]:
    """Each text to `folder/<number>.wav`; `choices` are the system's own (voice, lang, seed, speaking_rate)."""
    return [
        audio.save(folder / f"{i:04d}.wav", system.synthesize(text, **choices), system.rate)
        for i, text in enumerate(texts)
    ]


def trained(p: Params, watch: Callable | None = None) -> runs.Run:
    """The run to listen to; where there is none yet it is trained first, and that is said.

    One that was begun here and killed is trained to its end: half of it would be another voice. Raises `Stopped` when a
    signal ends the training.
    """
    try:
        run = runs.find(p)
        if not run.begun.exists():
            return run
        print(f"{run.folder}: its training was stopped; going on with it.", file=sys.stderr)
    except runs.RunError as missing:
        print(f"{missing}\n... training it now.", file=sys.stderr)
        run = runs.begun(p) or runs.start(p)
    run.folder.mkdir(parents=True, exist_ok=True)
    run.begun.touch()
    done = train(p.model_copy(update={"run": run.name, "resume": bool(checkpoint.listed(run.checkpoints))}), watch)
    if (name := done.result.stopped) in STATUS:
        raise Stopped(f"{run.folder}: stopped by {name} at step {done.result.steps}; call again to go on", name)
    return done.run
