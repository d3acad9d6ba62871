"""Speech for a recogniser of ours where there is none but espeak-ng's: other sentences, by other voices.

A recogniser that judges a voice must be no copy of it. Sentences here are made of the words of the training sentences in
new orders, and of words that a chain of letters makes up; none is a held-out sentence. They are spoken by variants of
espeak-ng that the corpus is not spoken by, faster and slower, and resampled to other pitches and vocal tracts.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ttslib import audio, espeak, text
from ttslib.manifest import Manifest
from ttslib.params import Params
from ttslib.recognise import RATE, RecogniserError
from ttslib.transcripts import bare

# f2, f3 and f5 are left out: their breath is other noise in every process, and no run would be like another.
VARIANTS = (
    *(f"m{n}" for n in range(1, 9)), "f1", "f4", "adam", "anika", "belinda", "john", "linda", "max", "shelby", "steph",
)  # fmt: skip
SLOWER, FASTER = 0.8, 1.25  # times the corpus's words per minute
TAKEN_FOR = (20000, 21000, 22000, 23000, 24000)  # Hz that 22050 Hz are taken for: pitch and formants 9 % down to 9 % up
MADE_UP, ANY_LETTER, SHORT = 0.1, 0.3, 0.2  # shares: of words; of their letters, whatever is rare; of sentences
LETTERS, WORDS = (2, 12), (1, 1, 2, 2, 3)  # of a made-up word; of a short sentence
PAUSE = 0.05  # share of words with a pause after them
BELOW, KEEP = 40.0, 0.05  # dB, seconds: what is trimmed from the ends, as the doctor does
PAUSES, ENDS = {"am": "፣"}, {"am": "።"}  # other languages: , and .


def pairs(p: Params, found: Manifest, lang: str, count: int, seed: int) -> Iterator[tuple[Tensor, str]]:
    """`count` pairs of `(samples,)` at 16 kHz and bare text. What espeak-ng refuses is made anew.

    Raises `RecogniserError` for a corpus with too few words, or one spoken by every variant there is.
    """
    rng = random.Random(seed)
    voices = others(lang, p.corpus.voices)
    writer = Sentences([row.text for row in found.split("train")], lang, rng)
    held = {bare(row.text, lang) for row in found.rows if row.split != "train"}
    refused = 0
    while count:
        line = writer.sentence()
        said = bare(line, lang)
        if said in held or not said:
            continue
        pace = round(rng.uniform(SLOWER, FASTER) * p.corpus.words_per_minute)
        try:
            wav, _ = espeak.speak(text.normalise(line, lang), rng.choice(voices), min(450, max(80, pace)))
        except espeak.EspeakError as error:
            refused += 1
            if refused > count:
                raise RecogniserError(f"espeak-ng refuses more than it speaks of {lang}; the last: {error}") from error
            continue
        wav = audio.resample(wav, rng.choice(TAKEN_FOR), RATE)
        start, end = audio.speech_span(wav, RATE, BELOW, KEEP)
        yield torch.from_numpy(wav[round(start * RATE) : round(end * RATE)].copy()), said
        count -= 1


def others(lang: str, spoken: Sequence[str]) -> list[str]:
    """espeak-ng's voices of a language that the corpus is not spoken by; the plain one never."""
    try:
        found = [variant for variant in VARIANTS if variant not in spoken]
        for variant in found:
            espeak.require(espeak.voice_of(lang, variant))
    except espeak.EspeakError as error:
        raise RecogniserError(f"a recogniser of {lang} cannot be taught by espeak-ng: {error}") from error
    if not found:
        raise RecogniserError(
            f"corpus.voices={list(spoken)}: no variant is left to teach a recogniser with"
            "; leave some variants out of corpus.voices"
        )
    return [espeak.voice_of(lang, variant) for variant in found]


class Sentences:
    """New sentences of the words in `lines` (normalised), and of words that the letters of those words make up."""

    def __init__(self, lines: Sequence[str], lang: str, rng: random.Random):
        self.rng, self.pause, self.end = rng, PAUSES.get(lang, ","), ENDS.get(lang, ".")
        sentences = [bare(line, lang).split() for line in lines]
        self.lengths = [len(words) for words in sentences if words]
        self.words = [word for words in sentences for word in words]
        if len(set(self.words)) < 2:
            raise RecogniserError(
                f"{lang}: {len(set(self.words))} words in the training texts; there is nothing to make new ones of"
            )
        self.letters = sorted({letter for word in self.words for letter in word})
        self.follows: dict[str, Counter[str]] = defaultdict(Counter)  # after one letter, and after two
        for word in sorted(set(self.words)):
            padded = f"^^{word}$"
            for i in range(2, len(padded)):
                self.follows[padded[i - 2 : i]][padded[i]] += 1
                self.follows[padded[i - 1]][padded[i]] += 1

    def sentence(self) -> str:
        rng = self.rng
        count = rng.choice(WORDS if rng.random() < SHORT else self.lengths)
        words = [self.made_up() if rng.random() < MADE_UP else rng.choice(self.words) for _ in range(count)]
        paused = [word + self.pause if rng.random() < PAUSE else word for word in words[:-1]]
        return " ".join([*paused, words[-1]]) + rng.choice((self.end, self.end, "?", "!", ""))

    def made_up(self) -> str:
        """A word that may not exist: letters as they follow one another, and now and then any letter at all."""
        shortest, longest = LETTERS
        word = ""
        while len(word) < longest:
            before = f"^^{word}"[-2:]
            table = self.follows.get(before if self.rng.random() < 0.5 else before[-1])
            if self.rng.random() < ANY_LETTER or not table:
                word += self.rng.choice(self.letters)
                continue
            letter = self.rng.choices(list(table), list(table.values()))[0]
            if letter != "$":
                word += letter
            elif len(word) >= shortest:
                break
        return word
