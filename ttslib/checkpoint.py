"""Checkpoints: safetensors + JSON, written atomically with checksums, never pickled.

    checkpoints/epoch{N}_step{M}/   model.safetensors  system.json  state.safetensors  state.json  checksums.json
    checkpoints/latest, best  ->    symbolic links, replaced atomically

A folder appears under its name only when every byte of it is on disk (write to a temporary folder, fsync, rename), so a
kill at any instant leaves the previous checkpoint whole and `latest` pointing at a good one.
"""

import hashlib
import json
import os
import random
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from ttslib.deploy.weights import restored
from ttslib.units import difference

NAME = re.compile(r"^epoch(\d+)_step(\d+)$")


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged, or belongs to another run; the message names the file or the difference."""


def save(
    folder: Path, name: str, weights: dict[str, torch.Tensor], system: dict, state: dict,
    vocabularies: Mapping[str, Sequence[str]] | None = None,
) -> Path:  # fmt: skip
    """Write `folder/name` and point `latest` at it. `state` is a nested dict/list of tensors and plain JSON values.

    `vocabularies` are the row names of the weights' tables; they travel inside the weights' file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    try:
        return written(folder, name, weights, system, state, vocabularies or {})
    except BaseException:
        sweep(folder)  # what half of it takes on a full disk; and the checkpoint of this step that was moved aside
        raise


def written(
    folder: Path, name: str, weights: dict[str, torch.Tensor], system: dict, state: dict,
    vocabularies: Mapping[str, Sequence[str]],
) -> Path:  # fmt: skip
    """See `save`."""
    partial = folder / f".writing-{name}-{os.getpid()}"
    partial.mkdir()
    tensors: dict[str, torch.Tensor] = {}
    skeleton = pack(state, tensors, "")
    write_weights(partial / "model.safetensors", weights, vocabularies)
    save_file(tensors, partial / "state.safetensors")
    write_json(partial / "system.json", system)
    write_json(partial / "state.json", skeleton)
    seal(partial)
    for file in partial.iterdir():
        sync(file)
    sync(partial)
    final = folder / name
    if final.exists():  # the same step written again, e.g. after resuming from an older checkpoint
        aside = folder / f".replaced-{name}-{os.getpid()}"
        os.rename(final, aside)
        os.rename(partial, final)
        shutil.rmtree(aside)
    else:
        os.rename(partial, final)
    sync(folder)
    link(folder, "latest", name)
    return final


def write_weights(file: Path, weights: Mapping[str, torch.Tensor], vocabularies: Mapping[str, Sequence[str]]) -> None:
    """Safetensors that know whose rows they hold: another vocabulary beside them is then found out."""
    plain = {k: v.detach().cpu().contiguous() for k, v in weights.items()}
    save_file(plain, file, {"vocabularies": json.dumps({name: list(v) for name, v in vocabularies.items()})})


def export(folder: Path, weights: Mapping[str, torch.Tensor], system: dict, vocabularies: Mapping) -> Path:
    """Write `model.safetensors` and `system.json`: a trained system without the state of its training.

    A folder without `system.json` holds no system: it goes first and comes last, so that none is ever half of another.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "system.json").unlink(missing_ok=True)
    partial = folder / ".model.safetensors"
    write_weights(partial, weights, vocabularies)
    sync(partial)
    os.replace(partial, folder / "model.safetensors")
    write_json(folder / "system.json", system)
    return folder


def trained(folder: Path) -> tuple[dict[str, torch.Tensor], dict]:
    """`(weights, system)` of a checkpoint or exported folder, weights of fewer bits as fp32. Raises `CheckpointError`."""
    if not (folder / "system.json").is_file():
        raise CheckpointError(f"{folder}: no system.json; give a checkpoint folder such as <run>/checkpoints/best")
    sound(folder)
    try:
        return restored(load_file(folder / "model.safetensors")), read_json(folder / "system.json")
    except (SafetensorError, FileNotFoundError, ValueError) as error:
        raise CheckpointError(f"{folder}: damaged: {error}") from None


def same_vocabulary(folder: Path, vocabularies: Mapping[str, Sequence[str]]) -> None:
    """Raise `CheckpointError` with the difference unless the weights' rows were trained for these names, in this order."""
    with safe_open(folder / "model.safetensors", "pt") as file:
        written = json.loads((file.metadata() or {}).get("vocabularies", "{}"))
    for name, mine in vocabularies.items():
        if name in written and tuple(mine) != tuple(written[name]):
            raise CheckpointError(
                f"{folder}: its weights were trained with another {name} vocabulary than the one beside them: "
                f"{difference(written[name], mine)}"
            )


def link(folder: Path, alias: str, name: str) -> None:
    """Point `latest` or `best` at a checkpoint, atomically."""
    temporary = folder / f".{alias}-{os.getpid()}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(name)
    os.replace(temporary, folder / alias)
    sync(folder)


def load(path: Path) -> tuple[dict[str, torch.Tensor], dict, dict]:
    """`(weights, system, state)` of a checkpoint, after verifying its checksums. Raises `CheckpointError`."""
    verify(path)
    try:
        state = unpack(read_json(path / "state.json"), load_file(path / "state.safetensors"))
        return load_file(path / "model.safetensors"), read_json(path / "system.json"), state
    except (SafetensorError, FileNotFoundError, KeyError) as error:  # whoever changed it wrote checksums that fit
        raise CheckpointError(f"{path}: damaged, though its checksums fit: {error}; take another checkpoint") from None


def sound(folder: Path, only: str | None = None) -> None:
    """`verify` a checkpoint that is to speak: another one in its place would be another voice. An export has no checksums.

    Raises `CheckpointError` with what to do about it.
    """
    if not any((folder / name).exists() for name in ("checksums.json", "state.json", "state.safetensors")):
        return
    try:
        verify(folder, only)
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}. Nothing else is taken in its place: restore it from a copy, name another checkpoint folder of the "
            "run, or go on training with resume=true, which starts from the last whole one"
        ) from None


def seal(folder: Path) -> None:
    """Write the checksums of every file in it, which `verify` reads."""
    listed = {f.name: sha256(f) for f in sorted(folder.iterdir()) if f.name != "checksums.json"}
    write_json(folder / "checksums.json", listed)


def verify(path: Path, only: str | None = None) -> None:
    """Raise `CheckpointError` naming the first file (or `only` this one) that is missing or differs from its checksum."""
    listing = path / "checksums.json"
    if not path.is_dir():
        raise CheckpointError(f"{path}: missing")
    if not listing.is_file():
        raise CheckpointError(f"{path}: no checksums.json; not a complete checkpoint")
    try:
        checksums = json.loads(listing.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{listing}: damaged: {error}") from None
    if not isinstance(checksums, dict):
        raise CheckpointError(f"{listing}: damaged: no list of files with their checksums; take another checkpoint")
    for name, expected in checksums.items():
        if only not in (None, name):
            continue
        if not (path / name).is_file():
            raise CheckpointError(f"{path / name}: missing")
        if sha256(path / name) != expected:
            raise CheckpointError(f"{path / name}: damaged: its checksum is not the one written with it")


def newest(folder: Path) -> Path:
    """The checkpoint to resume from: `latest`, or, said loudly, the newest whole one when `latest` is damaged or gone.

    Raises `CheckpointError` with what is wrong with each when none is whole.
    """
    if folder.is_dir():
        sweep(folder)  # a kill while a step was saved again has left its checkpoint moved aside
    candidates, wrong = sorted(listed(folder), key=step_of, reverse=True), []
    if os.path.lexists(first := folder / "latest"):
        latest = first.resolve()
        candidates = [latest, *(c for c in candidates if c != latest)]
    for candidate in candidates:
        try:
            verify(candidate)
        except CheckpointError as error:
            wrong.append(str(error))
            continue
        for line in wrong:
            print(f"WARNING: {line}; falling back to {candidate}", file=sys.stderr)
        return candidate
    told = "".join(f"\n  {one}" for one in wrong)
    raise CheckpointError(
        f"{folder}: no whole checkpoint to resume from; start a new run, or copy one there that is whole{told}"
    )


def listed(folder: Path) -> list[Path]:
    return [path for path in folder.resolve().iterdir() if NAME.match(path.name)] if folder.is_dir() else []


def step_of(path: Path) -> int:
    return int(NAME.match(path.name)[2])


def prune(folder: Path, keep: int) -> list[str]:
    """Delete periodic checkpoints beyond the newest `keep`; never what `best` or `latest` points at. Returns the names."""
    held = {(folder / alias).resolve() for alias in ("best", "latest") if (folder / alias).exists()}
    old = sorted(listed(folder), key=step_of, reverse=True)[keep:]
    gone = [path for path in reversed(old) if path not in held]
    for path in gone:
        hidden = path.with_name(f".deleting-{path.name}-{os.getpid()}")
        os.rename(path, hidden)  # a half-deleted folder must never look like a checkpoint
        shutil.rmtree(hidden)
    return [path.name for path in gone]


def sweep(folder: Path) -> None:
    """Remove what a killed process left half-written, putting back a checkpoint it had moved aside."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name.startswith(".replaced-")):  # room first
        if path.name.startswith(".replaced-"):
            name = path.name.removeprefix(".replaced-").rpartition("-")[0]
            whole = NAME.match(name) and not (folder / name).exists() and (path / "checksums.json").is_file()
            os.rename(path, folder / name) if whole else shutil.rmtree(path)
        elif path.name.startswith((".writing-", ".deleting-")):
            shutil.rmtree(path)
        elif path.is_symlink() and path.name.startswith("."):
            path.unlink()


def pack(value, tensors: dict[str, torch.Tensor], key: str):
    """A nested structure as JSON, its tensors moved into `tensors` under their path."""
    if isinstance(value, torch.Tensor):
        while key in tensors:  # {"a/b": x} beside {"a": {"b": y}}
            key += "'"
        tensors[key] = value.detach().cpu().contiguous()
        return {"__tensor__": key}
    if isinstance(value, dict):
        pairs = [[k, pack(v, tensors, f"{key}/{k}")] for k, v in value.items()]
        return dict(pairs) if all(isinstance(k, str) for k in value) else {"__pairs__": pairs}
    if isinstance(value, list | tuple):
        return [pack(v, tensors, f"{key}/{i}") for i, v in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{key}: a {type(value).__name__} cannot be stored in a checkpoint")


def snapshot(value):
    """A nested structure as it is now, its tensors on the CPU: what goes on learning changes nothing in it."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {k: snapshot(v) for k, v in value.items()}
    return [snapshot(v) for v in value] if isinstance(value, list | tuple) else value


def unpack(value, tensors: dict[str, torch.Tensor]):
    if isinstance(value, dict):
        if "__tensor__" in value:
            return tensors[value["__tensor__"]]
        if "__pairs__" in value:
            return {k: unpack(v, tensors) for k, v in value["__pairs__"]}
        return {k: unpack(v, tensors) for k, v in value.items()}
    return [unpack(v, tensors) for v in value] if isinstance(value, list) else value


def rng_state() -> dict:
    """The state of every random generator a training step may draw from: torch (CPU, this process's GPU), NumPy, Python."""
    kind, keys, place, has_gauss, gauss = np.random.get_state()
    version, internal, gauss_next = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else [],
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), place, has_gauss, gauss],
        "python": [version, list(internal), gauss_next],
    }


def set_rng_state(state: dict) -> None:
    torch.set_rng_state(state["torch"])
    if (kept := state["cuda"]) and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(kept[torch.cuda.current_device() % len(kept)])  # before, all of a machine's were kept
    kind, keys, place, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), place, has_gauss, gauss))
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))


def seeded(seed: int) -> None:
    """Start every generator of `rng_state` from `seed` (64 bits)."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


@contextmanager
def own_rng(seed: int) -> Iterator[None]:
    """Random draws inside start from `seed` and leave the generators outside as they were."""
    before = rng_state()
    seeded(seed)
    try:
        yield
    finally:
        set_rng_state(before)


def write_json(path: Path, value) -> None:
    """Atomically, so that a reader or a kill never sees half a file."""
    partial = path.with_name(f".{path.name}-{os.getpid()}")
    partial.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
    sync(partial)
    os.replace(partial, path)


def read_json(path: Path):
    """Raises `CheckpointError` for a missing or damaged file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from None


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
