"""What a recording's samples say, measured file by file over cores and processes."""

import hashlib
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ttslib import workers
from ttslib.corpora.clip import CorpusError
from ttslib.corpora.progress import bar
from ttslib.sections import Doctor

FEW = 32  # fewer clips than this are decoded before a pool of processes has started
SLACK = 0.01  # seconds a header may promise too much: some writers count their own header as samples
CODEC_SLACK = 0.15  # the same for codecs whose first and last frames are padding
STREAMED = 0x7FFF0000  # from this chunk size on (bytes), a writer that could not seek back means "until the end"
HOURS = 3600.0  # a header that promises more than this is believed before anything is decoded into memory (seconds)
LOUDEST = 2.0**31  # largest sample that some scale explains (32-bit integers as floats); beyond it, powers overflow
FULL_SCALE = 0.999  # absolute value from which a sample counts as clipped
CLIFF = 25.0  # dB the spectrum falls within two thirds of an octave where a lower sample rate ended
FULL_BAND = 11_500.0  # Hz; speech that breaks off above it is complete for every system here

Refusal = tuple[str, str]  # reason, detail


@dataclass(frozen=True)
class Measured:
    """What a file's samples say; levels in dB of full scale, times in seconds, frequencies in Hz."""

    rate: int
    seconds: float
    sha: str
    start: float
    end: float
    level: float  # RMS of the mono speech
    loudest: float  # RMS of the loudest channel
    clipped: float  # share of samples, 0..1
    offset: float  # mean sample
    cutoff: float | None  # where the spectrum breaks off, when it does
    gap: float  # dB between loud and quiet 20 ms frames
    unfinished: bool  # an Ogg stream without its last page


def files(paths: Sequence[Path], doctor: Doctor, cores: int, quiet: bool = False) -> Iterator[Measured | Refusal]:
    """What each file's samples say, or why nothing can be said of them, in order; on `cores` processes where that pays.

    Raises `CorpusError` when one of these dies.
    """
    jobs = [(str(path), doctor) for path in paths]
    if len(jobs) < FEW or cores == 1:
        yield from bar(map(measure, jobs), "examine", len(jobs), quiet=quiet)
        return
    done = 0
    with workers.pool(min(cores, len(jobs))) as pool:
        try:
            for result in bar(pool.map(measure, jobs, chunksize=8), "examine", len(jobs), quiet=quiet):
                yield result
                done += 1
        except workers.Died:
            raise CorpusError(
                f"a process that decodes recordings died (crash or out of memory) at or after {paths[done]}; take that "
                "file out of the corpus if no player opens it, or set threads=1 if it was memory"
            ) from None


def measure(job: tuple[str, Doctor]) -> Measured | Refusal:
    """Decode one file: its measurements, or the reason why there are none."""
    from ttslib import audio

    path, doctor = job
    promised, slack, unfinished = header(path)
    if promised is not None and promised > max(HOURS, 10 * doctor.max_seconds):
        return "too long", f"its header says {promised:.0f} s, max_seconds is {doctor.max_seconds:g}"
    try:
        samples, rate = audio.decode(path)
    except audio.AudioError as error:
        return "unreadable", str(error)
    if promised is None:
        promised, slack = container_seconds(path), CODEC_SLACK
    seconds = len(samples) / rate
    if promised is not None and promised - seconds > slack:
        return "truncated", f"its header says {promised:.3f} s, {seconds:.3f} s could be decoded"
    if samples.size == 0:
        return "empty", f"no samples, {rate} Hz"
    if not np.isfinite(samples).all():
        return "nan", f"{np.count_nonzero(~np.isfinite(samples))} of {samples.size} samples are not finite"
    peak = float(np.abs(samples).max())
    if peak > LOUDEST:
        return "out of range", f"the largest sample is {peak:.3g}, full scale is 1: these are not samples of sound"
    mono = np.ascontiguousarray(samples.mean(axis=1), dtype=np.float32)
    offset = float(mono.mean(dtype=np.float64))
    steady = mono - np.float32(offset)  # an offset would count as sound
    start, end = (round(float(t), 6) for t in audio.speech_span(steady, rate, doctor.trim_db, doctor.keep_silence))
    speech = steady[round(start * rate) : round(end * rate)]
    return Measured(
        rate=rate,
        seconds=seconds,
        sha=hashlib.sha1(f"{rate} ".encode() + mono.tobytes()).hexdigest(),
        start=start,
        end=end,
        level=decibel(speech),
        loudest=max(decibel(channel - channel.mean()) for channel in samples.T),
        clipped=float((np.abs(samples) >= FULL_SCALE).mean()),
        offset=offset,
        cutoff=cutoff(speech, rate),
        gap=dynamics(steady, rate),
        unfinished=unfinished,
    )


def header(path: str) -> tuple[float | None, float, bool]:
    """Seconds a header promises (None: soundfile cannot tell), the slack to grant it, whether Ogg lacks its end."""
    import soundfile

    if path.endswith(".npz"):  # an archive promises nothing: it is whole or it cannot be read
        return 0.0, SLACK, False
    try:
        info = soundfile.info(os.fsencode(path), verbose=True)  # soundfile cannot encode a name that is not UTF-8
    except (soundfile.LibsndfileError, TypeError):  # TypeError: soundfile's word for .raw, which has no header
        return None, SLACK, False
    seconds = info.frames / info.samplerate
    # libsndfile believes the file's length, not its header, and keeps the difference in its log.
    short = re.search(r"^ *(?:data|SSND|Data Size) *: (\d+) \(should be ([1-9]\d*)\)", info.extra_info, re.MULTILINE)
    if short and int(short[1]) < STREAMED:
        seconds *= int(short[1]) / int(short[2])
    unfinished = False
    if info.format == "OGG":
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - (1 << 16)))  # a page has at most 64 kB
            tail = file.read()
        page = tail.rfind(b"OggS")
        unfinished = not (page >= 0 and tail[page + 5 : page + 6] and tail[page + 5] & 4)
    return seconds, CODEC_SLACK if info.format == "MP3" else SLACK, unfinished


def container_seconds(path: str) -> float | None:
    """Seconds promised by an MP4 or Matroska header; other headers FFmpeg reads hold none, or an estimate."""
    import av

    with av.open(path, format="g722" if path.lower().endswith(".g722") else None) as container:
        told = container.format.name.startswith(("mov,", "matroska,")) and container.duration
        return container.duration / av.time_base if told else None


def decibel(wav: np.ndarray) -> float:
    power = float(np.square(wav, dtype=np.float64).mean()) if wav.size else 0.0
    return 10 * math.log10(power) if power > 0 else -math.inf


def cutoff(wav: np.ndarray, rate: int) -> float | None:
    """Frequency (Hz) at which the long-term spectrum of `(samples,)` breaks off well below half of `rate`, or None.

    Speech fades by some 10 dB an octave; what was recorded at a lower rate falls by `CLIFF` in two thirds of one, to
    50 dB or more below its peak, and nothing follows.
    """
    if 0.8 * rate / 2 <= 1500:
        return None
    size = 2 ** round(math.log2(rate / 20))
    count = (len(wav) - size) // (size // 2) + 1
    if count < 10:
        return None
    chosen = np.unique(np.linspace(0, count - 1, min(count, 2000)).astype(int)) * (size // 2)
    window = np.hanning(size).astype(np.float32)
    power = np.mean([np.square(np.abs(np.fft.rfft(wav[i : i + size] * window))) for i in chosen], axis=0)
    width = max(1, round(200 * size / rate))
    smooth = np.convolve(power, np.ones(width) / width, mode="same")
    level = 10 * np.log10(smooth / smooth.max() + 1e-12)
    freqs = np.arange(len(level)) * rate / size
    best = (0.0, 0.0)
    for f in np.arange(1500, 0.8 * rate / 2, 100):
        above = level[(freqs >= 1.2 * f) & (freqs <= 0.98 * rate / 2)].max()
        fall = level[(freqs >= 0.7 * f) & (freqs <= 0.88 * f)].mean() - above
        if above <= -50 and fall > best[0]:
            best = (fall, above)
    if best[0] < CLIFF:
        return None
    edge = float(freqs[np.flatnonzero(level > best[1] + 6)[-1]])
    return edge if edge < min(FULL_BAND, 0.85 * rate / 2) else None  # coders and filters end just below half the rate


def dynamics(wav: np.ndarray, rate: int) -> float:
    """dB between the loudest and the quietest twentieth of 20 ms frames; infinite below one second or with silence."""
    hop = rate // 50
    if len(wav) < rate or hop == 0:
        return math.inf
    power = np.square(wav[: len(wav) // hop * hop], dtype=np.float64).reshape(-1, hop).mean(axis=1)
    quiet, loud = np.quantile(power, [0.05, 0.95])
    return 10 * math.log10(loud / quiet) if quiet > 0 else math.inf
