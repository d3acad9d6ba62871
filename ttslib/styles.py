"""Voice styles of Supertonic: `style_ttl` (50, 256), what the text is spoken with, and `style_dp` (8, 16), its durations.

Every row of a real style is a unit vector, and any two voices' styles are almost parallel: a constant output has a cosine of
0.965 to each of the ten published voices. What a style says of its voice is how it deviates from the mean, and that is what
`centred_cosine` and `explained` measure. Files are the JSON of the vendor's package (https://github.com/supertone-inc, MIT).
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SHAPES = {"style_ttl": (50, 256), "style_dp": (8, 16)}
TOLERANCE = 1e-3
"""by which the length of a row may differ from 1"""


class StyleError(ValueError):
    """A style that is none, or that belongs to another model: which file, what was found, what to do."""


@dataclass(frozen=True)
class Style:
    """`ttl` (50, 256) and `dp` (8, 16), float32, and the model whose space they lie in ("" where a file does not say)."""

    ttl: np.ndarray
    dp: np.ndarray
    model: str = ""

    @classmethod
    def of(cls, ttl: Any, dp: Any, model: str = "", where: str = "style") -> "Style":
        """Checked arrays, `(1, 50, 256)` or flat too. Raises `StyleError` for other sizes, numbers that are not finite, and
        rows that are no unit vectors."""
        found = {}
        for (name, shape), value in zip(SHAPES.items(), (ttl, dp), strict=True):
            try:
                array = np.asarray(value, dtype=np.float32)
            except (TypeError, ValueError) as error:
                raise StyleError(f"{where}: {name} is no array of numbers: {error}") from None
            if array.size != math.prod(shape) or (array.ndim > 1 and array.shape[-2:] != shape):
                raise StyleError(f"{where}: {name} has the shape {array.shape}, not {shape}")
            array = array.reshape(shape)
            if not np.isfinite(array).all():
                raise StyleError(
                    f"{where}: {name} has {np.count_nonzero(~np.isfinite(array))} values that are not finite"
                    "; make the style anew"
                )
            off = np.abs(np.linalg.norm(array.astype(np.float64), axis=1) - 1)
            if off.max() > TOLERANCE:
                row, length = int(off.argmax()), float(np.linalg.norm(array[off.argmax()]))
                raise StyleError(f"{where}: row {row} of {name} has the length {length:.4g}; those of a style have 1")
            found[name] = array
        return cls(found["style_ttl"], found["style_dp"], model)

    @property
    def digest(self) -> str:
        """SHA-256 of both arrays' float32 bytes, in hexadecimal digits."""
        return hashlib.sha256(self.ttl.tobytes() + self.dp.tobytes()).hexdigest()


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of the last axis scaled to length 1, computed in float64, given back in float32."""
    rows = np.asarray(rows, dtype=np.float64)
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def mixed(parts: Sequence[Style], weights: Sequence[float]) -> Style:
    """A weighted sum of styles of one model, each row scaled back to length 1. Raises `StyleError` for several models."""
    if len(models := {part.model for part in parts}) != 1:
        raise StyleError(f"styles of {', '.join(sorted(map(repr, models)))} cannot be mixed: their spaces differ")
    ttl, dp = (sum(w * getattr(s, k) for s, w in zip(parts, weights, strict=True)) for k in ("ttl", "dp"))
    return Style.of(unit(ttl), unit(dp), parts[0].model, "mixture")


def read(file: str | Path, model: str | None = None) -> Style:
    """The style of a JSON file of the vendor's layout.

    With `model` (such as "supertonic-3") a file that names another one in its metadata is refused: the same shapes in
    another space sound like nothing. The vendor's own files name none; they are taken at the caller's word. Raises
    `StyleError`.
    """
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise StyleError(f"{file}: no style can be read from it: {error}") from None
    for name in SHAPES:
        if (
            not isinstance(content, Mapping)
            or not isinstance(content.get(name), Mapping)
            or "data" not in content[name]
        ):
            raise StyleError(f"{file}: no voice style: {name} with its data is missing")
    metadata = content.get("metadata")
    named = str(metadata.get("model") or "") if isinstance(metadata, Mapping) else ""
    if model and named and named != model:
        raise StyleError(
            f"{file}: a style of {named}; {model} has another space, in which it says nothing: make it anew"
        )
    return Style.of(content["style_ttl"]["data"], content["style_dp"]["data"], named or model or "", str(file))


def write(file: str | Path, style: Style, **metadata: Any) -> Path:
    """Write the vendor's JSON: nested data with a leading 1, dims, type, and the metadata beside the model's name."""
    content = {
        name: {"data": array[None].tolist(), "dims": [1, *array.shape], "type": "float32"}
        for name, array in (("style_ttl", style.ttl), ("style_dp", style.dp))
    }
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(json.dumps(content | {"metadata": {"model": style.model} | metadata}), encoding="utf-8")
    partial.replace(file)
    return file


def centred_cosine(found: np.ndarray, meant: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """`(n,)` cosines of `(n, ...)` deviations from the mean style: 1 is the same voice, 0 none of it.

    Of an output that does not deviate at all it is 0.
    """
    a, b = ((np.asarray(x, np.float64) - mean).reshape(len(x), -1) for x in (found, meant))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.divide((a * b).sum(1), lengths, out=np.zeros(len(a)), where=lengths > 1e-12)


def explained(found: np.ndarray, meant: np.ndarray, mean: np.ndarray) -> float:
    """R^2: the share of the squared deviations from the mean style that `found` explains; the mean style itself has 0."""
    found, meant = np.asarray(found, np.float64), np.asarray(meant, np.float64)
    return float(1 - np.square(found - meant).sum() / np.square(meant - mean).sum())


def ranks(found: dict, own: np.ndarray, voices: dict, mean: dict) -> np.ndarray:
    """`(n,)` places, from 1, that the right voice takes among all `voices`, by the sum of the centred cosines of `ttl` and
    `dp`; ties count against it.

    `found` has `ttl` (n, 50, 256) and `dp` (n, 8, 16), `voices` the same of v voices, of which `own` (n,) are right.
    """
    scores = sum(
        np.stack([centred_cosine(np.broadcast_to(one, voices[k].shape), voices[k], mean[k]) for one in found[k]])
        for k in ("ttl", "dp")
    )
    return (scores >= scores[np.arange(len(own)), own][:, None]).sum(1)
