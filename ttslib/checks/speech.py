"""Checks `synthesis` and `export`: does it speak, and does what is handed on speak the same?"""

import math

import torch

from ttslib import adapt, codecs, pipeline, rehearsal
from ttslib.checks.loop import folder, same_terms
from ttslib.checks.rows import Failed, few
from ttslib.checks.subject import Subject
from ttslib.encoding import checked
from ttslib.features import Features

# An untrained voice may be so many times faster or slower, and codes may run on for so many seconds besides.
LONGER, SPARE = 10, 5.0
SILENT = -80.0  # dB of full scale
# Share of a tensor's largest value: merging LoRA updates and weight norms rounds; half precision is a hundred times that.
ROUNDED = 1e-5


def synthesis(s: Subject) -> str:
    """A held-out sentence is audible, as long as its text asks for, the same for the same seed; it need not be speech."""
    system, row = s.copied(), min(rehearsal.speakable(s.found), key=lambda row: row.seconds)
    if getattr(system, "clone", None) and system.mute:
        return f"not checkable here: {system.mute}"
    for net in system.nets.values():
        net.eval()
    if hasattr(system, "tally"):
        system.tally.clear()
    voice = rehearsal.voice_of(system, s.found, row)
    try:
        wav, same = (system.synthesize(row.raw, voice=voice, lang=row.lang, seed=s.p.seed) for _ in range(2))
    except codecs.CodecError as error:
        return f"not checkable here: {error}"
    finite = bool(wav.isfinite().all())
    level = 20 * math.log10(max(wav.square().mean().sqrt().item(), 1e-10)) if finite and len(wav) else -math.inf
    seconds, text = len(wav) / system.rate, f"{row.raw!r}"
    pace = [r.seconds / len(r.text) for r in s.found.split("train")]
    expected = sorted(pace)[len(pace) // 2] * len(row.text)
    told = f"{text}: {seconds:.2f} s where its recording has {row.seconds:.2f} s, {level:.0f} dB"
    if not finite:
        raise Failed(f"{text}: samples that are not finite", "look at the network's outputs before the vocoder")
    if level < SILENT or not wav.std() > 0:
        raise Failed(
            f"{told}: {'silent' if level < SILENT else 'a constant'}", "is what the network gives the vocoder used?"
        )
    if not expected / LONGER <= seconds <= LONGER * expected + SPARE:
        raise Failed(f"{told}: the text suggests about {expected:.2f} s", "look at the durations, or at the stop code")
    if not wav.equal(same):
        raise Failed(f"{told}: another waveform for the same seed", "draw from a generator of `seed` alone")
    ended = ", ".join(f"{what} {count}" for what, count in sorted(getattr(system, "tally", {}).items()))
    return told + (f"; attempts of this untrained voice: {ended}" if ended else "")


def export(s: Subject) -> str:
    """What `export` writes, `load` reads: the same vocabularies, weights and validation terms."""
    system, clips = s.copied(), s.clips()
    expected = s.validated(system, clips)
    for net in system.nets.values():
        net.eval()
    with folder(s) as place:
        system.export(place / "export" / "voice")
        loaded = pipeline.load(place / "export" / "voice")
    if not getattr(getattr(s.p, s.p.system), "recycle", False):  # there new tokens take other names' rows on purpose
        for name, ours in system.vocabularies.items():
            theirs = loaded.vocabularies[name]
            if tuple(ours) != tuple(theirs):
                gone = [repr(n) for n in ours if n not in theirs]
                raise Failed(
                    f"the export has {len(theirs)} rows of {name}, the system {len(ours)}: "
                    f"{few(gone) or 'in another order'}",
                    "tables and their names must be exported whole, in their order",
                )
        weights(system, loaded)
    if hasattr(loaded, "kept"):
        loaded.kept = s.system.kept
    examples = [checked(loaded.encode(row, s.read(row, loaded.rate))) for row in s.rows(clips)]
    read = Features(clips.ids, clips.files, clips.lengths, ram=dict(enumerate(examples)))
    said = same_terms(s, loaded, read, expected, "the export")
    rows = ", ".join(f"{len(names)} {name}" for name, names in loaded.vocabularies.items())
    return f"loads back: rows {rows} the same; {said}"


def weights(system, loaded) -> None:
    """Raise `Failed` for tensors that have another value where they have the same name and shape."""
    off = []
    for name, net in system.nets.items():
        ours, theirs = adapt.plain(net), loaded.nets[name].state_dict()
        for key in ours.keys() & theirs.keys():
            one, other = ours[key].detach().cpu().double(), theirs[key].detach().cpu().double()
            if one.shape == other.shape and not torch.allclose(
                one, other, rtol=0, atol=ROUNDED * one.abs().max().item(), equal_nan=True
            ):
                off.append(f"{name}.{key}")
    if off:
        raise Failed(
            f"{len(off)} exported tensors are not the system's: {few(sorted(off), 3)}", "export what was trained"
        )
