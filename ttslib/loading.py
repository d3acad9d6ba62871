"""A loop that loses its data, in words: a feature file that goes, a loader's worker that dies."""

import functools
from collections.abc import Callable
from pathlib import Path

from ttslib import checkpoint
from ttslib.dataset import DatasetError
from ttslib.shards import ShardError

DEAD = "DataLoader worker (pid"  # how torch begins to tell of a worker's death


def told_when_lost(fit: Callable) -> Callable:
    """`fit(system, train, val, p, run, ...)`, raising one `DatasetError` that says how the run goes on."""

    @functools.wraps(fit)
    def trained(system, train, val, p, run, *rest, **named):
        try:
            return fit(system, train, val, p, run, *rest, **named)
        except ShardError as error:
            raise ShardError(f"{error}; {left(run.checkpoints)}") from None
        except DatasetError as error:
            # One of a worker comes with its traceback before it.
            told = str(error).rpartition("DatasetError: ")[2].strip()
            raise DatasetError(f"{told}; {left(run.checkpoints)}, which computes it again") from None
        except RuntimeError as error:
            if not str(error).startswith(DEAD):
                raise
            try:
                how = left(run.checkpoints)
            except RuntimeError as again:  # torch tells it twice, once by a signal whenever that comes
                if not str(again).startswith(DEAD):
                    raise
                how = left(run.checkpoints)
            raise DatasetError(
                f"{run.folder}: a worker process of the loader died, killed or out of memory; {how}; give it more memory, "
                "or none to die: data.workers=0"
            ) from None

    return trained


def left(checkpoints: Path) -> str:
    """How a run goes on from its last whole checkpoint, or begins again."""
    try:
        return f"{checkpoint.newest(checkpoints)} is whole: go on with resume=true"
    except checkpoint.CheckpointError:
        return "there is no whole checkpoint yet: start again"
