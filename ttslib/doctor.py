"""The corpus doctor: every clip is decoded and judged; each drop has a reason and each suspicious clip is marked.

Drops: unreadable, truncated, empty, nan, out of range, silent, too short, too long, duplicate audio, conflicting
transcripts, empty text, unverbalised digits, unknown characters, rate; and whatever the readers could not make a clip of.
Suspects: clipped, dc offset, bandwidth, silence, noise, level, unfinished, rate, duplicate text, mixed scripts,
confusables, unknown characters.
"""

import os
import statistics
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from ttslib import measuring, processes
from ttslib import text as texts
from ttslib.corpora.clip import Clip, Dropped
from ttslib.manifest import Row
from ttslib.measuring import Measured, Refusal
from ttslib.params import Params
from ttslib.sections import Doctor
from ttslib.splits import text_key

VERSION = 1  # of the rules in this file; part of the name of a manifest's folder

LONG_SILENCE = 1.0  # seconds trimmed at one end that make a clip suspect
QUIET_GAP = 12.0  # dB between loud and quiet frames below which the pauses are full of noise
LEVEL_GAP = 12.0  # dB between a clip and the median of its language
UNREAD = 10  # times the characters that can be spoken in max_seconds: a longer transcript is not even normalised
ENOUGH = 20  # clips of a language from which on its median is worth comparing with


@dataclass(frozen=True)
class Case:
    """One clip on its way through the doctor."""

    clip: Clip
    text: str
    measured: Measured | None
    drop: Refusal | None


def examine(
    clips: Iterable[Clip | Dropped], p: Params, measured: Iterable[Measured | Refusal] | None = None
) -> tuple[list[Row], list[dict[str, Any]]]:
    """Rows of the clips that can be trained on (all in split train, but where the corpus itself has splits) and a record of
    each that cannot, in their order. `measured` has what `measuring` says of each clip's file, where that was done before.

    A record has `where, reason, detail` and, for a clip, also `id, text` (raw), `lang, speaker`; what a reader dropped
    is passed through. Only the decoder's `AudioError` becomes a drop; any other exception is a bug and ends the call.
    """
    read = list(clips)
    found = [item for item in read if isinstance(item, Clip)]
    cases = []
    if measured is None:
        measured = measuring.files([c.audio for c in found], p.doctor, p.threads or processes.cores())
    for clip, samples in zip(found, measured, strict=True):
        text = clip.text.strip()
        if p.doctor.judges_texts and (drop := endless(text, p.doctor)):
            cases.append(Case(clip, text, None, drop))
            continue
        if p.doctor.judges_texts:
            text = texts.normalise(clip.text, clip.lang, homophones=p.text.homophones)
        if isinstance(samples, Measured):
            cases.append(Case(clip, text, samples, verdict(text, clip.lang, samples, p.doctor)))
        else:
            cases.append(Case(clip, text, None, samples))
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
