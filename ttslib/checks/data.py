"""Checks `manifest` and `transcripts`: is the data what it says it is?"""

import hashlib
import itertools
import math
from collections import defaultdict

import numpy as np

from ttslib import audio
from ttslib.checks.rows import Failed, few
from ttslib.checks.subject import Subject, spread
from ttslib.manifest import SPLITS, Row

READ = 100  # recordings that are read again
LATE = 0.02  # seconds by which a lossy file may decode shorter than when its row was written
ENOUGH, VARYING, LEAST = 12, 1.3, 0.3  # clips, ratio of long texts to short ones, rank correlation


def manifest(s: Subject) -> str:
    """Every split has clips and shares none with another; a sample of the recordings reads as the rows say."""
    told = []
    for split in SPLITS:
        rows = s.found.split(split)
        hours, speakers = sum(row.seconds for row in rows) / 3600, len({row.speaker for row in rows})
        told.append(f"{split} {len(rows)} clips, {hours:.2f} h, {speakers} speaker{'s' * (speakers != 1)}")
        if not rows and split != "test":
            raise Failed(f"no clip in the split {split}", "give more clips, or raise doctor.val_share")
    if found := shared(s.found.rows):
        raise Failed(
            f"{len(found)} clips are in two splits: {few(found)}",
            "validation would only test memory; prepare again: python -m ttslib prepare --again",
        )
    sampled = spread(s.found.rows, READ)
    if wrong := [f"{row.id}: {reason}" for row in sampled if (reason := fault(s, row))]:
        raise Failed(
            f"{len(wrong)} of {len(sampled)} recordings: {few(wrong, 3)}",
            "mend or remove these files, then prepare again: python -m ttslib prepare --again",
        )
    return "; ".join(told) + f"; {len(sampled)} recordings read as written"


def shared(rows: tuple[Row, ...]) -> list[str]:
    """Clips that are in two splits, by id or by the same stretch of the same recording."""
    by_id, by_sha = defaultdict(set), defaultdict(list)
    for row in rows:
        by_id[row.id].add(row.split)
        by_sha[row.sha].append(row)
    found = [clip for clip, splits in by_id.items() if len(splits) > 1]
    for same in by_sha.values():
        same.sort(key=lambda row: row.start)
        for one, other in itertools.pairwise(same):
            if one.id != other.id and one.split != other.split and other.start < one.end:
                found.append(f"{other.id} ({one.id} in {one.split}, the same recording)")
    return found


def fault(s: Subject, row: Row) -> str | None:
    """What is wrong with the recording of a row, None when nothing is."""
    try:
        wav, rate = audio.load(s.found.audio(row))
    except audio.AudioError as error:
        return str(error)
    if bad := np.count_nonzero(~np.isfinite(wav)):
        return f"{bad} of {len(wav)} samples are not finite (NaN or infinite)"
    if len(wav) / rate < row.end - LATE:
        return f"it ends at {len(wav) / rate:.2f} s, its row says {row.end:.2f} s"
    span = wav[round(row.start * rate) : round(row.end * rate)]
    level = 20 * math.log10(max(float(np.sqrt(np.square(span, dtype=np.float64).mean())), 1e-10))
    if level < s.p.doctor.min_rms_db:
        return f"silent: {level:.0f} dB"
    if hashlib.sha1(f"{rate} ".encode() + wav.tobytes()).hexdigest() != row.sha:
        return "not the samples its row was written for"
    return None


def transcripts(s: Subject) -> str:
    """Longer texts have longer recordings: rank correlation (Spearman) over the training clips of each language.

    Real corpora have 0.7 and more. Shuffled transcripts have 0 give or take 1 / sqrt(clips - 1), so the bound is two such
    deviations, and never below 0.3: there a corpus of thousands is already far from any real one.
    """
    from scipy.stats import spearmanr

    told = []
    for lang in sorted({row.lang for row in s.found.split("train")}):
        rows = [row for row in s.found.split("train") if row.lang == lang]
        lengths = [len(row.text) for row in rows]
        short, long = np.percentile(lengths, [10, 90])
        if len(rows) < ENOUGH or long < VARYING * short:
            told.append(f"{lang}: too few clips to tell ({len(rows)}, texts of {short:.0f} to {long:.0f} characters)")
            continue
        found = float(spearmanr(lengths, [row.seconds for row in rows]).statistic)
        least = max(LEAST, 2 / math.sqrt(len(rows) - 1))
        told.append(f"{lang}: text length and duration go together by {found:.2f} (1 = always, {len(rows)} clips)")
        if not found >= least:
            raise Failed(
                f"{told[-1]}, less than {least:.2f}: as if the transcripts were of other recordings",
                "hear a few clips against their texts (notebook 00): is the table shifted or sorted otherwise?",
            )
    return "; ".join(told)
