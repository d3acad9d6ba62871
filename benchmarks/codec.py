"""How well speech is understood after a codec, judged by an independent recogniser on held-out clips.

    pip install faster-whisper            # not a dependency of the project
    python benchmarks/codec.py <codec folder> [more] --model <a CTranslate2 Whisper folder or name> \\
        --lang en --params corpus.source=asterisk corpus.path=<folder>

Prints one row each for the recordings, the recordings through mel and Griffin-Lim at a hop of 256 samples (the vocoder's
floor), and every codec's decode(encode(...)): word and character error rate with bootstrap 95 % intervals over the clips,
and the ratio to Griffin-Lim's. The clips are those of the validation and test splits: no step was ever trained on them.
Reference and hypothesis go through the project's own normaliser, then lose their punctuation.
"""

import argparse
import json
import re
from pathlib import Path

import numpy as np

from ttslib import audio, codecs, manifest, params, speech, text

RATE, DRAWS = 16000, 2000


def words(line: str, lang: str) -> list[str]:
    return re.sub(r"[^\w ]", " ", text.normalise(line, lang).replace("'", "")).split()


def edits(a: list, b: list) -> int:
    """Levenshtein distance."""
    row = np.arange(len(b) + 1)
    for i, x in enumerate(a, 1):
        before, row[0] = row.copy(), i
        for j, y in enumerate(b, 1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
    return int(row[-1])


def interval(counts: np.ndarray) -> str:
    """Rate and bootstrap 95 % interval (percent) of `(clips, 2)` errors and lengths."""
    drawn = np.random.default_rng(0).integers(len(counts), size=(DRAWS, len(counts)))
    sums = counts[drawn].sum(1)
    low, high = np.percentile(100 * sums[:, 0] / sums[:, 1], [2.5, 97.5])
    return f"{100 * counts[:, 0].sum() / counts[:, 1].sum():5.1f} [{low:4.1f}, {high:5.1f}]"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("codecs", nargs="*", help="folders with codec.json, or <kind>=<hub id or folder>")
    options.add_argument("--lang", default="en")
    options.add_argument("--params", nargs="*", default=[], help="key=value, as for python -m ttslib")
    options.add_argument("--model", default="tiny.en")
    options.add_argument("--hypotheses", type=Path, help="write what was heard into this JSON file")
    options = options.parse_args()
    from faster_whisper import WhisperModel

    model = WhisperModel(options.model, device="cpu", compute_type="int8")
    p = params.load(options.lang, options.params)
    found = manifest.prepare(p)
    held = found.split("val") + found.split("test")

    def heard(wav, lang: str) -> str:
        segments, _ = model.transcribe(
            np.asarray(wav, dtype=np.float32), language=lang, beam_size=5, temperature=0.0, without_timestamps=True
        )
        return " ".join(segment.text for segment in segments)

    def through(codec):
        def speak(row):
            wav = codec.decode(codec.encode(speech.recording(found, row, codec.rate)))
            return audio.resample(wav.numpy(), codec.rate_out, RATE)

        return speak

    voices = {
        "recordings": lambda row: speech.recording(found, row, RATE),
        "mel + Griffin-Lim": lambda row: speech.vocoded(speech.recording(found, row, RATE), RATE),
    } | {Path(where).name: through(codecs.load(where)) for where in options.codecs}
    print(f"{len(held)} held-out clips, {sum(len(words(row.raw, row.lang)) for row in held)} words")
    print(f"{'speech':32} {'WER %':22} {'CER %':22} WER, CER : Griffin-Lim's")
    told, floor = {}, None
    for name, speak in voices.items():
        counts = np.zeros((len(held), 4))
        for i, row in enumerate(held):
            said, got = words(row.raw, row.lang), words(heard(speak(row), row.lang), row.lang)
            told.setdefault(row.id, {"said": " ".join(said)})[name] = " ".join(got)
            letters = [*" ".join(said)], [*" ".join(got)]
            counts[i] = edits(said, got), len(said), edits(*letters), len(letters[0])
        rates = counts[:, [0, 2]].sum(0) / counts[:, [1, 3]].sum(0)
        floor = rates if name == "mel + Griffin-Lim" else floor
        ratio = "" if floor is None else " ".join(f"{x:.2f}" for x in rates / floor)
        print(f"{name:32} {interval(counts[:, :2]):22} {interval(counts[:, 2:]):22} {ratio}", flush=True)
    if options.hypotheses:
        options.hypotheses.write_text(json.dumps(told, ensure_ascii=False, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
