"""Speak from a folder of `ttslib export RUN --format onnx --out FOLDER`, with numpy, onnxruntime and soundfile alone (and
librosa where the model gives mels).

    python onnx_speak.py FOLDER "bado kemi talu" hello.wav --speaker a --rate 1.1 --seed 0

The text comes as the model reads it: normalised (numbers as words, the quotes and dashes of tokens.json's normaliser; lower
case and romanised where it says so), or as phonemes.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile


def ids_of(text: str, told: dict) -> list[int]:
    if missing := sorted({c for c in text if c not in told["symbols"]}):
        raise SystemExit(f"no symbol for {missing}; spell the text as tokens.json reads it")
    around = told["recipe"]
    spelt = [i for c in text for i in (told["symbols"][c], *around["after"])]
    return [*around["before"], *spelt, *around["end"]]


def griffin_lim(mel: np.ndarray, told: dict, seed: int) -> np.ndarray:
    """A log-mel (bands, frames) as sound: back to linear bins, then phases by iteration."""
    import librosa

    m, rate = told["mel"], told["rate"]
    bank = librosa.filters.mel(sr=rate, n_fft=m["window"], n_mels=m["bands"], norm="slaney", htk=False)
    magnitude = np.maximum(np.linalg.pinv(bank.astype(np.float64)) @ np.exp(mel), 1e-8).astype(np.float32)
    wav = librosa.griffinlim(magnitude, n_iter=m["griffin_lim"], hop_length=m["hop"], momentum=0.99, random_state=seed)
    return wav / max(1.0, np.abs(wav).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("text")
    parser.add_argument("out")
    parser.add_argument("--speaker")
    parser.add_argument("--language")
    parser.add_argument("--rate", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--noise", type=float, default=1.0, help="of what the model was made with; 0 is always the same"
    )
    given = parser.parse_args()
    told = json.loads((given.folder / "tokens.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(str(given.folder / "model.onnx"), providers=["CPUExecutionProvider"])
    ids, draw = ids_of(given.text, told), np.random.default_rng(given.seed)
    fed = {
        "ids": np.array([ids]),
        "speaker": np.array([told["speakers"][given.speaker] if given.speaker else 0]),
        "language": np.array([told["languages"][given.language] if given.language else 0]),
        "rate": np.array(given.rate, dtype=np.float32),
    }
    if n := told.get("noise"):
        fed["noise"] = draw.standard_normal((1, n["channels"], 4096), dtype=np.float32) * given.noise * n["scale"]
        fed["noise_duration"] = (
            draw.standard_normal((1, 2, len(ids)), dtype=np.float32) * given.noise * n["scale_duration"]
        )
    wanted = {one.name for one in session.get_inputs()}
    made = session.run(None, {name: value for name, value in fed.items() if name in wanted})[0][0]
    wav = griffin_lim(made, told, given.seed) if "mel" in told else made
    soundfile.write(given.out, wav / max(1.0, np.abs(wav).max()), told["rate"])


if __name__ == "__main__":
    main()
