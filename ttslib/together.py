"""Several processes of this machine train one run for a notebook, through Accelerate's `notebook_launcher`.

They are forked from this one. What a fork may not have behind it: a GPU in use (its children cannot use it again), and
computing on several CPU threads (GNU OpenMP waits for ever for threads that were not forked): each child has one.
"""

import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import torch

from ttslib import checkpoint, loading, runs
from ttslib.params import Params, ParamsError
from ttslib.step import TrainError
from ttslib.stop import STATUS, Stopped
from ttslib.track import parse
from ttslib.train import Result

HANDLED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
)  # by torch's launcher, which leaves its handlers
EVERY = 2.0  # seconds between two looks at the history


def train(p: Params, watch: Callable | None = None) -> tuple[runs.Run, Result]:
    """`pipeline.train` in `p.processes` processes; `watch` is given the history as it grows.

    Raises `ParamsError` where that many cannot be started, `TrainError` with what the first of them failed of.
    """
    from accelerate import notebook_launcher
    from accelerate.state import AcceleratorState
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    allowed(p)
    run = runs.start(p)
    AcceleratorState._reset_state(reset_partial_state=True)  # of what was done in this process before
    alone = p.model_copy(update={"run": run.name, "processes": 1, "threads": 1})
    with tempfile.TemporaryDirectory() as place, handlers_kept(), shown(run, watch):
        told = Path(place)
        try:
            with redirect_stdout(sys.stderr):  # it says that it launches, on CUDA devices where there are none
                notebook_launcher(one, (alone, told), num_processes=p.processes, use_port=free_port())
        except (ChildFailedError, SignalException) as ended:
            result = ending(told)
            if result and result.stopped in STATUS:  # a signal that they obeyed, with a checkpoint
                return run, result
            if isinstance(ended, ChildFailedError):
                raise TrainError(failure(told, ended, p, run)) from None
            name = signal.Signals(ended.sigval).name
            raise Stopped(f"{run.folder}: stopped by {name}; {loading.left(run.checkpoints)}", name) from None
        return run, ending(told)


def apart(job: Callable, p: Params):
    """`job(p)`; where several processes are to train later, in a process of its own, so that they find the GPUs unused."""
    if p.processes == 1:
        return job(p)
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, mp_context=fork, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return pool.submit(job, p.model_copy(update={"threads": 1})).result()


def allowed(p: Params) -> None:
    """Raise `ParamsError` unless `p.processes` processes can be forked from this one."""
    if "WORLD_SIZE" in os.environ:
        raise ParamsError(
            f"processes={p.processes}, and {os.environ['WORLD_SIZE']} were started already, by torchrun or accelerate launch"
            "; leave processes=1 to them"
        )
    if p.device in ("auto", "cuda") and 0 < torch.cuda.device_count() < p.processes:
        raise ParamsError(
            f"processes={p.processes}, and this machine has {torch.cuda.device_count()} GPUs, one for each; lower processes"
        )
    if p.device != "cpu" and torch.cuda.is_initialized():
        raise ParamsError(
            f"processes={p.processes}: this process has used the GPU already, and its forks cannot use it again"
            "; run notebook 03 from its top in a new kernel, or train with examples/torchrun.sh"
        )


def one(p: Params, told: Path) -> None:
    """One of the processes: trains, and leaves in the folder `told` how it ended."""
    from ttslib import pipeline
    from ttslib.__main__ import expected

    torch.set_num_threads(1)
    os.setpgrp()  # an interrupted notebook tells all its processes, and the launcher tells these: once is enough
    rank = os.environ.get("RANK", "0")
    try:
        result = pipeline.train(p).result
    except expected() as error:
        checkpoint.write_json(told / f"failed-{rank}.json", str(error))
        sys.exit(1)
    if rank == "0":
        checkpoint.write_json(told / "result.json", vars(result))
    if result.stopped in STATUS:  # the launcher is waiting for their ends, not for their results
        sys.exit(STATUS[result.stopped])


def ending(told: Path) -> Result | None:
    """How the run ended; None where no process came to its end."""
    file = told / "result.json"
    return Result(**checkpoint.read_json(file)) if file.exists() else None


def failure(told: Path, ended, p: Params, run: runs.Run) -> str:
    """What a process has to say to the user; else how the first that failed ended, whose traceback is on stderr."""
    said = sorted(told.glob("failed-*.json"), key=lambda file: file.stat().st_mtime_ns)
    if said:
        return f"process {said[0].stem.partition('-')[2]} of {p.processes}: {checkpoint.read_json(said[0])}"
    rank, first = ended.get_first_failure()
    how = (
        "failed: its traceback is above"
        if first.exitcode > 0
        else f"was ended by signal {-first.exitcode}, or for memory"
    )
    return f"process {rank} of {p.processes} {how}; {loading.left(run.checkpoints)}"


@contextmanager
def shown(run: runs.Run, watch: Callable | None) -> Iterator[None]:
    """Inside, `watch(rows)` is called with the run's history whenever it has grown."""
    if watch is None:
        yield
        return
    over, seen = threading.Event(), len(rows_of(run))

    def look() -> None:
        at = seen
        while not over.wait(EVERY):  # forked in the meantime: this thread does nothing until there is a row
            if len(rows := rows_of(run)) > at:
                at = len(rows)
                watch(rows)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    watch(rows_of(run))


def rows_of(run: runs.Run) -> list[dict]:
    lines = run.history.read_text(encoding="utf-8").splitlines() if run.history.exists() else []
    return [row for row in map(parse, lines) if row is not None]


@contextmanager
def handlers_kept() -> Iterator[None]:
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in HANDLED if main}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])
