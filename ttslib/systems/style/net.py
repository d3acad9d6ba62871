"""The style encoder: log-mels, ConvNeXt blocks, and two attention pools whose learned queries are the rows of a style.

As the reference encoder of SupertonicTTS (arXiv 2503.23108, section 3.2), but over mels: the vendor's latents come from an
encoder that is not published. What it gives are deviations from the mean style; every row is brought to length 1.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.utils.checkpoint import checkpoint

from ttslib import audio, losses
from ttslib.dataset import Example
from ttslib.sections import Style
from ttslib.styles import SHAPES
from ttslib.systems.style.augmenting import Augmenter, levelled, parts

HOP, WINDOW, MELS = 0.0125, 0.064, 80  # seconds, seconds, bands


@dataclass(frozen=True)
class Shape:
    """Sizes of a network: channels, those within a block, blocks, heads of a pool."""

    width: int
    hidden: int
    blocks: int
    heads: int


PRESETS = {"unit": Shape(16, 32, 1, 2), "fast": Shape(96, 384, 4, 4), "full": Shape(256, 1024, 6, 4)}


class Block(nn.Module):
    """ConvNeXt over time (Liu et al. 2022): depth-wise convolution, norm, two layers, a scale that starts small."""

    def __init__(self, shape: Shape, dropout: float):
        super().__init__()
        self.depthwise = nn.Conv1d(shape.width, shape.width, 7, padding=3, groups=shape.width)
        self.norm = nn.LayerNorm(shape.width)
        self.inner = nn.Sequential(
            nn.Linear(shape.width, shape.hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(shape.hidden, shape.width)
        )
        self.scale = nn.Parameter(torch.full((shape.width,), 0.1))

    def forward(self, x: Tensor, inside: Tensor) -> Tensor:
        """`x` (batch, frames, width), `inside` (batch, frames, 1): what is padding stays zero."""
        y = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        return (x + self.scale * self.inner(self.norm(y))) * inside


class Pool(nn.Module):
    """One row for each learned query, by attention over the frames; the last layer, one matrix a row, starts at zero."""

    def __init__(self, shape: Shape, rows: int, size: int):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(rows, shape.width) * shape.width**-0.5)
        self.attention = nn.MultiheadAttention(shape.width, shape.heads, batch_first=True)
        self.norm = nn.LayerNorm(shape.width)
        self.inner = nn.Sequential(
            nn.Linear(shape.width, shape.hidden), nn.GELU(), nn.Linear(shape.hidden, shape.width)
        )
        self.last = nn.Parameter(torch.zeros(rows, shape.width, size))

    def forward(self, x: Tensor, inside: Tensor) -> Tensor:
        """Deviations `(batch, rows, size)` of `x` (batch, frames, width)."""
        asked = self.queries.expand(len(x), -1, -1)
        found = self.attention(asked, x, x, key_padding_mask=~inside[..., 0], need_weights=False)[0]
        found = self.norm(found)
        return torch.einsum("brw,rws->brs", found + self.inner(found), self.last)


class Net(nn.Module):
    """`forward` is the training objective, `styles` what it gives for recordings. `mean_ttl`, `mean_dp` (rows)
    and `spread_ttl`, `spread_dp`, by which values deviate from them (0.01, 0.05), are buffers."""

    def __init__(self, shape: Shape, s: Style):
        super().__init__()
        self.shape, self.s = shape, s
        self.hop, self.window = round(HOP * s.rate), round(WINDOW * s.rate)
        self.augment = Augmenter(s, s.rate)
        self.front = nn.Conv1d(MELS, shape.width, 5, stride=2, padding=2)
        self.blocks = nn.ModuleList(Block(shape, s.dropout) for _ in range(shape.blocks))
        self.norm = nn.LayerNorm(shape.width)
        self.ttl, self.dp = (Pool(shape, *size) for size in SHAPES.values())
        for name, size in zip(("ttl", "dp"), SHAPES.values(), strict=True):
            self.register_buffer(f"mean_{name}", torch.zeros(size))
            self.register_buffer(f"spread_{name}", torch.ones(()))

    def mels(self, wav: Tensor) -> Tensor:
        """Log-mels `(batch, mels, frames)`, about 0 +- 1, of `(batch, samples)`; silence follows the last sample."""
        bank = audio.mel_transform(self.s.rate, self.window, self.hop, MELS).to(wav.device)
        ahead = self.window // 2
        padded = nn.functional.pad(wav, (ahead, ahead + self.hop))
        spectrum = torch.stft(
            padded, self.window, self.hop, window=bank.spectrogram.window, center=False, return_complex=True
        ).abs()
        return (bank.mel_scale(spectrum).clamp(min=audio.LOG_FLOOR).log() + 5) / 2.5

    def styles(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """`style_ttl` (batch, 50, 256) and `style_dp` (batch, 8, 16) of levelled recordings `(batch, samples)`."""
        with torch.autocast(wav.device.type, enabled=False):  # a spectrum in half precision overflows
            mels = self.mels(wav.float())
        frames = -(-lengths // self.hop)
        inside = torch.arange(mels.shape[2], device=wav.device) < frames[:, None]
        if self.training:
            mels = self.augment.masked(mels, inside)
        x = self.front(mels * inside[:, None]).transpose(1, 2)
        inside = inside[:, ::2, None]
        x = x * inside
        for block in self.blocks:
            if self.s.checkpointing and self.training and torch.is_grad_enabled():
                x = checkpoint(block, x, inside, use_reentrant=False)
            else:
                x = block(x, inside)
        x = self.norm(x)
        return tuple(
            nn.functional.normalize(mean + spread * pool(x, inside).float(), dim=-1)
            for mean, spread, pool in (
                (self.mean_ttl, self.spread_ttl, self.ttl),
                (self.mean_dp, self.spread_dp, self.dp),
            )
        )

    def forward(self, batch: Example) -> dict[str, Tensor]:
        """Terms `ttl`, `dp`, `cosine`; outside training also `ttl_mse`, `dp_mse`, what the mean style would have
        (`ttl_mse_mean`, `dp_mse_mean`), and the centred cosines `ttl_cosine`, `dp_cosine`."""
        wav = batch["wav"].transpose(1, 2).flatten(1).float() / 32768
        lengths, s = batch["wav_len"] * batch["wav"].shape[1], self.s
        if self.training:
            wav, lengths = parts(wav, lengths, round(s.shortest * s.rate), round(s.longest * s.rate))
            wav = self.augment(levelled(wav, lengths), lengths)
        else:
            lengths = lengths.clamp(max=round(s.longest * s.rate))
            wav = wav[:, : int(lengths.max())]
            wav = levelled(wav * (torch.arange(wav.shape[1], device=wav.device) < lengths[:, None]), lengths)
        found = dict(zip(("ttl", "dp"), self.styles(wav, lengths), strict=True))
        meant, means = ({k: v for k, v in zip(("ttl", "dp"), some, strict=True)} for some in (
            (batch["style_ttl"], batch["style_dp"]), (self.mean_ttl, self.mean_dp)))  # fmt: skip
        centre = means if s.cosine == "centred" else {"ttl": 0.0, "dp": 0.0}
        away = sum(1 - losses.direction(found[k] - centre[k], meant[k] - centre[k]) for k in found) / 2
        terms = {
            "ttl": s.lambda_ttl * mse_loss(found["ttl"], meant["ttl"]),
            "dp": s.lambda_dp * mse_loss(found["dp"], meant["dp"]),
            "cosine": s.lambda_cosine * away.mean(),
        }
        if not self.training:
            for name in found:
                terms[f"{name}_mse"] = mse_loss(found[name], meant[name])
                terms[f"{name}_mse_mean"] = mse_loss(means[name].expand_as(meant[name]), meant[name])
                one, other = ((x - means[name]).flatten(1) for x in (found[name], meant[name]))
                terms[f"{name}_cosine"] = nn.functional.cosine_similarity(one, other, eps=1e-6).mean()
        return terms
