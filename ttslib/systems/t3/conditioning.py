"""What T3 reads before the text: the speaker's vector, 32 latents of a spoken prompt, the emotion.

Names and shapes of resemble-ai/chatterbox 5de7a54, `models/t3/modules/{cond_enc,perceiver}.py`.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEADS, DROPOUT = 4, 0.2  # of the published perceiver; neither is in its checkpoints


class Attention(nn.Module):
    """One attention block with a residual, used twice with the same weights: to the prompt, then among the latents."""

    def __init__(self, dim: int, dropout: float = DROPOUT):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.to_q, self.to_k, self.to_v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.proj_out = nn.Linear(dim, dim)
        self.dropout = dropout

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """`(batch, latents, dim)` attending to `(batch, length, dim)` where `mask` `(batch, length)` is True."""
        x_norm, context = self.norm(x), self.norm(context)
        q, k, v = (
            layer(y).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for layer, y in ((self.to_q, x_norm), (self.to_k, context), (self.to_v, context))
        )
        seen = None if mask is None else mask[:, None, None]
        dropout = self.dropout if self.training else 0.0
        h = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=dropout)
        return x + self.proj_out(h.transpose(1, 2).flatten(2))


class Perceiver(nn.Module):
    """A prompt of any length as a fixed number of latents (Jaegle et al. 2021)."""

    def __init__(self, dim: int, latents: int):
        super().__init__()
        bound = math.sqrt(3.0 / latents)  # the published sqrt(3) * sqrt(2 / (n + n))
        self.pre_attention_query = nn.Parameter(torch.empty(1, latents, dim).uniform_(-bound, bound))
        self.attn = Attention(dim)

    def forward(self, prompt: Tensor, mask: Tensor | None = None) -> Tensor:
        """`(batch, length, dim)` -> `(batch, latents, dim)`; `mask` `(batch, length)` is True where there is a code."""
        latents = self.attn(self.pre_attention_query.expand(len(prompt), -1, -1), prompt, mask)
        return self.attn(latents, latents)


class Conditioning(nn.Module):
    """Speaker, prompt and emotion in `dim` channels."""

    def __init__(self, dim: int, speaker: int, latents: int):
        super().__init__()
        self.spkr_enc = nn.Linear(speaker, dim)
        self.emotion_adv_fc = nn.Linear(1, dim, bias=False)
        self.perceiver = Perceiver(dim, latents)

    def forward(self, speaker: Tensor, prompt: Tensor, lengths: Tensor, emotion: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Three streams of `(values (batch, length, dim), lengths (batch,))`: speaker, prompt, emotion.

        `speaker` is `(batch, width)`, `emotion` `(batch,)`, `prompt` `(batch, codes, dim)` of which `lengths` count.
        Without a prompt a sample has no latents, as in the published code.
        """
        one = torch.ones_like(lengths)
        mask = torch.arange(prompt.shape[1], device=prompt.device)[None] < lengths.clamp(min=1)[:, None]
        latents = self.perceiver(prompt, mask)
        return [
            (self.spkr_enc(speaker)[:, None], one),
            (latents, latents.shape[1] * (lengths > 0)),
            (self.emotion_adv_fc(emotion[:, None, None]), one),
        ]
