"""Several sentences spoken together: text, durations and noise of each alone, flow and decoder of all at once.

Durations are rounded to frames and noise is drawn by a sentence's own seed, so both are computed as `VitsModel` does for
that sentence alone; what costs most comes behind them. `VitsModel`'s own batch leaves its decoder unmasked, so that what is
padded is heard at the end of every shorter sentence.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import VitsModel

from ttslib import alignment, packing


def prior(vits: VitsModel, ids: Tensor, voice: Tensor | None, rate: float) -> Tensor:
    """What the flow makes speech of, `(1, channels, frames)`, of ids `(1, tokens)`; torch's random state decides, which is
    drawn from as `VitsModel.forward` (5.23) does."""
    mask = torch.ones_like(ids)[..., None].to(vits.dtype)
    told = vits.text_encoder(ids, mask)
    hidden, mask = told.last_hidden_state.transpose(1, 2), mask.transpose(1, 2)
    if vits.config.use_stochastic_duration_prediction:
        noise = vits.noise_scale_duration
        durations = vits.duration_predictor(hidden, mask, voice, reverse=True, noise_scale=noise)
    else:
        durations = vits.duration_predictor(hidden, mask, voice)
    durations = torch.ceil(durations.exp() * mask * (1.0 / rate))
    token = alignment.expand(durations[:, 0].long())[0]
    means, logs = (x.gather(1, token[..., None].expand(-1, -1, x.shape[2])).transpose(1, 2)
                   for x in (told.prior_means, told.prior_log_variances))  # fmt: skip
    return means + torch.randn_like(means) * logs.exp() * vits.noise_scale


def spoken(vits: VitsModel, priors: Sequence[Tensor], voices: Sequence[Tensor] | None) -> Iterator[Tensor]:
    """`sounds`: of all at once on a GPU; on a CPU of one after the other: a batch there takes 1.6 times as long, half of it
    for fetching memory (docs/lab-log.md, 2026-11-22)."""
    size = 1 if vits.device.type == "cpu" else len(priors)
    for at in range(0, len(priors), size):
        yield from sounds(vits, priors[at : at + size], voices and voices[at : at + size])


def sounds(vits: VitsModel, priors: Sequence[Tensor], voices: Sequence[Tensor] | None) -> list[Tensor]:
    """Waveforms `(samples,)` of what `prior` gave of each, in one batch."""
    frames = torch.tensor([made.shape[2] for made in priors], device=vits.device)
    latents = pad_sequence([made[0].T for made in priors], batch_first=True).transpose(1, 2)
    mask = packing.valid(frames, latents.shape[2])[:, None].to(latents.dtype)
    voice = None if voices is None else torch.cat(list(voices))
    latents = vits.flow(latents, mask, voice, reverse=True) * mask
    with ending(vits.decoder, frames, latents.shape[2]):
        wav = vits.decoder(latents, voice)[:, 0]
    hop = wav.shape[1] // latents.shape[2]
    return [one[: count * hop] for one, count in zip(wav, frames.tolist(), strict=True)]


@contextmanager
def ending(decoder: nn.Module, frames: Tensor, longest: int) -> Iterator[None]:
    """Inside, every convolution over time reads zeros behind a sentence's last frame, as it does at the end of one alone."""

    def cut(module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x, *rest = given
        return x * packing.valid(frames * (x.shape[2] // longest), x.shape[2])[:, None], *rest

    convolutions = [
        m for name, m in decoder.named_modules() if isinstance(m, nn.Conv1d | nn.ConvTranspose1d) and name != "cond"
    ]
    hooks = [module.register_forward_pre_hook(cut) for module in convolutions]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
