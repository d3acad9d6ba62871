"""The corpus doctor: every clip is decoded and judged; each drop has a reason and each suspicious clip is marked.

Drops: unreadable, truncated, empty, nan, out of range, silent, too short, too long, duplicate audio, conflicting
transcripts, empty text, unverbalised digits, unknown characters, rate; and whatever the readers could not make a clip of.
Suspects: clipped, dc offset, bandwidth, silence, noise, level, unfinished, rate, duplicate text, mixed scripts,
confusables, unknown characters.
"""

import hashlib
import math
import multiprocessing
import os
import re
import statistics
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ttslib import stop
from ttslib import text as texts
from ttslib.corpora.clip import Clip, Dropped
from ttslib.corpora.progress import bar
from ttslib.manifest import Row
from ttslib.params import Params
from ttslib.sections import Doctor
from ttslib.splits import text_key

VERSION = 1  # of the rules in this file; part of the name of a manifest's folder

FEW = 32  # fewer clips than this are decoded before a pool of processes has started
SLACK = 0.01  # seconds a header may promise too much: some writers count their own header as samples
CODEC_SLACK = 0.15  # the same for codecs whose first and last frames are padding
STREAMED = 0x7FFF0000  # from this chunk size on (bytes), a writer that could not seek back means "until the end"
HOURS = 3600.0  # a header that promises more than this is believed before anything is decoded into memory (seconds)
LOUDEST = 2.0**31  # largest sample that some scale explains (32-bit integers as floats); beyond it, powers overflow
FULL_SCALE = 0.999  # absolute value from which a sample counts as clipped
LONG_SILENCE = 1.0  # seconds trimmed at one end that make a clip suspect
QUIET_GAP = 12.0  # dB between loud and quiet frames below which the pauses are full of noise
LEVEL_GAP = 12.0  # dB between a clip and the median of its language
CLIFF = 25.0  # dB the spectrum falls within two thirds of an octave where a lower sample rate ended
FULL_BAND = 11_500.0  # Hz; speech that breaks off above it is complete for every system here
UNREAD = 10  # times the characters that can be spoken in max_seconds: a longer transcript is not even normalised
ENOUGH = 20  # clips of a language from which on its median is worth comparing with

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


@dataclass(frozen=True)
class Case:
    """One clip on its way through the doctor."""

    clip: Clip
    text: str
    measured: Measured | None
    drop: Refusal | None


def examine(clips: Iterable[Clip | Dropped], p: Params) -> tuple[list[Row], list[dict[str, Any]]]:
    """Rows of the clips that can be trained on (all in split train, but where the corpus itself has splits) and a record of
    each that cannot, in their order.

    A record has `where, reason, detail` and, for a clip, also `id, text` (raw), `lang, speaker`; what a reader dropped
    is passed through. Only the decoder's `AudioError` becomes a drop; any other exception is a bug and ends the call.
    """
    read = list(clips)
    found = [item for item in read if isinstance(item, Clip)]
    cases = []
    for clip, measured in zip(found, measure_all([c.audio for c in found], p), strict=True):
        text = clip.text.strip()
        if p.doctor.judges_texts and (drop := endless(text, p.doctor)):
            cases.append(Case(clip, text, None, drop))
            continue
        if p.doctor.judges_texts:
            text = texts.normalise(clip.text, clip.lang, homophones=p.text.homophones)
        if isinstance(measured, Measured):
            cases.append(Case(clip, text, measured, verdict(text, clip.lang, measured, p.doctor)))
        else:
            cases.append(Case(clip, text, None, measured))
    cases = compare(cases, p.doctor)
    each = iter(cases)
    fates = [(item, next(each) if isinstance(item, Clip) else None) for item in read]
    dropped = [record(item, case) for item, case in fates if case is None or case.drop]
    return mark([case for case in cases if case.drop is None], p.doctor), dropped


def record(item: Clip | Dropped, case: Case | None) -> dict[str, Any]:
    if case is None:
        return {"where": item.where, "reason": item.reason, "detail": item.detail}
    reason, detail = case.drop
    about = {"id": item.id, "text": item.text, "lang": item.lang, "speaker": item.speaker}
    return {"where": str(item.audio), "reason": reason, "detail": detail, **about}


# --- the samples -----------------------------------------------------------------------------------------------------


def measure_all(files: Sequence[Path], p: Params) -> Iterator[Measured | Refusal]:
    """`measure` of every file in order, on all cores this process may use (or `p.threads`)."""
    jobs = [(str(path), p.doctor) for path in files]
    cores = p.threads or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    if len(jobs) < FEW or cores == 1:
        yield from bar(map(measure, jobs), "examine", len(jobs))
        return
    done = 0
    # Spawned, not forked: a fork of a process with torch's or a notebook's threads may hang.
    spawn, workers = multiprocessing.get_context("spawn"), min(cores, len(jobs))
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=stop.leave_with_parent) as pool:
        try:
            for result in bar(pool.map(measure, jobs, chunksize=8), "examine", len(jobs)):
                yield result
                done += 1
        except BrokenProcessPool as error:
            error.add_note(f"a decoding process died (crash or out of memory) at or after {files[done]}")
            raise


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


# --- the verdicts ----------------------------------------------------------------------------------------------------


def verdict(text: str, lang: str, m: Measured, doctor: Doctor) -> Refusal | None:
    """The first rule that forbids a clip by itself; None when none does."""
    seconds = m.end - m.start
    if m.level < doctor.min_rms_db:
        cancel = (
            f"; its channels cancel out (one alone has {m.loudest:.1f} dB)" if m.loudest > doctor.min_rms_db else ""
        )
        return "silent", f"{m.level:.1f} dB RMS, min_rms_db is {doctor.min_rms_db:g}{cancel}"
    if doctor.judges_texts and (refusal := unreadable(text, lang, doctor)):
        return refusal
    if seconds < doctor.min_seconds:
        return "too short", f"{seconds:.2f} s of speech in {m.seconds:.2f} s, min_seconds is {doctor.min_seconds:g}"
    if seconds > doctor.max_seconds:
        return "too long", f"{seconds:.2f} s of speech in {m.seconds:.2f} s, max_seconds is {doctor.max_seconds:g}"
    speed = len(text) / seconds
    if doctor.judges_texts and speed > doctor.max_chars_per_second:
        limit = f"max_chars_per_second is {doctor.max_chars_per_second:g}"
        return "rate", f"{len(text)} characters in {seconds:.2f} s = {speed:.1f} per second, {limit}"
    return None


def endless(text: str, doctor: Doctor) -> Refusal | None:
    """Why a raw transcript cannot be that of one clip, whatever it says: a book pasted into a cell would take hours."""
    count, most = len(" ".join(text.split())), UNREAD * doctor.max_chars_per_second * doctor.max_seconds
    if count <= most:
        return None
    return "rate", f"{count} characters, more than {UNREAD} times what max_chars_per_second and max_seconds allow"


def unreadable(text: str, lang: str, doctor: Doctor) -> Refusal | None:
    """The first rule that forbids a normalised text by itself."""
    if not any(c.isalnum() for c in text):
        return "empty text", f"nothing to speak is left after normalisation: {text!r}"
    digits = sorted({c for c in text if unicodedata.category(c).startswith("N")})
    if digits:
        return "unverbalised digits", f"{named(digits)} in {text!r}"
    unknown = texts.unknown(text, lang)
    if unknown and doctor.unknown_characters == "drop":
        return "unknown characters", "; ".join([named(unknown), *disguises(text, lang)])
    return None


def compare(cases: Sequence[Case], doctor: Doctor) -> list[Case]:
    """Drop the later copies of a recording, and every copy when their transcripts contradict each other; where transcripts
    are ignored, when their speakers do."""
    copies: dict[str, list[Case]] = defaultdict(list)
    judged = doctor.judges_texts

    def says(case: Case) -> tuple[str, ...]:
        return (case.clip.lang, text_key(case.text)) if judged else (case.clip.speaker,)

    for case in cases:
        if case.measured and (text_key(case.text) or not judged):
            copies[case.measured.sha].append(case)
    # Once a recording: comparing thousands of copies of one (a file of silence, say) for each of them takes hours.
    torn = {sha for sha, same in copies.items() if len(same) > 1 and len({says(c) for c in same}) > 1}
    out = []
    first: dict[str, Case] = {}
    for case in cases:
        same = copies.get(case.measured.sha, []) if case.measured else []
        drop = case.drop
        if drop is None and same and case.measured.sha in torn:
            others = listed((c.clip.id for c in same if c is not case), len(same) - 1)
            what = ("transcripts", "text") if judged else ("speakers", "speaker")
            drop = f"conflicting {what[0]}", f"the same audio has another {what[1]} in {others}"
        elif drop is None and len(same) > 1:
            kept = first.setdefault(case.measured.sha, case)
            drop = None if kept is case else ("duplicate audio", f"same audio and text as {kept.clip.id}")
        out.append(replace(case, drop=drop))
    return out


def mark(cases: Sequence[Case], doctor: Doctor) -> list[Row]:
    """Rows of the kept clips with all that is suspicious about them."""
    of: dict[str, list[Case]] = defaultdict(list)
    takes: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    said = [sentence(case) for case in cases]
    for case, sentence_of in zip(cases, said, strict=True):
        of[case.clip.lang].append(case)
        takes[sentence_of].append(case.clip.id)
    usual = {lang: Usual.of(cases) for lang, cases in of.items()}
    rows = []
    for case, sentence_of in zip(cases, said, strict=True):
        clip, m = case.clip, case.measured
        found = [*heard(m, doctor), *usual[clip.lang].odd(case, doctor)]
        if doctor.judges_texts:
            found += written(case.text, clip.lang)
            alike = takes[sentence_of]
            if again := listed((other for other in alike if other != clip.id), len(alike) - 1):
                found.append(f"duplicate text: {clip.speaker} also says it in {again}")
        about = dict(lang=clip.lang, speaker=clip.speaker, source=clip.source, licence=clip.licence)
        span = dict(start=m.start, end=m.end, rate=m.rate, sha=m.sha, split=clip.split or "train")
        rows.append(
            Row(clip.id, os.path.abspath(clip.audio), case.text, clip.text, **about, **span, suspects=tuple(found))
        )
    return rows


def heard(m: Measured, doctor: Doctor) -> Iterator[str]:
    """What is suspicious about the samples alone."""
    if m.clipped > doctor.clipped_share:
        yield f"clipped: {m.clipped:.2%} of the samples are at full scale"
    if abs(m.offset) > doctor.dc_offset:
        yield f"dc offset: the mean sample is {m.offset:+.3f}"
    if m.cutoff is not None:
        yield f"bandwidth: nothing above {m.cutoff:.0f} Hz in a file of {m.rate} Hz"
    before, after = m.start, m.seconds - m.end
    if max(before, after) > LONG_SILENCE:
        yield f"silence: {before:.1f} s before and {after:.1f} s after the speech were trimmed"
    if m.gap < QUIET_GAP:
        yield f"noise: quiet moments are only {m.gap:.0f} dB below loud ones"
    if m.unfinished:
        yield "unfinished: the Ogg stream lacks its last page, its end may be cut off"


def written(text: str, lang: str) -> Iterator[str]:
    """What is suspicious about a normalised text alone."""
    unknown = texts.unknown(text, lang)
    if unknown:
        yield f"unknown characters: {named(unknown)}"
    scripts = texts.mixed_scripts(text)
    if scripts:
        yield f"mixed scripts: {', '.join(sorted(scripts))} within a word"
    for disguise in disguises(text, lang):
        yield f"confusables: {disguise}"


def disguises(text: str, lang: str) -> list[str]:
    # Of the normalised text: a curly quote that the normaliser has straightened is no reason to listen to a clip.
    return [f"{found} looks like {meant}" for found, meant in texts.confusables(text, lang)]


@dataclass(frozen=True)
class Usual:
    """Medians of a language's clips: level (dB), characters per second and their robust deviation (1.4826 MAD)."""

    count: int
    level: float
    speed: float
    spread: float

    @classmethod
    def of(cls, cases: Sequence[Case]) -> "Usual":
        speeds = [speed(case) for case in cases]
        middle = statistics.median(speeds)
        spread = 1.4826 * statistics.median(abs(s - middle) for s in speeds)
        # Clips all alike have a MAD of zero; a twentieth of the median is still no difference in speed.
        level = statistics.median(case.measured.level for case in cases)
        return cls(len(cases), level, middle, max(spread, 0.05 * middle))

    def odd(self, case: Case, doctor: Doctor) -> Iterator[str]:
        """How a clip differs from the others of its language, once there are enough of them."""
        if self.count < ENOUGH:
            return
        away = (speed(case) - self.speed) / self.spread if doctor.judges_texts else 0.0
        if abs(away) > doctor.rate_outlier:
            yield f"rate: {speed(case):.1f} characters per second, {away:+.1f} deviations from {self.speed:.1f}"
        louder = case.measured.level - self.level
        if abs(louder) > LEVEL_GAP:
            yield f"level: {louder:+.0f} dB from the median of {self.level:.0f} dB"


def speed(case: Case) -> float:
    return len(case.text) / (case.measured.end - case.measured.start)


def sentence(case: Case) -> tuple[str, str, str]:
    # Several speakers reading one sentence is how most corpora are made; one speaker reading it twice is not.
    return case.clip.lang, case.clip.speaker, text_key(case.text)


def named(characters: Iterable[str]) -> str:
    return ", ".join(f"U+{ord(c):04X} {c!r} {unicodedata.name(c, 'unnamed')}" for c in characters)


def listed(ids: Iterable[str], count: int, most: int = 5) -> str:
    """The first of `count` ids, and how many more there are."""
    return ", ".join(islice(ids, most)) + (f" and {count - most} more" if count > most else "")
