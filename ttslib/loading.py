"""A loop that loses its data, in words: a feature file that goes, a loader's worker that dies."""

import functools
import time
from collections.abc import Callable
from pathlib import Path

from ttslib import checkpoint
from ttslib.dataset import DatasetError
from ttslib.shards import ShardError

DEAD = "DataLoader worker (pid"  # how torch begins to tell of a worker's death
AGAIN = 0.5  # seconds in which a signal about it comes


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
        except (RuntimeError, ConnectionError, EOFError) as error:
            # A tensor that a worker was handing over when it died is an error of the connection.
            if not (str(error).startswith(DEAD) or (p.data.workers and not isinstance(error, RuntimeError))):
                raise
            told_again()
            raise DatasetError(
                f"{run.folder}: a worker process of the loader died, killed or out of memory; {left(run.checkpoints)}; "
                "give it more memory, or none to die: data.workers=0"
            ) from None

    return trained


def told_again() -> None:
    """Torch may tell of a worker's death once more, by a signal that raises wherever it comes: let it come here."""
    try:
        time.sleep(AGAIN)
    except RuntimeError as error:
        if not str(error).startswith(DEAD):
            raise


def left(checkpoints: Path) -> str:
    """How a run goes on from its last whole checkpoint, or begins again."""
    try:
        return f"{checkpoint.newest(checkpoints)} is whole: go on with resume=true"
    except checkpoint.CheckpointError:
        return "there is no whole checkpoint yet: start again"
