"""SimplifiedT3's network: Transformer encoder, duration predictor, mel decoder.

Legend of shapes: b batch, n tokens, t mel frames, c channels, m mel bands. All tensors are `(b, n|t, c)`.
`forward` (training, durations from alignment) and `infer` (durations predicted) are twins.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ttslib import alignment, losses, processes


@dataclass(frozen=True)
class Size:
    """Widths and depths of one preset."""

    encoder: int
    encoder_layers: int
    heads: int
    decoder: int
    decoder_layers: int
    expansion: int = 2


PRESETS = {
    "unit": Size(encoder=32, encoder_layers=1, heads=2, decoder=32, decoder_layers=2),
    "tiny": Size(encoder=192, encoder_layers=4, heads=4, decoder=192, decoder_layers=6),
    "base": Size(encoder=384, encoder_layers=6, heads=6, decoder=512, decoder_layers=8),
}


def positions(length: int, width: int, device: torch.device) -> Tensor:
    """Sinusoidal positional encoding `(length, width)` (Vaswani et al. 2017, sec. 3.5)."""
    place = torch.arange(length, device=device, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10000.0) / width))
    return torch.stack([(place * rate).sin(), (place * rate).cos()], dim=-1).flatten(1)


class Conv(nn.Module):
    """Same-length convolution over `(b, n, c)` whose padding positions read as zeros.

    Computed as a 2-d convolution of height 1: `(b, n, c)` in memory is then channels-last, and the depth-wise case runs
    2.4 times faster on a CPU than as Conv1d, without a copy.
    """

    def __init__(self, width_in: int, width_out: int, kernel: int, groups: int = 1):
        super().__init__()
        self.conv = nn.Conv1d(width_in, width_out, kernel, padding=kernel // 2, groups=groups)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        image = (x * mask[..., None]).transpose(1, 2).unsqueeze(2)
        weight, pad = self.conv.weight.unsqueeze(2), (0, self.conv.padding[0])
        return F.conv2d(image, weight, self.conv.bias, padding=pad, groups=self.conv.groups).squeeze(2).transpose(1, 2)


class ChannelDropout(nn.Module):
    """Dropout of whole channels of `(b, n, c)`, one mask per item: a draw per element costs a sixth of a CPU step."""

    def __init__(self, share: float):
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.share == 0:
            return x
        keep = torch.rand(x.shape[0], 1, x.shape[2], device=x.device) >= self.share
        return x * (keep / (1 - self.share)).to(x.dtype)


class EncoderLayer(nn.Module):
    """Pre-norm self-attention and a convolutional feed-forward (FastSpeech's FFT block)."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm_attention, self.norm_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = Conv(width, 2 * width, 3), nn.Linear(2 * width, width)
        self.drop = ChannelDropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(self.norm_attention(x)).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        x = x + self.drop(self.out(seen.transpose(1, 2).reshape(b, n, c)))
        return x + self.drop(self.down(F.relu(self.up(self.norm_feed(x), mask))))


class Encoder(nn.Module):
    """Token ids `(b, n)` to hidden states `(b, n, c)`: embedding, convolutional prenet, Transformer."""

    def __init__(self, vocabulary: int, size: Size, dropout: float):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, size.encoder)
        nn.init.normal_(self.embedding.weight, std=size.encoder**-0.5)
        self.prenet = nn.ModuleList([Conv(size.encoder, size.encoder, 5) for _ in range(3)])
        self.prenet_norms = nn.ModuleList([nn.LayerNorm(size.encoder) for _ in range(3)])
        self.layers = nn.ModuleList(
            [EncoderLayer(size.encoder, size.heads, dropout) for _ in range(size.encoder_layers)]
        )
        self.norm, self.drop = nn.LayerNorm(size.encoder), ChannelDropout(dropout)

    def forward(self, text: Tensor, mask: Tensor) -> Tensor:
        x = self.embedding(text) * self.embedding.embedding_dim**0.5
        for conv, norm in zip(self.prenet, self.prenet_norms, strict=True):
            x = x + self.drop(F.relu(norm(conv(x, mask))))
        x = x + positions(x.shape[1], x.shape[2], x.device)
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x)


class Durations(nn.Module):
    """Log frames per token `(b, n)` from hidden states (FastSpeech's duration predictor)."""

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.convs = nn.ModuleList([Conv(width, width, 3) for _ in range(2)])
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(2)])
        self.out, self.drop = nn.Linear(width, 1), ChannelDropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = self.drop(norm(F.relu(conv(x, mask))))
        return self.out(x).squeeze(-1)


class DecoderBlock(nn.Module):
    """ConvNeXt block (Liu et al. 2022): depth-wise convolution, then a wide pointwise layer."""

    def __init__(self, width: int, expansion: int, dropout: float, kernel: int = 7):
        super().__init__()
        self.conv = Conv(width, width, kernel, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, expansion * width), nn.Linear(expansion * width, width)
        self.drop = ChannelDropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x + self.drop(self.down(F.relu(self.up(self.norm(self.conv(x, mask))))))


class Decoder(nn.Module):
    """Expanded hidden states and the place of each frame in its token to a normalised log-mel `(b, t, m)`."""

    def __init__(self, size: Size, mels: int, dropout: float):
        super().__init__()
        self.enter = nn.Linear(size.encoder, size.decoder)
        self.place = nn.Linear(PLACE_FEATURES, size.decoder)
        self.blocks = nn.ModuleList(
            [DecoderBlock(size.decoder, size.expansion, dropout) for _ in range(size.decoder_layers)]
        )
        self.norm, self.out = nn.LayerNorm(size.decoder), nn.Linear(size.decoder, mels)

    def forward(self, hidden: Tensor, place: Tensor, mask: Tensor) -> Tensor:
        x = self.enter(hidden) + self.place(place)
        for block in self.blocks:
            x = block(x, mask)
        return self.out(self.norm(x))


PLACE_FEATURES = 6


def place_features(durations: Tensor, token: Tensor, place: Tensor) -> Tensor:
    """Where each frame lies within its token `(b, t, 6)`: a smooth function of the fraction, and the token's length."""
    length = durations.gather(1, token).clamp(min=1).float().log()
    angle = math.pi * place
    return torch.stack([place, angle.cos(), angle.sin(), (2 * angle).cos(), (2 * angle).sin(), length], dim=-1)


class Net(nn.Module):
    """The whole model. Mels enter and leave as natural log-mels `(b, m, t)`; inside they are normalised per band.

    Alignment is searched in cepstra `(b, k, t)`, not mels: in our measurements (docs/lab-log.md) mels gave paths that
    depended on chance and a third of the tokens a single frame. Means and standard deviations are measured from the
    training split and live in the checkpoint, never in a config.
    """

    def __init__(
        self,
        vocabulary: int,
        size: Size,
        mels: int,
        cepstra: int,
        dropout: float,
        speakers: int = 1,
        languages: int = 1,
    ):
        super().__init__()
        self.encoder = Encoder(vocabulary, size, dropout)
        self.speaker = nn.Embedding(speakers, size.encoder) if speakers > 1 else None
        self.language = nn.Embedding(languages, size.encoder) if languages > 1 else None
        self.durations = Durations(size.encoder, dropout)
        self.prior = nn.Linear(size.encoder, cepstra)
        self.decoder = Decoder(size, mels, dropout)
        for name, bands in (("mel", mels), ("cepstra", cepstra)):
            self.register_buffer(f"{name}_mean", torch.zeros(bands))
            self.register_buffer(f"{name}_std", torch.ones(bands))
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))  # seen in training, by all processes

    def hidden(self, text: Tensor, mask: Tensor, speaker: Tensor, language: Tensor) -> Tensor:
        h = self.encoder(text, mask)
        for table, index in ((self.speaker, speaker), (self.language, language)):
            if table is not None:
                h = h + table(index)[:, None]
        return h

    def forward(self, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The loss terms (scalars) and what was seen on the way (durations, mel) of one padded batch."""
        text, frames, tokens = batch["text"], batch["mel_len"], batch["text_len"]
        mel = ((batch["mel"].transpose(1, 2) - self.mel_mean) / self.mel_std).float()
        cepstra = ((batch["cepstra"].transpose(1, 2) - self.cepstra_mean) / self.cepstra_std).float()
        mask = torch.arange(text.shape[1], device=text.device) < tokens[:, None]
        h = self.hidden(text, mask, batch["speaker"], batch["language"])
        prior = self.prior(h).float()
        score = likelihood(cepstra, prior)
        if self.training:
            rank, count = processes.place()
            fading = (1 - (self.batches + rank) / DIAGONAL_BATCHES).clamp(min=0)
            score = score + fading * diagonal(frames, tokens, score.shape)
            self.batches += count
        durations = alignment.monotonic(score, frames, tokens)
        token, place, seen = alignment.expand(durations, mel.shape[1])
        predicted = self.decoder(at(h, token), place_features(durations, token, place), seen)
        terms = {
            "mel": losses.masked_l1(predicted, mel, seen),
            "prior": losses.gaussian_prior(at(prior, token), cepstra, seen),
            "duration": losses.log_duration(self.durations(h.detach(), mask), durations, mask),
        }
        return terms, {"durations": durations, "mel": self.log_mel(predicted)}

    def infer(
        self, text: Tensor, speaker: Tensor, language: Tensor, rate: float | Tensor = 1.0, tokens: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Log-mel `(b, m, t)` and durations `(b, n)` for ids `(b, n)`, of which `tokens` `(b,)` count (all, if not given);
        `rate` 2, a number or `(b, 1)`, speaks twice as fast. Padding takes no time."""
        mask = torch.ones_like(text, dtype=torch.bool)
        if tokens is not None:
            mask = torch.arange(text.shape[1], device=text.device) < tokens[:, None]
        h = self.hidden(text, mask, speaker, language)
        durations = (self.durations(h, mask).float().exp() / rate).round().clamp(min=1).long() * mask
        token, place, seen = alignment.expand(durations)
        predicted = self.decoder(at(h, token), place_features(durations, token, place), seen)
        return self.log_mel(predicted), durations

    def log_mel(self, normalised: Tensor) -> Tensor:
        return (normalised.float() * self.mel_std + self.mel_mean).transpose(1, 2)


def at(values: Tensor, token: Tensor) -> Tensor:
    """Token values `(b, n, c)` as each frame's `(b, t, c)`."""
    return values.gather(1, token[..., None].expand(-1, -1, values.shape[2]))


@torch.no_grad()
def likelihood(cepstra: Tensor, prior: Tensor) -> Tensor:
    """Log-likelihood `(b, t, n)` of each frame under each token's N(prior, 1), up to a constant."""
    cross = cepstra @ prior.transpose(1, 2)
    return cross - 0.5 * (cepstra.square().sum(-1)[:, :, None] + prior.square().sum(-1)[:, None])


DIAGONAL_BATCHES, DIAGONAL_WIDTH = 300, 0.02


def diagonal(frames: Tensor, tokens: Tensor, shape: torch.Size) -> Tensor:
    """Log-prior `(b, t, n)` that a path keeps near the diagonal: Gaussian in the share of frames less the share of tokens.

    It fades over the first batches; without it the first searches follow the untrained prior into corners.
    """
    t = (torch.arange(shape[1], device=frames.device) + 0.5)[None, :, None] / frames[:, None, None]
    n = (torch.arange(shape[2], device=frames.device) + 0.5)[None, None, :] / tokens[:, None, None]
    return -0.5 * ((t - n) / DIAGONAL_WIDTH).square()
