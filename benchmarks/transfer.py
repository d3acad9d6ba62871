"""Is a base worth it? A few minutes of a new language: adapted from a base against from scratch, under one time budget.

    python -m ttslib train params/studio.yaml minutes=38 run=base            # en, es, it, ru: real studio speech
    python benchmarks/transfer.py outputs/studio/acoustic/base threads=1 --lang fr --speech 5 --minutes 4 --seeds 1 2 3

Trains two runs a seed (pin it to quiet cores: the budget is wall-clock time), scores each on the same held-out clips and
prints one row a run and the means. MCD, duration and F0 errors are `ttslib evaluate`'s, medians over the held-out clips.
"""

import argparse
import json
import statistics
from pathlib import Path

from ttslib import params, pipeline, runs, scorecard

COLUMNS = ("mcd_db", "duration_error", "f0_cents")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("base", type=Path)
    options.add_argument("--lang", default="fr")
    options.add_argument("--source", default="asterisk")
    options.add_argument("--speech", type=float, default=5.0, help="minutes of training speech")
    options.add_argument("--minutes", type=float, default=4.0, help="time budget of each run")
    options.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options.add_argument("overrides", nargs="*", help="for both, key=value")
    o = options.parse_args()
    shared = [
        "evaluate.recogniser=null",
        "evaluate.mos=null",
        f"corpus.source={o.source}",
        f"corpus.minutes={o.speech}",
        "doctor.test_share=0.1",
        "tracking=disabled",
    ]
    kinds = {"scratch": [], "adapted": [f"adapt.base={o.base.resolve()}"]}
    print(f"{'run':14} {'steps':>6} " + " ".join(f"{c:>14}" for c in COLUMNS), flush=True)
    cards: dict[str, list[dict]] = {kind: [] for kind in kinds}
    for seed in o.seeds:
        for kind, extra in kinds.items():
            # the seed chooses the clips as well: three corpora, not one
            p = params.load(o.lang, [*shared, *extra, *o.overrides], seed=seed, minutes=o.minutes, run=f"{kind}-{seed}")
            done = runs.Run(runs.home(p) / p.run)
            if not (done.folder / "scorecard.json").is_file():
                pipeline.train(p)
                scorecard.make(done.folder)
            card = json.loads((done.folder / "scorecard.json").read_text())
            found = {c: card["voices"]["voice"]["in_domain"][c]["value"] for c in COLUMNS}
            steps = done.rows()[-1]["step"]
            cards[kind].append(found)
            print(f"{p.run:14} {steps:6} " + " ".join(f"{found[c]:14.3f}" for c in COLUMNS), flush=True)
    for kind, some in cards.items():
        means = {c: statistics.mean(card[c] for card in some) for c in COLUMNS}
        print(f"{kind + ' mean':21} " + " ".join(f"{means[c]:14.3f}" for c in COLUMNS), flush=True)


if __name__ == "__main__":
    main()
