"""The sections of a card but for the evaluation."""

import inspect
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ttslib import checkpoint, manifest, rehearsal
from ttslib.card import licences, words
from ttslib.card.facts import Facts
from ttslib.card.lineage import UNNAMED
from ttslib.card.scores import SAYS_NOT

SAMPLES = 3  # of each voice and set

MOST = 40  # rows of a table of speakers; more are summed
CONSENT = (
    "**Speech in a person's voice needs that person's consent.** That goes for the people in the training data and for "
    "whoever is made to speak."
)
CLONES = (
    "**This system takes the voice of any recording it is given.** Give it none of a person who has not agreed to it, "
    "and say of what it makes that it is synthetic."
)
RESEARCH = "For research on text-to-speech in new languages. Not tried in any product, and for nothing that deceives."
ASKS = {
    licences.PRIVATE: "**Not for commercial use**: {} ({}).",
    licences.USES: "**Limits what it may be used for**, and its terms go along with what is made from it: {} ({}).",
    licences.ALIKE: "**Share alike**: {} ({}); what is adapted from it is to be under the same licence.",
    licences.FIXED: "**No derivatives**: {} ({}); ask before what was made with it is passed on.",
    licences.CREDIT: "Name the source: {} ({}).",
    licences.NOTICE: "Keep the notice: {} ({}).",
}


def what(told: Facts) -> str:
    system, doc = told.system, inspect.getdoc(sys.modules[type(told.system).__module__]) or ""
    numbers = {name: sum(q.numel() for q in net.parameters()) for name, net in system.nets.items()}
    parts = ", ".join(f"{name} {many:,}" for name, many in numbers.items())
    latest = checkpoint.read_json(told.run.checkpoints / "latest" / "state.json")
    own = checkpoint.step_of(told.best)
    losses = {row["step"]: row["val/total"] for row in told.history if "val/total" in row}
    start = f", {words.number(losses[0])} before training" if own and 0 in losses else ""
    rows = {
        "system": words.cell(doc.partition("\n\n")[0]),
        "parameters": f"{sum(numbers.values()):,}" + (f" ({parts})" if len(numbers) > 1 else ""),
        "languages": ", ".join(told.langs),
        "sample rate": f"{system.rate:,} Hz"
        + ("" if getattr(system, "reads", True) else ", at which recordings are heard"),
        "run": words.cell(told.run.folder),
        "checkpoint": f"{told.best.name} ({chosen(told)})",
        "steps": f"{own:,} of {latest['progress']['step']:,}",
        "minutes of training": f"{words.number(latest['schedule']['elapsed'] / 60)} (of all steps)",
        "validation loss": words.number(losses[own]) + start if own in losses else "unknown: not in the history",
        "seed": str(told.p.seed),
    }
    return words.table(["", ""], rows.items())


def chosen(told: Facts) -> str:
    if told.run.trained.name == "latest":
        return "the latest: none is called best"
    if told.p.train.choose == "speech" and any("speech/cer" in row for row in told.history):
        return "the one that a recogniser understood best"
    return "the last evaluated" if told.p.train.choose == "last" else "the lowest validation loss"


def use(told: Facts) -> str:
    parts = [RESEARCH, CONSENT]
    if told.clones:
        parts.append(CLONES)
    if told.synthetic:
        share = "All of its speech" if told.synthetic == 1 else f"{told.synthetic:.1%} of its speech"
        parts.append(
            f"**Synthetic data.** {share} was made by espeak-ng, not spoken by a person: not a voice to publish."
        )
    if told.parametric:
        parts.append("**Synthetic data.** Its voices are parametric: four numbers each, no person's.")
    return "\n\n".join(parts)


def data(told: Facts) -> str:
    if told.found is None:
        return told.unread
    rows, parts = told.found.totals(), []
    if len({(row["lang"], row["speaker"]) for row in rows}) > MOST:
        rows = list(summed(rows))
        parts.append(f"More than {MOST} speakers: summed over each language and split.")
    names = ["language", "speaker", "split", "clips", "hours"]
    cells = [[words.cell(row["lang"]), words.cell(row["speaker"]), row["split"], row["clips"], words.hours(row["minutes"])]
             for row in rows]  # fmt: skip
    whole = sum(row.seconds for row in told.found.rows) / 60
    cells.append(["all", "", "", sum(row["clips"] for row in rows), words.hours(whole)])
    parts.append(words.table(names, cells))
    sources: dict[tuple[str, str], list[float]] = {}
    for row in told.found.rows:
        entry = sources.setdefault((row.source, row.licence), [0, 0.0])
        entry[0] += 1
        entry[1] += row.seconds / 60
    told_of = [[words.cell(s), words.cell(licence or UNNAMED), n, words.hours(minutes)]
               for (s, licence), (n, minutes) in sorted(sources.items())]  # fmt: skip
    parts.append(words.table(["source", "licence", "clips", "hours"], told_of))
    dropped, quarantined = told.found.dropped, Counter(bad["reason"] for bad in told.quarantined)
    why = [f"{words.cell(reason)} {n:,}" for reason, n in manifest.counts(dropped)]
    bad = [f"{words.cell(reason)} ({n:,})" for reason, n in quarantined.most_common()]
    lines = [
        f"Dropped by the doctor: {words.count(len(dropped), 'clip')}" + (f" ({', '.join(why)})" if why else ""),
        f"Quarantined in preparation: {words.count(len(told.quarantined), 'clip')}"
        + (f": {'; '.join(bad)}" if bad else ""),
        f"Trained on: {words.count(len(told.clips), 'clip')}",
    ]
    for lang, other in told.replayed:
        of = f"{words.hours(sum(row.seconds for row in other.rows) / 60)} hours" if other else "unknown: they are gone"
        lines.append(
            f"Replayed against forgetting: {words.cell(lang)}, {told.p.replay.ratio:.0%} of the clips, from {of}"
        )
    return "\n\n".join([*parts, words.bullets(lines)])


def summed(rows: list[dict]) -> Iterator[dict]:
    """Totals of each language and split over all speakers."""
    for lang, split in dict.fromkeys((row["lang"], row["split"]) for row in rows):
        same = [row for row in rows if (row["lang"], row["split"]) == (lang, split)]
        sums = {name: sum(row[name] for row in same) for name in ("clips", "minutes")}
        yield {"lang": lang, "split": split, "speaker": words.count(len(same), "speaker"), **sums}


def lineage(told: Facts) -> str:
    if not told.links:
        return "Trained from scratch: no base and no codec."
    rows = []
    for one in told.links:
        named = [words.cell(cell) for cell in (one.role, one.of, one.where, one.what)]
        rows.append([*named, words.cell("; ".join(one.licences) or "as the data"), one.fingerprint])
    note = "Of a run of ours the licences are those of its data; what it was itself started from follows below it."
    return words.table(["taken as", "for", "from", "what", "licence", "SHA-256 of its weights"], rows) + "\n\n" + note


def licence(told: Facts) -> str:
    asked: dict[str, list[tuple[str, str]]] = {}
    for of, one in dict.fromkeys(told.licences):
        for term in licences.terms(one):
            asked.setdefault(term, []).append((words.cell(of), words.cell(one)))
    lines = [text.format(of, one) for term, text in ASKS.items() for of, one in asked.get(term, ())]
    lines += [f"{one if one.startswith('unknown') else f'unknown: what {one} asks'} ({of})" for of, one in
              asked.get(licences.UNKNOWN, ())]  # fmt: skip
    if not lines:
        lines.append("Nothing that was found binds it; whoever publishes it chooses a licence.")
    elif asked.get(licences.UNKNOWN):
        lines.append("Settle what is unknown before you publish it.")
    return words.bullets([*lines, "This is a list of what was found, no legal advice."])


def samples(told: Facts) -> str:
    """The fixed sentences as the best checkpoint speaks them (the newest, where it spoke none), and of what was scored the
    first ones of each voice and set."""
    run, lines = told.run, []
    steps = sorted({int(file.parent.name.removeprefix("step_")) for file in run.samples.glob("step_*/*.wav")})
    own = checkpoint.step_of(told.best)
    if steps:
        step = own if own in steps else steps[-1]
        texts = [one.text for one in rehearsal.fixed_sentences(told.p, told.found)] if told.found else []
        for file in sorted((run.samples / f"step_{step:06d}").glob("*.wav")):
            text = texts[int(file.stem)] if file.stem.isdigit() and int(file.stem) < len(texts) else file.stem
            lines.append(f"{words.link(text, str(file.relative_to(run.folder)))} (step {step:,})")
    shown = Counter()
    for one in (told.scorecard or {}).get("sentences", ()):
        group = one.get("voice"), one.get("set")
        if (file := inside(run.folder, one.get("file"))) is not None and shown[group] < SAMPLES:
            shown[group] += 1
            about = f"{words.cell(one.get('voice'))}, {words.cell(one.get('set'))}"
            lines.append(f"{words.link(one.get('text') or file, file)} ({about})")
    return words.bullets(lines) or "unknown: the run has no samples in its folder."


def inside(folder: Path, file: str | None) -> str | None:
    """A file's path from `folder`, None unless it lies in it."""
    if not file or not (place := (folder / file).resolve()).is_file() or not place.is_relative_to(folder.resolve()):
        return None
    return str(place.relative_to(folder.resolve()))


def fingerprints(told: Facts) -> str:
    rows = {
        f"{told.best.name}/model.safetensors (SHA-256)": checkpoint.sha256(told.best / "model.safetensors"),
        "manifest (digest)": told.known["digest"],
        "tokenizer (SHA-256)": told.system.tokenizer.digest,
    }
    if (codec := getattr(told.system, "codec_state", None)) is not None:
        rows[f"codec {codec['name']}"] = codec["hash"] or "unknown: nothing was encoded with it yet"
    for lang, one in sorted(((told.scorecard or {}).get("recognisers") or {}).items()):
        rows[f"recogniser for {lang}, {one.get('recogniser') or SAYS_NOT}"] = one.get("hash") or SAYS_NOT
    if one := (told.scorecard or {}).get("encoder"):
        rows[f"encoder of voices, {one.get('encoder') or SAYS_NOT}"] = one.get("hash") or SAYS_NOT
    commit = told.made_by["git"]
    rows["git commit of training"] = "unknown: not trained in a checkout" if commit == "unknown" else commit
    rows |= {f"version of {name}": version for name, version in told.made_by.items() if name != "git"}
    return words.table(["of", ""], ([words.cell(name), f"`{words.cell(value)}`"] for name, value in rows.items()))
