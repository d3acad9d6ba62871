"""A codec of ours for a corpus: found where it was trained before, else trained now, through the one loop.

    outputs/<lang>/codecs/<name>-<digest>/      codec.json  model.safetensors     what `at_hand` gives
    outputs/<lang>/mel_codec/<name>-<digest>/   checkpoints, history              the run that trained it

The digest is over the section `mel_codec`, the seed, the manifest and `RECIPE`: another corpus is another codec.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from ttslib import checkpoint, disk, manifest, paths, session, speech
from ttslib.codecs.mel import MelCodec
from ttslib.codecs.trainee import Trainee
from ttslib.dataset import Example, Features
from ttslib.params import Params
from ttslib.runs import Run
from ttslib.sections import Adapt, Data, Replay, Train
from ttslib.stop import STATUS, Stopped
from ttslib.track import Track
from ttslib.train import fit

RECIPE = 1  # of network, losses and training: what another one has trained is not found again
EVALUATIONS, EMA = 5, 0.999


def at_hand(p: Params) -> MelCodec:
    """The codec `p.codec` trained on the corpus of `p`; trained first where there is none, which is said on stderr.

    A run that was killed is taken up where its last checkpoint is; the codec's folder appears when it is whole. Its loop is
    `fit`: under `accelerate launch` all processes have to come here together, and outside of `main_process_first`. The same
    params and machine give the same codec, unless `mel_codec.minutes` lets the clock decide. Raises `CodecError` when a
    signal ends the training.
    """
    engine = session.engine(p)
    found = manifest.prepare(p, shared=True)
    told = [RECIPE, p.mel_codec.model_dump(mode="json"), p.seed, found.digest]
    name = f"{p.codec}-{hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]}"
    where = paths.outputs() / p.lang / "codecs" / name
    if not session.agreed((where / "codec.json").is_file(), engine):
        with checkpoint.own_rng(p.seed):  # whether it was there or not, the caller draws the same numbers afterwards
            trained(p, name, found, where, engine)
        engine.wait_for_everyone()
    return MelCodec.load(where)


def trained(p: Params, name: str, found: manifest.Manifest, where: Path, engine) -> None:
    """Train the codec and put it into the folder `where`, in one move."""
    minutes = sum(row.seconds for row in found.split("train")) / 60
    length = f"{p.mel_codec.steps} steps" if p.mel_codec.minutes is None else f"{p.mel_codec.minutes:g} min"
    say(engine, f"codec {p.codec}: none here yet for this corpus; training one on {minutes:.1f} min ({length})")
    q, run = settings(p, name), Run(paths.outputs() / p.lang / "mel_codec" / name)
    trainee = Trainee(q)
    train, val = (speech.features(trainee, found, split, q, shared=True) for split in ("train", "val"))
    trainee.measure(train)
    begun = session.agreed(bool(checkpoint.listed(run.checkpoints)), engine)
    try:
        result = learn(trainee, train, val, q.model_copy(update={"resume": begun}), run, engine)
    except checkpoint.CheckpointError as reason:
        if not begun:
            raise
        say(engine, f"codec {p.codec}: a killed run cannot be continued, starting over: {reason}")
        if engine.is_main_process:
            shutil.rmtree(run.folder)
        engine.wait_for_everyone()
        trainee = Trainee(q)
        trainee.measure(train)
        result = learn(trainee, train, val, q, run, engine)
    if result.stopped in STATUS:
        raise Stopped(
            f"codec {p.codec}: stopped by {result.stopped} at step {result.steps}; call again to go on", result.stopped
        )
    trainee.take(run.trained)
    if engine.is_main_process:
        trainee.standardise(train)
        codec = trainee.codec.to("cpu")
        codec.about = about(codec, train, val) | {"minutes": round(minutes, 2), "steps": result.steps}
        codec.about |= {"corpus": found.digest, "seed": p.seed, "seconds": round(result.seconds, 1)}
        publish(codec, where)
    told = ", ".join(f"{key} {value:.4g}" for key, value in trainee.codec.about.items() if isinstance(value, float))
    say(engine, f"codec {p.codec}: {result.steps} steps, {told}; in {where}")


def settings(p: Params, name: str) -> Params:
    """The params of the training: what `p` says of the machine and the corpus, and what its section `mel_codec` says."""
    c = p.mel_codec
    every = max(1, c.steps // EVALUATIONS)
    train = Train(
        steps=c.steps, lr=c.lr, warmup=min(100, c.steps // 10), ema=EMA, evaluate_every=every, checkpoint_every=every,
        log_every=min(10, every), keep=1,
    )  # fmt: skip
    data = Data(frames=c.frames, ram_gb=p.data.ram_gb, workers=p.data.workers)
    own = {"system": "mel_codec", "run": name, "resume": False, "minutes": c.minutes, "train": train, "data": data}
    own |= {"sharding": "none"}  # a codec is small
    return p.model_copy(update=own | {"adapt": Adapt(), "replay": Replay()})


def learn(trainee: Trainee, train: Features, val: Features, q: Params, run: Run, engine):
    track = Track(q, run, main=engine.is_main_process)
    return fit(trainee, train, val, q, run, track, engine=engine)


def about(codec: MelCodec, train: Sequence[Example], val: Sequence[Example]) -> dict[str, float]:
    """Held-out quality, `mel_l1` (nats a band and frame), and which ids the training clips take: `used`, the share that
    occurs, and their `perplexity`. Held-out clips are too few to tell."""
    error = frames = 0.0
    for example in val:
        mel = example["mel"].T
        error += (codec.decode_mel(codec.encode_mel(mel)) - mel).abs().mean(1).sum().item()
        frames += len(mel)
    numbers = {"mel_l1": error / frames}
    if codec.vocab:
        ids = torch.cat([codec.encode_mel(example["mel"].T) for example in train])
        share = torch.bincount(ids, minlength=codec.vocab).double() / len(ids)
        share = share[share > 0]
        numbers |= {"used": len(share) / codec.vocab, "perplexity": float((-(share * share.log()).sum()).exp())}
    return numbers


def publish(codec: MelCodec, where: Path) -> None:
    """The codec's folder, whole or not at all."""
    where.parent.mkdir(parents=True, exist_ok=True)
    disk.sweep(where.parent, ".writing-*")
    partial = codec.save(where.parent / f".writing-{where.name}-{os.getpid()}")
    checkpoint.sync(partial)
    if where.exists():  # without its codec.json, which comes last: nothing that was ever whole
        shutil.rmtree(where)
    partial.rename(where)
    checkpoint.sync(where.parent)


def say(engine, line: str) -> None:
    if engine.is_main_process:
        print(line, file=sys.stderr, flush=True)
