"""Whose voice it is: prompts from other utterances of a speaker in training, one reference of each speaker to speak with."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from safetensors.torch import load, save
from torch import Tensor

from ttslib.dataset import Example
from ttslib.prompts import Others


@dataclass(frozen=True)
class Reference:
    """What a voice is to the model: its vector `(width,)`, codes of an utterance `(codes,)`, and what the codec's decoder
    has to know of it."""

    vector: Tensor
    codes: Tensor
    decoder: Mapping[str, Tensor] = field(default_factory=dict)
    clip: int = 0
    """key of the clip that it was taken from"""

    def state(self) -> dict:
        """Plain JSON; `Reference.restore` is its inverse."""
        told = {"vector": self.vector.tolist(), "codes": self.codes.tolist(), "clip": self.clip}
        if self.decoder:
            told["decoder"] = base64.b64encode(save({k: v.contiguous() for k, v in self.decoder.items()})).decode()
        return told

    @classmethod
    def restore(cls, state: Mapping) -> "Reference":
        decoder = load(base64.b64decode(state["decoder"])) if "decoder" in state else {}
        codes = torch.tensor(state["codes"], dtype=torch.long)
        return cls(torch.tensor(state["vector"]), codes, decoder, state["clip"])


class Pool:
    """The training utterances of every speaker, from which prompts are drawn: codes of 100 hours take 72 MB."""

    def __init__(self, examples: Sequence[Example]):
        self.heard: list[tuple[Tensor, Tensor]] = []
        self.others = Others(map(self.hear, examples))

    def hear(self, example: Example) -> Example:
        self.heard.append((example["codes"].clone(), example["voice"][:, 0].clone()))
        return example

    def prompts(self, batch: Example, longest: int, training: bool) -> Example:
        """The batch with `voice` `(batch, width)`, `prompt` `(batch, codes)` and `prompt_len` of other utterances.

        Prompts are up to `longest` codes, a random stretch in training, else the beginning. A clip whose speaker has no
        other utterance has its own vector and no prompt, as the published model allows: a prompt cut from the clip itself
        would teach copying.
        """
        vectors, prompts = batch["voice"][..., 0].clone(), []
        for i, (speaker, clip) in enumerate(zip(batch["speaker"].tolist(), batch["clip"].tolist(), strict=True)):
            found = self.others.draw(speaker, clip, training)
            if found is None:
                prompts.append(batch["codes"].new_zeros(0))
                continue
            codes, vector = self.heard[found]
            vectors[i] = vector.to(vectors)
            spare = max(0, len(codes) - longest)
            start = int(torch.randint(spare + 1, ())) if training else 0
            prompts.append(codes[start : start + longest].to(batch["codes"]))
        return with_prompts(batch, vectors, prompts)

    def references(self, names: Sequence[str], longest: int) -> dict[str, Reference]:
        """For each speaker the utterance whose length is nearest to `longest` codes."""
        found = {}
        for speaker, known in self.others.speakers.items():
            clip, index = min(known, key=lambda u: (abs(self.others.sizes[u[1]][0] - longest), u[0]))
            codes, vector = self.heard[index]
            found[names[speaker]] = Reference(vector, codes[:longest], clip=clip)
        return found


def with_prompts(batch: Example, vectors: Tensor, prompts: Sequence[Tensor]) -> Example:
    """The batch with `voice` `(batch, width)`, and `prompt` `(batch, codes)` of which `prompt_len` count."""
    lengths = torch.tensor([len(p) for p in prompts], device=vectors.device)
    padded = torch.nn.utils.rnn.pad_sequence([p if len(p) else p.new_zeros(1) for p in prompts], batch_first=True)
    return batch | {"voice": vectors, "prompt": padded.to(vectors.device), "prompt_len": lengths}


def referred(batch: Example, references: Sequence[Reference]) -> Example:
    """The batch with the voice and the prompt of a reference for each sample."""
    vectors = torch.stack([r.vector for r in references]).to(batch["voice"])
    return with_prompts(batch, vectors, [r.codes for r in references])
