"""A recogniser of ours, trained in minutes on one language's speech.

    recogniser = training.for_language(p, found, "am")               # found where it was trained before, else trained
    recogniser = training.train(pairs, "am", minutes=4)              # on (samples at 16 kHz, text) pairs

    outputs/<lang>/recognisers/ctc-<digest>/                         what `recognise.of("ctc=<folder>")` opens

A corpus's own training recordings teach it; the embedded default, which espeak-ng speaks, gives way to other sentences by
other voices (`synthetic`). Short clips come first (SortaGrad, Amodei et al. 2016): CTC finds the letters in them within a
minute, and in whole sentences not within four.
"""

import hashlib
import json
import math
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ttslib import checkpoint, dataset, paths, speech
from ttslib.manifest import Manifest
from ttslib.params import Params
from ttslib.recognise import RATE, RecogniserError, synthetic
from ttslib.recognise.ctc import HOP, MELS, CtcRecogniser, features
from ttslib.transcripts import bare

RECIPE = 1  # of network, speech and training: what another one has trained is not found again
WIDTH, DEPTH, STRIDES = 192, 6, (4, 3, 2)
FRAMES = 2000  # mels of 10 ms in a batch, padding included
LR, WARMUP, FINAL_LR, DECAY, CLIP = 3e-3, 50, 0.02, 0.01, 1.0
UTTERANCES_A_MINUTE = 500  # of synthetic speech: a sixth of the time
STRETCH, SHIFT = (0.9, 1.15), 0.04  # of a batch: how long it becomes; how far its bands move, as a share of all bands
ROOM = 1.3  # frames for every label, so that CTC has some to choose from, stretched or not
FREQUENCY_MASKS, WIDEST, LONGEST_MASK, EVERY = 1, 15, 5, 100  # SpecAugment: masks; bands; frames; frames a mask


def for_language(p: Params, found: Manifest, lang: str, seed: int = 0) -> CtcRecogniser:
    """A recogniser of `lang` for the corpus `found`; trained first where there is none, in `evaluate.recogniser_minutes` of
    wall clock, the making of synthetic speech included, or in `evaluate.recogniser_steps`.

    Raises `RecogniserError` when the corpus has nothing to learn from.
    """
    minutes, steps = p.evaluate.recogniser_minutes, p.evaluate.recogniser_steps
    found = replace(found, rows=tuple(row for row in found.rows if row.lang == lang))
    told = [RECIPE, minutes, steps, seed, found.digest]
    name = f"ctc-{hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]}"
    where = paths.outputs() / lang / "recognisers" / name
    if (where / "recogniser.json").is_file():
        return CtcRecogniser.load(where)
    print(f"a recogniser of {lang} is trained, {minutes:g} minutes: {where}", file=sys.stderr)
    began = time.monotonic()
    held = {bare(row.text, lang) for row in found.rows if row.split != "train"}
    if p.corpus.source == "espeak":
        count = round(UTTERANCES_A_MINUTE * minutes)
        pairs = list(synthetic.pairs(p, found, lang, count, seed))
        variants = len(synthetic.others(lang, p.corpus.voices))
        source = f"espeak-ng {lang}, {count} made sentences by {variants} variants"
    else:
        rows = [row for row in found.split("train") if bare(row.text, lang) not in held]
        pairs = [(speech.recording(found, row, RATE), row.text) for row in rows]
        source = f"{rows[0].source if rows else 'nothing'}, {len(rows)} training recordings of this corpus"
    if leaked := sorted(held & {bare(line, lang) for _, line in pairs}):
        raise RecogniserError(f"{len(leaked)} held-out sentences are among those to learn from, as {leaked[0]!r}")
    spent = (time.monotonic() - began) / 60
    made = train(pairs, lang, max(minutes - spent, 0.0), steps, seed)
    made.about |= {"trained_on": source, "corpus": found.digest, "minutes_with_speech": (time.monotonic() - began) / 60}
    made.save(where)
    print(f"{made.name}: {made.about['steps']} steps on {source}; in {where}", file=sys.stderr)
    return made


def train(
    pairs: Iterable[tuple[Tensor, str]],
    lang: str,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
) -> CtcRecogniser:
    """Train on `(samples,)` at 16 kHz and their texts, for so many minutes or so many steps (which win).

    The same pairs, steps and seed on the same machine give the same weights; minutes let the clock decide. Raises
    `RecogniserError` for no pairs, texts without letters, or clips too short for their texts.
    """
    if minutes is None and steps is None:
        raise RecogniserError("how long? give minutes or steps")
    began = time.monotonic()
    spoken = [(features(wav), bare(line, lang)) for wav, line in pairs]
    characters = [" ", *sorted({char for _, line in spoken for char in line} - {" "})]
    ids = {char: number for number, char in enumerate(characters, 1)}
    labelled = [(mels, torch.tensor([ids[char] for char in line])) for mels, line in spoken if line]
    stride = stride_of(labelled, lang)
    clips = [clip for clip in labelled if fits(clip, stride)]
    with checkpoint.own_rng(seed):
        made = CtcRecogniser(lang, characters, {"width": WIDTH, "depth": DEPTH, "stride": stride})
        left = minutes and max(minutes - (time.monotonic() - began) / 60, 0.0)
        taken, loss = learn(made.net, clips, left, steps, seed)
    if not taken:
        raise RecogniserError(f"{lang}: not one step in {minutes} minutes; give it more")
    digest = hashlib.sha256()
    for mels, labels in clips:
        digest.update(mels.numpy().tobytes() + labels.numpy().tobytes())
    made.about = {
        "trained_on": f"{len(clips)} clips", "speech_minutes": round(sum(len(m) for m, _ in clips) * HOP / RATE / 60, 2),
        "set_aside": len(spoken) - len(clips), "data": digest.hexdigest(), "steps": taken, "seed": seed,
        "minutes": round((time.monotonic() - began) / 60, 3), "threads": torch.get_num_threads(), "loss": round(loss, 4),
    }  # fmt: skip
    return made


def stride_of(clips: Sequence[tuple[Tensor, Tensor]], lang: str) -> int:
    """The coarsest of `STRIDES` into which 98 clips in 100 fit: fewer frames cost less, and each hears more."""
    for stride in STRIDES:
        if clips and sum(fits(clip, stride) for clip in clips) >= 0.98 * len(clips):
            return stride
    raise RecogniserError(
        f"{lang}: {len(clips)} clips with letters, most of them too short for their texts; are the texts those of the clips?"
        if clips
        else f"{lang}: no clips with letters to learn from"
    )


def fits(clip: tuple[Tensor, Tensor], stride: int) -> bool:
    """CTC wants a frame a label and one between two equal ones."""
    mels, labels = clip
    return len(mels) // stride >= ROOM * (len(labels) + int((labels[1:] == labels[:-1]).sum()))


def learn(
    net: nn.Module, clips: Sequence[tuple[Tensor, Tensor]], minutes: float | None, steps: int | None, seed: int
) -> tuple[int, float]:
    """Warm-up, then a cosine down over the steps or the time; `(steps taken, mean loss a label of the last 50)`."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=LR, betas=(0.9, 0.98), weight_decay=DECAY, fused=True)
    began, step, losses = time.monotonic(), 0, []
    net.train()
    for batch in batches([len(mels) for mels, _ in clips], seed):
        done = step / steps if steps is not None else (time.monotonic() - began) / (60 * minutes) if minutes else 1.0
        if done >= 1.0:
            break
        rate = LR * min(1.0, (step + 1) / WARMUP) * (FINAL_LR + (1 - FINAL_LR) * 0.5 * (1 + math.cos(math.pi * done)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        lengths = torch.tensor([len(clips[i][0]) for i in batch])
        mels, lengths = warped(pad_sequence([clips[i][0] for i in batch], batch_first=True), lengths)
        mels = masked(mels, lengths)
        labels = [clips[i][1] for i in batch]
        scores, frames = net(mels, lengths)
        counts = torch.tensor([len(one) for one in labels])
        loss = F.ctc_loss(scores.transpose(0, 1), torch.cat(labels), frames, counts)
        if not loss.isfinite():
            raise RecogniserError(f"the loss is {loss.item()} at step {step}; are the clips' samples in [-1, 1]?")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        optimizer.step()
        losses, step = [*losses[-49:], loss.item()], step + 1
    net.eval()
    return step, float(np.mean(losses)) if losses else math.nan


def batches(lengths: Sequence[int], seed: int) -> Iterable[list[int]]:
    """Batches for ever: the first epoch from the shortest clips to the longest, then in any order."""
    epoch = 0
    while True:
        planned = dataset.plan(lengths, FRAMES, seed, epoch)
        yield from planned if epoch else sorted(planned, key=lambda batch: max(lengths[i] for i in batch))
        epoch += 1


def warped(mels: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Another tempo and another size of the head for a batch `(clips, frames, bands)`: stretched in time, and its bands
    moved up or down (vocal tract length perturbation, Jaitly and Hinton 2013), by linear interpolation."""
    low, high = STRETCH
    stretch, shift = low + (high - low) * float(torch.rand(())), 1 + SHIFT * (2 * float(torch.rand(())) - 1)
    frames, bands = round(mels.shape[1] * stretch), round(MELS * shift)
    mels = F.interpolate(mels[:, None], size=(frames, bands), mode="bilinear")[:, 0, :, :MELS]
    lengths = (lengths * stretch).floor().long().clamp(1, frames)
    mels = F.pad(mels, (0, MELS - mels.shape[2]))
    return mels * (torch.arange(frames)[None] < lengths[:, None])[..., None], lengths


def masked(mels: Tensor, lengths: Tensor) -> Tensor:
    """SpecAugment (Park et al. 2019) without warping: bands and short spans of every clip set to their mean, zero."""
    for clip, length in zip(mels, lengths.tolist(), strict=True):
        for width in torch.randint(0, WIDEST + 1, (FREQUENCY_MASKS,)).tolist():
            first = int(torch.randint(0, MELS - width + 1, ()))
            clip[:, first : first + width] = 0
        for width in torch.randint(0, LONGEST_MASK + 1, (max(1, length // EVERY),)).tolist():
            first = int(torch.randint(0, max(1, length - width), ()))
            clip[first : first + width] = 0
    return mels
