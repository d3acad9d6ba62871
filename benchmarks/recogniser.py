"""A recogniser of ours for the embedded corpus: trained in minutes, heard on recordings it has never heard.

    python benchmarks/recogniser.py am ku --minutes 4 --threads 2
    python benchmarks/recogniser.py am --steps 900                     # the same weights on every run of this machine

It is trained on espeak-ng speech of other sentences by other voices (ttslib/recognise/synthetic.py) and judged on the
held-out recordings of the default manifest, validation and test, and on their Griffin-Lim copies: the floors of every
voice that it will judge. Rates are in percent, with bootstrap 95 % intervals over the clips. `folded` rates take letters
that sound alike for one letter (Amharic); the others ask the recogniser to spell.
"""

import argparse
import time

import torch

from ttslib import manifest, params, speech
from ttslib.evaluate.understood import understood
from ttslib.recognise import RATE, training


def percent(one: dict) -> str:
    return f"{100 * one['value']:5.1f} [{100 * one['low']:4.1f}, {100 * one['high']:5.1f}]"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("langs", nargs="+")
    options.add_argument("--minutes", type=float, default=4.0, help="wall clock, the making of speech included")
    options.add_argument("--steps", type=int, help="so many instead of minutes")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--seed", type=int, default=0)
    options = options.parse_args()
    for lang in options.langs:
        given = {"evaluate.recogniser_minutes": options.minutes, "evaluate.recogniser_steps": options.steps}
        p = params.load(lang, given)
        torch.set_num_threads(options.threads)
        found = manifest.prepare(p)
        wall, cpu = time.perf_counter(), time.process_time()
        recogniser = training.for_language(p, found, lang, options.seed)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        held = found.split("val") + found.split("test")
        clips = {row.id: (row.raw, speech.recording(found, row, RATE)) for row in held}
        copies = {key: (line, speech.vocoded(wav, RATE)) for key, (line, wav) in clips.items()}
        print(f"{recogniser.name}: {recogniser.trained_on}")
        print(f"{lang}: {wall:.0f} s of wall clock, {cpu:.0f} s of CPU; {recogniser.about}")
        print(f"{lang}: {len(held)} held-out clips\n{'speech':20} {'CER %':22} {'WER %':22} faults")
        for folded in (False, True):
            card = understood(recogniser, {"recordings": clips, "Griffin-Lim": copies}, RATE, lang, folded)
            for name, told in card.items():
                print(
                    f"{name + ' folded' * folded:20} {percent(told['cer']):22} {percent(told['wer']):22} {told['faults']}"
                )


if __name__ == "__main__":
    main()
