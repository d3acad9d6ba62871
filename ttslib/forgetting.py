"""The guard of a base language: its corpus, what of it the system must know, and the wire that trips when it is forgotten.

`replay.ratio` of the training clips come from it (`dataset.chosen`), and its validation loss is watched per language.
"""

import sys
from collections.abc import Mapping, Sequence

from accelerate import Accelerator

from ttslib import checkpoint, params, session
from ttslib.dataset import DatasetError, Features
from ttslib.params import Params
from ttslib.progress import Progress
from ttslib.units import UnitsError


def corpus(p: Params) -> Params:
    """The base language's own params, with what this run says about its corpus.

    Its seed and its shares are its own: they decide which of its clips a base was trained on, and those held out then are
    what is watched now. What makes features out of a clip is this run's: how it is trimmed and how homophones are folded.
    """
    shared = {"doctor.trim_db": p.doctor.trim_db, "doctor.keep_silence": p.doctor.keep_silence}
    given = {"corpus.source": p.replay.source, "corpus.path": p.replay.path, "text.homophones": p.text.homophones}
    return params.load(p.replay.lang, shared | {name: value for name, value in given.items() if value is not None})


def require(system, rows: Sequence, lang: str) -> None:
    """Raise one `DatasetError` that names everything in the rows of the corpus `lang` that `system` does not know.

    A system without a closed list of `speakers` or `languages` takes any.
    """
    unknown = []
    for names, of in (("speakers", "speaker"), ("languages", "lang")):
        if (known := getattr(system, names, None)) is not None and (new := {getattr(r, of) for r in rows} - {*known}):
            unknown.append(f"{names} {', '.join(sorted(new))} (it knows {', '.join(known)})")
    unspoken = []
    for row in rows:
        try:
            system.ids(row.text, row.lang)
        except UnitsError as error:
            unspoken.append(f"{row.id}: {error}")
    if unspoken:
        unknown.append(f"units of {len(unspoken)} clips, the first of them {unspoken[0]}")
    if unknown:
        raise DatasetError(
            f"replay.lang={lang}: the system cannot replay what it was never taught: " + "; ".join(unknown)
            + "; give the corpus it was trained on (replay.source, replay.path), or train it on this one first"
        )  # fmt: skip


def watch(system, guard: Mapping[str, Features], now: Progress, p: Params, engine: Accelerator) -> dict:
    """Validate each guarded language like the new one: columns of history, among them `tripped` when one is forgotten.

    Each is compared with its loss at the first call, before training; both are kept in `now`.
    """
    columns: dict = {}
    for lang, clips in guard.items():
        with checkpoint.own_rng(p.seed):
            terms = session.validate(system, clips, p, engine)
        total = system.verdict(terms)
        columns |= {f"val/{lang}/{name}": value for name, value in terms.items()} | {f"val/{lang}/total": total}
        now.rise[lang] = total - now.before.setdefault(lang, total)
    if forgotten := tripped(now, p):
        columns["tripped"] = ", ".join(forgotten)
        rises = ", ".join(f"{lang} by {now.rise[lang]:.3g} from {now.before[lang]:.3g}" for lang in forgotten)
        if engine.is_main_process:
            print(
                f"step {now.step}: forgetting {columns['tripped']}: its validation loss has risen ({rises}), more than "
                f"replay.max_rise={p.replay.max_rise:g}; raise replay.ratio or lower train.lr",
                file=sys.stderr,
            )
    return columns


def tripped(now: Progress, p: Params) -> list[str]:
    """The guarded languages whose loss has risen by more than `replay.max_rise`, or is not a number any more."""
    return [lang for lang, rise in now.rise.items() if not rise <= p.replay.max_rise]
