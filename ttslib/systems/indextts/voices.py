"""Whose voice it is: what the network reads of another utterance of the speaker, and a reference of each to speak with.

With the published encoders that is `latents` and `emotion`, without them `voice`, 256 numbers of its spectrum.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from safetensors.torch import load, save
from torch import Tensor

from ttslib import audio
from ttslib.dataset import BadClip, Example
from ttslib.prompts import Others
from ttslib.systems.indextts.files import Beside
from ttslib.voice_encoder import RATE, MelStatistics

LONGEST, USUAL = (
    15.0,
    6.0,
)  # seconds heard of a prompt, as in the published runtime; of the utterance taken as a reference
STORED = 64
"""so many speakers, those with most clips, have a reference: with the published encoders one takes 160 kB"""


@dataclass(frozen=True)
class Reference:
    """What a voice is to the model: `heard`, `(…)` tensors as the network reads them without the batch, and what the codec's
    decoder has to know of it."""

    heard: Mapping[str, Tensor]
    decoder: Mapping[str, Tensor] = field(default_factory=dict)
    clip: int = 0
    """key of the clip that it was taken from"""

    def state(self) -> dict:
        """Plain JSON; `Reference.restore` is its inverse."""
        return {"heard": packed(self.heard), "decoder": packed(self.decoder), "clip": self.clip}

    @classmethod
    def restore(cls, state: Mapping) -> "Reference":
        heard, decoder = (load(base64.b64decode(state[name])) for name in ("heard", "decoder"))
        return cls(heard, decoder, state["clip"])


def packed(tensors: Mapping[str, Tensor]) -> str:
    return base64.b64encode(save({name: value.contiguous() for name, value in tensors.items()})).decode()


class Ear:
    """What is heard of a prompt: through the published encoders `beside` the network, or its spectrum without them."""

    def __init__(self, beside: Beside | None):
        self.beside, self.statistics = beside, MelStatistics()
        self.names = ("voice",) if beside is None else ("latents", "emotion")

    @property
    def hash(self) -> str:
        return self.statistics.hash if self.beside is None else self.beside.hash

    def heard(self, wav: Tensor, rate: int, codec) -> dict[str, Tensor]:
        """Of the first 15 s of `(samples,)` at `rate` (Hz): `voice` (256,), or `latents` (latents, dim) and `emotion`
        (dim,)."""
        return self.taken(wav[: round(LONGEST * rate)], rate, codec)[0]

    def taken(self, wav: Tensor, rate: int, codec) -> tuple[dict[str, Tensor], Tensor | None]:
        """`heard`, and w2v-bert's features of all of `wav` where they were computed for it, from which codes are made."""
        if self.beside is None:
            return {"voice": self.statistics.embed(audio.resampled(wav[: round(LONGEST * rate)], rate, RATE))}, None
        features = codec.hear(audio.resampled(wav, rate, codec.rate))
        prompt = features
        if len(wav) > LONGEST * rate:  # cut as samples: features of the whole know what comes after
            prompt = codec.hear(audio.resampled(wav[: round(LONGEST * rate)], rate, codec.rate))
        if len(prompt) < 3:
            raise BadClip(f"{len(prompt)} frames at {codec.frame_rate:g} Hz, the encoder of voices needs 3")
        latents, emotion = self.beside.net(prompt)
        return {"latents": latents.cpu(), "emotion": emotion.cpu()}, features

    def voice(self, wav: Tensor, rate: int, codec) -> dict[str, Tensor]:
        """What the codec's decoder has to know of the speaker of `(samples,)` at `rate` (Hz)."""
        if self.beside is None:
            return codec.voice(audio.resampled(wav, rate, codec.rate))
        return codec.voice(wav, rate)  # mels of the whole band, which 16 kHz has not

    def to(self, device: torch.device | str) -> None:
        """Compute on `device`; nothing to do for a spectrum."""
        if self.beside is not None:
            self.beside.net.to(device)


def stored(heard: Mapping[str, Tensor]) -> Example:
    """As an example has it, whose last axis may be padded: `voice` (256, 1), or `latents` (dim, latents) and `emotion`
    (dim, 1)."""
    return {name: (value[:, None] if value.ndim == 1 else value.T).contiguous() for name, value in heard.items()}


def read(example: Example, names: Sequence[str]) -> dict[str, Tensor]:
    """The inverse of `stored`."""
    return {name: example[name].T if name == "latents" else example[name][..., 0] for name in names}


class Pool:
    """The training utterances of every speaker, from which prompts are drawn: read again each time, since those of the
    published encoders take 160 kB each."""

    def __init__(self, examples: Sequence[Example], names: Sequence[str]):
        self.examples, self.names, self.others = examples, names, Others(examples)

    def prompts(self, batch: Example, training: bool) -> Example:
        """The batch with what is heard of another utterance for each sample; of its own where the speaker has no other."""
        found = []
        for i, (speaker, clip) in enumerate(zip(batch["speaker"].tolist(), batch["clip"].tolist(), strict=True)):
            other = self.others.draw(speaker, clip, training)
            own = {name: batch[name][i] for name in self.names}
            found.append(read(own if other is None else self.examples[other], self.names))
        return conditioned(batch, found)

    def references(self, names: Sequence[str], frame_rate: float) -> dict[str, Reference]:
        """For the most heard speakers the utterance whose length is nearest to `USUAL` seconds, `frame_rate` codes each."""
        sizes, found = self.others.sizes, {}
        for speaker, known in self.others.speakers.items():
            clip, index = min(known, key=lambda u: (abs(sizes[u[1]][0] - USUAL * frame_rate), u[0]))
            found[names[speaker]] = (clip, index)
        return {
            name: Reference({k: v.clone() for k, v in read(self.examples[index], self.names).items()}, clip=clip)
            for name in self.others.most_heard(names, STORED)
            for clip, index in [found[name]]
        }


def conditioned(batch: Example, heard: Sequence[Mapping[str, Tensor]]) -> Example:
    """The batch with what is heard for each sample: `voice` (batch, 256), or `latents` (batch, latents, dim) and `emotion`
    (batch, dim)."""
    return batch | {name: torch.stack([h[name] for h in heard]).to(batch["codes"].device) for name in heard[0]}


def blended(reference: Reference, emotion: Mapping[str, Tensor], weight: float) -> Reference:
    """The voice of one with the emotion of another, as far as `weight` says."""
    own = reference.heard["emotion"]
    return replace(reference, heard=dict(reference.heard) | {"emotion": own + weight * (emotion["emotion"] - own)})
