"""What is written as ONNX: a system's way from ids to its output as one graph of tensors, every random draw an input.

Two things stand otherwise than where PyTorch runs: frames are counted out by comparing them with the tokens' ends, and
Transformers' VITS is given three functions without branches on data (`traceable`). `onnx_folder` compares what comes out
with PyTorch's own path, which uses nothing of this file.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.vits import modeling_vits

from ttslib.systems.acoustic.net import at, place_features


class Acoustic(nn.Module):
    """`infer` of the acoustic network."""

    inputs = ("ids", "speaker", "language", "rate")
    outputs = ("mel", "durations")

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, ids: Tensor, speaker: Tensor, language: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
        """Log-mel `(1, mels, frames)` and durations `(1, n)` of ids `(1, n)`, speaker and language `(1,)`, rate `()`."""
        mask = torch.ones_like(ids, dtype=torch.bool)
        h = self.net.hidden(ids, mask, speaker, language)
        durations = (self.net.durations(h, mask).float().exp() / rate).round().clamp(min=1).long()
        token, frame = spread(durations)
        length = durations.gather(1, token)
        place = (frame - (durations.cumsum(1).gather(1, token) - length) + 0.5) / length
        mel = self.net.decoder(at(h, token), place_features(durations, token, place), torch.ones_like(frame).bool())
        return self.net.log_mel(mel), durations


class Vits(nn.Module):
    """`VitsModel.forward` of one text. Noise comes scaled: N(0, 1) times `vits.noise` and `vits.noise_duration`."""

    inputs = ("ids", "speaker", "rate", "noise", "noise_duration")
    outputs = ("waveform", "durations")

    def __init__(self, vits: nn.Module):
        super().__init__()
        self.vits = vits

    def forward(
        self, ids: Tensor, speaker: Tensor, rate: Tensor, noise: Tensor, noise_duration: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Waveform `(1, samples)` and durations `(1, n)` of ids `(1, n)`, speaker `(1,)`, rate `()`, `noise` `(1, c, any)`,
        which begins anew where speech has more frames, and `noise_duration` `(1, 2, n)`."""
        vits = self.vits
        voice = vits.embed_speaker(speaker)[..., None] if vits.config.num_speakers > 1 else None
        mask = torch.ones_like(ids)[..., None].float()
        told = vits.text_encoder(ids, mask, return_dict=True)
        hidden, mask = told.last_hidden_state.transpose(1, 2), mask.transpose(1, 2)
        if vits.config.use_stochastic_duration_prediction:
            log_durations = sampled(vits.duration_predictor, hidden, mask, voice, noise_duration)
        else:
            log_durations = vits.duration_predictor(hidden, mask, voice)
        durations = (log_durations.exp() * mask * (1 / rate)).ceil()[:, 0].long()
        token, frame = spread(durations)
        means, logs = (at(x, token).transpose(1, 2) for x in (told.prior_means, told.prior_log_variances))
        drawn = noise.index_select(2, frame[0] % torch.full((1,), noise.shape[2], dtype=torch.long))
        latents = means + drawn * logs.exp()
        return vits.decoder(vits.flow(latents, torch.ones_like(latents[:, :1]), voice, reverse=True), voice)[
            :, 0
        ], durations


def spread(durations: Tensor) -> tuple[Tensor, Tensor]:
    """The token of each frame and the frame's own number, `(1, frames)`, of durations `(1, n)`."""
    ends = durations.cumsum(1)
    count = ends[0, -1].item()
    torch._check(count >= 2)  # what PyTorch treats 1 frame as; nothing of it is left in the graph
    frame = torch.arange(count, device=durations.device)[None]
    return (ends[:, None] <= frame[..., None]).sum(-1), frame


def sampled(predictor, hidden: Tensor, mask: Tensor, voice: Tensor | None, noise: Tensor) -> Tensor:
    """Log durations `(1, 1, n)` by the stochastic predictor's own layers from a given draw `(1, 2, n)`."""
    x = predictor.conv_pre(hidden)
    if voice is not None:
        x = x + predictor.cond(voice)
    x = predictor.conv_proj(predictor.conv_dds(x, mask)) * mask
    affine, _, *couplings = predictor.flows  # the first coupling changes only the half that is thrown away
    for flow in (*reversed(couplings), affine):
        noise, _ = flow(noise.flip(1), mask, global_conditioning=x, reverse=True)
    return noise[:, :1]


@contextmanager
def traceable() -> Iterator[None]:
    """While it lasts, Transformers' VITS computes the same without branches on lengths or values, and without oneDNN, whose
    choice of kernel asks for sizes that are not known yet."""
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # of the tracer about itself, of oneDNN about GPUs
        stack.enter_context(mock.patch.object(modeling_vits, "torch_compilable_check"))
        stack.enter_context(mock.patch.object(modeling_vits, "_unconstrained_rational_quadratic_spline", spline))
        stack.enter_context(mock.patch.object(modeling_vits.VitsAttention, "_get_relative_embeddings", relative))
        stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
        yield


def relative(attention, table: Tensor, length: int) -> Tensor:
    """Relative positions `(1, 2 * length - 1, c)`: rows of `table` within the window, zero beyond it."""
    away = torch.arange(2 * length - 1, device=table.device) - (length - 1)
    near = away.abs() <= attention.window_size
    return table[:, (away + attention.window_size).clamp(0, 2 * attention.window_size)] * near[None, :, None]


def spline(
    inputs: Tensor, unnormalized_widths: Tensor, unnormalized_heights: Tensor, unnormalized_derivatives: Tensor,
    reverse: bool = False, tail_bound: float = 5.0, min_bin_width: float = 1e-3, min_bin_height: float = 1e-3,
    min_derivative: float = 1e-3,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The spline everywhere, and then, outside of `tail_bound`, the identity: where Transformers computes it only inside."""
    slope = math.log(math.exp(1 - min_derivative) - 1)
    told = modeling_vits._rational_quadratic_spline(
        inputs.clamp(-tail_bound, tail_bound), unnormalized_widths, unnormalized_heights,
        F.pad(unnormalized_derivatives, (1, 1), value=slope), reverse, tail_bound, min_bin_width, min_bin_height,
        min_derivative,
    )  # fmt: skip
    inside = inputs.abs() <= tail_bound
    return torch.where(inside, told[0], inputs), torch.where(inside, told[1], torch.zeros_like(told[1]))
