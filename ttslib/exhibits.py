"""What notebooks show of a codec and of a trained system, whichever it is: speech, or the voices it has learnt to hear."""

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from ttslib import audio, checkpoint, codecs, dataset, pipeline, rehearsal, runs, scoreboard, show, speech
from ttslib.feedback import comparing
from ttslib.listen import ListenError, SoundError
from ttslib.manifest import Manifest, Row
from ttslib.params import Params

NO_TEST = (ListenError, SoundError)
"""why there is nothing to be judged by listeners"""
RATE = 16000  # Hz, of what is only to be heard


def speaks(system) -> bool:
    """Whether text becomes sound here; an encoder of voices needs a runtime for that."""
    return not getattr(system, "mute", "")


def clips(system, found: Manifest, count: int | None = 4) -> list[Row]:
    """Held-out clips to show: sentences that can be spoken, or one of each voice."""
    if getattr(system, "reads", True):
        return rehearsal.speakable(found)[:count]
    each = {row.speaker: row for row in rehearsal.held_out(found)}
    return list(each.values())[:count]


def learnt(system, found: Manifest) -> show.Figure:
    """Which frames belong to which letter of a held-out clip; or where held-out voices lie among those of the training."""
    if getattr(system, "reads", True):
        seen = align(system, found, clips(system, found)[0])
        title = "alignment over the recording's mel"
        return show.alignment(seen["durations"], seen["recording"], system.frame_seconds, title)
    held = rehearsal.held_out(found)
    return show.space(system.space(held, found.split("train"), speech.reader(system, found)))


def made(system, found: Manifest) -> show.Figure:
    """A held-out clip's mel and what the model makes of it; or how well each held-out voice is heard."""
    if getattr(system, "reads", True):
        seen = align(system, found, clips(system, found)[0])
        named = {"recording": seen["recording"], "what the model makes of it": seen["mel"]}
        return show.mels(named, system.frame_seconds)
    card = system.scorecard(rehearsal.held_out(found), found.split("train"), speech.reader(system, found))
    voices = defaultdict(list)
    for line in card["sentences"]:
        voices[line["voice"]].append(line["ttl_cosine"])
    medians = {voice: statistics.median(cosines) for voice, cosines in sorted(voices.items())}
    return show.bars(medians, "centred cosine", "held-out voices: 0 is the mean voice, 1 the right one")


def before_after(run: runs.Run, system, p: Params, found: Manifest, count: int = 8) -> show.Html:
    """The fixed sentences as they were spoken at the first and last evaluation, beside the recordings, worst first; of an
    encoder of voices, what it says of held-out ones."""
    if hasattr(system, "clone"):
        return show.table(cloned(system, found))
    if not speaks(system):
        return show.Html(f"<p>{system.mute}</p>")
    return scoreboard.before_after(run, p, found, count)


def cloned(system, found: Manifest) -> list[dict]:
    """Held-out recordings beside the training voice that is nearest, and where a runtime is at hand, the mean voice and the
    clone."""
    read, rows = speech.reader(system, found), []
    for row in clips(system, found):
        recording = read(row)
        clone = system.clone(recording)
        near, cosine = system.nearest(clone, found.split("train"))
        told = {"voice": row.speaker, "text": row.raw, "recording": show.spoken(recording, system.rate)}
        player = show.spoken(read(near), system.rate)
        told["nearest training voice"] = show.Html(f"{near.speaker}, centred cosine {cosine:.2f}<br>{player}")
        if speaks(system):
            for name, style in ("before: the mean voice", system.mean), ("after: cloned", clone):
                told[name] = show.spoken(system.spoken(row.raw, style, lang=row.lang), system.rate)
        rows.append(told)
    return rows


def scores(card: dict) -> show.Html:
    """The scorecard as a table."""
    if "table" not in card:
        return scoreboard.voices(card)
    told = f"{card['scored']} of {card['held_out']} clips, {card['voices']} held-out voices"
    return show.table([{"": told} | row for row in card["table"]])


def spread(card: dict) -> show.Figure:
    """What matters most: how much is misread of each set of sentences; of an encoder of voices, the cosines of the clips."""
    if "table" in card:
        return show.histogram([c["ttl_cosine"] for c in card["sentences"]], "centred cosine of style_ttl", "per clip")
    return scoreboard.by_set(card)


def details(card: dict, found: Manifest) -> show.Html:
    """The worst sentences first, to be heard beside their recordings; of an encoder of voices, its clips."""
    return show.table(card["sentences"][:20]) if "table" in card else scoreboard.worst(card, found)


def sets(card: dict) -> show.Html:
    """The voice on each set of sentences, and who judged."""
    if "table" in card:
        return show.Html("<p>Clips of held-out voices are its only set.</p>")
    return show.Html(scoreboard.sets(card) + scoreboard.judged_by(card))


def feedback(done: pipeline.Trained, p: Params, found: Manifest) -> show.Html:
    """What listeners' feedback changed: flagged sentences and others, before and after, and what of it was trained on."""
    if p.feedback is None:
        return show.Html("<p>No feedback was given.</p>")
    report = checkpoint.read_json(done.run.folder / "feedback" / "report.json")
    rows = []
    for one in comparing.of_run(done, p, found):
        told = {"sentences": one["group"], "spoken": str(one["sentences"]), "refused": str(len(one["refused"]))}
        for side in ("before", "after"):
            faults = ", ".join(f"{count} {name}" for name, count in one[f"faults_{side}"].items())
            told |= {f"CER {side}": scoreboard.cer(one[f"cer_{side}"]), f"faults {side}": faults or "0"}
        rows.append(told | {"told apart": "yes" if one["distinguishable"] else "no"})
    counts = {f"{name} clips": str(count) for name, count in report["clips"].items()}
    counts["flagged words that no training clip has"] = ", ".join(map(str, report["without_clips"])) or "none"
    return show.Html(show.table(rows) + show.table([counts]))


def blind(run: runs.Run, card: dict) -> dict:
    """The blind test of `scoreboard.blind`, and in `told` where its page lies, or why there is none."""
    if "table" in card:
        return {"told": show.Html("<p>An encoder of voices is judged by the speech of its runtime: ttslib listen.</p>")}
    try:
        test = scoreboard.blind(run, card)
    except NO_TEST as reason:
        return {"told": show.Html(f"<p>No blind test: {show.escaped(str(reason))}</p>")}
    facts = {name: str(test[name]) for name in ("page", "key", "trials")} | {"answers": str(scoreboard.answers(run))}
    return test | {"told": show.table([facts])}


def opinions(run: runs.Run, test: dict) -> show.Html:
    """Where the test lies, and what listeners have said of it."""
    return show.Html(test["told"] + (scoreboard.said(run, test) if "key" in test else ""))


def tempo(system, row: Row, rates: Sequence[float] = (0.8, 1.0, 1.25)) -> show.Html:
    """One sentence slower and faster."""
    if not speaks(system):
        return show.Html(f"<p>{system.mute}</p>")
    spoken = {f"{r} x": system.synthesize(row.raw, lang=row.lang, speaking_rate=r) for r in rates}
    return show.table([{"text": row.raw} | {name: show.spoken(wav, system.rate) for name, wav in spoken.items()}])


def written(system, found: Manifest, rows: Sequence[Row], folder: Path) -> list[dict]:
    """Every row spoken to a file, or the style of each voice as a file for the runtime; which is which."""
    if not hasattr(system, "clone"):
        files = pipeline.speak(system, [row.raw for row in rows], folder)
        return [{"file": str(file), "text": row.raw} for file, row in zip(files, rows, strict=True)]
    told = []
    for row in rows:
        wav = folder / f"{row.speaker}.wav"
        audio.save(wav, speech.recording(found, row, system.rate), system.rate)
        told.append({"recording": str(wav), "voice": str(system.export_voice(str(wav), wav.with_suffix(".json")))})
    return told


def align(system, found: Manifest, row: Row) -> dict[str, np.ndarray]:
    """What a trained system hears in one clip: `durations` (tokens,), and `mel`, `recording` (mels, frames)."""
    batch = dataset.collate([system.encode(row, speech.recording(found, row, system.rate))])
    return {name: value[0].numpy() for name, value in system.align(batch).items()}


def copies(p: Params, found: Manifest, count: int = 3) -> list[dict[str, tuple[Tensor, int]]]:
    """Held-out recordings `(samples,), Hz` beside what mel and Griffin-Lim leave of them and, where the system learns codes,
    what its codec leaves: no voice can sound better. A codec of ours that is missing is trained."""
    codec, made = codecs.of(p) if p.codec else None, []
    for row in rehearsal.held_out(found, count):
        wav = speech.recording(found, row, RATE)
        made.append({"recording": (wav, RATE), "vocoder only": (speech.vocoded(wav, RATE), RATE)})
        if codec is not None:
            heard = speech.recording(found, row, codec.rate)
            made[-1][codec.name] = codec.decode(codec.encode(heard), codec.voice(heard) or None), codec.rate_out
    return made


def codec_facts(p: Params) -> list[dict]:
    """What there is to know of the codec that `p` names, as rows of a table; one row that says so where it names none."""
    if p.codec is None:
        return [{"codec": f"none: system {p.system} learns from sound itself"}]
    codec = codecs.of(p)
    told = {"codec": codec.name, "hash": codec.hash[:12], "codes a second": codec.frame_rate}
    if codec.vocab is not None:
        told |= {"codes": codec.vocab, "bits a second": round(codec.frame_rate * math.log2(codec.vocab))}
    about = {name.replace("_", " "): value for name, value in getattr(codec, "about", {}).items() if name != "corpus"}
    return [told | {"latents": codec.dim} | about if codec.vocab is None else told | about]
