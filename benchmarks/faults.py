"""Are planted faults caught, and good speech left in peace? The table behind `ttslib.transcripts.faults`.

    python benchmarks/faults.py am ku                          # the embedded corpora, by a recogniser of ours
    python benchmarks/faults.py en corpus.source=asterisk corpus.path=... evaluate.recogniser=transformers=...

Every held-out recording of three or more words is damaged in each way and read back. `named`: the fault has its own name;
`caught`: it has any. The first rows are good speech, whose faults are false alarms.
"""

import argparse

import torch

from ttslib import espeak, manifest, params, speech, transcripts
from ttslib.audio import resample
from ttslib.evaluate import judges
from ttslib.recognise import RATE

FOREIGN = {"voice": "ru", "text": "Вчера вечером шёл сильный дождь, и мы остались дома."}


def foreign() -> torch.Tensor:
    wav, rate = espeak.speak(FOREIGN["text"], FOREIGN["voice"])
    return torch.from_numpy(resample(wav, rate, RATE))


def damaged(wav: torch.Tensor, other: torch.Tensor, elsewhere: torch.Tensor) -> dict[str, tuple[str, torch.Tensor]]:
    """`fault -> (the name it should get, samples)`; empty for good speech."""
    first, pause = wav[: round(0.45 * len(wav))], torch.zeros(2 * RATE)
    return {
        "recording": ("", wav),
        "Griffin-Lim copy": ("", speech.vocoded(wav, RATE)),
        "silence": ("silence", torch.zeros_like(wav)),
        "noise at -80 dB": ("silence", 1e-4 * torch.randn_like(wav)),
        "first half said three times": ("repeats", torch.cat([first, first, wav])),
        "cut at 60 %": ("cut ending", wav[: round(0.6 * len(wav))]),
        "cut at 80 %": ("cut ending", wav[: round(0.8 * len(wav))]),
        "text of another clip": ("wrong text", other),
        "Russian": ("wrong text", elsewhere),
        "last 0.2 s thirty times more": ("no stop", torch.cat([wav, *[wav[-RATE // 5 :]] * 30])),
        "2 s of silence inside": ("long pause", torch.cat([first, pause, wav[len(first) :]])),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("given", nargs="+", help="languages or params files, then key=value")
    given = options.parse_args().given
    overrides, elsewhere = [one for one in given if "=" in one], foreign()
    for lang in [one for one in given if "=" not in one]:
        p = params.load(lang, overrides)
        found = manifest.prepare(p)
        rows = [row for row in found.split("val") + found.split("test") if len(row.text.split()) >= 3]
        reader = judges.readers(p, found, [p.lang])[p.lang]
        clips = [speech.recording(found, row, RATE) for row in rows]
        torch.manual_seed(0)
        counts: dict[str, list[int]] = {}
        for i, (row, wav) in enumerate(zip(rows, clips, strict=True)):
            for fault, (name, spoilt) in damaged(wav, clips[i - 1], elsewhere).items():
                heard = reader.transcribe(spoilt, RATE, p.lang)
                told = transcripts.faults(row.text, heard, spoilt.numpy(), RATE, p.lang, len(wav) / RATE)
                named, caught = counts.setdefault(fault, [0, 0])
                counts[fault] = [named + (name in told), caught + bool(told)]
        print(f"{p.lang}: {len(rows)} recordings, read by {reader.name} ({reader.trained_on})")
        print(f"{'planted':30} {'named':>6} {'caught':>7}")
        for fault, (named, caught) in counts.items():
            print(f"{fault:30} {named:6} {caught:7}")


if __name__ == "__main__":
    main()
