"""The language model of IndexTTS2: text ids and speech codes through GPT-2, under the names of the published checkpoints.

Sequence of index-tts ee40fa7 (`UnifiedVoice`): `[latents of a prompt + emotion | duration | free] [start text stop]
[start codes stop]`, learnt positions from 0 in each stream, GPT-2 without positions of its own, and two norms in a row
behind it. The published `forward` drops its targets; the loss here is that of every trainer that works.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GPT2Config, GPT2Model

from ttslib import losses, packing
from ttslib.packing import Ids, Positions


@dataclass(frozen=True)
class Shape:
    """Sizes of a network; rows and positions are those of the tables."""

    dim: int
    layers: int
    heads: int
    text_rows: int
    mel_rows: int
    text_positions: int = 602
    mel_positions: int = 1818
    latents: int = 32
    voice: int = 0
    """width of the vector that stands for a voice where the published encoders are not at hand; 0 where they are"""


class Nowhere(nn.Module):
    """GPT-2's own positions: none. They would be added to those of the streams."""

    def forward(self, positions: Tensor) -> Tensor:
        return torch.zeros((), device=positions.device)


class Net(nn.Module):
    """What is trained of the published model, and its training loss as `forward`. The encoders of prompts are apart
    (`encoders.py`); without them the latents are made of a vector, `voice`."""

    def __init__(
        self, shape: Shape, ids: Ids, text_weight: float = 0.1, mel_weight: float = 1.0, dropout: float = 0.1,
        drop_duration: float | None = None, flat: bool = True,
    ):  # fmt: skip
        """`drop_duration`: share of the samples that are not told their duration; None tells none."""
        super().__init__()
        self.shape, self.special, self.flat = shape, ids, flat
        self.text_weight, self.mel_weight, self.drop_duration = text_weight, mel_weight, drop_duration
        self.gpt = GPT2Model(gpt2(shape, dropout))
        self.gpt.wte, self.gpt.wpe = nn.Identity(), Nowhere()  # it has neither embeddings nor positions of its own
        self.text_embedding = nn.Embedding(shape.text_rows, shape.dim)
        self.mel_embedding = nn.Embedding(shape.mel_rows, shape.dim)
        self.text_pos_embedding = Positions(shape.text_positions, shape.dim)
        self.mel_pos_embedding = Positions(shape.mel_positions, shape.dim)
        self.final_norm = nn.LayerNorm(shape.dim)
        self.text_head = nn.Linear(shape.dim, shape.text_rows)
        self.mel_head = nn.Linear(shape.dim, shape.mel_rows)
        self.speed_emb = nn.Embedding(2, shape.dim)
        nn.init.normal_(self.text_embedding.weight, std=0.02)
        nn.init.normal_(self.mel_embedding.weight, std=0.02)
        nn.init.zeros_(self.speed_emb.weight)
        if shape.voice:
            self.voice = nn.Linear(shape.voice, shape.latents * shape.dim)

    @property
    def device(self) -> torch.device:
        return self.text_embedding.weight.device

    def embed_text(self, ids: Tensor) -> Tensor:
        """`(batch, length)` ids with start and stop -> `(batch, length, dim)`."""
        return self.text_embedding(ids) + self.text_pos_embedding.emb.weight[: ids.shape[1]]

    def embed_speech(self, ids: Tensor, first: int = 0) -> Tensor:
        """`(batch, length)` ids, the first of them at position `first` -> `(batch, length, dim)`."""
        return self.mel_embedding(ids) + self.mel_pos_embedding.emb.weight[first : first + ids.shape[1]]

    def condition(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The conditioning stream `(batch, latents + 2, dim)` and its lengths `(batch,)`.

        `batch` has the prompt's `latents` (batch, latents, dim) and `emotion` (batch, dim), or its `voice` (batch, width);
        and, where the speech is to take so long, `duration` (batch,) in codes, negative for as long as it likes.
        """
        if self.shape.voice:
            latents = self.voice(batch["voice"]).unflatten(-1, (self.shape.latents, -1))
        else:
            latents = batch["latents"] + batch["emotion"][:, None]
        free, told = (self.speed_emb.weight[i].expand(len(latents), -1) for i in (0, 1))
        if (duration := batch.get("duration")) is not None:
            # One table for positions and durations, as the paper has it (Zhou et al. 2025, sec. 3.2).
            own = self.mel_pos_embedding.emb(duration.clamp(0, self.shape.mel_positions - 1))
            told = torch.where((duration >= 0)[:, None], own, told)
        stream = torch.cat([latents, told[:, None].to(latents), free[:, None].to(latents)], 1)
        return stream, torch.full((len(latents),), stream.shape[1], device=latents.device)

    def hidden(self, packed: packing.Packed) -> Tensor:
        """What the heads read, `(rows, length, dim)`: the latents from which the published decoder makes sound."""
        out = self.gpt(inputs_embeds=packed.values, position_ids=packed.positions, use_cache=False, **packed.alone())
        return self.final_norm(out.last_hidden_state)

    def logits(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logits of all `text` and `speech` positions, sample after sample `(positions, rows)`."""
        text, speech = self.states(batch)
        return {"text": self.text_head(text[0]), "speech": self.mel_head(speech[0])}

    def states(self, batch: dict[str, Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Of the text and of the speech stream: the states `(positions, dim)`, sample after sample, the ids that stand
        there `(batch, length)`, and their lengths `(batch,)`.

        `batch` has `text` (batch, ids with start and stop) and bare `codes` (batch, codes), with `text_len` and `codes_len`.
        """
        speech, speech_len = packing.between(batch["codes"], batch["codes_len"], self.special)
        streams = [
            self.condition(batch),
            (self.embed_text(batch["text"]), batch["text_len"]),
            (self.embed_speech(speech), speech_len),
        ]
        packed = packing.pack(streams, self.flat)
        hidden = self.hidden(packed)
        return [
            (packed.stream(hidden, 1), batch["text"], batch["text_len"]),
            (packed.stream(hidden, 2), speech, speech_len),
        ]

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weighted cross-entropies of the next code (`speech`) and the next text token (`text`), means over the tokens of
        the batch (nats): of n ids n targets and one stop.

        Outside training also, for a look at them: `speech_ce` and `text_ce` unweighted, `top1` (share of codes foretold),
        `end` (probability of the stop id where speech ends).
        """
        if self.drop_duration is not None:
            batch = batch | {"duration": self.durations(batch["codes_len"])}
        text, speech = self.states(batch)
        logits, targets = losses.next_id(self.mel_head, *speech)
        codes = F.cross_entropy(logits, targets)
        words = F.cross_entropy(*losses.next_id(self.text_head, *text))
        terms = {"speech": self.mel_weight * codes, "text": self.text_weight * words}
        if not self.training:
            terms |= {"speech_ce": codes, "text_ce": words} | losses.foretold(logits, targets, self.special.stop)
        return terms

    def durations(self, codes: Tensor) -> Tensor:
        """What each sample is told of its number of `codes` `(batch,)`: in training a share of them nothing, -1. They then
        have the learnt row that the published runtime, which never tells a duration, has in this place."""
        if not self.training or not self.drop_duration:
            return codes
        told = torch.rand(len(codes)) >= self.drop_duration  # on the CPU: its random state is in checkpoints
        return torch.where(told.to(codes.device), codes, -1)


def gpt2(shape: Shape, dropout: float) -> GPT2Config:
    """GPT-2 as IndexTTS2 sets it up: four times as wide inside, GELU by tanh."""
    return GPT2Config(
        vocab_size=1,  # its own embedding is taken out
        n_positions=shape.latents + 2 + shape.text_positions + shape.mel_positions,  # its table too; this only warns
        n_embd=shape.dim,
        n_layer=shape.layers,
        n_head=shape.heads,
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
        bos_token_id=None,
        eos_token_id=None,
        attn_implementation=packing.register(),
    )


PRESETS = {
    "unit": {"dim": 64, "layers": 2, "heads": 2, "text_positions": 258, "mel_positions": 516, "latents": 4},
    "tiny": {"dim": 128, "layers": 4, "heads": 4, "latents": 8},
    "small": {"dim": 256, "layers": 6, "heads": 4, "latents": 8},
    "official": {"dim": 1280, "layers": 24, "heads": 20},
}
