"""What notebook 04 shows of a scorecard and of listeners: tables with intervals, the worst sentences, a blind test."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ttslib import checkpoint, listen, manifest, rehearsal, runs, scorecard, show, speech
from ttslib.evaluate.judges import IN_DOMAIN
from ttslib.listen import form
from ttslib.manifest import Manifest

PERCENT = ("cer", "wer", "completion", "repetition", "script_fidelity", "voicing_error", "duration_error")
UNITS = {"mcd_db": "MCD (dB)", "f0_cents": "F0 (cents)", "rtf": "RTF", "first_audio_s": "first audio (s)", "mos": "MOS",
         "cer": "CER", "wer": "WER"}  # fmt: skip
FIRST = ("cer", "wer", "similarity", "mos", "mcd_db", "f0_cents", "duration_error", "rtf")
TRIALS = 6


def told(summary: Mapping, name: str) -> str:
    """A score with its interval, and of how many sentences it is where some have none."""
    if (one := summary.get(name)) is None:
        return "–"
    times, unit = (100, " %") if name in PERCENT else (1, "")
    bounds = "" if one["low"] is None else f" [{times * one['low']:.3g}, {times * one['high']:.3g}]"
    count = "" if one["count"] == summary["sentences"] - summary["failed"] else f" of {one['count']}"
    return f"{times * one['value']:.3g}{unit}{bounds}{count}"


def line(summary: Mapping, names: Sequence[str]) -> dict[str, str]:
    row = {"sentences": str(summary["sentences"])}
    row |= {UNITS.get(name, name.replace("_", " ")): told(summary, name) for name in names}
    if "cer_minus_floor" in summary:
        apart = "" if summary["distinguishable"] else " (not told apart)"
        row["CER above the recordings'"] = f"{100 * summary['cer_minus_floor']:+.3g} points{apart}"
    faults = ", ".join(f"{count} {name}" for name, count in summary["faults"].items())
    return row | {"faulty": f"{summary['faulty']}: {faults}" if faults else "0", "refused": str(summary["failed"])}


def voices(card: Mapping, names: Sequence[str] = FIRST) -> show.Html:
    """Every voice under the same protocol, on the held-out texts: the floors first."""
    rows = [(name, sets[IN_DOMAIN]) for name, sets in card["voices"].items() if IN_DOMAIN in sets]
    present = [name for name in names if any(name in summary for _, summary in rows)]
    told = [{"voice": name} | line(summary, present) for name, summary in rows]
    for row in told:
        if (apart := card["voices"][row["voice"]]["all"].get("distinguishable_from_voice")) is not None:
            row["told apart from voice"] = "yes" if apart else "no: do not rank"
    return show.table(told)


def sets(card: Mapping, voice: str = scorecard.VOICE) -> show.Html:
    """One voice on each set of sentences."""
    names = ("cer", "wer", "completion", "similarity", "rtf")
    return show.table(
        [{"set": name.replace("_", " ")} | line(told, names) for name, told in card["voices"][voice].items()]
    )


def judged_by(card: Mapping) -> show.Html:
    """Who judged, and what they learnt from; of minimal pairs, how many words were taken for themselves."""
    rows = [{"what": f"characters and words, {lang}", "judge": one["recogniser"], "trained on": one["trained_on"]}
            for lang, one in card["recognisers"].items()]  # fmt: skip
    if card["encoder"]:
        rows.append(
            {"what": "speaker", "judge": card["encoder"]["encoder"], "trained on": card["encoder"]["trained_on"]}
        )
    if card["predictor"]:
        rows.append({"what": "opinion score", "judge": card["predictor"], "trained on": ""})
    for name, langs in card["told_apart"].items():
        for lang, one in langs.items():
            heard = (
                f"{one['told_apart']} of {one['judged']} heard as themselves; {one['for_listeners']} are for listeners"
            )
            rows.append({"what": f"minimal pairs, {lang}, {name}", "judge": heard, "trained on": ""})
    return show.table(rows)


def worst(card: Mapping, found: Manifest, count: int = 8) -> show.Html:
    """The sentences that went worst: refused ones, then those with the most misread characters, beside their recordings."""
    lines = [one for one in card["sentences"] if one["voice"] == scorecard.VOICE]
    lines = sorted(lines, key=lambda one: (one["error"] is None, -rate(one), -len(one.get("faults") or ())))
    recorded = {row.raw: row for row in found.rows}
    rows = []
    for one in lines[:count]:
        row = recorded.get(one["text"]) if one["set"] in (IN_DOMAIN, "seen") else None
        rows.append({
            "set": one["set"].replace("_", " "), "text": one["text"], "heard": one.get("heard", "–"), "CER": percent(one),
            "what is wrong": one["error"] or ", ".join(one.get("faults") or ()),
            "voice": show.spoken_file(one["file"]) if one["file"] else "",
            "recording": show.spoken(speech.recording(found, row, 16000), 16000) if row else "",
        })  # fmt: skip
    return show.table(rows)


def cer(interval: Sequence | None) -> str:
    """An `intervals.Interval` of error rates."""
    if interval is None:
        return "–"
    value, low, high, count = interval
    bounds = "" if low is None else f" [{100 * low:.3g}, {100 * high:.3g}]"
    return f"{100 * value:.3g} %{bounds} of {count}"


def rate(one: Mapping) -> float:
    errors, length = one.get("cer") or (0, 1)
    return errors / length


def percent(one: Mapping) -> str:
    return f"{100 * rate(one):.0f} %" if one.get("cer") else "–"


def by_set(card: Mapping) -> show.Figure:
    """Misread characters by set and voice with their intervals; without a recogniser, the distance from the recordings."""
    name = "cer" if card["recognisers"] else "mcd_db"
    groups = {
        voice: {key.replace("_", " "): summary[name] for key, summary in told.items() if name in summary}
        for voice, told in card["voices"].items()
    }
    label = "misread characters (CER)" if name == "cer" else "mel-cepstral distortion (dB)"
    return show.intervals({voice: found for voice, found in groups.items() if found}, label)


def before_after(run: runs.Run, p, found: Manifest, count: int = 8) -> show.Html:
    """The fixed sentences at the first and at the last evaluation beside their recordings, the worst of the last first."""
    rows = []
    for i, one in enumerate(rehearsal.fixed_sentences(p, found)):
        if not (steps := run.spoken(i)):
            continue
        row, last = {"text": one.text}, None
        for step, file in (steps[0], steps[-1]):
            heard = file.parent / "heard.json"
            lines = {line["id"]: line for line in checkpoint.read_json(heard)} if heard.is_file() else {}
            last = lines.get(one.id)
            words = f"<p dir='auto'>{show.escaped(last['heard'])} <small>({percent(last)})</small></p>" if last else ""
            row[f"step {step}"] = show.Html(words + show.spoken_file(file))
        original = show.spoken(speech.recording(found, one.row, 16000), 16000) if one.row else ""
        rows.append((rate(last) if last else 0.0, row | {"recording": original}))
    return show.table([row for _, row in sorted(rows, key=lambda pair: -pair[0])[:count]])


def blind(run: runs.Run, card: Mapping, trials: int = TRIALS) -> dict:
    """A blind test of this run on held-out sentences in `<run>/listening/`: hidden recording, low anchor, the copy through
    Griffin-Lim, the voice, and every baseline that spoke them. Returns what `listen.build` does, and `form`, the same as
    widgets. Raises what `listen.prepare` does, where there is nothing to judge."""
    spoken = [one for one in card["sentences"] if one["set"] == IN_DOMAIN and one.get("file")]
    files = {name: {one["id"]: one for one in spoken if one["voice"] == name} for name in card["voices"]}
    found = manifest.read(checkpoint.read_json(run.folder / "data.json")["manifest"])
    files = {name: some for name, some in files.items() if some}
    test = mushra(files, found, run, f"{card['run']}, {card['checkpoint']}", trials)
    return test | {"form": form.form(*test.pop("made"), answers(run), "me")}


def mushra(
    spoken: Mapping[str, Mapping[str, Mapping]], found: Manifest, run: runs.Run, title: str, trials: int = TRIALS
) -> dict:
    """A blind test of the sentences that all voices spoke, `voice -> id -> line of a scorecard`, beside hidden recording,
    low anchor and Griffin-Lim copy, in `<run>/listening/`. Returns what `listen.build` does, and `made`, what `form`
    takes."""
    common = set.intersection(*map(set, spoken.values())) if spoken else set()
    lines = [one for key, one in next(iter(spoken.values()), {}).items() if key in common][:trials]
    texts = [listen.Text(one["id"], one["text"], one["lang"]) for one in lines]
    rows = {row.raw: row for row in found.rows}
    clips = {text.id: speech.recording(found, rows[text.text], 24000) for text in texts}
    copies = {key: (speech.vocoded(wav, 24000).numpy(), 24000) for key, wav in clips.items()}
    systems = {name: {key: one["file"] for key, one in some.items()} for name, some in spoken.items()}
    reference = {key: (wav.numpy(), 24000) for key, wav in clips.items()}
    systems[scorecard.VOCODED] = copies
    made = listen.prepare(systems, texts, "mushra", reference=reference, title=title, sound="MP3")
    return listen.write(run.folder / "listening", *made) | {"made": made}


def answers(run: runs.Run) -> Path:
    folder = run.folder / "listening" / "answers"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def said(run: runs.Run, test: Mapping) -> show.Html:
    """What listeners said so far: the answers that lie in `<run>/listening/answers/`."""
    files = sorted(answers(run).glob("*.json"))
    finished = [file for file in files if checkpoint.read_json(file).get("finished")]
    if not finished:
        return show.Html(f"<p>No finished answers in {answers(run)} yet.</p>")
    told = listen.analyse(test["key"], finished)
    checkpoint.write_json(run.folder / "listening.json", told)
    rows = [
        {"voice": one["system"], "median": one["median"], "mean": one["mean"], "95 %": bounds(one["mean_interval"])}
        for one in told["all"]["systems"]
    ]
    rows += [{"voice": " and ".join(one["pair"]), "verdict": one["verdict"]} for one in told["all"]["pairs"]]
    return show.table(rows)


def bounds(interval: Sequence[float] | None) -> str:
    return "?" if interval is None else f"{interval[0]:.3g} to {interval[1]:.3g}"
