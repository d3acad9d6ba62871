"""Which of the processes that work together this one is, and which share of the machine is its own."""

import os

import torch
import torch.distributed as dist
from accelerate import PartialState

from ttslib.params import ParamsError


def launched(device: str, **more) -> PartialState:
    """This process among those of its launch, computing on `device` (a param: auto, cpu, cuda, mps).

    Raises `ParamsError` where several were started and could not reach each other: each would do all the work, and all
    would write the same files.
    """
    state, count = PartialState(cpu=on_cpu(device), **more), int(os.environ.get("WORLD_SIZE", 1))
    if state.num_processes != count:
        raise ParamsError(
            f"device={device}: {count} processes were started, and on {state.device} they cannot work together; set "
            "device=cpu, or start one"
        )
    return state


def on_cpu(device: str) -> bool:
    """Whether this param means the CPU: by its name, or because there is nothing else."""
    return device == "cpu" or (
        device == "auto" and not (torch.cuda.is_available() or torch.backends.mps.is_available())
    )


def place() -> tuple[int, int]:
    """This process's number, from 0, and how many there are: 0 and 1 where there is only this one.

    What a network counts, it counts over all of them, as if their micro-batches came one after the other in one process.
    """
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def cores() -> int:
    """CPU cores this process may use: those of the machine, or its share where a launch has several processes on it."""
    every = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, every // int(os.environ.get("LOCAL_WORLD_SIZE", place()[1])))
