"""Check `codes`: are the targets those of these recordings, and of this codec? Without one: are features what they were?"""

import numpy as np
import torch

from ttslib import audio, codecs
from ttslib.checks.rows import Failed, few
from ttslib.checks.subject import Subject, spread
from ttslib.encoding import checked
from ttslib.evaluate import distances as scores
from ttslib.features import Features
from ttslib.manifest import Row

AGAIN, LOOKED_AT = 4, 500  # clips that are encoded again, examples whose codes are looked through
# Share of equal codes: another device rounds otherwise and moves a code now and then; random ones share none.
SAME = 0.9
REMEDY = "remove the folders codes/ and features/ beside the manifest and prepare again"


def codes(s: Subject) -> str:
    """Examples agree with a fresh encoding of their recordings; codes are in range and of the codec that is named."""
    clips = s.chosen(spread(s.order(), AGAIN))
    codec = s.codec()
    told = features(s, clips) if codec is None else coded(s, clips, codec)
    if bad := s.train.quarantined:
        told += f"; {len(bad)} clips are left out, as {bad[0]['id']}: {bad[0]['reason']}"
    return f"{len(s.train)} examples; {told}"


def features(s: Subject, clips: Features) -> str:
    """Encoding twice gives the same finite tensors, which are those that training would read."""
    for row, example in zip(s.rows(clips), clips, strict=True):
        one, two = (checked(s.system.encode(row, s.read(row))) for _ in range(2))
        if uneven := [name for name in one if not one[name].equal(two[name])]:
            raise Failed(
                f"{row.id}: encoded twice, {few(uneven)} differ",
                "encode must be pure: no random draws, no state",
            )
        if stale := [name for name in one if name not in example or not close(one[name], example[name])]:
            raise Failed(f"{row.id}: {few(stale)} in the cache are not what encoding gives", REMEDY)
    return f"{len(clips)} encoded twice: finite, the same, and as in the cache"


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one.double(), other.double(), atol=1e-4)


def coded(s: Subject, clips: Features, codec) -> str:
    kept, vocab = s.system.kept, codec.vocab
    if kept is not None and (kept.name, kept.hash) != (codec.name, codec.hash):
        raise Failed(
            f"the kept codes are of codec {kept.name} ({kept.hash[:12]}), the system's is {codec.name} ({codec.hash[:12]})",
            "codes of two codecs do not mix: name the first in `codec`, or prepare again",
        )
    for index in spread(range(len(s.train)), LOOKED_AT):
        ids = s.train[index][s.system.length_of]
        if outside := ids[(ids < 0) | (ids >= vocab)].tolist():
            raise Failed(
                f"{s.train.ids[index]}: codes out of range: {few([*map(str, outside)])}; {codec.name} has 0..{vocab - 1}",
                REMEDY,
            )
    rows, shares, made = s.rows(clips), [], []
    for row, example in zip(rows, clips, strict=True):
        made.append(fresh := codec.encode(s.read(row, codec.rate)))
        stored = {"example": example[s.system.length_of]} | ({"kept codes": kept[row]} if kept is not None else {})
        for what, ids in stored.items():
            share = (ids == fresh).double().mean().item() if ids.shape == fresh.shape else 0.0
            shares.append(share)
            if share < SAME:
                raise Failed(
                    f"{row.id}: {share:.0%} of its {what} ({len(ids)}) are those of its recording ({len(fresh)})",
                    f"the codes are of other recordings or another codec; {REMEDY}",
                )
    told = f"{codec.name}, {vocab} codes; {len(rows)} clips encoded again, {min(shares):.0%} of codes the same"
    return f"{told}; {heard(s, rows, codec, made)}"


def heard(s: Subject, rows: list[Row], codec, made: list[torch.Tensor]) -> str:
    """Codes `made` of these rows, when decoded, resemble their own recordings more than the others do.

    Compared frame by frame, because codes keep the timing: warping would forgive a codec most of what it loses.
    """
    recordings = [s.read(row, codec.rate) for row in rows]
    try:
        spoken = [codec.decode(c, codec.voice(wav) or None) for c, wav in zip(made, recordings, strict=True)]
    except codecs.CodecError as error:
        return f"not decoded: {error}"
    truth = [cepstra(wav, codec.rate) for wav in recordings]
    copies = [cepstra(wav, codec.rate_out) for wav in spoken]
    distance = np.array([[scores.mcd(a, b, straight(a, b)) for b in copies] for a in truth])
    own = distance.diagonal().mean()
    if len(rows) < 2:
        return f"decoded {own:.1f} dB from the recording (a single clip: nothing to compare with)"
    other = distance[~np.eye(len(rows), dtype=bool)].mean()
    if not own < other:
        raise Failed(
            f"decoded codes are {own:.1f} dB from their own recordings and {other:.1f} dB from others",
            "the codec does not carry this speech: train it for longer (mel_codec.steps), or take another",
        )
    return f"decoded {own:.1f} dB from their own recordings, {other:.1f} dB from others"


def cepstra(wav: torch.Tensor, rate: int) -> np.ndarray:
    return scores.cepstra(torch.as_tensor(audio.resampled(wav, rate, scores.RATE)))


def straight(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The path `(steps, 2)` that warps nothing, as far as both go."""
    return np.arange(min(len(a), len(b)))[:, None].repeat(2, axis=1)
