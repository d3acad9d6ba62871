"""VITS's spectra: linear magnitudes into the posterior encoder, log-mels of the same into the loss.

As in jaywalnut310/vits mel_processing.py: not centred, (window - hop) / 2 samples of reflection at both ends, so that
`frames = samples // hop`; magnitude sqrt(re^2 + im^2 + 1e-6). Centred or power spectra are another feature.
"""

import functools

import torch
from torch import Tensor
from torch.nn import functional as F

MELS = 80
LOG_FLOOR = 1e-5


def spectrogram(wav: Tensor, window: int, hop: int) -> Tensor:
    """Linear magnitude spectrogram `(b, window // 2 + 1, samples // hop)` of `(b, samples)`, in fp32."""
    padded = F.pad(wav.float()[:, None], ((window - hop) // 2,) * 2, "reflect")[:, 0]
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
