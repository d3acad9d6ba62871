"""The card's evaluation: a table of voices and metrics with 95 % intervals, what judged them, what was not measured."""

from collections.abc import Collection, Mapping
from typing import Any

from ttslib.card import words

METRICS = {  # of one voice's summary, in this order: what stands above the column
    "cer": "CER", "wer": "WER", "cer_minus_floor": "CER above floor", "completion": "completion",
    "repetition": "repetition", "script_fidelity": "script fidelity", "similarity": "speaker similarity",
    "mos": "predicted MOS", "mcd_db": "MCD (dB)", "f0_cents": "F0 RMSE (cents)", "voicing_error": "voicing error",
    "duration_error": "duration error", "length_ratio": "length ratio", "rtf": "real-time factor",
    "first_audio_s": "first audio (s)",
}  # fmt: skip
SAYS_NOT = "unknown: the scorecard does not say"
HEARD = ("cer", "wer", "completion", "repetition", "script_fidelity")
LIMITS = (  # of metrics, what they cannot tell
    (HEARD, "What a recogniser mishears counts against the voice: read CER and its kin beside the recordings' row."),
    (("similarity",), "Speaker similarity is what one encoder hears; in other languages than its own it is not calibrated."),
    (("mos",), "Predicted MOS is no listening test: at best it compares voices on the same sentences, in its own language."),
    (("mcd_db", "f0_cents", "voicing_error", "duration_error", "length_ratio"),
     "MCD, F0 and durations compare with one recording of each sentence, and a sentence can be said in many ways."),
    (("rtf", "first_audio_s"), "Speeds are those of the machine that the evaluation ran on."),
)  # fmt: skip
AGAIN = "`python -m ttslib evaluate {}`"


def section(card: Mapping[str, Any] | None, folder: str, best: str) -> str:
    """The section for a scorecard (None: there is none) of the run `folder`, whose checkpoint is now called `best`."""
    again = AGAIN.format(folder)
    if card is None:
        return f"Not evaluated: the run's folder has no scorecard.json. {again} makes it."
    if "voices" not in card and "table" not in card:
        return f"unknown: scorecard.json is of a layout that this card does not know; make it anew with {again}."
    parts = []
    if (of := card.get("checkpoint")) != best:
        parts.append(f"**Of another checkpoint**: {words.cell(of)} was scored, {best} is the best one now; {again}.")
    split, source = (words.cell(card.get(name)) for name in ("split", "source"))
    parts.append(f"Split: {split}. Source: {source}. Made by {again}.")
    parts += style(card) if "table" in card else speech(card)
    return "\n\n".join(parts)


def speech(card: Mapping[str, Any]) -> list[str]:
    """Tables of all voices, for all sentences and for each set, and who judged."""
    voices, parts = card["voices"], []
    sets = dict.fromkeys(name for told in voices.values() for name in told)
    for name in sorted(sets, key=lambda name: name != "all"):  # all of them first
        told = {voice: sums[name] for voice, sums in voices.items() if name in sums}
        title = "All sentences" if name == "all" else f"Set {words.cell(name)}"
        parts += [f"### {title}", summary(told, card.get("floors", ()))]
    parts.append(
        "A value stands before its 95 % interval (bootstrap over sentences). Rows marked *floor* are no voice: what the "
        "metrics say of the recordings, and of what vocoder and codec leave of them. A voice with *no* under "
        "“told apart” cannot be ranked below the recordings by its CER."
    )
    return [*parts, "### Who judged", judges(card)]


def summary(told: Mapping[str, Mapping], floors: Collection[str]) -> str:
    """One row a voice; columns that no voice has are left out (they are named among the limits)."""
    shown = [name for name in METRICS if any(sums.get(name) is not None for sums in told.values())]
    names = ["voice", "sentences", "failed", "faults", *(METRICS[name] for name in shown), "told apart"]
    rows = []
    for voice, sums in sorted(told.items(), key=lambda item: item[0] not in floors):
        floor = " (*floor*)" if voice in floors else ""
        faults = ", ".join(f"{kind} {many}" for kind, many in sorted((sums.get("faults") or {}).items()))
        counts = [sums.get("sentences"), sums.get("failed"), faults or ("none" if "faults" in sums else None)]
        values = [value(sums.get(name)) for name in shown]
        rows.append([words.cell(voice) + floor, *counts, *values, sums.get("distinguishable")])
    return words.table(names, rows)


def value(metric: Mapping | float | None) -> str:
    """`0.12 [0.1, 0.15]`; `[?]` where one sentence leaves no interval; a dash for what is not there."""
    if not isinstance(metric, Mapping):
        return words.number(metric)
    if (told := words.number(metric.get("value"))) == words.DASH:
        return told
    low, high = metric.get("low"), metric.get("high")
    bounds = "?" if low is None or high is None else f"{words.number(low)}, {words.number(high)}"
    return f"{told} [{bounds}] n={metric['count']}" if "count" in metric else f"{told} [{bounds}]"


def judges(card: Mapping[str, Any]) -> str:
    told = [
        f"Recogniser for {words.cell(lang)}: {judge(one, 'recogniser')}"
        for lang, one in sorted((card.get("recognisers") or {}).items())
    ]
    told = told or ["Recogniser: none; what was said was not transcribed"]
    one = card.get("encoder")
    told.append(f"Encoder of voices: {judge(one, 'encoder') if one else 'none'}")
    told.append(f"Predictor of opinion scores: {words.cell(card.get('predictor') or 'none')}")
    return words.bullets(told)


def judge(one: Mapping[str, str], name: str) -> str:
    called, known, learnt = (words.cell(one.get(key) or SAYS_NOT) for key in (name, "hash", "trained_on"))
    return f"{called} (`{known}`), trained on {learnt}"


def style(card: Mapping[str, Any]) -> list[str]:
    """The table of an encoder of styles (`ttslib.systems.style.report`), as it is."""
    names = list(dict.fromkeys(name for row in card["table"] for name in row))
    clips = f"{words.cell(card.get('scored'))} clips of {words.cell(card.get('held_out'))}"
    told = [f"Scored: {clips} held-out ones. Cosines are centred on the mean style, which has 0 by itself."]
    if (chance := card.get("chance_top1")) is not None:
        told.append(f"Chance of `top1`: {words.number(chance)}.")
    return [
        " ".join(told),
        words.table(names, ([words.cell(row.get(name)) for name in names] for row in card["table"])),
    ]


def measured(card: Mapping[str, Any] | None) -> set[str]:
    """Which metrics at least one voice has."""
    sums = [one for told in ((card or {}).get("voices") or {}).values() for one in told.values()]
    return {name for name in METRICS if any(one.get(name) is not None for one in sums)}


def limits(card: Mapping[str, Any] | None, listened: bool) -> list[str]:
    """What was not measured, and what the metrics that were cannot tell."""
    told = [
        "A listening test: see [listening.json](listening.json)."
        if listened
        else "No listening test was made: nobody has judged it (listening.json is not in the run's folder)."
    ]
    if card is not None and "table" in card:
        told.append("The table measures styles, not speech: what Supertonic makes of them was not scored.")
        return told
    there = measured(card)
    if missing := [METRICS[name] for name in METRICS if name not in there]:
        told.append(f"Not measured: {', '.join(missing)}.")
    sets = {name for voice in card["voices"].values() for name in voice} if there else set()
    if sets <= {"all", "in_domain", "seen"} and there:
        told.append(
            "The sentences are of the corpus that it was trained on: on other texts and styles it was not tried."
        )
    return told + [text for names, text in LIMITS if there & {*names}]
