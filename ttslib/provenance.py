"""Which code and which packages made a file."""

import functools
import platform
import subprocess
from importlib import metadata
from pathlib import Path

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


def processor() -> str:
    """The processor's name as Linux tells it, elsewhere what Python knows."""
    told = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    names = [line.partition(":")[2].strip() for line in told.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()
