"""Word error rate of a trained English run on its held-out clips, judged by an independent recogniser.

    pip install faster-whisper            # not a dependency of the project
    python benchmarks/word_errors.py outputs/en/acoustic/first --model <a CTranslate2 Whisper folder or name>

Prints one row each for the recordings, the recordings through mel and Griffin-Lim (the vocoder's floor), and the voice.
Reference and hypothesis go through the project's own normaliser, then lose their punctuation.
"""

import argparse
from pathlib import Path

import numpy as np
from codec import edits, words
from faster_whisper import WhisperModel

from ttslib import audio, checkpoint, manifest, pipeline, runs, speech


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("run", type=Path)
    options.add_argument("--model", default="tiny.en")
    options = options.parse_args()
    model = WhisperModel(options.model, device="cpu", compute_type="int8")
    run = runs.Run(options.run)
    found = manifest.read(checkpoint.read_json(run.folder / "data.json")["manifest"])
    system, held = pipeline.voice(run), found.split("test")

    def heard(wav, lang: str) -> str:
        at_rate = audio.resample(np.asarray(wav, dtype=np.float32), system.rate, 16000)
        segments, _ = model.transcribe(at_rate, language=lang, beam_size=5, temperature=0.0, without_timestamps=True)
        return " ".join(segment.text for segment in segments)

    voices = {
        "recordings": lambda row: speech.recording(found, row, system.rate),
        "mel + Griffin-Lim": lambda row: speech.vocoded(speech.recording(found, row, system.rate), system.rate),
        run.name: lambda row: system.synthesize(row.raw, voice=row.speaker, lang=row.lang),
    }
    print(f"{'speech':20} {'WER %':>7} {'CER %':>7} {'clips':>6} {'words':>6}")
    for name, speak in voices.items():
        counts = np.zeros(4)
        for row in held:
            said, got = words(row.raw, row.lang), words(heard(speak(row), row.lang), row.lang)
            counts += edits(said, got), len(said), edits([*" ".join(said)], [*" ".join(got)]), len(" ".join(said))
        wer, cer = 100 * counts[0] / counts[1], 100 * counts[2] / counts[3]
        print(f"{name:20} {wer:7.1f} {cer:7.1f} {len(held):6} {int(counts[1]):6}", flush=True)


if __name__ == "__main__":
    main()
