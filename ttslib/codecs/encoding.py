"""Clips through a codec in batches of like length, with a verdict on each: its codes as they are stored, or why none."""

import sys
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ttslib.codecs import Codec, CodecError
from ttslib.dataset import BadClip
from ttslib.manifest import Row


def by_length(rows: Sequence[Row]) -> list[Row]:
    """The longest first, so that what does not fit into memory is found at once."""
    return sorted(rows, key=lambda row: (-row.seconds, row.id))


def batches(rows: Sequence[Row], budget_seconds: float) -> list[list[Row]]:
    """Rows of similar length together: a batch of k clips costs k x its longest, and a clip longer than the budget is a
    batch of its own."""
    made: list[list[Row]] = []
    for row in by_length(rows):
        if made and (len(made[-1]) + 1) * made[-1][0].seconds <= budget_seconds:
            made[-1].append(row)
        else:
            made.append([row])
    return made


def computed(
    codec: Codec, work: Sequence[Sequence[Row]], read: Callable[[Row], Tensor], quiet: bool
) -> Iterator[tuple[Row, Tensor | BadClip]]:
    """Each row of the batches with its codes, or why it has none."""
    from tqdm import tqdm

    log, total = not sys.stderr.isatty(), sum(map(len, work))
    pace = {"mininterval": 10 if log else 0.1, "delay": 5 if log else 0, "disable": quiet or not total}
    with tqdm(total=total, desc=f"codes {codec.name}", unit="clip", **pace) as bar:
        for batch in work:
            readable, wavs = [], []
            for row in batch:
                try:
                    wavs.append(finite(read(row), "its samples are"))
                    readable.append(row)
                except BadClip as reason:
                    yield row, reason
            yield from zip(readable, encoded(codec, wavs), strict=True)
            bar.update(len(batch))


def encoded(codec: Codec, wavs: Sequence[Tensor]) -> list[Tensor | BadClip]:
    """The codes of each, or why it has none: a clip that the codec refuses does not take its batch with it."""
    try:
        return [stored(codec, codes) for codes in codec.encode_batch(wavs)] if wavs else []
    except BadClip as reason:
        return [reason] if len(wavs) == 1 else [codes for wav in wavs for codes in encoded(codec, [wav])]


def stored(codec: Codec, codes: Tensor) -> Tensor:
    """Codes as int16 (int32 for vocabularies from 32768), latents as float32, on the CPU, in memory of their own.

    Raises `BadClip` when there is no frame or a latent is not finite, `CodecError` for what the codec must not give.
    """
    if not len(codes):
        raise BadClip(f"codec {codec.name} makes no frame of it: it is too short")
    if codec.vocab is None:
        if codes.shape[1:] != (codec.dim,):
            raise CodecError(f"codec {codec.name}: expected latents (frames, {codec.dim}), got {tuple(codes.shape)}")
        return finite(codes.to("cpu", torch.float32).contiguous().clone(), f"its latents of codec {codec.name} are")
    if codes.ndim != 1 or codes.min() < 0 or codes.max() >= codec.vocab:
        raise CodecError(f"codec {codec.name}: expected codes (frames,) in 0..{codec.vocab - 1}, got {codes}")
    return codes.to("cpu", torch.int16 if codec.vocab < 2**15 else torch.int32).clone()


def finite(values: Tensor, what: str) -> Tensor:
    if not values.isfinite().all():
        raise BadClip(f"{what} not finite")
    return values
