"""What a run is compared with: another run of ours, or a model that Transformers speaks with, without any training here.

    baselines.of("transformers=facebook/mms-tts-amh")             # @<commit> after it pins it
    baselines.of("transformers=<folder>")                         # as `save_pretrained` writes it, tokenizer included
    baselines.of("run=outputs/am/vits/first")                     # its best checkpoint; a checkpoint or export as well

What comes back is spoken and counted by `generation.generate` like any system. `HF_HUB_OFFLINE=1` keeps to the hub cache.
"""

import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Protocol

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ttslib import text as normalisers
from ttslib.checkpoint import CheckpointError, own_rng
from ttslib.recognise.published import located, whole
from ttslib.runs import RunError
from ttslib.sections import Doctor
from ttslib.systems.vits import published
from ttslib.text.romanise import romanizer

KINDS = "transformers=<hub id or folder>, run=<folder>"


class BaselineError(ValueError):
    """A baseline that cannot be had, or cannot speak what it is asked to; the message names it and says what to do."""


class Baseline(Protocol):
    """What `generation.generate` needs of whatever speaks."""

    rate: int
    """of the samples it gives (Hz)"""
    nets: dict[str, nn.Module]

    def synthesize(self, text: str, voice: str | None = None, seed: int = 0, lang: str | None = None) -> Tensor:
        """`(samples,)`, the same for the same seed."""
        ...

    def state(self) -> dict:
        """Plain JSON that, with the weights of `nets`, names it."""
        ...


def of(spec: str) -> Baseline:
    """The baseline that `spec` names, `<kind>=<what>`. Raises `BaselineError`."""
    kind, _, source = spec.partition("=")
    if kind == "transformers" and source:
        return Transformers(source)
    if kind == "run" and source:
        from ttslib import pipeline

        try:
            return pipeline.load(pipeline.checkpoint_of(Path(source)))
        except (RunError, CheckpointError) as error:
            raise BaselineError(f"{spec}: {error}; give a run's folder, outputs/<lang>/<system>/<run>") from error
    raise BaselineError(f"{spec!r} names no baseline; there are {KINDS}; give one of these")


class Transformers:
    """A text-to-waveform model of Transformers, as published: `pipeline("text-to-audio")`, VITS and MMS-TTS above all.

    Of its own text `transformers` knows nothing but lower case, so what is spoken is decided here:

    * a tokenizer of characters without a row for every capital and digit (MMS-TTS) gets the language's normalised text,
      numerals and abbreviations as words; any other tokenizer gets the text as it is;
    * where it wants uroman (`is_uroman`), text that is not ASCII is romanised by the package uroman;
    * characters that it has no row for are left out, as the model's own runtime does: `lost` counts them, and each is said
      once. Where nothing is left the text is refused.

    `voice` is the number of a speaker in a VITS of several; every other model speaks in the one voice it has, whatever the
    name. Without `lang` the text is in the language that the files name (`lang`), which is `und` where they name none.
    """

    def __init__(self, source: str):
        """`source`: folder or hub id. Raises `BaselineError` for a folder that is missing or without weights, for a hub that
        cannot be reached, and for what Transformers cannot make a waveform with."""
        from transformers import (
            MODEL_FOR_TEXT_TO_WAVEFORM_MAPPING,
            AutoConfig,
            AutoModelForTextToWaveform,
            AutoProcessor,
            AutoTokenizer,
            pipeline,
        )
        from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

        self.source = f"transformers={source}"
        place, self.hash, options = located(source, BaselineError)
        try:
            config = AutoConfig.from_pretrained(place, **options)
            if type(config) not in MODEL_FOR_TEXT_TO_WAVEFORM_MAPPING:
                raise BaselineError(
                    f"{self.source}: a {config.model_type}, no model of AutoModelForTextToWaveform; "
                    "take a text-to-speech model, or give its finished files as folder=<path>"
                )
            model = whole(AutoModelForTextToWaveform, place, options, BaselineError)
            self.tokenizer = AutoTokenizer.from_pretrained(place, **options)
            processor = AutoProcessor.from_pretrained(place, **options) if type(config) in PROCESSOR_MAPPING else None
            parts = {"model": model, "tokenizer": self.tokenizer, "processor": processor}
            self.pipe = pipeline("text-to-audio", **parts, device="cpu")
        except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
            if isinstance(error, BaselineError):
                raise
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise BaselineError(f"{self.source}: Transformers cannot speak with it: {reason}") from error
        self.hash = self.hash or options.get("revision") or config._commit_hash
        if self.pipe.sampling_rate is None:
            raise BaselineError(f"{self.source}: neither config nor processor names a sample rate; it cannot be heard")
        self.rate, self.nets = int(self.pipe.sampling_rate), {"model": model}
        self.lang = published.language({"language": getattr(self.tokenizer, "language", None)}, source)
        self.speakers = config.num_speakers if config.model_type == "vits" else 1
        self.table = self.tokenizer.get_vocab() if letters(self.tokenizer) else None
        self.uroman = bool(getattr(self.tokenizer, "is_uroman", False))
        self.lost: Counter[str] = Counter()
        self.p = SimpleNamespace(doctor=Doctor())  # what is silent is decided as for a system: `generation.is_silent`
        if getattr(self.tokenizer, "phonemize", False):
            from transformers.utils import is_phonemizer_available

            if not is_phonemizer_available():
                raise BaselineError(f"{self.source}: it reads phonemes of another package: pip install phonemizer")

    @property
    def normalises(self) -> bool:
        """Does it get normalised text? See the class."""
        return self.table is not None and not {*"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"} <= self.table.keys()

    def read(self, text: str, lang: str | None = None) -> str:
        """`text` as the tokenizer is to get it. Raises `BaselineError` where nothing of it can be said."""
        if self.normalises:
            text = normalisers.normalise(text, lang or self.lang)
        if self.uroman and not text.isascii():
            text = romanizer().romanize_string(text).lower()  # MMS's own order: its vocabularies are in lower case
        said = text if self.table is None else "".join(c for c in text if self.has(c))
        if not said.strip():
            told = f"nothing to say: its vocabulary has no row for any character of {text!r}"
            raise BaselineError(f"{self.source}: {told}; give a text of its language, or another model")
        gone = Counter(c for c in text if not self.has(c) and not c.isspace())
        for char in sorted(gone.keys() - self.lost.keys()):
            print(f"{self.source}: it has no row for {char!r} (U+{ord(char):04X}) and leaves it out", file=sys.stderr)
        self.lost += gone
        return said

    def has(self, char: str) -> bool:
        """Is there a row for this character, or can the tokenizer not tell beforehand?"""
        if self.table is None:
            return True
        return char in self.table or (self.tokenizer.normalize and char.lower() in self.table)

    def speaker(self, voice: str | None) -> dict[str, int]:
        if self.speakers == 1:
            return {}
        if voice is not None and not (voice.isascii() and voice.isdigit() and int(voice) < self.speakers):
            raise BaselineError(
                f"{self.source}: no voice {voice!r}; its speakers are the numbers 0 to {self.speakers - 1}"
            )
        return {"speaker_id": int(voice or 0)}

    def synthesize(
        self, text: str, voice: str | None = None, seed: int = 0, lang: str | None = None, speaking_rate: float = 1.0
    ) -> Tensor:
        """Mono waveform `(samples,)` at `rate`, the same for the same seed; random states outside stay as they were.

        Raises `BaselineError` for a text of which nothing can be said, an unknown voice, a speaking rate that only VITS can
        be told, and what is no mono waveform.
        """
        said, chosen, model = self.read(text, lang), self.speaker(voice), self.nets["model"]
        if model.config.model_type == "vits":
            model.speaking_rate = model.config.speaking_rate * speaking_rate
        elif speaking_rate != 1.0:
            raise BaselineError(
                f"{self.source}: speaking_rate={speaking_rate}: this model has one speed; leave it at 1"
            )
        with own_rng(seed), torch.no_grad():
            wav = torch.as_tensor(self.pipe(said, forward_params=chosen)["audio"]).float()
        if wav.ndim != 1:
            raise BaselineError(
                f"{self.source}: it gives samples of shape {tuple(wav.shape)}, mono (samples,) is needed"
            )
        return wav

    def state(self) -> dict:
        return {"system": "transformers", "source": self.source, "hash": self.hash, "rate": self.rate}


def letters(tokenizer) -> bool:
    """Does it read single characters (VITS, MMS-TTS), no pieces and no phonemes?"""
    return not getattr(tokenizer, "phonemize", False) and type(tokenizer).__name__ == "VitsTokenizer"
