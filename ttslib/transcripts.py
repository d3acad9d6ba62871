"""What was heard against what was to be said: error rates, and faults by their names.

    scores = compare("ዝናብ ጣለ።", "ዝናብ ዘነበ", "am")     # cer, wer, completion, repetition, script_fidelity
    found = faults("ዝናብ ጣለ።", "ዝናብ", wav, rate, "am")      # ["cut ending"]

Both texts go through the language's normaliser and lose their marks (`bare`). Edits are Levenshtein's: substitutions,
deletions and insertions cost one each; CER counts spaces. Counts are those of the package `jiwer` 4.0.0 (tests).
"""

import unicodedata
from collections import Counter
from typing import NamedTuple

import numpy as np

from ttslib import text
from ttslib.edits import edits, steps
from ttslib.text.confusables import script

RUN = 2  # letters heard one after the other: a single one is met by chance
GRAM = 3  # letters, spaces around words included: a repeated word of two letters still shows
JOINED = "'’ʼ‘`´"  # inside a word: l'eau is one word, leau
# Thresholds of `faults`. A recogniser that mishears one letter in five of a good recording raises no fault by it.
SILENT_DB = -55.0  # RMS of full scale; the doctor drops such recordings (`doctor.min_rms_db`)
RECOGNISED = 0.45  # share of the text that must be heard without errors, three or more letters in a row
CLEAR = 3  # letters in a row: two are met by chance all over a text of 30 letters
LOST, COMPLETE = 2, 0.95  # letters without any sound at the end, and share of the text that is reached: a cut
REPEATED, REPEATED_GRAMS = 0.2, 3  # share of the text that was said once more, and so many grams of it
ADDED, ADDED_LETTERS = 0.25, 3  # share of the text that was said beside it, and so many letters
IN_SCRIPT = 0.5  # share of the heard letters in the language's script
LETTERS_A_SECOND = 3.0  # the slowest speech there is of a text whose recording is not known
LONGER, SPARE = 1.5, 1.0  # times as long as it should be, and seconds: it did not stop
PAUSE_SECONDS, PAUSE_DB, PAUSE_FRAME = 1.5, -40.0, 0.02  # of silence, below the loudest frame; seconds a frame


class Errors(NamedTuple):
    """Edits, and the length of the reference: sums of both give a corpus's rate (`intervals.rate`)."""

    edits: int
    length: int

    @property
    def rate(self) -> float:
        return self.edits / self.length


def bare(line: str, lang: str, homophones: bool = False) -> str:
    """Normalised letters, digits and combining marks in words, one space between; what joins a word is dropped with the
    formatting characters, every other mark parts it. `homophones` folds letters that no ear tells apart (Amharic)."""
    kept = []
    for char in text.normalise(line, lang, homophones=homophones):
        kind = unicodedata.category(char)
        kept.append(char if kind[0] in "LMN" else "" if char in JOINED or kind == "Cf" else " ")
    return " ".join("".join(kept).split())


def cer(reference: str, hypothesis: str) -> Errors:
    """Character errors of bare texts, spaces counted. Raises `ValueError` for an empty reference."""
    return Errors(edits(referred(reference), hypothesis), len(reference))


def wer(reference: str, hypothesis: str) -> Errors:
    """Word errors of bare texts. Raises `ValueError` for an empty reference."""
    words = referred(reference).split()
    return Errors(edits(words, hypothesis.split()), len(words))


def referred(reference: str) -> str:
    if not reference.strip():
        raise ValueError("an empty reference has no error rate; nothing was to be said")
    return reference


def unreached(reference: str, hypothesis: str) -> int:
    """Letters of the reference that have no sound after the last `RUN` letters heard in a row: what a cut end loses.

    Misheard letters are substitutions, and count as reached.
    """
    lost = run = 0
    for kind, _, _ in steps(reference, hypothesis):
        run = run + 1 if kind == "hit" else 0
        if run >= min(RUN, len(reference)):
            lost = 0
        elif kind == "deletion":
            lost += 1
    return lost


def recognised(reference: str, hypothesis: str) -> int:
    """Characters heard in their order and without an error between them, `CLEAR` or more in a row."""
    found = run = 0
    for kind, _, _ in [*steps(reference, hypothesis), ("end", 0, 0)]:
        if kind == "hit":
            run += 1
            continue
        found += run if run >= min(CLEAR, len(reference)) else 0
        run = 0
    return found


def completion(reference: str, hypothesis: str) -> float:
    """Share of the reference's characters reached before the speech ends (0..1)."""
    return 1 - unreached(reference, hypothesis) / len(referred(reference))


def repeated_grams(reference: str, hypothesis: str) -> int:
    """Grams (of `GRAM` characters) heard more often than they are written, and more than once: loops, words said again."""
    said, heard = grams(reference), grams(hypothesis)
    return sum(max(0, count - max(1, said[gram])) for gram, count in heard.items())


def repetition(reference: str, hypothesis: str) -> float:
    """What was said again as a share of the reference: 0 for none, 1 for a text said twice."""
    return repeated_grams(reference, hypothesis) / max(1, sum(grams(referred(reference)).values()))


def grams(line: str) -> Counter[str]:
    padded = f" {line} "
    return Counter(padded[i : i + GRAM] for i in range(len(padded) - GRAM + 1))


def script_fidelity(reference: str, hypothesis: str, lang: str) -> float | None:
    """Share of the heard letters in the scripts of the language's character set, or of the reference where it has no set;
    None where no letter was heard. A recogniser that knows one script only always gives 1."""
    own = {script(char) for char in text.charset(lang) or reference if char.isalpha()}
    heard = [script(char) in own for char in hypothesis if char.isalpha()]
    return sum(heard) / len(heard) if heard else None


def compare(reference: str, hypothesis: str, lang: str, homophones: bool = False) -> dict:
    """Scores of one sentence from the two texts as they are: `cer` and `wer` as `Errors`, `completion`, `repetition`,
    `script_fidelity`. Raises `ValueError` where the normaliser leaves nothing of the reference."""
    said, heard = bare(reference, lang, homophones), bare(hypothesis, lang, homophones)
    return {
        "cer": cer(said, heard),
        "wer": wer(said, heard),
        "completion": completion(said, heard),
        "repetition": repetition(said, heard),
        "script_fidelity": script_fidelity(said, heard, lang),
    }


def level(wav: np.ndarray) -> float:
    """RMS of `(samples,)` in dB of full scale, without its mean; -inf for digital silence."""
    power = float(np.var(wav, dtype=np.float64)) if len(wav) else 0.0
    return 10 * float(np.log10(power)) if power else float("-inf")


def longest_pause(wav: np.ndarray, rate: int) -> float:
    """Seconds of the longest stretch of `(samples,)`, ends included, that is `PAUSE_DB` below its loudest 20 ms."""
    hop = max(1, round(PAUSE_FRAME * rate))
    frames = len(wav) // hop
    power = np.square(wav[: frames * hop], dtype=np.float64).reshape(frames, hop).mean(axis=1)
    loud = np.flatnonzero(power > power.max(initial=0.0) * 10 ** (PAUSE_DB / 10))
    return float(np.diff(np.concatenate([[-1], loud, [frames]])).max() - 1) * hop / rate


def faults(
    reference: str, hypothesis: str, wav: np.ndarray, rate: int, lang: str, expected: float | None = None
) -> list[str]:
    """Names of what is wrong with speech `(samples,)` at `rate` Hz, in the order of this list; none for good speech.

    - `silence`: quieter than `SILENT_DB`, or nothing was heard; of silence nothing else is said
    - `long pause`: `PAUSE_SECONDS` or more without sound, inside or at an end
    - `no stop`: more than `LONGER` times as long as `expected` (seconds, of the recording; without it of the slowest
      speech, `LETTERS_A_SECOND`) and `SPARE` s more
    - `wrong script`: less than `IN_SCRIPT` of the heard letters are of the language's script: another language was heard
    - `wrong text`: less than `RECOGNISED` of the text that was reached is heard, `CLEAR` letters or more in a row
    - `repeats`: more than `REPEATED` of the text said again
    - `extra speech`: more than `ADDED` of the text said beside it, though nothing is heard twice
    - `cut ending`: `LOST` letters or more at the end have no sound, and less than `COMPLETE` of the text was reached

    Of a wrong text it is not asked whether it is cut. Judge a recogniser by its own floor first: one that mishears half
    of the recordings finds a wrong text in each. Raises `ValueError` for an empty reference.
    """
    said, heard = bare(reference, lang, homophones=True), bare(hypothesis, lang, homophones=True)
    wav = np.asarray(wav, dtype=np.float32)
    referred(said)
    if level(wav) < SILENT_DB or not heard:
        return ["silence"]
    found = ["long pause"] if longest_pause(wav, rate) >= PAUSE_SECONDS else []
    letters = len(said.replace(" ", ""))
    if len(wav) / rate > LONGER * (expected or letters / LETTERS_A_SECOND) + SPARE:
        found.append("no stop")
    if (script_fidelity(said, heard, lang) or 0.0) < IN_SCRIPT:
        return [*found, "wrong script"]
    lost = unreached(said, heard)
    if recognised(said, heard) / max(1, len(said) - lost) < RECOGNISED:
        return [*found, "wrong text"]
    added = sum(kind == "insertion" for kind, _, _ in steps(said, heard))
    if repetition(said, heard) > REPEATED and repeated_grams(said, heard) >= REPEATED_GRAMS:
        found.append("repeats")
    elif added >= ADDED_LETTERS and added / len(said) > ADDED:
        found.append("extra speech")
    if lost >= LOST and 1 - lost / len(said) < COMPLETE:
        found.append("cut ending")
    return found
