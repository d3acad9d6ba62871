"""Codecs: speech as codes or latents, and back. A codec is any object that has what `Codec` states.

    codec = codecs.of(p)                      # what `p.codec` names; a codec of ours that is missing is trained
    codes = codec.encode(wav)                 # (frames,) ids, or (frames, dim) latents
    wav = codec.decode(codes, voice=codec.voice(reference))

| `codec` in the params | what it is | source |
|---|---|---|
| mel-6561, mel-8192, mel-vae | our own over mels, trained on the corpus in minutes | `mel.py`, `training.py` |
| s3=<hub id or folder> | S3Tokenizer v2 and S3Gen of Chatterbox | `s3.py` |
| mimi=..., dac=... | Mimi and DAC through Transformers | `hub.py` |
| pocket=... | Pocket TTS's Mimi through its package | `pocket.py` |
| indextts=... | w2v-bert and RepCodec of IndexTTS2 | `indextts.py` |
| a folder with codec.json | one of ours, trained before | `mel.py` |

Codes of two codecs never mix: whoever stores codes stores `name` and `hash` with them, and refuses others.
"""

import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from ttslib.params import Params

OURS = ("mel-6561", "mel-8192", "mel-vae")
PUBLISHED = {
    "s3": "ttslib.codecs.s3", "mimi": "ttslib.codecs.hub", "dac": "ttslib.codecs.hub", "pocket": "ttslib.codecs.pocket",
    "indextts": "ttslib.codecs.indextts",
}  # fmt: skip


class CodecError(ValueError):
    """A codec that cannot be had, or codes of another one; the message says which and what to do."""


@runtime_checkable
class Codec(Protocol):
    """What every codec has. Encoding is pure: the same samples give the same codes, whatever they are batched with."""

    name: str
    """what it is, e.g. mel-6561"""
    hash: str
    """SHA-256 of all that decides its codes: weights and settings"""
    rate: int
    """rate of the samples `encode` takes (Hz)"""
    rate_out: int
    """rate of the samples `decode` gives (Hz)"""
    frame_rate: float
    """codes or latents a second (Hz)"""
    vocab: int | None
    """number of codes; None where it gives latents"""
    dim: int | None
    """width of a latent; None where it gives codes"""
    special: Mapping[str, int]
    """ids beside the codes, `start` and `stop`; empty for latents"""

    def encode(self, wav: Tensor) -> Tensor:
        """`(samples,)` at `rate` -> `(frames,)` int64 in 0..vocab-1, or `(frames, dim)` float32, on the CPU."""
        ...

    def encode_batch(self, wavs: Sequence[Tensor]) -> list[Tensor]:
        """`encode` of each, computed together."""
        ...

    def voice(self, wav: Tensor) -> dict[str, Tensor]:
        """What `decode` has to know of a speaker, from `(samples,)` at `rate`; {} where the codes carry the voice."""
        ...

    def decode(self, codes: Tensor, voice: Mapping[str, Tensor] | None = None, seed: int = 0) -> Tensor:
        """Waveform `(samples,)` at `rate_out`, on the CPU, the same for the same seed."""
        ...

    def to(self, device: torch.device | str) -> Self:
        """The same codec, computing on `device`."""
        ...

    def state(self) -> dict:
        """Plain JSON from which `codecs.restore` makes it again: one of ours whole, a published one by name and hash."""
        ...


@runtime_checkable
class Streaming(Protocol):
    """What a codec has whose decoder needs nothing of what is still to come."""

    def stream(self, frames: Iterable[Tensor], most: int) -> Iterator[Tensor]:
        """`decode` of codes or latents as they come, one by one and no more than `most`: their samples, each at once."""
        ...


def of(p: Params) -> Codec:
    """The codec that `p.codec` names. One of ours that is not there yet is trained on the corpus, which is said.

    Raises `CodecError` when there is none by that name, or its weights or package are missing.
    """
    if p.codec is None:
        raise CodecError(f"codec: not given; system {p.system} learns from codes. There are {choices()}")
    if p.codec in OURS:
        from ttslib.codecs import training

        return training.at_hand(p)
    return load(p.codec)


def load(where: str) -> Codec:
    """A codec by folder (one of ours) or `<kind>=<hub id or folder>` (a published one). Raises `CodecError`."""
    if (Path(where) / "codec.json").is_file():
        from ttslib.codecs.mel import MelCodec

        return MelCodec.load(where)
    kind, equals, source = where.partition("=")
    if not equals or kind not in PUBLISHED:
        raise CodecError(f"codec={where}: no folder with codec.json, and no published kind; there are {choices()}")
    return importlib.import_module(PUBLISHED[kind]).load(source, kind)


def restore(state: Mapping) -> Codec:
    """The codec of a checkpoint's `state()`. Raises `CodecError` when a published one is no longer the same."""
    if "weights" in state:
        from ttslib.codecs.mel import MelCodec

        return MelCodec.restore(state)
    codec = load(state["where"])
    require(codec, state, state["where"])
    return codec


def require(codec: Codec, recorded: Mapping, where: str | Path) -> None:
    """Raise `CodecError` unless `codec` is the one whose `name` and `hash` were recorded beside some codes."""
    if (codec.name, codec.hash) != (recorded["name"], recorded["hash"]):
        raise CodecError(
            f"{where}: made with codec {recorded['name']} ({recorded['hash'][:12]}), this is {codec.name} "
            f"({codec.hash[:12]}); codes of two codecs do not mix. Name the first one in `codec`, or prepare again"
        )


def described(codec: Codec) -> dict:
    """What has to be known of a codec where its codes are, plain JSON."""
    told = {key: getattr(codec, key) for key in ("name", "hash", "rate", "rate_out", "frame_rate", "vocab", "dim")}
    return told | {"special": dict(codec.special)}


class Held:
    """A system's codec, loaded when it is first needed; `state` is what its checkpoints have of it, plain JSON."""

    def __init__(self, codec: "Codec | Held | Mapping"):
        """A codec, another's `Held`, or a stored state; a state whose `hash` is None names a published codec that
        nothing has been encoded with yet."""
        self.made: Codec | None = None
        if isinstance(codec, Held):
            self.made, self.state = codec.made, codec.state
        elif isinstance(codec, Mapping):
            self.state = dict(codec)
        else:
            self.made, self.state = codec, codec.state() | described(codec)

    @property
    def codec(self) -> Codec:
        """Raises `CodecError` when it cannot be had, or is no longer the same."""
        if self.made is None and self.state["hash"] is None:
            self.made = load(self.state["where"])
            self.state = self.made.state() | described(self.made)
        elif self.made is None:
            self.made = restore(self.state)
        return self.made


def choices() -> str:
    return (
        f"{', '.join(OURS)}, {', '.join(f'{kind}=<hub id or folder>' for kind in PUBLISHED)}, or a folder of your own"
    )
