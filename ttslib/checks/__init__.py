"""Is this training pipeline whole? From the manifest to the export, measured on a few clips before hours are spent on all.

    rows = checks.run(p)          # prepares what is missing, as training does; a notebook shows the rows as a table
    print(checks.table(rows))     # python -m ttslib check params/am.yaml

| check | what is measured | fails for |
|---|---|---|
| manifest | splits, recordings read again | a clip in two splits, NaN, silence, changed files |
| text | ids against names and letters | unknown letters, a permuted vocabulary, a base's row that moved |
| transcripts | length of text against duration | texts of other recordings |
| codes | examples against a fresh encoding | random, stale or foreign codes, codes out of range |
| forward | two batches | a loss that is not finite or does not see the batch |
| backward | gradients of some steps | parameters that would never learn, others that move |
| learning | 20 steps of the real loop | a loss that does not fall, an end of speech that is not learnt |
| resume | 4 steps against 2 and 2 | what a checkpoint loses |
| synthesis | a held-out sentence, twice | silence, another waveform for the same seed |
| export | export, load | rows or precision lost on the way |

All works on copies, in a folder that is gone afterwards; what stays is `outputs/<lang>/<system>/check.json` and the caches
that training makes too. In one process. `replay` is left out.
"""

import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from ttslib import checkpoint, runs, session
from ttslib.checks import codes, data, gradients, loop, speech, text
from ttslib.checks.rows import Failed, Row, Rows, one_line, table
from ttslib.checks.subject import Subject
from ttslib.dataset import Features
from ttslib.manifest import Manifest
from ttslib.params import Params

__all__ = ["Row", "Rows", "examined", "run", "table"]


@dataclass(frozen=True)
class Check:
    """`measure(subject)` says what was measured or raises `Failed`; `part` is what it looks at, `after` what must be
    right for that to mean anything."""

    measure: Callable[[Subject], str]
    part: str
    after: tuple[str, ...] = ()


CHECKS = {
    "manifest": Check(data.manifest, "found"),
    "text": Check(text.text, "system"),
    "transcripts": Check(data.transcripts, "found"),
    "codes": Check(codes.codes, "features", ("manifest", "text")),
    "forward": Check(gradients.forward, "features", ("codes",)),
    "backward": Check(gradients.backward, "features", ("forward",)),
    "learning": Check(loop.learning, "features", ("backward",)),
    "resume": Check(loop.resume, "features", ("backward",)),
    "synthesis": Check(speech.synthesis, "features", ("codes",)),
    "export": Check(speech.export, "features", ("forward",)),
}


def run(p: Params) -> Rows:
    """All checks of the run that `p` describes, in order; written to `outputs/<lang>/<system>/check.json` too."""
    rows = examined(p)
    home = runs.home(p)
    home.mkdir(parents=True, exist_ok=True)
    checkpoint.write_json(home / "check.json", [asdict(row) for row in rows])
    return rows


def examined(p: Params, found: Manifest | None = None, system=None, train: Features | None = None) -> Rows:
    """`run` with parts that are already made: a manifest, a system as training would start from it, and its training
    examples, with which it was measured. What is not given is prepared. Writes no file.

    Raises `ParamsError` when the device of `p` is not there.
    """
    threads = torch.get_num_threads()
    try:
        with checkpoint.own_rng(p.seed):
            subject = Subject(p, session.engine(p), found, system, train)
            subject.prepare()
        return judged(subject)
    finally:
        torch.set_num_threads(threads)


def judged(subject: Subject) -> Rows:
    """Each check in turn, unless one before it makes it meaningless: the failures at the root of that are named."""
    rows, roots = Rows(), {}
    for name, check in CHECKS.items():
        blamed, error = subject.missing.get(check.part, (None, None))
        behind = set().union(*(roots[before] for before in check.after))
        if blamed not in (None, name):
            behind |= roots.get(blamed, {blamed})
        behind -= {name}
        if behind:
            row = Row(name, None, f"needs {' and '.join(n for n in CHECKS if n in behind)}, which failed")
        else:
            with checkpoint.own_rng(subject.p.seed):
                row = judgement(name, check, subject, error)
        roots[name] = behind or ({name} if row.passed is False else set())
        rows.append(row)
    return rows


def judgement(name: str, check: Check, subject: Subject, error: Exception | None) -> Row:
    """The row of one check; `error` is what made its part impossible to have."""
    from ttslib.__main__ import expected

    try:
        if error is not None:
            raise error
        return Row(name, True, one_line(check.measure(subject)))
    except Failed as failed:
        return Row(name, False, one_line(failed.measured), failed.advice)
    except expected() as refused:
        return Row(name, False, one_line(str(refused)), "as it says")
    except Exception as bug:  # noqa: BLE001  the other checks still tell something, and its traceback is printed
        traceback.print_exception(bug, file=sys.stderr)
        return Row(name, False, f"{type(bug).__name__}: {one_line(str(bug))}", "a bug: its traceback is on stderr")
