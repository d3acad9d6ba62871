"""The jobs a notebook and the command line share: features, a training run, a trained voice, spoken sentences."""

import gc
import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from ttslib import (
    adapt,
    audio,
    checkpoint,
    codecs,
    dataset,
    dealt,
    encoding,
    forgetting,
    manifest,
    runs,
    schedule,
    session,
    sharded,
    sharding,
    show,
    together,
)
from ttslib import text as normalisers
from ttslib.codecs import kept, spread
from ttslib.evaluate import judges
from ttslib.evaluate.choice import Small, Verdict
from ttslib.evaluate.judges import Asked, Judges
from ttslib.features import joined
from ttslib.feedback import Entry
from ttslib.feedback import asked as given
from ttslib.manifest import Manifest, Row
from ttslib.params import Params, ParamsError
from ttslib.processes import cores, launched, place
from ttslib.stop import STATUS, Stopped
from ttslib.systems import system_class
from ttslib.track import Track
from ttslib.train import Result, fit

RATE = 16000  # Hz, of what is only to be heard


@dataclass
class Trained:
    """A finished run and the voice it trained, with the best weights loaded."""

    system: object
    run: runs.Run
    result: Result


def recording(found: Manifest, row: Row, rate: int) -> Tensor:
    """The row's speech `(samples,)` at `rate`, silence at its ends trimmed as the manifest says.

    Raises `BadClip` when the file is gone or no longer decodes.
    """
    try:
        wav, native = audio.load(found.audio(row))
    except audio.AudioError as error:
        raise dataset.BadClip(str(error)) from None
    span = wav[round(row.start * native) : round(row.end * native)]
    if not len(span):
        raise dataset.BadClip(f"{found.audio(row)}: it ends before the clip's {row.start:.2f} s; has the file changed?")
    return torch.from_numpy(audio.resample(span, native, rate) if native != rate else span.copy())


def codes(codec, found: Manifest, rows: Sequence[Row], p: Params, rank: int = 0, processes: int = 1) -> kept.Kept:
    """The codes of these clips, kept beside the manifest; the missing ones are computed on the device of `p`, and where
    there are several processes, this one's part of them. Raises `CodecError`."""
    device, folder = launched(p.device).device, found.folder / "codes"
    read = reader(codec, found)
    if device.type == "cpu":
        return spread.keep(codec, folder, rows, read, p.threads or cores(), p.data.ram_gb, rank, processes)
    codec.to(device)
    made = kept.keep(codec, folder, rows, read, rank=rank, processes=processes)
    codec.to("cpu")  # what trains next needs the memory
    return made


@dataclass(frozen=True)
class Reader:
    """`recording` of a manifest's rows, as processes can be given it; rows in `without` (id -> reason) have none."""

    found: Manifest
    rate: int
    without: Mapping[str, str]

    def __call__(self, row: Row) -> Tensor:
        if row.id in self.without:
            raise dataset.BadClip(self.without[row.id])
        return recording(self.found, row, self.rate)

    def stamp(self, row: Row) -> list[int] | None:
        """When the row's file was last changed, and its size; None where it is gone."""
        if row.id in self.without:
            return None
        try:
            about = self.found.audio(row).stat()
        except OSError:
            return None
        return [about.st_mtime_ns, about.st_size]


def reader(system, found: Manifest, without: Mapping[str, str] = MappingProxyType({})) -> Reader:
    """`recording` of a row at the rate of a system or codec; it takes none of the manifest's rows along."""
    return Reader(replace(found, rows=(), dropped=()), system.rate, without)


def features(
    system, found: Manifest, split: str, p: Params, lang: str | None = None, shared: bool = False
) -> dataset.Features:
    """The encoded clips of one split (and one language), from the cache beside the manifest where they are already there,
    or out of the shards `data.shards`.

    `shared`: all processes of this launch call this, and each encodes its part of what is missing.
    A system that has a `codec` and `kept` (None at first) finds the codes of these clips, and of those before, in `kept`.
    """
    state = launched(p.device)
    rank, count = place() if shared else (0, 1)
    if p.data.shards is not None and lang is None:  # what is replayed is of another corpus, in files
        return sharded.opened(system, found, split, p)
    cache, rows = found.folder / "features", [row for row in found.split(split) if lang in (None, row.lang)]
    codeless = {}
    if hasattr(system, "kept"):  # not with a codec that is being trained: its codes are not worth keeping yet
        made = dealt.parts(lambda: codes(system.codec, found, rows, p, rank, count), count, tell=False)[rank]
        if count > 1:
            made = codes(system.codec, found, rows, p)  # of all processes
        system.kept = made if system.kept is None else system.kept | made
        codeless = {bad["id"]: bad["reason"] for bad in made.quarantined}
    read = reader(system, found, codeless)
    listen_on = getattr(system, "listen_on", lambda device: None)
    listen_on(state.device)
    try:
        return encoding.encode_all(
            system, rows, read, cache, p.data.ram_gb, stamp=read.stamp, cores=p.threads or cores(),
            rank=rank, processes=count,
        )  # fmt: skip
    finally:
        listen_on("cpu")  # what trains next needs the memory


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
        split: {lang: features(system, found, split, p, lang, shared=True) for lang in base.langs} for split in splits
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
    parts = [features(system, taught, split, p, shared=True) for split in ("train", "val")]
    replayed, guard = replay(system, p)
    parts[0] = heard.mixed(parts[0], replayed) if heard else joined(parts[0], replayed)
    if (p.train.epochs, p.train.warmup_epochs) != (None, None):
        p = p.model_copy(update={"train": schedule.in_steps(p.train, epoch_steps(p, parts[0], engine.num_processes))})
    system.measure(parts[0])
    if hasattr(system, "meet"):  # what speaking in its voices takes beside their features
        system.meet(taught.split("train"), lambda row: recording(taught, row, system.rate))
    listen = listener(run, system, found, p) if engine.is_main_process else None
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


def align(system, found: Manifest, row: Row) -> dict[str, np.ndarray]:
    """What a trained system hears in one clip: `durations` (tokens,), and `mel`, `recording` (mels, frames)."""
    batch = dataset.collate([system.encode(row, recording(found, row, system.rate))])
    return {name: value[0].numpy() for name, value in system.align(batch).items()}


def copies(p: Params, found: Manifest, count: int = 3) -> list[dict[str, tuple[Tensor, int]]]:
    """Held-out recordings `(samples,), Hz` beside what mel and Griffin-Lim leave of them and, where the system learns codes,
    what its codec leaves: no voice can sound better. A codec of ours that is missing is trained."""
    codec, made = codecs.of(p) if p.codec else None, []
    for row in held_out(found, count):
        wav = recording(found, row, RATE)
        made.append({"recording": (wav, RATE), "vocoder only": (vocoded(wav, RATE), RATE)})
        if codec is not None:
            heard = recording(found, row, codec.rate)
            made[-1][codec.name] = codec.decode(codec.encode(heard), codec.voice(heard) or None), codec.rate_out
    return made


def codec_facts(p: Params) -> list[dict]:
    """What there is to know of the codec that `p` names, as rows of a table; one row that says so where it names none."""
    if p.codec is None:
        return [{"codec": f"none: system {p.system} learns from sound itself"}]
    codec = codecs.of(p)
    told = {"codec": codec.name, "hash": codec.hash[:12], "codes a second": codec.frame_rate}
    if codec.vocab is not None:
        told |= {"codes": codec.vocab, "bits a second": round(codec.frame_rate * math.log2(codec.vocab))}
    about = {name.replace("_", " "): value for name, value in getattr(codec, "about", {}).items() if name != "corpus"}
    return [told | {"latents": codec.dim} | about if codec.vocab is None else told | about]


def vocoded(wav: Tensor, rate: int) -> Tensor:
    """`(samples,)` through mel and Griffin-Lim: what the vocoder alone does to a recording."""
    return audio.griffin_lim(audio.log_mel(wav, rate), rate)


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
