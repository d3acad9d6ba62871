"""What notebook 05 shows of a comparison: the table, the pairs, intervals, costs, the same sentences, a blind test."""

from collections.abc import Mapping
from pathlib import Path

from ttslib import checkpoint, exhibits, runs, scoreboard, show, speech
from ttslib.compare import verdict
from ttslib.manifest import Manifest

SCORES = ("cer", "wer", "similarity", "mos")
COSTS = {"rtf": "RTF (seconds of work a second of speech)", "memory_gb": "peak memory of training (GB)"}


def quality(told: Mapping) -> show.Html:
    """The floors, then every system: scores with their intervals, and failures; of one without scores, why."""
    present = [name for name in SCORES if any(row.get(name) for row in told["rows"])]
    lines = [{"system": name} | scoreboard.line(one, present) for name, one in told["floors"].items()]
    for row in told["rows"]:
        line = {"system": row["system"], "no scores, because": row["reason"]}
        if row["reason"] is None:
            ends = (
                f"{row['runaways']} without end, {row['silences']} silent, {row['refused']} refused of {row['asked']}"
            )
            line = {"system": row["system"]} | scoreboard.line(row, present) | {"of all sentences": ends}
        lines.append(line)
    return show.table([{key: value for key, value in line.items() if key != "refused"} for line in lines])


def costs(told: Mapping) -> show.Html:
    """What every system costs to use and to train."""
    return show.table(
        [
            {
                "system": row["system"],
                "RTF": scoreboard.told(row, "rtf"),
                "first audio (s)": scoreboard.told(row, "first_audio_s"),
                "training (minutes)": row["minutes"],
                "steps": row["steps"],
                "audio trained (s/s)": unknown(row["audio_s_per_s"]),
                "memory of training (GB)": unknown(row["memory_gb"]),
                "parameters (millions)": row["parameters"] / 1e6,
            }
            for row in told["rows"]
            if row["reason"] is None
        ]
    )


def unknown(number: float | None) -> float | str:
    return "–" if number is None else number


def ranked(told: Mapping) -> show.Html:
    """The verdict, and what it stands on: every pair's difference."""
    rows = []
    for one in told["pairs"]:
        found = one["difference"]
        shown = "–" if found is None else points(found)
        rows.append({"pair": f"{one['a']} – {one['b']}", "CER of the first minus that of the second": shown,
                     "understood better": one["better"] or f"not told apart: {one['why']}"})  # fmt: skip
    said = f"<p><b>{show.escaped(told['verdict'])}.</b> {told['budget']} each.</p>"
    return show.Html(said + (show.table(rows) if rows else ""))


def points(one: Mapping) -> str:
    low, value, high = (100 * one[key] for key in ("low", "value", "high"))
    return f"{value:+.3g} points [{low:+.3g}, {high:+.3g}] on {one['count']} sentences"


def spread(told: Mapping) -> show.Figure:
    """Misread characters of every system on each set of sentences, with intervals, above the recordings' line."""
    floor = {name: {"in domain": one["cer"]} for name, one in list(told["floors"].items())[:1] if "cer" in one}
    voices = {row["system"]: {name.replace("_", " "): one for name, one in row["cer_by_set"].items() if name != "all"}
              for row in told["rows"] if row.get("cer_by_set")}  # fmt: skip
    return show.intervals(floor | voices, "misread characters (CER)")


def trade(told: Mapping) -> show.Figure:
    """Misread characters against what a system costs to use and to train."""
    rows = [row for row in told["rows"] if row.get("cer")]
    points = {
        label: {row["system"]: (value(row[name]), row["cer"]) for row in rows if row.get(name) is not None}
        for name, label in COSTS.items()
    }
    return show.trade(points, "misread characters (CER)")


def value(one: Mapping | float) -> float:
    return one["value"] if isinstance(one, Mapping) else one


def cards(told: Mapping) -> dict[str, dict]:
    """The scorecards behind the rows."""
    scored = [row for row in told["rows"] if row["reason"] is None]
    return {row["system"]: checkpoint.read_json(Path(row["run"]) / "scorecard.json") for row in scored}


def players(told: Mapping, found: Manifest, count: int = 3) -> show.Html:
    """The same held-out sentences by every system, what was heard of each, and the recording."""
    spoken = {name: {one["id"]: one for one in verdict.lines(card)} for name, card in cards(told).items()}
    some = list(next(iter(spoken.values()), {}).values())[:count]
    recorded, rows = {row.raw: row for row in found.rows}, [{"": "text"}, {"": "recording"}, *({"": n} for n in spoken)]
    for number, one in enumerate(some, 1):
        clip = speech.recording(found, recorded[one["text"]], 16000)
        cells = [one["text"], show.spoken(clip, 16000), *(heard(lines[one["id"]]) for lines in spoken.values())]
        for row, cell in zip(rows, cells, strict=True):
            row[f"sentence {number}"] = cell
    return show.table(rows)


def heard(one: Mapping) -> show.Html:
    """What was heard of a sentence, and its player; or why there is none."""
    if not one.get("file"):
        return show.Html(f"<p>{show.escaped(one['error'] or '–')}</p>")
    words = f"<p dir='auto'>{show.escaped(one.get('heard') or '–')} <small>({scoreboard.percent(one)})</small></p>"
    return show.Html(words + show.spoken_file(one["file"]))


def blind(told: Mapping, found: Manifest) -> show.Html:
    """A blind test of all systems with scores in the comparison's folder `listening`; a link to its page, or why there is
    none."""
    run, made = runs.Run(Path(told["folder"])), cards(told)
    files = {name: {one["id"]: one for one in verdict.lines(card) if one.get("file")} for name, card in made.items()}
    try:
        test = scoreboard.mushra(files, found, run, f"{', '.join(made)}: {told['budget']} each")
    except exhibits.NO_TEST as reason:
        return show.Html(f"<p>No blind test: {show.escaped(str(reason))}</p>")
    link = f"<p><a href='{test['page'].as_uri()}'>{test['page']}</a>, {test['trials']} trials</p>"
    return show.Html(f"{link}<p>key: {test['key']}</p>{scoreboard.said(run, test)}")
