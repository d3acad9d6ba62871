"""VITS's spectra: linear magnitudes into the posterior encoder, log-mels of the same into the loss.

As in jaywalnut310/vits mel_processing.py: not centred, (window - hop) / 2 samples of reflection at both ends, so that
`frames = samples // hop`; magnitude sqrt(re^2 + im^2 + 1e-6). Centred or power spectra are another feature.
"""

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import VitsConfig

MELS = 80
LOG_FLOOR = 1e-5


def window_and_hop(config: VitsConfig) -> tuple[int, int]:
    """Samples that a spectrum sees, and from one to the next."""
    return 2 * (config.spectrogram_bins - 1), math.prod(config.upsample_rates)


def stored(wav: Tensor, hop: int) -> Tensor:
    """`(samples,)` in [-1, 1] as 16-bit whole frames `(hop, samples // hop)`: half the memory, and padding is in frames."""
    whole = (wav[: len(wav) // hop * hop] * 32767).round_().clamp_(-32767, 32767).to(torch.int16)
    return whole.view(-1, hop).T.contiguous()


def restored(frames: Tensor) -> Tensor:
    """Waveforms `(b, t * hop)` in fp32 of stored frames `(b, hop, t)`."""
    return frames.transpose(1, 2).flatten(1).float() / 32767


def spectrogram(wav: Tensor, window: int, hop: int, lengths: Tensor | None = None) -> Tensor:
    """Linear magnitude spectrogram `(b, window // 2 + 1, samples // hop)` of `(b, samples)`, in fp32.

    `lengths` (b,) are samples before padding, each clip's end being reflected where it is: what a clip gives does not
    depend on the batch. Frames behind it are not speech.
    """
    reach = (window - hop) // 2
    if lengths is None:
        padded = F.pad(wav.float()[:, None], (reach, reach), "reflect")[:, 0]
    else:
        place, last = torch.arange(-reach, wav.shape[1] + reach, device=wav.device).abs(), lengths[:, None] - 1
        place = torch.where(place > last, 2 * last - place, place).clamp(min=0)
        padded = wav.float().gather(1, place)
    hann = torch.hann_window(window, device=wav.device)
    found = torch.view_as_real(torch.stft(padded, window, hop, window, hann, center=False, return_complex=True))
    return (found.square().sum(-1) + 1e-6).sqrt()


@functools.lru_cache
def bank(rate: int, bins: int, device: torch.device) -> Tensor:
    """Slaney's mel filterbank `(80, bins)` from 0 to rate / 2, as librosa's."""
    import torchaudio.functional as audio

    return audio.melscale_fbanks(bins, 0.0, rate / 2, MELS, rate, norm="slaney", mel_scale="slaney").T.to(device)


def log_mel(spec: Tensor, rate: int) -> Tensor:
    """Natural log-mels `(b, 80, frames)` of linear magnitudes `(b, bins, frames)`, floor 1e-5, in fp32."""
    return (bank(rate, spec.shape[1], spec.device) @ spec.float()).clamp(min=LOG_FLOOR).log()
