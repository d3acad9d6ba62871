"""VITS's generator (Kim, Kong and Son 2021): Transformers' `VitsModel`, whose every parameter learns here.

`VitsModel.forward` can only speak, and a loss on what it speaks compares unrelated frames and reaches under half of the
parameters. The training forward encodes the recording itself: posterior -> flow -> alignment search -> durations ->
prior -> a random segment -> waveform.

Legend of shapes: b batch, n tokens, t spectrogram frames, c channels, s segment frames. `(b, c, n|t)` throughout.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import VitsConfig, VitsModel

from ttslib import alignment, losses
from ttslib.systems.vits import features
from ttslib.systems.vits.resblocks import with_blocks

NOISE_FRAMES = 1024  # period of the noise used outside training


class Generator(nn.Module):
    """A `VitsModel` (as `vits`) and its training forward. Its decoder carries no weight norm, so that its weights are
    always those of a plain VitsModel: Transformers cannot remove that norm again under today's torch."""

    def __init__(self, vits: VitsModel, segment: int):
        super().__init__()
        self.vits, self.segment = vits, segment
        vits.text_encoder.encoder.layerdrop = (
            0.0  # the reference has none; Transformers' draws from NumPy's global state
        )
        self.window = 2 * (vits.config.spectrogram_bins - 1)
        self.hop = math.prod(vits.config.upsample_rates)

    def forward(self, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Loss terms `mel`, `kl`, `duration` (scalars) and what was seen on the way, of one padded batch.

        `batch` has `text` (b, n), `spec` (b, bins, t), `wav` (b, t * hop), their `_len`, and `speaker` (b,). Seen are
        `durations` (b, n) in frames, and the waveforms `real` and `fake` (b, 1, s * hop) of one segment a clip. Outside
        training the noise is fixed by place and the segment is the middle one: validations compare.
        """
        text, tokens, frames = batch["text"], batch["text_len"], batch["spec_len"]
        seen = within(tokens, text.shape[1])
        heard = within(frames, batch["spec"].shape[2])
        mask, voice = heard[:, None].float(), self.voice(batch["speaker"])
        told = self.vits.text_encoder(text, seen[..., None].float(), seen.long())
        m_p, logs_p = (x.transpose(1, 2).float() for x in (told.prior_means, told.prior_log_variances))
        _, m_q, logs_q = self.vits.posterior_encoder(batch["spec"], mask, voice)
        m_q, logs_q = m_q.float(), logs_q.float()
        z = (m_q + self.noise(m_q) * logs_q.exp()) * mask
        z_p = self.vits.flow(z, mask, voice)
        with torch.autocast(text.device.type, enabled=False):
            z_p = z_p.float()
            durations = alignment.monotonic(likelihood(z_p, m_p, logs_p), frames, tokens)
            token = alignment.expand(durations, z_p.shape[2])[0][:, None].expand(-1, z_p.shape[1], -1)
            kl = losses.kl(z_p, logs_q, m_p.gather(2, token), logs_p.gather(2, token), heard)
            duration = self.duration(told.last_hidden_state.transpose(1, 2).float(), durations, seen, voice)
        start = self.start(frames)
        fake = self.vits.decoder(cut(z, start, self.segment), voice)
        with torch.autocast(text.device.type, enabled=False):
            target = self.mel(cut(batch["spec"], start, self.segment))
            made = self.mel(features.spectrogram(fake[:, 0], self.window, self.hop))
            terms = {"mel": (made - target).abs().mean(), "kl": kl, "duration": duration}
        real = cut(batch["wav"][:, None], start * self.hop, self.segment * self.hop)
        return terms, {"durations": durations, "real": real, "fake": fake}

    def voice(self, speaker: Tensor) -> Tensor | None:
        """Speaker embeddings `(b, c, 1)` of indices `(b,)`; None in a model of one voice."""
        return self.vits.embed_speaker(speaker)[..., None] if self.vits.config.num_speakers > 1 else None

    def mel(self, spec: Tensor) -> Tensor:
        return features.log_mel(spec, self.vits.config.sampling_rate)

    def noise(self, like: Tensor) -> Tensor:
        """Standard normal noise `(b, c, t)`; outside training the same for every clip, whatever is padded behind it."""
        if self.training:
            return torch.randn_like(like)
        fixed = torch.randn(like.shape[1], NOISE_FRAMES, generator=torch.Generator().manual_seed(0)).to(like)
        return fixed.repeat(1, -(-like.shape[2] // NOISE_FRAMES))[:, : like.shape[2]].expand_as(like)

    def start(self, frames: Tensor) -> Tensor:
        """First frame of each clip's segment: anywhere in training, else the middle."""
        room = frames - self.segment + 1
        share = (
            torch.rand(len(room), device=room.device)
            if self.training
            else torch.full_like(room, 0.5, dtype=torch.float)
        )
        return (share * room).long().clamp(max=room - 1)

    def duration(self, hidden: Tensor, durations: Tensor, seen: Tensor, voice: Tensor | None) -> Tensor:
        """Negative log-likelihood bound per token (stochastic predictor), or squared error of log durations."""
        predictor, mask = self.vits.duration_predictor, seen[:, None].float()
        if not self.vits.config.use_stochastic_duration_prediction:
            return losses.log_duration(predictor(hidden, mask, voice)[:, 0], durations, seen)
        noise = self.noise(hidden.new_empty(len(hidden), 2, hidden.shape[2]))
        return duration_bound(predictor, hidden, durations[:, None].float(), mask, noise, voice).sum() / mask.sum()

    def infer(self, ids: Tensor, speaker: int | None, rate: float) -> Tensor:
        """Waveform `(samples,)` of ids `(1, n)` by `VitsModel`'s own path, at its noise scales; torch's RNG decides."""
        return self.vits(input_ids=ids, speaker_id=speaker, speaking_rate=rate).waveform[0]


def within(lengths: Tensor, longest: int) -> Tensor:
    """`(b, longest)`: True where there is no padding."""
    return torch.arange(longest, device=lengths.device) < lengths[:, None]


def cut(x: Tensor, start: Tensor, size: int) -> Tensor:
    """From `(b, c, t)` the `(b, c, size)` that begins at each item's own `start`."""
    place = start[:, None] + torch.arange(size, device=x.device)
    return x.gather(2, place[:, None].expand(-1, x.shape[1], -1))


@torch.no_grad()
def likelihood(z_p: Tensor, m_p: Tensor, logs_p: Tensor) -> Tensor:
    """Log-likelihood `(b, t, n)` of each frame under each token's N(m_p, exp(logs_p)), the square multiplied out."""
    precision, frames = torch.exp(-2 * logs_p), z_p.transpose(1, 2)
    of_token = (-0.5 * math.log(2 * math.pi) - logs_p - 0.5 * m_p.square() * precision).sum(1, keepdim=True)
    return of_token - 0.5 * frames.square() @ precision + frames @ (m_p * precision)


def duration_bound(sdp, hidden: Tensor, w: Tensor, mask: Tensor, noise: Tensor, voice: Tensor | None) -> Tensor:
    """Variational bound of -log p(w | text) `(b,)` by the stochastic duration predictor's layers (VITS, sec. 2.2.2).

    `w` are frames per token and `mask` `(b, 1, n)`, `noise` `(b, 2, n)` is N(0, 1). Written out, since Transformers' own
    draws its noise inside: u dequantises the whole numbers w, v augments them. The text is detached, as in the paper.
    """
    x = sdp.conv_pre(hidden.detach())
    if voice is not None:
        x = x + sdp.cond(voice.detach())
    x = sdp.conv_proj(sdp.conv_dds(x, mask)) * mask
    y = sdp.post_conv_proj(sdp.post_conv_dds(sdp.post_conv_pre(w), mask)) * mask
    noise = noise * mask
    gaussian = 0.5 * ((math.log(2 * math.pi) + noise.square()) * mask).sum((1, 2))
    latents, log_q = noise, -gaussian
    for flow in sdp.post_flows:
        latents, change = flow(latents, mask, global_conditioning=x + y)
        latents, log_q = latents.flip(1), log_q - change
    u, v = latents.split(1, 1)
    log_q = log_q - ((nn.functional.logsigmoid(u) + nn.functional.logsigmoid(-u)) * mask).sum((1, 2))
    log_w = ((w - u.sigmoid()) * mask).clamp(min=1e-5).log() * mask
    latents, log_p = torch.cat([log_w, v], 1), -log_w.sum((1, 2))
    for flow in sdp.flows:
        latents, change = flow(latents, mask, global_conditioning=x)
        latents, log_p = latents.flip(1), log_p + change
    return 0.5 * ((math.log(2 * math.pi) + latents.square()) * mask).sum((1, 2)) - log_p + log_q


def build(config: VitsConfig) -> VitsModel:
    """An untrained network of this shape, to be filled with weights; `config.resblock` "2" gives it Piper's blocks."""
    return with_blocks(VitsModel(config))


def fresh(config: VitsConfig) -> VitsModel:
    """A `VitsModel` from scratch as the reference starts it; Transformers' own initialisation begins at a KL of 1e5.

    Torch's defaults everywhere (the reference's N(0, 0.01) in the decoder never takes effect behind its weight norm),
    zero in the last layer of every coupling, embeddings N(0, 1 / hidden).
    """
    vits = build(config)
    with torch.no_grad():
        for module in vits.modules():
            if isinstance(module, nn.Conv1d | nn.ConvTranspose1d | nn.Linear):
                if parametrize.is_parametrized(module, "weight"):  # the computed weight cannot be filled in place
                    module.weight = nn.init.kaiming_uniform_(module.weight.clone(), a=math.sqrt(5))
                    bound = 1 / math.sqrt(module.weight[0].numel())
                    module.bias.uniform_(-bound, bound)
                else:
                    module.reset_parameters()
        vits.text_encoder.embed_tokens.weight.normal_(std=config.hidden_size**-0.5)
        last = [layer.conv_post for layer in vits.flow.flows]
        if config.use_stochastic_duration_prediction:
            flows = [*vits.duration_predictor.flows, *vits.duration_predictor.post_flows]
            last += [flow.conv_proj for flow in flows if hasattr(flow, "conv_proj")]
        for conv in last:
            conv.weight.zero_()
            conv.bias.zero_()
    return vits
