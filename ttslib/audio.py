"""Audio as float32 mono arrays: files, resampling, trimming, mels, Griffin-Lim. Knows nothing of what files mean.

Files go through soundfile (WAV, FLAC, OGG/Opus, MP3); what it cannot open (G.722, M4A, WebM, ...) through PyAV.
"""

import functools
import io
import math
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

HOP = 256  # samples between the frames of a picture
LOG_FLOOR = 1e-5  # silence in a log-mel is log(1e-5) = -11.5


class AudioError(ValueError):
    """A file that cannot be decoded; the message names the file and the reason."""


def load(path: str | Path, rate: int | None = None) -> tuple[np.ndarray, int]:
    """One file as mono float32 `(samples,)` in [-1, 1] and its sample rate (Hz), resampled when `rate` is given.

    Channels are averaged. Raises `AudioError` when nothing can be decoded.
    """
    samples, native = decode(path)
    mono = samples.mean(axis=1) if samples.ndim == 2 else samples
    if rate is not None and rate != native:
        mono, native = resample(mono, native, rate), rate
    return np.ascontiguousarray(mono, dtype=np.float32), native


def decode(path: str | Path) -> tuple[np.ndarray, int]:
    """A file's samples as they are, float32 `(samples, channels)`, and its rate (Hz)."""
    import soundfile

    path = Path(path)
    if not path.is_file():
        raise AudioError(f"{path}: no such file; correct the path")
    if path.stat().st_size == 0:
        raise AudioError(f"{path}: the file is empty; record or copy it anew")
    if path.suffix.lower() == ".raw":
        raise AudioError(f"{path}: raw samples without a header; convert them to WAV first")
    if path.suffix.lower() == ".npz":
        from ttslib import pairs

        try:
            pair = pairs.read(path)
        except pairs.PairError as error:
            raise AudioError(str(error)) from None
        return pair.audio[:, None], pair.rate
    try:
        return soundfile.read(os.fsencode(path), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as first:
        try:
            return decode_av(path)
        except AudioError as second:
            raise AudioError(f"{path}: soundfile: {first.error_string}; {second}") from None


def decode_av(path: Path) -> tuple[np.ndarray, int]:
    import av

    try:
        # .g722 is a raw stream without a header: FFmpeg must be told what it is.
        with av.open(str(path), format="g722" if path.suffix.lower() == ".g722" else None) as container:
            if not container.streams.audio:
                raise AudioError("FFmpeg: no audio stream; give a recording")
            stream = container.streams.audio[0]
            if stream.codec_context is None or not stream.rate:
                raise AudioError("FFmpeg: no decoder for its audio stream")
            to_float = av.AudioResampler(format="fltp", layout=stream.codec_context.layout, rate=stream.rate)
            chunks = []
            for frame in container.decode(stream):
                chunks += [f.to_ndarray() for f in to_float.resample(frame)]
            chunks += [f.to_ndarray() for f in to_float.resample(None)]
            rate = stream.rate
    except (av.error.FFmpegError, ValueError) as error:
        raise AudioError(f"FFmpeg: {error}") from None
    if not chunks:
        raise AudioError("FFmpeg: no samples decoded")
    return np.concatenate(chunks, axis=1).T.astype(np.float32), rate


def save(path: str | Path, wav: Tensor | np.ndarray, rate: int) -> Path:
    """Write mono `(samples,)` in [-1, 1]; the suffix decides the format (.wav 16 bit, .flac, .mp3, .ogg).

    Louder samples are scaled down together rather than clipped.
    """
    import soundfile

    wav = np.asarray(wav, dtype=np.float32)
    if wav.ndim != 1 or not np.isfinite(wav).all():
        raise AudioError(f"{path}: expected finite mono samples (samples,), got shape {wav.shape}")
    path = Path(path)
    if (kind := path.suffix[1:].upper()) not in soundfile.available_formats():
        raise AudioError(
            f"{path}: no audio is written as {path.suffix or 'a file without a suffix'}; call it .wav or .flac"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    # Through memory: libsndfile says "System error" of a full disk, and a kill leaves half a file.
    partial = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        partial.write_bytes(encoded(wav, rate, kind))
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    return path


def encoded(wav: Tensor | np.ndarray, rate: int, kind: str = "MP3") -> bytes:
    """Samples `(samples,)` as the bytes of a small compressed file, to embed in a notebook or page; louder ones scaled."""
    import soundfile

    wav = np.asarray(wav, dtype=np.float32)
    buffer = io.BytesIO()
    soundfile.write(buffer, wav / max(1.0, float(np.abs(wav).max(initial=0.0))), rate, format=kind)
    return buffer.getvalue()


def resample(wav: np.ndarray, source: int, target: int) -> np.ndarray:
    """Band-limited (windowed sinc) resampling of `(samples,)` from `source` to `target` Hz."""
    import torchaudio.functional as F

    return F.resample(torch.from_numpy(np.ascontiguousarray(wav, dtype=np.float32)), source, target).numpy()


def resampled(wav: Tensor, source: int, target: int) -> Tensor:
    """`resample` of a tensor; the same one where the rates are equal."""
    return wav if source == target else torch.from_numpy(resample(wav.numpy(), source, target))


def speech_span(wav: np.ndarray, rate: int, below: float, keep: float) -> tuple[float, float]:
    """Start and end (seconds) of the sound in `(samples,)`: frames within `below` dB of the loudest, `keep` s around.

    An all-zero recording gives (0, 0).
    """
    hop = max(1, rate // 100)
    count = -(-len(wav) // hop)
    power = np.square(np.pad(wav, (0, count * hop - len(wav)))).reshape(count, hop).mean(axis=1)
    if count == 0 or power.max() <= 0:
        return 0.0, 0.0
    loud = np.flatnonzero(10 * np.log10(power / power.max() + 1e-12) > -below)
    start, end = loud[0] * hop / rate - keep, (loud[-1] + 1) * hop / rate + keep
    return max(0.0, start), min(len(wav) / rate, end)


@functools.lru_cache
def mel_transform(rate: int, window: int, hop: int, mels: int):
    import torchaudio

    return torchaudio.transforms.MelSpectrogram(
        sample_rate=rate, n_fft=window, hop_length=hop, n_mels=mels, power=1.0, norm="slaney", mel_scale="slaney"
    )


def log_mel(wav: Tensor, rate: int, window: int = 1024, hop: int = HOP, mels: int = 80) -> Tensor:
    """Log-mel spectrogram `(frames, mels)` of `(samples,)`: Slaney mels of the magnitude, natural log, floor 1e-5.

    Centred frames: frames = samples // hop + 1.
    """
    return mel_transform(rate, window, hop, mels)(wav).clamp(min=LOG_FLOOR).log().T


def cepstra(mel: Tensor, count: int = 17) -> Tensor:
    """Cepstra and their slopes `(frames, 2 * count)` of a log-mel `(frames, mels)`: c0..c16 (orthonormal DCT-II), deltas
    over five frames. Unlike mel bands they are nearly uncorrelated, so that a Gaussian of unit variance fits them."""
    import torchaudio.functional as F

    static = (mel @ F.create_dct(count, mel.shape[1], norm="ortho")).T
    return torch.cat([static, F.compute_deltas(static, win_length=5)]).T


@functools.lru_cache
def mel_inverse(rate: int, window: int, mels: int) -> Tensor:
    """Pseudo-inverse of the mel filterbank `(mels, bins)`."""
    import torchaudio.functional as F

    bank = F.melscale_fbanks(window // 2 + 1, 0.0, rate / 2, mels, rate, norm="slaney", mel_scale="slaney")
    return torch.linalg.pinv(bank.double()).float()


def griffin_lim(
    mel: Tensor, rate: int, window: int = 1024, hop: int = HOP, iterations: int = 60, seed: int = 0
) -> Tensor:
    """Waveform `(samples,)` from a log-mel `(frames, mels)` by Griffin-Lim (Perraudin et al. 2013, momentum 0.99).

    The mel is brought back to linear bins through the filterbank's pseudo-inverse, clamped at zero. Phases start from
    `seed`, on the CPU and without touching the global random state.
    """
    import torchaudio

    samples, least = (len(mel) - 1) * hop, window // (2 * hop) + 2  # fewer frames than `least` cannot be inverted
    if len(mel) < least:
        mel = torch.nn.functional.pad(mel, (0, 0, 0, least - len(mel)), value=math.log(LOG_FLOOR))
    magnitude = (mel.float().cpu().exp() @ mel_inverse(rate, window, mel.shape[1])).clamp(min=1e-8).T
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transform = torchaudio.transforms.GriffinLim(n_fft=window, hop_length=hop, power=1.0, n_iter=iterations)
        wav = transform(magnitude)[:samples]
    return wav / wav.abs().amax().clamp(min=1.0) if samples else wav


def stretched(wav: Tensor, rate: float) -> Tensor:
    """`(samples,)` spoken `rate` times as fast at the same pitch (phase vocoder), `samples / rate` long."""
    import torchaudio.functional as F

    window, hop = torch.hann_window(1024), 256
    spectrum = torch.stft(wav, 1024, hop, window=window, return_complex=True)
    advance = torch.linspace(0, math.pi * hop, spectrum.shape[0])[:, None]
    moved = F.phase_vocoder(spectrum, rate, advance)
    return torch.istft(moved, 1024, hop, window=window, length=round(len(wav) / rate)).clamp(-1, 1)
