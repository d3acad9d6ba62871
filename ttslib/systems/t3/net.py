"""T3, Chatterbox's language model from text tokens to speech codes, over Transformers' Llama.

Every parameter has its name and shape in the published checkpoints (resemble-ai/chatterbox 5de7a54, `models/t3/t3.py`).

    [ speaker 1 | prompt latents 32 or 0 | emotion 1 ] [ start text stop ] [ start codes stop ]

The published batch puts padding between text and codes, which changes the logits; here a sample's streams touch
(`ttslib.packing`), so that every sample of a batch gives what it would give alone.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaModel

from ttslib import losses, packing
from ttslib.packing import Ids, Positions
from ttslib.systems.t3.conditioning import Conditioning

HEAD_DIM = 64


@dataclass(frozen=True)
class Shape:
    """Sizes of a network; rows and positions are those of the tables."""

    dim: int
    layers: int
    ff: int
    text_rows: int
    speech_rows: int
    text_positions: int = 2050
    speech_positions: int = 4100
    latents: int = 32
    speaker: int = 256


class Net(nn.Module):
    """The published network, and its training loss as `forward`."""

    def __init__(self, shape: Shape, ids: Ids, text_weight: float = 0.1, drop_text: float = 0.1, flat: bool = True):
        super().__init__()
        self.shape, self.special, self.text_weight, self.drop_text, self.flat = shape, ids, text_weight, drop_text, flat
        self.tfmr = LlamaModel(llama(shape))
        self.tfmr.embed_tokens.requires_grad_(False)  # never used, but in every checkpoint
        self.cond_enc = Conditioning(shape.dim, shape.speaker, shape.latents)
        self.text_emb = nn.Embedding(shape.text_rows, shape.dim)
        self.speech_emb = nn.Embedding(shape.speech_rows, shape.dim)
        self.text_pos_emb = Positions(shape.text_positions, shape.dim)
        self.speech_pos_emb = Positions(shape.speech_positions, shape.dim)
        self.text_head = nn.Linear(shape.dim, shape.text_rows, bias=False)
        self.speech_head = nn.Linear(shape.dim, shape.speech_rows, bias=False)
        for table in (self.text_emb, self.speech_emb, self.text_head, self.speech_head):
            nn.init.normal_(table.weight, std=0.02)

    @property
    def device(self) -> torch.device:
        return self.text_emb.weight.device

    def embed_text(self, ids: Tensor, keep: Tensor | None = None) -> Tensor:
        """`(batch, length)` ids with start and stop -> `(batch, length, dim)`; where `keep` `(batch,)` is False only
        positions are left, which is what guidance calls unconditional."""
        found = self.text_emb(ids)
        if keep is not None:
            found = found * keep[:, None, None]
        return found + self.text_pos_emb.emb.weight[: ids.shape[1]]

    def embed_speech(self, ids: Tensor, first: int = 0) -> Tensor:
        """`(batch, length)` ids, the first of them at position `first` -> `(batch, length, dim)`."""
        return self.speech_emb(ids) + self.speech_pos_emb.emb.weight[first : first + ids.shape[1]]

    def condition(self, batch: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
        """The conditioning streams of a batch with `voice` (batch, width), `prompt` (batch, codes) of which `prompt_len`
        count, and `emotion` (batch,)."""
        prompt = self.embed_speech(batch["prompt"])
        return self.cond_enc(batch["voice"], prompt, batch["prompt_len"], batch["emotion"])

    def hidden(self, packed: packing.Packed) -> Tensor:
        """The backbone's normed states `(rows, length, dim)`."""
        return self.tfmr(
            inputs_embeds=packed.values, position_ids=packed.positions, use_cache=False, **packed.alone()
        ).last_hidden_state

    def logits(self, batch: dict[str, Tensor], keep: Tensor | None = None) -> dict[str, Tensor]:
        """Logits of all `text` and `speech` positions, sample after sample `(positions, rows)`."""
        text, speech = self.states(batch, keep)
        return {"text": self.text_head(text[0]), "speech": self.speech_head(speech[0])}

    def states(self, batch: dict[str, Tensor], keep: Tensor | None = None) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Of the text and of the speech stream: the backbone's states, sample after sample `(positions, dim)`, the ids that
        stand there `(batch, length)`, and their lengths `(batch,)`.

        `batch` has `text` (batch, ids with start and stop) and bare `codes` (batch, codes), with `text_len` and `codes_len`.
        """
        speech, speech_len = self.between(batch["codes"], batch["codes_len"])
        streams = [
            *self.condition(batch),
            (self.embed_text(batch["text"], keep), batch["text_len"]),
            (self.embed_speech(speech), speech_len),
        ]
        packed = packing.pack(streams, self.flat)
        hidden = self.hidden(packed)
        return [
            (packed.stream(hidden, 3), batch["text"], batch["text_len"]),
            (packed.stream(hidden, 4), speech, speech_len),
        ]

    def between(self, codes: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See `packing.between`."""
        return packing.between(codes, lengths, self.special)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Cross-entropies of the next code (`speech`) and, weighted, of the next text token (`text`), means over the tokens
        of the batch (nats). In training the text of some samples is withheld, and their text is then no target.

        Outside training also, for a look at them: `text_ce` unweighted, `top1` (share of codes foretold), `end`
        (probability of the stop id where speech ends).
        """
        count = len(batch["text"])
        keep = None
        if self.training and self.drop_text:
            keep = torch.rand(count).to(self.device) >= self.drop_text  # on the CPU: its random state is in checkpoints
        (text, *words), (speech, *codes) = self.states(batch, keep)
        logits, targets = losses.next_id(self.speech_head, speech, *codes)
        terms = {"speech": F.cross_entropy(logits, targets)}
        each = F.cross_entropy(*losses.next_id(self.text_head, text, *words), reduction="none")
        counts = torch.ones_like(each)
        if keep is not None:
            counts = keep.repeat_interleave(batch["text_len"] - 1).to(each)
        text = (each * counts).sum() / counts.sum().clamp(min=1)
        terms["text"] = self.text_weight * text
        if not self.training:
            terms |= {"text_ce": text} | losses.foretold(logits, targets, self.special.stop)
        return terms


def llama(shape: Shape) -> LlamaConfig:
    """Chatterbox's `Llama_520M` at any size: heads of 64, RMSNorm 1e-5, no bias, Llama-3 rotary positions."""
    return LlamaConfig(
        vocab_size=8,  # its own embedding is unused
        hidden_size=shape.dim,
        intermediate_size=shape.ff,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.dim // HEAD_DIM,
        num_key_value_heads=shape.dim // HEAD_DIM,
        head_dim=HEAD_DIM,
        rms_norm_eps=1e-5,
        max_position_embeddings=131072,
        rope_theta=500000.0,
        rope_scaling={
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        attention_bias=False,
        mlp_bias=False,
        tie_word_embeddings=False,
        attn_implementation=packing.register(),
    )  # fmt: skip


def shape_of(weights: dict[str, Tensor]) -> Shape:
    """The sizes of published weights: all that its checkpoints leave unsaid is the same in every one of them."""
    return Shape(
        dim=weights["text_emb.weight"].shape[1],
        layers=1 + max(int(name.split(".")[2]) for name in weights if name.startswith("tfmr.layers.")),
        ff=weights["tfmr.layers.0.mlp.gate_proj.weight"].shape[0],
        text_rows=len(weights["text_emb.weight"]),
        speech_rows=len(weights["speech_emb.weight"]),
        text_positions=len(weights["text_pos_emb.emb.weight"]),
        speech_positions=len(weights["speech_pos_emb.emb.weight"]),
        latents=weights["cond_enc.perceiver.pre_attention_query"].shape[1],
        speaker=weights["cond_enc.spkr_enc.weight"].shape[1],
    )


PRESETS = {
    "unit": {"dim": 64, "layers": 2, "ff": 128, "text_positions": 258, "speech_positions": 516, "latents": 4},
    "tiny": {"dim": 128, "layers": 3, "ff": 512},
    "small": {"dim": 256, "layers": 6, "ff": 1024},
    "english": {"dim": 1024, "layers": 30, "ff": 4096},
    "multilingual": {"dim": 1024, "layers": 30, "ff": 4096},
}
