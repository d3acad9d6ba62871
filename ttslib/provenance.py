"""Which code and which packages made a file."""

import functools
import platform
import subprocess
from importlib import metadata

from ttslib.paths import ROOT


@functools.lru_cache
def describe() -> dict[str, str]:
    """Git commit (with `+changes` when the tree is dirty, `unknown` outside a checkout) and the versions that matter."""
    found = {"git": commit(), "python": platform.python_version()}
    for package in ("ttslib", "torch", "torchaudio", "accelerate", "transformers", "safetensors", "numpy"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    return found


def commit() -> str:
    try:
        head = git("rev-parse", "HEAD")
        return head + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
