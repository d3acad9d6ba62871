"""Recognisers of speech behind one protocol: what a voice says is read back by someone who has never heard it.

    recogniser = recognise.of("ctc=outputs/am/recognisers/ctc-3f2a...")           # one of ours, trained in minutes
    recogniser = recognise.of("transformers=openai/whisper-small")                # or MMS, wav2vec 2.0; id or folder
    recogniser.transcribe(wav, rate, "am")
    recognise.identity(recogniser)                                                # goes beside every score

A score without its recogniser says nothing: `identity` names it, its hash or revision, and what it was trained on.
"""

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ttslib import audio

RATE = 16000  # Hz, what every recogniser here hears


class RecogniserError(ValueError):
    """A recogniser that cannot be had, or not for this language or sound; the message says what to do."""


@runtime_checkable
class Recogniser(Protocol):
    """Speech to text. `languages` are the codes that `transcribe` takes, None where its files do not tell them."""

    name: str
    hash: str
    """SHA-256 of the weights in a folder, the commit of a hub repository"""
    languages: frozenset[str] | None
    trained_on: str
    """in words; `unknown: ...` where the files do not tell it"""

    def transcribe(self, wav: Tensor | np.ndarray, rate: int, lang: str) -> str:
        """What is said in `(samples,)` at `rate` Hz, as the recogniser writes it; empty where it hears nothing.

        Raises `RecogniserError` for a language it does not know, and for samples that are not mono and finite.
        """


def of(spec: str) -> Recogniser:
    """The recogniser that `ctc=<folder>` or `transformers=<hub id or folder>` names. Raises `RecogniserError`."""
    kind, _, source = spec.partition("=")
    if kind == "ctc" and source:
        from ttslib.recognise.ctc import CtcRecogniser

        return CtcRecogniser.load(source)
    if kind == "transformers" and source:
        from ttslib.recognise import published

        return published.load(source)
    raise RecogniserError(
        f"{spec!r} names no recogniser: give ctc=<folder> (one of ours) or transformers=<hub id or folder> "
        "(Whisper, MMS, wav2vec 2.0)"
    )


def identity(recogniser: Recogniser) -> dict[str, str]:
    """What stands beside every score: `recogniser`, `hash`, `trained_on`."""
    return {"recogniser": recogniser.name, "hash": recogniser.hash, "trained_on": recogniser.trained_on}


def heard(wav: Tensor | np.ndarray, rate: int, name: str) -> Tensor:
    """`(samples,)` as float32 at 16 kHz, on the CPU. Raises `RecogniserError`, `name` being who was to hear it."""
    wav = torch.as_tensor(wav)
    if wav.ndim != 1 or not wav.is_floating_point() or not wav.isfinite().all() or rate <= 0:
        raise RecogniserError(
            f"{name}: expected finite mono samples (samples,) as floats, got {wav.dtype} {tuple(wav.shape)} at {rate} Hz"
        )
    return audio.resampled(wav.detach().float().cpu(), rate, RATE)


def known(recogniser: Recogniser, lang: str) -> None:
    """Raise `RecogniserError` unless it knows the language."""
    if recogniser.languages is not None and lang not in recogniser.languages:
        raise RecogniserError(
            f"{recogniser.name} does not know {lang}; it knows {', '.join(sorted(recogniser.languages))}. Take another, or "
            "train one of ours: ttslib.recognise.training.for_language"
        )
