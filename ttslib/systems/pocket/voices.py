"""Whose voice it is: the beginning of another utterance of the speaker, and a reference of each to speak with."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from safetensors.torch import load, save
from torch import Tensor

from ttslib.dataset import Example
from ttslib.prompts import Others

TRIM, KEPT = 6, 12
"""frames: up to half a second is cut off a prompt's end in training, unless less than a second is left"""


@dataclass(frozen=True)
class Reference:
    """Raw latents `(frames, latent)` of the beginning of an utterance."""

    latents: Tensor
    clip: int = 0
    """key of the clip that it was taken from"""

    def state(self) -> dict:
        """Plain JSON; `Reference.restore` is its inverse."""
        told = base64.b64encode(save({"latents": self.latents.contiguous()})).decode()
        return {"latents": told, "clip": self.clip}

    @classmethod
    def restore(cls, state: Mapping) -> "Reference":
        return cls(load(base64.b64decode(state["latents"]))["latents"], state["clip"])


class Pool:
    """The training utterances of every speaker, from which prompts are drawn: 100 hours are 580 MB."""

    def __init__(self, examples: Sequence[Example]):
        self.examples, self.others = examples, Others(examples, "latents")

    def prompts(self, batch: Example, longest: int, training: bool) -> Example:
        """The batch with `prompt` (batch, frames, latent) and `prompt_len`: the beginning of another utterance, which starts
        from silence as a recording does. Without another one there is none: cut from the clip itself it would teach copying.
        """
        found = []
        for speaker, clip in zip(batch["speaker"].tolist(), batch["clip"].tolist(), strict=True):
            other = self.others.draw(speaker, clip, training)
            if other is None:
                found.append(batch["latents"].new_zeros(0, batch["latents"].shape[1]))
                continue
            latents = self.examples[other]["latents"].T[:longest]
            less = int(torch.randint(TRIM + 1, ())) if training else 0
            found.append(latents[: max(len(latents) - less, min(KEPT, len(latents)))])
        return prompted(batch, found)

    def references(self, names: Sequence[str], longest: int) -> dict[str, Reference]:
        """For each speaker the utterance whose length is nearest to `longest` frames."""
        found = {}
        for speaker, known in self.others.speakers.items():
            clip, index = min(known, key=lambda u: (abs(self.others.sizes[u[1]][0] - longest), u[0]))
            found[names[speaker]] = Reference(self.examples[index]["latents"].T[:longest].clone(), clip)
        return found


def prompted(batch: Example, prompts: Sequence[Tensor]) -> Example:
    """The batch with these prompts, `(frames, latent)` each."""
    device = batch["latents"].device
    lengths = torch.tensor([len(p) for p in prompts], device=device)
    padded = torch.nn.utils.rnn.pad_sequence([p if len(p) else p.new_zeros(1, p.shape[1]) for p in prompts], True)
    return batch | {"prompt": padded.to(device), "prompt_len": lengths}
