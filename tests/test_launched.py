"""Which device a param means, and processes that cannot reach each other."""

from types import SimpleNamespace

import pytest
import torch

from ttslib import processes
from ttslib.params import ParamsError


@pytest.mark.parametrize(
    ("device", "cuda", "mps", "expected"),
    [
        ("cpu", True, True, True), ("auto", False, False, True), ("auto", True, False, False), ("auto", False, True, False),
        ("cuda", True, False, False), ("mps", False, True, False),
    ],
)  # fmt: skip
def test_auto_is_the_cpu_where_there_is_nothing_else(monkeypatch, device, cuda, mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert processes.on_cpu(device) is expected


def test_processes_that_would_each_work_alone_are_refused(monkeypatch):
    monkeypatch.setattr(processes, "PartialState", lambda cpu, **more: SimpleNamespace(num_processes=1, device="mps"))
    assert processes.launched("auto").num_processes == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        ParamsError, match="device=auto: 2 processes were started, and on mps they cannot work together"
    ):
        processes.launched("auto")


@pytest.mark.parametrize(("launch", "own", "share"), [("1", 8, 8), ("4", 8, 2), ("16", 8, 1)])
def test_the_cores_of_a_machine_are_shared_by_the_processes_on_it(monkeypatch, launch, own, share):
    monkeypatch.setattr(processes.os, "sched_getaffinity", lambda _: set(range(own)), raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", launch)
    assert processes.cores() == share
