"""What the published codecs share: where their weights are, packages without their own `__init__`, identity, checks."""

import functools
import hashlib
import importlib
import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Self

import torch
from torch import Tensor, nn

from ttslib.codecs import CodecError
from ttslib.vocab.source import HUB, fetched, in_cache


class Published(nn.Module):
    """A codec whose weights others trained: the parts of `codecs.Codec` that are the same for all of them.

    Utterances are encoded one by one: padding them into a batch changes sums in the last bit (and in DAC and w2v-bert
    the padding itself leaks in), which now and then tips a code, while the protocol promises that codes do not depend
    on what an utterance was batched with.
    """

    vocab: int | None = None
    dim: int | None = None

    def __init__(self, name: str, where: str, digest: str) -> None:
        super().__init__()
        self.name, self.where, self.hash = name, where, digest
        self.special: Mapping[str, int] = {}
        self.device = torch.device("cpu")

    def to(self, device: torch.device | str) -> Self:
        self.device = torch.device(device)
        return super().to(self.device)

    def encode_batch(self, wavs: Sequence[Tensor]) -> list[Tensor]:
        return [self.encode(wav) for wav in wavs]

    def voice(self, wav: Tensor) -> dict[str, Tensor]:
        """{}: codes or latents of this codec carry the voice."""
        return {}

    def state(self) -> dict:
        return {"name": self.name, "hash": self.hash, "where": self.where}

    def samples(self, wav: Tensor, least: int = 1) -> Tensor:
        """`wav` as float32 on the CPU. Raises `CodecError` unless it is `(samples,)`, finite and `least` long."""
        if wav.ndim != 1 or len(wav) < least or not wav.is_floating_point() or not wav.isfinite().all():
            raise CodecError(
                f"{self.name}: expected finite mono samples (samples,) as floats, {least} or more at {self.rate} Hz, "
                f"got {wav.dtype} of shape {tuple(wav.shape)}"
            )
        return wav.detach().float().cpu()

    def ids(self, codes: Tensor) -> Tensor:
        """`codes` as int64. Raises `CodecError` unless they are `(frames,)` ids of this codec."""
        if codes.ndim != 1 or not len(codes) or codes.is_floating_point():
            raise CodecError(f"{self.name}: expected ids (frames,), got {codes.dtype} of shape {tuple(codes.shape)}")
        codes = codes.detach().cpu().long()
        if len(wrong := ((codes < 0) | (codes >= self.vocab)).nonzero()):
            at = int(wrong[0])
            raise CodecError(
                f"{self.name}: id {int(codes[at])} at position {at} is not a code (0..{self.vocab - 1}); "
                "start and stop are to be taken off before decoding"
            )
        return codes

    def latents(self, latents: Tensor) -> Tensor:
        """`latents` as float32. Raises `CodecError` unless they are `(frames, dim)` and finite."""
        if latents.ndim != 2 or latents.shape[1] != self.dim or not len(latents) or not latents.isfinite().all():
            raise CodecError(f"{self.name}: expected finite latents (frames, {self.dim}), got {tuple(latents.shape)}")
        return latents.detach().float()

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """Random numbers from `seed` inside, on the CPU and on the codec's device; those outside are left alone."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield


def located(source: str, names: Sequence[str]) -> Path:
    """A file by its own path, or the first of `names` in a folder or a hub repository (`owner/name`, then `/file`
    and `@revision` if wished).

    Raises `CodecError` saying what was looked for and where. `HF_HUB_OFFLINE=1` keeps to the local hub cache.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        if found := next((path / name for name in names if (path / name).is_file()), None):
            return found
        raise CodecError(f"{source}: no weights in this folder; looked for {', '.join(names)}")
    if not (match := HUB.fullmatch(source)):
        raise CodecError(f"{source}: no such file or folder, and no hub id (owner/name); correct it")
    repo, revision = match["repo"], match["revision"]
    names = [match["file"]] if match["file"] else names
    where = f"{source} ({', '.join(names)})"
    return in_cache(repo, names, revision) or fetched(where, repo, names, revision, CodecError)


def imported(module: str, install: str) -> ModuleType:
    """A module of an installed package, without running the `__init__` of the package itself.

    Those of chatterbox, indextts and pocket_tts import whole runtimes: servers, watermarks, text front ends. While the
    module is imported an empty package stands for them; afterwards it is gone, and `import chatterbox` is the real one.
    Raises `CodecError` naming what to install.
    """
    top = module.partition(".")[0]
    standing = top not in sys.modules
    if standing:
        if (spec := importlib.util.find_spec(top)) is None:
            raise CodecError(f"package {top} is not installed: pip install --no-deps {install}")
        sys.modules[top] = importlib.util.module_from_spec(spec)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise CodecError(
            f"{module} needs {error.name}, which is not installed: pip install --no-deps {install}, or all of "
            "requirements-parity.txt and the extra `lab`"
        ) from error
    finally:
        if standing:
            del sys.modules[top]


def digest(files: Sequence[Path], **settings) -> str:
    """SHA-256 of the contents of weight files, in this order, and of the settings that decide codes."""
    hashes = [content(file, (about := file.stat()).st_size, about.st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps([hashes, settings], sort_keys=True).encode()).hexdigest()


@functools.lru_cache
def content(file: Path, size: int, changed: int) -> str:
    """SHA-256 of a file's content, read once as long as its size and time of change stay the same."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
