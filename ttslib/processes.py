"""Which of the processes that train together this one is."""

import torch.distributed as dist


def place() -> tuple[int, int]:
    """This process's number, from 0, and how many there are: 0 and 1 where there is only this one.

    What a network counts, it counts over all of them, as if their micro-batches came one after the other in one process.
    """
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1
