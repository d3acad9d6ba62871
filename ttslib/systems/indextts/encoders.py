"""IndexTTS2's encoders of a prompt: w2v-bert's features -> latents of the voice, and a vector of the emotion.

Names and shapes of index-tts ee40fa7 (`gpt/conformer_encoder.py`, `gpt/perceiver.py`): two conformers (Gulati et al. 2020,
with WeNet's positions, which are not shifted), each read out by a perceiver (Jaegle et al. 2021). They are never trained
here; what they give is computed once a clip.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 1024  # of w2v-bert's features, and of the emotion's vector; both are written into the published code
KERNEL, PLACES, HEAD, DEPTH = 15, 5000, 64, 2  # likewise, and in none of its configurations


class SelfAttention(nn.Module):
    """Attention to contents and to places (Dai et al. 2019, sec. 3.3), the place being absolute."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.linear_q, self.linear_k = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.linear_v, self.linear_out = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.linear_pos = nn.Linear(dim, dim, bias=False)
        self.pos_bias_u = nn.Parameter(nn.init.xavier_uniform_(torch.empty(heads, dim // heads)))
        self.pos_bias_v = nn.Parameter(nn.init.xavier_uniform_(torch.empty(heads, dim // heads)))

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        """`(batch, time, dim)`, `places` `(1, time, dim)` -> `(batch, time, dim)`."""
        heads = len(self.pos_bias_u)
        q, k, v, p = (
            layer(y).unflatten(-1, (heads, -1))
            for layer, y in ((self.linear_q, x), (self.linear_k, x), (self.linear_v, x), (self.linear_pos, places))
        )
        contents = torch.einsum("bihd,bjhd->bhij", q + self.pos_bias_u, k)
        where = torch.einsum("bihd,bjhd->bhij", q + self.pos_bias_v, p.expand_as(k))
        weights = ((contents + where) / math.sqrt(q.shape[-1])).softmax(-1)
        return self.linear_out(torch.einsum("bhij,bjhd->bihd", weights, v).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, dim: int, inside: int):
        super().__init__()
        self.w_1, self.w_2 = nn.Linear(dim, inside), nn.Linear(inside, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.w_2(F.silu(self.w_1(x)))


class Convolution(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.pointwise_conv1 = nn.Conv1d(dim, 2 * dim, 1)
        self.depthwise_conv = nn.Conv1d(dim, dim, KERNEL, padding=KERNEL // 2, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.pointwise_conv2 = nn.Conv1d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, time, dim)` -> the same shape."""
        x = self.depthwise_conv(F.glu(self.pointwise_conv1(x.transpose(1, 2)), dim=1))
        x = F.silu(self.norm(x.transpose(1, 2)))
        return self.pointwise_conv2(x.transpose(1, 2)).transpose(1, 2)


class Block(nn.Module):
    def __init__(self, dim: int, inside: int, heads: int):
        super().__init__()
        self.self_attn = SelfAttention(dim, heads)
        self.feed_forward = FeedForward(dim, inside)
        self.conv_module = Convolution(dim)
        self.norm_ff, self.norm_mha = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.norm_conv, self.norm_final = nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        x = x + self.self_attn(self.norm_mha(x), places)
        x = x + self.conv_module(self.norm_conv(x))
        x = x + self.feed_forward(self.norm_ff(x))
        return self.norm_final(x)


class Places(nn.Module):
    """Sinusoids (Vaswani et al. 2017); a buffer, because the published checkpoints have it."""

    def __init__(self, dim: int):
        super().__init__()
        angle = torch.arange(PLACES)[:, None] * torch.exp(torch.arange(0, dim, 2) * -(math.log(10000.0) / dim))
        self.register_buffer("pe", torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[None])


class Embed(nn.Module):
    """Half the frames, `dim` channels: a strided convolution over time and features."""

    def __init__(self, dim: int, width: int):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, dim, 3, 2), nn.ReLU())
        self.out = nn.Sequential(nn.Linear(dim * ((width - 1) // 2), dim))
        self.pos_enc = Places(dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.out(self.conv(x[:, None]).transpose(1, 2).flatten(2))
        return x * math.sqrt(x.shape[-1]), self.pos_enc.pe[:, : x.shape[1]]


class Conformer(nn.Module):
    def __init__(self, dim: int, inside: int, heads: int, blocks: int, width: int):
        super().__init__()
        self.embed = Embed(dim, width)
        self.after_norm = nn.LayerNorm(dim)
        self.encoders = nn.ModuleList(Block(dim, inside, heads) for _ in range(blocks))

    def forward(self, features: Tensor) -> Tensor:
        """`(batch, frames, width)` -> `(batch, (frames - 1) // 2, dim)`; no padding: prompts are encoded one by one."""
        x, places = self.embed(features)
        for block in self.encoders:
            x = block(x, places)
        return self.after_norm(x)


class CrossAttention(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.to_q = nn.Linear(dim, HEAD * heads, bias=False)
        self.to_kv = nn.Linear(dim, 2 * HEAD * heads, bias=False)
        self.to_out = nn.Linear(HEAD * heads, dim, bias=False)

    def forward(self, latents: Tensor, context: Tensor) -> Tensor:
        """The latents `(batch, latents, dim)` attend to themselves and to `(batch, time, dim)`."""
        k, v = self.to_kv(torch.cat([latents, context], 1)).chunk(2, -1)
        q, k, v = (x.unflatten(-1, (-1, HEAD)).transpose(1, 2) for x in (self.to_q(latents), k, v))
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Gated(nn.Module):
    """GELU of the second half times the first (Shazeer 2020)."""

    def forward(self, x: Tensor) -> Tensor:
        x, gate = x.chunk(2, -1)
        return F.gelu(gate) * x


class Norm(nn.Module):
    """Root mean square norm, written as the published one is."""

    def __init__(self, dim: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1) * x.shape[-1] ** 0.5 * self.gamma


class Perceiver(nn.Module):
    def __init__(self, dim: int, context: int, heads: int, mult: int, latents: int):
        super().__init__()
        inside = int(dim * mult * 2 / 3)
        self.proj_context = nn.Linear(context, dim) if context != dim else nn.Identity()
        self.latents = nn.Parameter(torch.randn(latents, dim) * 0.02)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [CrossAttention(dim, heads), nn.Sequential(nn.Linear(dim, 2 * inside), Gated(), nn.Linear(inside, dim))]
            )
            for _ in range(DEPTH)
        )
        self.norm = Norm(dim)

    def forward(self, context: Tensor) -> Tensor:
        """`(batch, time, context)` -> `(batch, latents, dim)`."""
        context = self.proj_context(context)
        latents = self.latents.expand(len(context), -1, -1)
        for attend, feed in self.layers:
            latents = attend(latents, context) + latents
            latents = feed(latents) + latents
        return self.norm(latents)


class Encoders(nn.Module):
    """What turns a prompt into what `net.Net` reads of it."""

    def __init__(self, dim: int, latents: int, speaker: Mapping, emotion: Mapping, width: int = WIDTH):
        """`speaker` and `emotion` are `condition_module` and `emo_condition_module` of the published configuration."""
        super().__init__()
        self.conditioning_encoder, self.perceiver_encoder = pair(dim, latents, speaker, width)
        self.emo_conditioning_encoder, self.emo_perceiver_encoder = pair(width, 1, emotion, width)
        self.emovec_layer = nn.Linear(width, dim)
        self.emo_layer = nn.Linear(dim, dim)

    @torch.no_grad()
    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """`(frames, width)`, three or more -> the voice `(latents, dim)` and the emotion `(dim,)`."""
        voice = self.perceiver_encoder(self.conditioning_encoder(features[None]))
        emotion = self.emo_perceiver_encoder(self.emo_conditioning_encoder(features[None]))
        return voice[0], self.emo_layer(self.emovec_layer(emotion))[0, 0]


def pair(dim: int, latents: int, module: Mapping, width: int) -> tuple[Conformer, Perceiver]:
    """A conformer and the perceiver that reads it out. Raises `KeyError` for a configuration that lacks a size."""
    own, heads = module["output_size"], module["attention_heads"]
    conformer = Conformer(own, module["linear_units"], heads, module["num_blocks"], width)
    return conformer, Perceiver(dim, own, heads, module["perceiver_mult"], latents)
