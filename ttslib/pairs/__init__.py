"""Pairs of speech and the style it was spoken with, as `.npz` files: what the style encoder learns from.

A folder has `train/`, `val/` and `test/`; a file has `audio` (samples,), `style_ttl` (50, 256), `style_dp` (8, 16), `text`
and `lang`, and may have `sr` (Hz, else 44,100), `voice` (whose style it is), `model` ("supertonic-3") and `seed`. `building`
makes such folders with a runtime: the installed Supertonic, or the parametric voices for which the answer is known.
"""

import io
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ttslib.styles import SHAPES, Style, StyleError

NEEDED = ("audio", "style_ttl", "style_dp", "text", "lang")
KNOWN = (*NEEDED, "sr", "voice", "model", "seed")
RATE = 44100
"""of audio where a file does not say (Hz)"""


BROKEN = (ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error, NotImplementedError)
"""what NumPy and zipfile raise for damaged archives"""


class PairError(ValueError):
    """A file that is no pair; the message has every fault that was found."""


@dataclass(frozen=True)
class Pair:
    """`audio` (samples,) float32 at `rate` Hz, spoken with `style`; `voice` names the style, "" where nobody named it."""

    audio: np.ndarray
    rate: int
    style: Style
    text: str
    lang: str
    voice: str = ""
    seed: int | None = None


def read(file: str | Path) -> Pair:
    """The pair of one file; fields of other names are left alone. Raises `PairError` with all that is wrong with it; nothing
    in it is ever executed."""
    try:
        with archive(file) as content:
            names = set(content.files)
            found, faults = {}, [f"{name} is missing" for name in NEEDED if name not in names]
            for name in sorted(names & set(KNOWN)):
                try:
                    found[name] = content[name]
                except BROKEN as error:
                    faults.append(f"{name} cannot be read: {' '.join(str(error).split()[:12])}")
                    continue
                if not isinstance(found[name], np.ndarray):
                    faults.append(f"{name} is no array")
                    del found[name]
    except BROKEN as error:
        raise PairError(f"{file}: no .npz archive: {' '.join(str(error).split()[:12])}") from None
    texts = {name: told(found[name], name, faults) for name in ("text", "lang", "voice", "model") if name in found}
    numbers = {name: whole(found[name], name, faults) for name in ("sr", "seed") if name in found}
    audio = samples(found["audio"], faults) if "audio" in found else None
    for name in ("text", "lang"):
        if name in texts and not texts[name].strip():
            faults.append(f"{name} is empty")
    if numbers.get("sr", 1) < 1:
        faults.append(f"sr is {numbers['sr']}")
    style = None
    if all(name in found for name in SHAPES):
        try:
            style = Style.of(found["style_ttl"], found["style_dp"], texts.get("model", ""), "it")
        except StyleError as error:
            faults.append(str(error).removeprefix("it: "))
    if faults:
        raise PairError(f"{file}: {'; '.join(faults)}")
    text, lang, voice = (texts.get(name, "").strip() for name in ("text", "lang", "voice"))
    return Pair(audio, numbers.get("sr", RATE), style, text, lang, voice, numbers.get("seed"))


def archive(file: str | Path) -> np.lib.npyio.NpzFile:
    if not zipfile.is_zipfile(file):  # np.load would take a single array, or ask for a pickle
        raise zipfile.BadZipFile("it is no zip archive, or it is cut short")
    return np.load(file, allow_pickle=False)


def style(file: str | Path) -> Style:
    """The style of one file alone, without its audio. Raises `PairError`."""
    try:
        with archive(file) as content:
            model = told(content["model"], "model", faults := []) if "model" in content.files else ""
            found = Style.of(content["style_ttl"], content["style_dp"], model, str(file))
    except (*BROKEN, KeyError) as error:
        raise PairError(f"{file}: no style in it: {' '.join(str(error).split()[:20])}") from None
    if model and faults:
        raise PairError(f"{file}: {faults[0]}")
    return found


def told(array: np.ndarray, name: str, faults: list[str]) -> str:
    if array.size != 1 or array.dtype.kind not in "US":
        faults.append(f"{name} is no text but {array.dtype} of shape {array.shape}")
        return "?"
    value = array.reshape(-1)[0]
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError:
        faults.append(f"{name} is not UTF-8")
        return "?"


def whole(array: np.ndarray, name: str, faults: list[str]) -> int:
    if array.size != 1 or array.dtype.kind not in "iuf" or not float(array.reshape(-1)[0]).is_integer():
        faults.append(f"{name} is no whole number")
        return 1
    return int(array.reshape(-1)[0])


def samples(array: np.ndarray, faults: list[str]) -> np.ndarray | None:
    """`(samples,)` float32 of floats or 16-bit integers; `(1, samples)` is as well."""
    if array.ndim == 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 1 or array.dtype.kind not in "fi" or (array.dtype.kind == "i" and array.dtype.itemsize != 2):
        faults.append(f"audio is {array.dtype} of shape {array.shape}, not (samples,) of floats or 16-bit integers")
        return None
    if not array.size:
        faults.append("audio has no samples")
    wav = array.astype(np.float32) / (32768 if array.dtype.kind == "i" else 1)
    if not np.isfinite(wav).all():
        faults.append(f"audio has {np.count_nonzero(~np.isfinite(wav))} values that are not finite")
    return wav


def write(file: str | Path, pair: Pair) -> Path:
    """Write one pair, whole or not at all, the audio as 16-bit integers; a missing folder is made."""
    file, buffer = Path(file), io.BytesIO()
    whole = np.clip(np.round(pair.audio * 32768), -32768, 32767).astype(np.int16)
    content: dict[str, Any] = {"audio": whole, "sr": pair.rate}
    content |= {"style_ttl": pair.style.ttl, "style_dp": pair.style.dp, "text": pair.text, "lang": pair.lang}
    content |= {"voice": pair.voice, "model": pair.style.model} | ({} if pair.seed is None else {"seed": pair.seed})
    np.savez_compressed(buffer, **content)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    partial.write_bytes(buffer.getvalue())
    os.replace(partial, file)
    return file
