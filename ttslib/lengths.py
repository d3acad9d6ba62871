"""What a folder of features holds, in one file beside it: a start opens no feature to learn how long it is.

    features/0123456789abcdef/   <row key>.safetensors ...
    features/0123456789abcdef.lengths

A feature is written once and never changed, so the table need not be checked against the files, only against the folder's
list of names: a file that is gone is missing there. Where one turns out to be damaged the table is removed (`forget`), and
the next start opens them all.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

VERSION = 1
WIDTH = 12  # bytes of a row key, which is 24 hexadecimal digits


@dataclass
class Lengths:
    """Of the clips of one feature folder, by row key."""

    known: dict[str, tuple[int, int]] = field(default_factory=dict)
    """frames of the example, and bytes it takes in RAM"""
    refused: dict[str, tuple[str, list | None]] = field(default_factory=dict)
    """why a clip has no example, and the stamp of its recording when that was found"""

    def __contains__(self, key: str) -> bool:
        return key in self.known or key in self.refused

    def refuses(self, key: str, stamp: list | None) -> bool:
        """It was refused, and its recording is the same since; without a stamp nobody knows."""
        return stamp is not None and key in self.refused and self.refused[key][1] == stamp

    def update(self, other: "Lengths") -> None:
        """What `other` has found since."""
        for mine, news in ((self.refused, other.known), (self.known, other.refused)):
            for key in mine.keys() & news.keys():
                del mine[key]
        self.known |= other.known
        self.refused |= other.refused


def beside(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lengths")


def forget(folder: Path) -> None:
    """Have the next start open every feature of this folder, because one was damaged."""
    beside(folder).unlink(missing_ok=True)


def read(folder: Path, feature_key: str) -> Lengths:
    """The table of a folder; an empty one where there is none, and where it is damaged or of other features (said)."""
    file = beside(folder)
    if not file.exists():
        return Lengths()
    try:
        with safe_open(file, "pt") as stored:
            about = json.loads((stored.metadata() or {})["about"])
            if (about["version"], about["feature_key"]) != (VERSION, feature_key):
                print(f"{file}: a table of other features; opening every feature to make it anew", file=sys.stderr)
                return Lengths()
            keys = unpacked(stored.get_tensor("keys"))
            numbers = (stored.get_tensor(name).tolist() for name in ("frames", "bytes"))
            refused = {key: (reason, stamp) for key, reason, stamp in about["refused"]}
            return Lengths(dict(zip(keys, zip(*numbers, strict=True), strict=True)), refused)
    except (SafetensorError, KeyError, ValueError) as error:
        print(f"{file} is damaged ({error}); opening every feature to make it anew", file=sys.stderr)
        return Lengths()


def write(folder: Path, feature_key: str, made: Lengths) -> None:
    """Whole or not at all."""
    keys = sorted(made.known)
    frames, size = np.array([made.known[key] for key in keys], np.int64).reshape(-1, 2).T
    tensors = {"keys": packed(keys), "frames": torch.from_numpy(frames), "bytes": torch.from_numpy(size)}
    refused = [[key, reason, stamp] for key, (reason, stamp) in sorted(made.refused.items())]
    file = beside(folder)
    partial = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    about = {"version": VERSION, "feature_key": feature_key, "refused": refused}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, {"about": json.dumps(about)})
    os.replace(partial, file)


def packed(keys: Sequence[str]) -> torch.Tensor:
    """Row keys as `(clips, 12)` bytes."""
    return torch.frombuffer(bytearray.fromhex("".join(keys)) or bytearray(1), dtype=torch.uint8)[
        : len(keys) * WIDTH
    ].reshape(-1, WIDTH)


def unpacked(keys: torch.Tensor) -> list[str]:
    digits = keys.numpy().tobytes().hex()
    return [digits[at : at + 2 * WIDTH] for at in range(0, len(digits), 2 * WIDTH)]
