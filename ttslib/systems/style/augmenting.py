"""What is done to recordings in training so that the encoder hears a voice and not a microphone: pitch and pace stay."""

import io
from collections.abc import Sequence
from pathlib import Path

import torch
import torchaudio.functional as F
from torch import Tensor

from ttslib import audio
from ttslib.params import ParamsError
from ttslib.sections import Style

LEVEL = 0.08  # RMS that every recording is brought to: loudness is no part of a voice (full scale = 1)


def levelled(wav: Tensor, lengths: Tensor) -> Tensor:
    """`(batch, samples)` at one RMS level, what is beyond each length being zero."""
    power = wav.square().sum(-1) / lengths.clamp(min=1)
    return wav * (LEVEL / power.sqrt().clamp(min=1e-5))[:, None]


def parts(wav: Tensor, lengths: Tensor, shortest: int, longest: int) -> tuple[Tensor, Tensor]:
    """A random part of each recording, `(batch, samples)` and `(batch,)`: between `shortest` and `longest` samples where it
    has so many, drawn from the CPU's random state."""
    most = lengths.clamp(max=longest)
    least = most.clamp(max=shortest)
    drawn = torch.rand(2, len(wav)).to(wav.device)
    taken = (least + drawn[0] * (most - least + 1)).long().clamp(max=most)
    begins = (drawn[1] * (lengths - taken + 1)).long().clamp(max=lengths - taken)
    at = begins[:, None] + torch.arange(int(taken.max()), device=wav.device)
    inside = torch.arange(int(taken.max()), device=wav.device) < taken[:, None]
    return wav.gather(1, at.clamp(max=wav.shape[1] - 1)) * inside, taken


class Augmenter:
    """The changes that `style` asks for; `noises` are read once. Raises `ParamsError` for a folder without recordings."""

    def __init__(self, s: Style, rate: int):
        self.s, self.rate, self.noises = s, rate, None
        if s.noises is not None:
            files = sorted(
                f
                for f in Path(s.noises).expanduser().rglob("*")
                if f.suffix.lower() in (".wav", ".flac", ".ogg", ".mp3")
            )
            if not files:
                raise ParamsError(
                    f"style.noises: no recording below {s.noises}; correct it, or null for synthetic noise"
                )
            self.noises = [torch.from_numpy(audio.load(f, rate)[0]) for f in files]

    def __call__(self, wav: Tensor, lengths: Tensor) -> Tensor:
        """`(batch, samples)`, changed in the order in which it happens to a recording; all draws are the CPU's."""
        s, wav = self.s, wav.clone()
        for wanted, change in (
            (s.room, self.in_a_room),
            (s.noise, self.noisy),
            (s.band, self.banded),
            (s.mp3, self.packed),
        ):
            if wanted is not None and (chosen := torch.rand(len(wav)) < s.augment).any():
                rows = chosen.nonzero()[:, 0].to(wav.device)
                wav[rows] = change(wav[rows], lengths[rows])
        wav = wav * (torch.arange(wav.shape[1], device=wav.device) < lengths[:, None])
        gain = (2 * torch.rand(len(wav), 1) - 1).to(wav.device) * s.gain
        return levelled(wav, lengths) * 10 ** (gain / 20)

    def in_a_room(self, wav: Tensor, lengths: Tensor) -> Tensor:
        """Convolved with decaying noise (Polack's model of a room's late sound) behind the direct sound."""
        low, high = self.s.room
        decay = low + (high - low) * torch.rand(len(wav), 1)
        t = torch.arange(round(high * self.rate)) / self.rate
        response = torch.randn(len(wav), len(t)) * torch.exp(-6.9 * t / decay)
        response *= 10 ** (-torch.rand(len(wav), 1)) / response.square().sum(-1, keepdim=True).sqrt()
        response[:, 0] = 1.0
        return F.fftconvolve(wav, response.to(wav))[:, : wav.shape[1]]

    def noisy(self, wav: Tensor, lengths: Tensor) -> Tensor:
        low, high = self.s.noise
        ratio = low + (high - low) * torch.rand(len(wav))
        noise = self.recorded(wav.shape) if self.noises else coloured(wav.shape)
        return F.add_noise(wav, noise.to(wav), ratio.to(wav), lengths)

    def recorded(self, shape: Sequence[int]) -> Tensor:
        """Parts of the noise recordings, each repeated where it is too short."""
        rows = []
        for _ in range(shape[0]):
            noise = self.noises[int(torch.randint(len(self.noises), ()))]
            begin = int(torch.randint(len(noise), ()))
            rows.append(noise.roll(-begin).repeat(-(-shape[1] // len(noise)))[: shape[1]])
        return torch.stack(rows)

    def banded(self, wav: Tensor, lengths: Tensor) -> Tensor:
        return F.lowpass_biquad(F.lowpass_biquad(wav, self.rate, self.s.band), self.rate, self.s.band)

    def packed(self, wav: Tensor, lengths: Tensor) -> Tensor:
        """Through an MP3 encoder and back, on the CPU, one by one."""
        low, high = self.s.mp3
        rates = (low + (high - low) * torch.rand(len(wav))).tolist()
        return torch.stack([mp3(row.cpu(), self.rate, rate) for row, rate in zip(wav, rates, strict=True)]).to(wav)

    def masked(self, mels: Tensor, inside: Tensor) -> Tensor:
        """SpecAugment (Park et al. 2019) of `(batch, mels, frames)`, `inside` (batch, frames): two stretches of time and
        two of bands at the mean, in the share of the recordings that is changed."""
        chosen = torch.rand(len(mels)) < self.s.augment
        mean = (mels * inside[:, None]).sum((1, 2)) / (inside.sum(1) * mels.shape[1])
        hidden = torch.zeros_like(mels, dtype=torch.bool)
        for axis, widest in ((1, self.s.mask_bands), (2, self.s.mask_time)):
            for _ in range(2):
                width = (torch.rand(len(mels)) * (widest + 1)).long() * chosen
                begin = (torch.rand(len(mels)) * (mels.shape[axis] - width + 1).clamp(min=1)).long()
                at = torch.arange(mels.shape[axis])
                blank = ((at >= begin[:, None]) & (at < (begin + width)[:, None])).to(mels.device)
                hidden |= blank[:, :, None] if axis == 1 else blank[:, None, :]
        return torch.where(hidden, mean[:, None, None], mels)


def coloured(shape: Sequence[int]) -> Tensor:
    """Noise `(batch, samples)` whose power falls by 0 (white) to 6 dB (brown) an octave, another slope in each row."""
    spectrum = torch.fft.rfft(torch.randn(*shape))
    octaves = torch.arange(spectrum.shape[1]).clamp(min=1).float() ** -torch.rand(shape[0], 1)
    return torch.fft.irfft(spectrum * octaves, n=shape[1])


def mp3(wav: Tensor, rate: int, kilobits: float) -> Tensor:
    """`(samples,)` after MP3 compression at about so many kbit/s, as long as before."""
    import soundfile

    level = min(1 - (min(kilobits, 160) - 8) / 152, 0.98)  # libsndfile counts 0..1 over the bit rates of MPEG-2
    buffer = io.BytesIO()
    soundfile.write(buffer, wav.numpy(), rate, format="MP3", bitrate_mode="CONSTANT", compression_level=level)
    buffer.seek(0)
    heard = torch.from_numpy(soundfile.read(buffer, dtype="float32")[0])
    return torch.nn.functional.pad(heard, (0, max(0, len(wav) - len(heard))))[: len(wav)]
