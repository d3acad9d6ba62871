"""Published checkpoints of several files: a local folder, one of its files, or a hub repository."""

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download

from ttslib.checkpoint import CheckpointError
from ttslib.vocab.source import HUB, UNREACHABLE, reachable


def located(source: str, weights: str, beside: Sequence[str]) -> tuple[Path, str | None, str]:
    """The local folder of a checkpoint's files, the weight file where `source` names one, and the folder or repository by
    the name under which others find it too.

    From the hub come the `weights` (or the file that `source` names) and the files `beside` them; an unreachable or unknown
    source raises `CheckpointError`.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return path.parent, path.name, str(path.parent.resolve())
    if path.is_dir():
        return path, None, str(path.resolve())
    if not (match := HUB.fullmatch(source)):
        raise CheckpointError(f"{source}: no such file or folder, and no hub id (owner/name); correct it")
    if not reachable():
        raise CheckpointError(f"{source}: {UNREACHABLE}")
    wanted = [match["file"] or weights, *beside]
    folder = snapshot_download(match["repo"], revision=match["revision"], allow_patterns=wanted)
    return Path(folder), match["file"], match["repo"] + (f"@{match['revision']}" if match["revision"] else "")
