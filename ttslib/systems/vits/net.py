"""VITS's generator (Kim, Kong and Son 2021): Transformers' `VitsModel`, whose every parameter learns here.

`VitsModel.forward` can only speak, and a loss on what it speaks compares unrelated frames and reaches under half of the
parameters. The training forward encodes the recording itself: posterior -> flow -> alignment search -> durations ->
prior -> a random segment -> waveform.

Legend of shapes: b batch, n tokens, t spectrogram frames, c channels, s segment frames. `(b, c, n|t)` throughout.
"""

import math
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import VitsConfig, VitsModel

from ttslib import alignment, losses
from ttslib.systems.vits import features
from ttslib.systems.vits.pieces import cut, duration_bound, likelihood, within
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
        self.window, self.hop = features.window_and_hop(vits.config)

    def forward(self, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Loss terms `mel`, `kl`, `duration` (scalars) and what was seen on the way, of one padded batch.

        `batch` has `text` (b, n), `wav` (b, hop, t) in 16 bits, their `_len`, and `speaker` (b,). Seen are
        `durations` (b, n) in frames, and the waveforms `real` and `fake` (b, 1, s * hop) of one segment a clip. Outside
        training the noise is fixed by place and the segment is the middle one, so that validations compare, and there is
        `prior_mel`: the same segment spoken from the text alone, as `infer` will, at the recording's own timing.
        """
        found, frames = self.latents(batch), batch["wav_len"]
        with torch.autocast(found.z.device.type, enabled=False):
            kl = losses.kl(found.z_p, found.logs_q, found.m_p, found.logs_p, found.heard)
            duration = self.duration(found.hidden, found.durations, found.seen, found.voice)
        start = self.start(frames)
        fake = self.vits.decoder(cut(found.z, start, self.segment), found.voice)
        target = self.mel(cut(found.spec, start, self.segment))
        terms = {"mel": (self.mel_of(fake) - target).abs().mean(), "kl": kl, "duration": duration}
        if not self.training:
            prior = self.vits.flow(
                found.m_p * found.heard[:, None], found.heard[:, None].float(), found.voice, reverse=True
            )
            spoken = self.vits.decoder(cut(prior, start, self.segment), found.voice)
            terms["prior_mel"] = (self.mel_of(spoken) - target).abs().mean()
        real = cut(found.wav[:, None], start * self.hop, self.segment * self.hop)
        return terms, {"durations": found.durations, "real": real, "fake": fake}

    def latents(self, batch: dict[str, Tensor]) -> SimpleNamespace:
        """Posterior, flow, alignment and the prior `m_p`, `logs_p` (b, c, t) at each frame; fp32 where it must be."""
        text, tokens, frames = batch["text"], batch["text_len"], batch["wav_len"]
        seen, heard = within(tokens, text.shape[1]), within(frames, batch["wav"].shape[2])
        wav = features.restored(batch["wav"])
        spec = features.spectrogram(wav, self.window, self.hop, frames * self.hop) * heard[:, None]
        mask, voice = heard[:, None].float(), self.voice(batch["speaker"])
        told = self.vits.text_encoder(text, seen[..., None].float(), seen.long())
        m_p, logs_p = (x.transpose(1, 2).float() for x in (told.prior_means, told.prior_log_variances))
        _, m_q, logs_q = self.vits.posterior_encoder(spec, mask, voice)
        m_q, logs_q = m_q.float(), logs_q.float()
        z = (m_q + self.noise(m_q) * logs_q.exp()) * mask
        z_p = self.vits.flow(z, mask, voice).float()
        with torch.autocast(text.device.type, enabled=False):
            durations = alignment.monotonic(likelihood(z_p, m_p, logs_p), frames, tokens)
        token = alignment.expand(durations, z_p.shape[2])[0][:, None].expand(-1, z_p.shape[1], -1)
        return SimpleNamespace(
            z=z, z_p=z_p, logs_q=logs_q, m_p=m_p.gather(2, token), logs_p=logs_p.gather(2, token), durations=durations,
            hidden=told.last_hidden_state.transpose(1, 2).float(), seen=seen, heard=heard, voice=voice, wav=wav, spec=spec,
        )  # fmt: skip

    def mel_of(self, wav: Tensor) -> Tensor:
        """Log-mel of generated speech `(b, 1, samples)`, in fp32."""
        with torch.autocast(wav.device.type, enabled=False):
            return self.mel(features.spectrogram(wav[:, 0], self.window, self.hop))

    @torch.no_grad()
    def align(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`durations` (b, n) of a batch, the log-mel of its `recording` and the `mel` that the text alone speaks at that
        timing (b, 80, t): what synthesis will sound like, unlike the reconstruction."""
        found = self.latents(batch)
        mask = found.heard[:, None].float()
        prior = self.vits.flow(found.m_p * mask, mask, found.voice, reverse=True)
        mel = self.mel_of(self.vits.decoder(prior * mask, found.voice))
        return {"durations": found.durations, "mel": mel, "recording": self.mel(found.spec)}

    def voice(self, speaker: Tensor) -> Tensor | None:
        """Speaker embeddings `(b, c, 1)` of indices `(b,)`; None in a model of one voice."""
        return self.vits.embed_speaker(speaker)[..., None] if self.vits.config.num_speakers > 1 else None

    def mel(self, spec: Tensor) -> Tensor:
        with torch.autocast(spec.device.type, enabled=False):
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


def build(config: VitsConfig) -> VitsModel:
    """An untrained network of this shape, to be filled with weights; `config.resblock` "2" gives it Piper's blocks."""
    return with_blocks(VitsModel(config))


def lend(lender: VitsModel, vits: VitsModel) -> None:
    """Give `vits` the flow, posterior encoder and decoder of `lender`: how a voice sounds, apart from what text says.

    Where one has several speakers and the other one, their conditioning stays as it is in `vits`.
    """
    kept = vits.state_dict()
    sound = {
        name: weight
        for name, weight in lender.state_dict().items()
        if name.startswith(("flow.", "posterior_encoder.", "decoder.")) and name in kept
    }
    vits.load_state_dict(sound, strict=False)


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
