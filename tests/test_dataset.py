"""Order and batches: every clip once an epoch, within budget, the same from any point and for any number of processes."""

import itertools
import threading
import time
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ttslib.dataset import DatasetError, Features, Position, Stream, ahead, collate, loader, plan

LENGTHS = st.lists(st.integers(1, 900), min_size=1, max_size=60)
BUDGETS = st.integers(100, 2000)
SEEDS = st.integers(0, 2**31)


@settings(max_examples=100, deadline=None)
@given(LENGTHS, BUDGETS, SEEDS, st.integers(0, 5))
def test_a_plan_takes_every_clip_once_and_keeps_to_the_budget(lengths, budget, seed, epoch):
    batches = plan(lengths, budget, seed, epoch)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget
    assert batches == plan(list(lengths), budget, seed, epoch)


def test_budgets_are_used_well_when_lengths_are_those_of_speech():
    lengths = np.random.default_rng(0).integers(50, 600, 500).tolist()
    batches = plan(lengths, 1800, 1, 0)
    padded = sum(len(b) * max(lengths[i] for i in b) for b in batches)
    assert sum(lengths) / padded > 0.9
    assert padded / len(batches) > 0.75 * 1800


def test_epochs_and_seeds_differ():
    lengths = list(range(100, 160))
    plans = [plan(lengths, 500, seed, epoch) for seed in (1, 2) for epoch in (0, 1, 2)]
    assert len({str(p) for p in plans}) == 6
    assert len({str(sorted(map(sorted, p))) for p in plans}) == 6  # who meets whom in a batch changes too


def take(stream: Stream, count: int) -> list[tuple[Position, list[int]]]:
    return list(islice(stream, count))


@settings(max_examples=60, deadline=None)
@given(LENGTHS, BUDGETS, SEEDS, st.integers(1, 30), st.integers(1, 3))
def test_a_stream_goes_on_from_any_position(lengths, budget, seed, k, processes):
    for rank in range(processes):
        whole = take(Stream(lengths, budget, seed, rank=rank, processes=processes), k + 12)
        rest = take(Stream(lengths, budget, seed, whole[k - 1][0], rank, processes), 12)
        assert rest == whole[k:]


@settings(max_examples=60, deadline=None)
@given(LENGTHS, BUDGETS, SEEDS, st.integers(1, 4))
def test_processes_together_read_the_single_stream(lengths, budget, seed, processes):
    turns = 12
    single = take(Stream(lengths, budget, seed), turns * processes)
    ranks = [take(Stream(lengths, budget, seed, rank=r, processes=processes), turns) for r in range(processes)]
    together = [ranks[r][turn][1] for turn in range(turns) for r in range(processes)]
    assert together == [indices for _, indices in single]
    for r in range(processes):  # all are at the same position after each turn: that of the single stream
        assert [position for position, _ in ranks[r]] == [
            position for position, _ in single[processes - 1 :: processes]
        ]


def test_an_epoch_ends_without_losing_or_repeating_a_clip():
    lengths = list(range(50, 90))
    epochs = [[], [], []]
    before = 0
    for position, indices in take(Stream(lengths, 300, 1), 60):
        epochs[before] += indices
        at_end = position.batch == len(plan(lengths, 300, 1, position.epoch))
        before = position.epoch + at_end
        if before == 3:
            break
    assert [sorted(e) for e in epochs] == [list(range(40))] * 3


def test_collate_pads_the_last_axis_and_names_lengths():
    a = {"text": torch.tensor([1, 2]), "mel": torch.ones(3, 4), "speaker": torch.tensor(7)}
    b = {"text": torch.tensor([3, 4, 5]), "mel": 2 * torch.ones(3, 2), "speaker": torch.tensor(8)}
    batch = collate([a, b])
    assert batch["text"].tolist() == [[1, 2, 0], [3, 4, 5]]
    assert batch["text_len"].tolist() == [2, 3]
    assert batch["mel"].shape == (2, 3, 4)
    assert batch["mel"][1].tolist() == [[2, 2, 0, 0]] * 3
    assert batch["mel_len"].tolist() == [4, 2]
    assert batch["speaker"].tolist() == [7, 8]
    assert batch.keys() == {"text", "text_len", "mel", "mel_len", "speaker"}
    assert (batch["text"].dtype, batch["mel"].dtype) == (torch.int64, torch.float32)


def batches(features: Features, workers: int, start: Position = Position(), count: int = 9) -> list:  # noqa: B008
    stream = Stream(features.lengths, 400, 3, start)
    return list(islice(loader(features, stream, workers, pin=False), count))


def same(left: list, right: list) -> bool:
    return len(left) == len(right) and all(
        (p, i) == (q, j) and a.keys() == b.keys() and all(a[k].equal(b[k]) for k in a)
        for (p, i, a), (q, j, b) in zip(left, right, strict=True)
    )


def test_worker_processes_change_nothing_and_the_loader_goes_on_from_any_position(clips):
    _, train, _ = clips
    alone = batches(train, 0)
    assert len({tuple(i) for _, i, _ in alone}) > 3
    for position, indices, batch in alone:
        assert batch["mel_len"].tolist() == [train.lengths[i] for i in indices]
        assert batch["mel"][0, :, : train.lengths[indices[0]]].equal(train[indices[0]]["mel"])
        assert position.batch > 0
    assert same(batches(train, 2), alone)
    assert same(batches(train, 2, alone[3][0], 5), alone[4:])


def test_making_a_loader_leaves_the_random_state_alone(clips):
    _, train, _ = clips
    torch.manual_seed(5)
    before = torch.get_rng_state()
    for workers in (0, 2):
        batches(train, workers, count=2)
        assert torch.get_rng_state().equal(before)


def test_a_stream_knows_what_is_left_of_an_epoch():
    stream = Stream([10, 20, 30, 40, 50], 60, seed=1)
    positions = [position for position, _ in itertools.islice(stream, 2 * len(stream.epoch(0)))]
    for position in positions:
        assert stream.left(position) == len(stream.epoch(position.epoch)) - position.batch
    assert stream.left(positions[len(stream.epoch(0)) - 1]) == 0


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true")
def test_batches_for_a_gpu_are_the_same_and_made_one_ahead(clips, monkeypatch):
    _, train, _ = clips
    alone, begun = batches(train, 0), []
    monkeypatch.setattr("ttslib.dataset.ahead", lambda values: begun.append(values) or ahead(values))
    pinned = list(islice(loader(train, Stream(train.lengths, 400, 3), 0, pin=True), 9))
    assert same(pinned, alone) and len(begun) == 1
    assert same(batches(train, 0), alone) and len(begun) == 1


def soon(true) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_one_batch_is_made_ahead_and_no_more():
    made, may_go_on = [], threading.Event()

    def values():
        for n in range(4):
            made.append(n)
            if n == 1:
                may_go_on.wait(10)
            yield n

    taken = ahead(values())
    assert next(taken) == 0
    soon(lambda: made == [0, 1])  # by a thread: nobody has asked for it
    may_go_on.set()
    assert next(taken) == 1
    soon(lambda: made == [0, 1, 2])
    time.sleep(0.02)
    assert made == [0, 1, 2]
    assert [*taken] == [2, 3]


def test_what_a_batch_fails_of_is_raised_where_it_was_due_and_the_source_is_closed():
    closed = []

    def values():
        try:
            yield "first"
            yield "second"
            raise DatasetError("a lost file")
        finally:
            closed.append(True)

    taken = ahead(values())
    assert [next(taken), next(taken)] == ["first", "second"]
    with pytest.raises(DatasetError, match="a lost file"):
        next(taken)
    assert closed == [True]
    left = ahead(values())
    next(left)
    left.close()
    assert closed == [True, True]
