"""The jobs a notebook and the command line share: features, a training run, a trained voice, spoken sentences."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ttslib import audio, checkpoint, dataset, manifest, runs, session, show
from ttslib import evaluate as scores
from ttslib.manifest import Manifest, Row
from ttslib.params import Params
from ttslib.systems import system_class
from ttslib.track import Track
from ttslib.train import Result, fit


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
    return torch.from_numpy(audio.resample(span, native, rate) if native != rate else span.copy())


def features(system, found: Manifest, split: str, p: Params) -> dataset.Features:
    """The encoded clips of one split, from the cache beside the manifest where they are already there."""
    cache = found.folder / "features"
    return dataset.encode_all(
        system, found.split(split), lambda row: recording(found, row, system.rate), cache, p.data.ram_gb
    )


def train(p: Params, watch: Callable | None = None) -> Trained:
    """Prepare what is missing, train, and load the best checkpoint of the run."""
    engine = session.engine(p)
    with engine.main_process_first():
        found = manifest.prepare(p)
        system = system_class(p.system).fresh(p, found.split("train"))
        parts = [features(system, found, split, p) for split in ("train", "val")]
    system.measure(parts[0])
    run = session.agreed(runs.start(p), engine)
    if engine.is_main_process:
        run.folder.mkdir(parents=True, exist_ok=True)
        checkpoint.write_json(run.folder / "data.json", {"manifest": str(found.folder), "digest": found.digest})
        checkpoint.write_json(run.folder / "quarantined.json", [bad for part in parts for bad in part.quarantined])
    track = Track(p, run, watch, main=engine.is_main_process)
    result = fit(system, *parts, p, run, track, listener(run, track, fixed_sentences(p, found)), engine)
    return Trained(voice(run), run, result)


def voice(run: runs.Run):
    """The best checkpoint of a run, ready to speak."""
    return load(run.trained)


def load(folder: str | Path):
    """The system stored in a checkpoint or exported folder, whichever system it is."""
    state = checkpoint.read_json(Path(folder) / "system.json")
    return system_class(state["system"]).load(folder)


def fixed_sentences(p: Params, found: Manifest, count: int = 3) -> list[tuple[str, str, str]]:
    """What is spoken at every evaluation, as `(text, lang, speaker)`: the params' own, else the first held-out ones."""
    held = found.split("test") or found.split("val") or found.split("train")
    if p.synthesis.sentences:
        return [(text, held[0].lang, held[0].speaker) for text in p.synthesis.sentences]
    held = sorted(held, key=lambda row: abs(row.seconds - 3.0))[:count]  # neither a single word nor a paragraph
    return [(row.raw, row.lang, row.speaker) for row in held]


def listener(run: runs.Run, track: Track, sentences: Sequence[tuple[str, str, str]]) -> Callable:
    """A function for `fit`: speaks the sentences at an evaluation into `samples/step_<step>/` and the dashboards."""

    def listen(system, step: int) -> None:
        for i, (text, lang, speaker) in enumerate(sentences):
            wav = system.synthesize(text, voice=speaker, lang=lang)
            file = audio.save(run.samples / f"step_{step:06d}" / f"{i}.wav", wav, system.rate)
            mel = audio.log_mel(wav, system.rate).T
            track.listen(str(i), file, text, show.png(show.mel(mel, audio.HOP / system.rate)), step)

    return listen


def speak(system, texts: Sequence[str], folder: Path, **choices) -> list[Path]:
    """Each text to `folder/<number>.wav`; `choices` are the system's own (voice, lang, seed, speaking_rate)."""
    return [
        audio.save(folder / f"{i:04d}.wav", system.synthesize(text, **choices), system.rate)
        for i, text in enumerate(texts)
    ]


def evaluate(folder: str | Path) -> dict:
    """Score a run on its held-out clips and write `scorecard.json` into it."""
    run = runs.Run(Path(folder))
    if run.trained is None:
        raise runs.RunError(f"{folder}: no checkpoint in it; give a run's folder, outputs/<lang>/<system>/<run>")
    found = manifest.read(checkpoint.read_json(run.folder / "data.json")["manifest"])
    system = voice(run)
    held = found.split("test") or found.split("val")
    card = scores.scorecard(system, held, lambda row: recording(found, row, system.rate))
    card |= {"run": str(run.folder), "checkpoint": run.trained.resolve().name, "source": held[0].source}
    checkpoint.write_json(run.folder / "scorecard.json", card)
    return card
