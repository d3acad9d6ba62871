"""The section about evaluation: who reads speech back, what is spoken for it, what else is measured."""

from typing import Literal

from pydantic import Field

from ttslib.sections.base import Count, Positive, Section

Set = Literal["out_of_domain", "numerals", "questions", "one_word", "long", "minimal_pairs"]


class Evaluate(Section):
    recogniser: str | None = "ctc"
    """who reads speech back: ctc (one of ours, trained on the corpus first), ctc=<folder>, transformers=<hub id or folder>
    (Whisper, MMS, wav2vec 2.0); null = nobody, and checkpoints are chosen by their validation loss"""
    recogniser_minutes: Positive = 4.0
    """training of our own recogniser, its speech included (minutes); the budget `minutes` is without it"""
    recogniser_steps: Count | None = None
    """the same in optimizer steps, which make the same recogniser on every run; null = minutes decide"""
    homophones: bool = True
    """letters that no ear tells apart are one letter (Amharic): spelling is not what a voice is judged by"""
    small: Count = 8
    """validation clips whose texts are spoken and read back at every evaluation of the training; they choose the best
    checkpoint"""
    in_domain: Count = 20
    """held-out clips in the scorecard, spread evenly over their durations"""
    seen: int = Field(default=8, ge=0)
    """training clips in the scorecard, spread in the same way"""
    sets: list[Set] = ["out_of_domain", "numerals", "questions", "one_word", "long", "minimal_pairs"]
    """shipped sentences in the scorecard, of each language that has them"""
    per_set: Count = 8
    """sentences of each shipped set, the first ones; of the minimal pairs so many pairs"""
    encoder: str | None = "resemblyzer"
    """whose embedding compares speakers: resemblyzer, resemblyzer=<file>, transformers=<hub id or folder> of an x-vector
    model; null = nobody's"""
    mos: str | None = "dnsmos"
    """predictor of opinion scores of the held-out texts: dnsmos (English-trained), utmos=<TorchScript file>; null = none"""
    baselines: dict[str, str] = {}
    """other voices under the same protocol, by name: transformers=<hub id or folder> of a text-to-speech model,
    run=<folder> of another run, folder=<folder> of <id>.wav"""
