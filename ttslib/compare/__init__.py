"""Which system for a language and a budget: a run of each on one manifest, under one budget, before the same judges.

    told = compare.make(compare.asked(["acoustic", "t3"], "am", minutes=20))
    told["verdict"]                                   # in words; what is not told apart is not ranked

    outputs/<lang>/compare/<name>/compare.json        `rows`, `pairs`, `floors`, `verdict`
                                  <system>.yaml, .log, .json    what was asked, what it said, what it came to
    outputs/<lang>/<system>/compare-<digest>/         the run, found again by all that decides it

Each system trains and is scored in a process of its own: its memory is its own, and where it ends the others go on. The
budget has training, evaluations and saving in it; recogniser, codec and features are made before it begins.
"""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from ttslib import checkpoint, manifest, params, paths, recognise, runs
from ttslib.compare import verdict
from ttslib.evaluate import judges
from ttslib.manifest import Manifest
from ttslib.params import Params
from ttslib.stop import STATUS, Stop, Stopped
from ttslib.systems import SYSTEMS, system_class

DEFAULT = ("acoustic", "vits", "t3", "pocket")
SAME = ("lang", "languages", "seed", "minutes", "device", "evaluate", "feedback")


class CompareError(ValueError):
    """A comparison that would compare something else than systems; the message says what to make alike."""


def names(systems: str | Iterable[str] | None) -> list[str]:
    """The systems, from a list or from `a,b`; without any, `DEFAULT`. Raises `CompareError`."""
    given = systems.replace(",", " ").split() if isinstance(systems, str) else list(systems or DEFAULT)
    if unknown := [name for name in given if name not in SYSTEMS]:
        raise CompareError(f"systems: {unknown[0]!r} does not exist; there are {', '.join(SYSTEMS)}")
    return list(dict.fromkeys(given))


def asked(systems: str | Iterable[str] | None, lang: str | Path, overrides=(), **dials) -> dict[str, Params]:
    """The params of each system: `params.load` with that system. Raises `CompareError` and `ParamsError`."""
    given = params.dotted(overrides)
    return {name: params.load(lang, given | {"system": name}, **dials) for name in names(systems)}


def from_dials(namespace: Mapping) -> dict[str, Params]:
    """The same of a notebook, from its `globals()` right after the parameters cell."""
    dials = {key: value for key, value in namespace.items() if key != "systems"}
    return {name: params.from_dials(dials | {"system": name}) for name in names(namespace["systems"])}


def make(asked: Mapping[str, Params]) -> dict:
    """Train, where that is not done yet, and score a run of every system; write `compare.json`.

    A system that cannot is a row with its `reason`. The folder is named by `run`, else by the budget. Raises `CompareError`
    for params that differ in more than the system, what manifest and recogniser raise, and `Stopped` when a signal ends it.
    """
    alike(asked)
    reading = [p for p in asked.values() if getattr(system_class(p.system), "reads", True)]
    if not reading:
        raise CompareError(f"none of {', '.join(asked)} speaks from text; name systems that do")
    first = reading[0]
    found = manifest.prepare(first)
    readers = judges.readers(first, found, dict.fromkeys(row.lang for row in found.rows))  # in nobody's budget
    who = {lang: recognise.identity(one) for lang, one in readers.items()}
    folder = place(first)
    folder.mkdir(parents=True, exist_ok=True)
    reasons, cards = {}, {}
    for name, p in asked.items():
        reasons[name] = refused(p, found) or trained(named(p, found), folder, who)
        if reasons[name] is None:
            cards[name] = checkpoint.read_json(run_of(p, found).folder / "scorecard.json")
        print(f"compare: {name}: {reasons[name] or 'scored'}", file=sys.stderr)
    judged_alike(cards)
    facts = {name: checkpoint.read_json(folder / f"{name}.json") for name in cards}
    rows = [verdict.row(name, cards[name], facts[name]) if name in cards else
            {"system": name, "reason": reason} for name, reason in reasons.items()]  # fmt: skip
    pairs = verdict.pairs(cards)
    told = {"folder": str(folder), "manifest": str(found.folder), "budget": budget(first), "seed": first.seed}
    judged = next(iter(cards.values()), {})
    told |= {key: judged[key] for key in ("recognisers", "encoder", "predictor", "source", "split") if key in judged}
    told |= {"verdict": verdict.words(rows, pairs), "rows": rows, "pairs": pairs, "floors": verdict.floors(cards)}
    checkpoint.write_json(folder / "compare.json", told)
    return told


def alike(asked: Mapping[str, Params]) -> None:
    """Raise `CompareError` where the params differ in what has to be the same."""
    said = {}
    for name, p in asked.items():
        values = {key: getattr(p, key) for key in SAME}
        if p.minutes is None:
            values |= {f"train.{key}": getattr(p.train, key) for key in ("steps", "epochs")}
        said[name] = values
    (first, wanted), *others = said.items()
    for name, values in others:
        if differing := [key for key in wanted if values[key] != wanted[key]]:
            raise CompareError(f"{first} and {name} differ in {', '.join(differing)}; set it for all of them")


def budget(p: Params) -> str:
    """How long each trains, in words."""
    given = {"minutes": p.minutes, "epochs": p.train.epochs, "steps": p.train.steps}
    return next(f"{value:g} {unit}" for unit, value in given.items() if value is not None)


def place(p: Params) -> Path:
    return paths.outputs() / p.lang / "compare" / (p.run or budget(p).replace(" ", "-"))


def named(p: Params, found: Manifest) -> Params:
    """`p` with the name of its run: all that decides what is trained is in it, so that no other run is taken for it."""
    told = p.model_dump(mode="json", exclude={"run", "resume", "tracking", "threads", "synthesis", "evaluate"})
    told["chooses"] = {key: value for key, value in p.evaluate.model_dump(mode="json").items()
                       if key.startswith("recogniser") or key in ("small", "homophones")}  # fmt: skip
    digest = hashlib.sha256(json.dumps([told, found.digest], sort_keys=True).encode()).hexdigest()[:8]
    return p.model_copy(update={"run": f"compare-{digest}", "resume": False})


def run_of(p: Params, found: Manifest) -> runs.Run:
    return runs.Run(runs.home(p) / named(p, found).run)


def refused(p: Params, found: Manifest) -> str | None:
    """Why this system is not trained at all."""
    if not getattr(system_class(p.system), "reads", True):
        return "it reads no text: it hears voices, and its scores are of another kind (notebook 04)"
    if manifest.folder(p) != found.folder:
        return f"its params ask for another manifest, {manifest.folder(p)}; set corpus and doctor for all systems alike"
    return None


def trained(p: Params, folder: Path, who: Mapping[str, Mapping]) -> str | None:
    """Have the run of `p` trained and scored by `ttslib.compare.job`, with the recognisers `who`; None when it is, else the
    reason why not."""
    file, run = folder / f"{p.system}.yaml", runs.Run(runs.home(p) / p.run)
    if known(file, p, run, who):
        print(f"compare: {p.system}: found {run.folder}", file=sys.stderr)
        return None
    file.write_text(str(p), encoding="utf-8")
    file.with_suffix(".json").unlink(missing_ok=True)
    print(f"compare: {p.system} trains in {run.folder}; what it says: {file.with_suffix('.log')}", file=sys.stderr)
    where = os.pathsep.join([str(paths.ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    with Stop() as stop, file.with_suffix(".log").open("w", encoding="utf-8") as log:
        command = [sys.executable, "-m", "ttslib.compare.job", str(file)]
        child = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": where})
        try:
            while child.poll() is None and not stop.asked:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(0.5)
            if stop.asked:
                child.terminate()  # its loop saves after this step
            child.wait()
        finally:
            if child.poll() is None:
                child.kill()
    ended = stop.asked or {code: name for name, code in STATUS.items()}.get(child.returncode)
    if ended:
        raise Stopped(f"{folder}: stopped by {ended} while {p.system} was at it; call again to go on", ended)
    return reason(file.with_suffix(".log"), child.returncode) if child.returncode else None


def known(file: Path, p: Params, run: runs.Run, who: Mapping[str, Mapping]) -> bool:
    """Did an earlier comparison train and score just this before the same judges, and is its scorecard still that?"""
    facts, card = file.with_suffix(".json"), run.folder / "scorecard.json"
    if not (facts.is_file() and card.is_file() and file.read_text(encoding="utf-8") == str(p)):
        return False
    judged = checkpoint.read_json(card)["recognisers"]
    same = all(who.get(lang) == one for lang, one in judged.items())
    return same and checkpoint.read_json(facts)["scorecard"] == checkpoint.sha256(card)


def reason(log: Path, code: int) -> str:
    """Why a job ended, from the end of what it said."""
    said = log.read_text(encoding="utf-8", errors="replace").strip()
    if code < 0:
        return f"its process was ended by signal {-code} (9 is what a machine out of memory sends); see {log}"
    return said.rpartition("error: ")[2] if "\nerror: " in f"\n{said}" else f"{said.rpartition(chr(10))[2]} ({log})"


def judged_alike(cards: Mapping[str, Mapping]) -> None:
    """Raise `CompareError` where two scorecards have other judges or other sentences."""
    judges = {name: [card["recognisers"], card["encoder"], card["predictor"]] for name, card in cards.items()}
    said = {name: sorted((one["id"], one["text"]) for one in verdict.lines(card)) for name, card in cards.items()}
    for name in cards:
        first = next(iter(cards))
        if judges[name] != judges[first] or said[name] != said[first]:
            raise CompareError(
                f"{first} and {name} were judged by others or on other sentences; run the comparison again"
            )
