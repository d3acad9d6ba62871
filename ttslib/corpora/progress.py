"""One progress bar on stderr, quiet where a bar would flood a log."""

import sys
from collections.abc import Iterable

from tqdm import tqdm


def bar(items: Iterable, label: str, total: int | None = None, unit: str = "clip", quiet: bool = False) -> tqdm:
    """`items` with a bar: live on a terminal, one line every 10 s in a log or a headless notebook, none where `quiet`."""
    pace = 0.1 if sys.stderr.isatty() else 10
    return tqdm(items, desc=label, total=total, unit=unit, mininterval=pace, disable=quiet)
