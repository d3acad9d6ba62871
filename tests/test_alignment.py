"""Alignment search finds the best of all monotonic paths, and says when there is none."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ttslib.alignment import expand, monotonic, searched_by_torch


def brute_force(score: np.ndarray) -> tuple[float, list[int]]:
    """The best sum over every way to cut `(frames, tokens)` into non-empty runs."""
    frames, tokens = score.shape
    best = (-np.inf, [])
    for cuts in combinations(range(1, frames), tokens - 1):
        edges = [0, *cuts, frames]
        value = sum(score[edges[i] : edges[i + 1], i].sum() for i in range(tokens))
        best = max(best, (value, [edges[i + 1] - edges[i] for i in range(tokens)]))
    return best


def total(score: np.ndarray, durations: list[int]) -> float:
    return score[np.arange(len(score)), np.repeat(np.arange(len(durations)), durations)].sum()


@st.composite
def ragged_batches(draw):
    tokens = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    frames = [n + draw(st.integers(0, 5)) for n in tokens]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([1e-3, 1.0, 1e4]))
    return rng.normal(size=(len(tokens), max(frames), max(tokens))).astype(np.float32) * scale, frames, tokens


@settings(max_examples=150, deadline=None)
@given(ragged_batches())
def test_the_path_is_the_best_of_all(batch):
    score, frames, tokens = batch
    found = monotonic(torch.from_numpy(score), torch.tensor(frames), torch.tensor(tokens))
    assert found.dtype == torch.int64
    assert found.shape == (len(tokens), max(tokens))
    for item, (count, width) in enumerate(zip(frames, tokens, strict=True)):
        row = found[item].tolist()
        assert sum(row) == count
        assert min(row[:width]) >= 1
        assert not any(row[width:])
        true = score[item, :count, :width].astype(np.float64)
        assert total(true, row[:width]) == pytest.approx(brute_force(true)[0], rel=1e-9)


@settings(max_examples=150, deadline=None)
@given(ragged_batches(), st.booleans())
def test_a_gpu_finds_the_same_durations_even_among_equal_paths(batch, ties):
    score, frames, tokens = batch
    score = torch.from_numpy(np.round(score) if ties else score)
    lengths = torch.tensor(frames), torch.tensor(tokens)
    assert searched_by_torch(score.float(), *lengths).equal(monotonic(score, *lengths))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_the_durations_stay_there():
    score, lengths = torch.randn(3, 50, 9), (torch.tensor([50, 20, 9]), torch.tensor([9, 9, 9]))
    found = monotonic(score.cuda(), *lengths)
    assert found.is_cuda
    assert found.cpu().equal(monotonic(score, *lengths))


def test_known_durations_are_recovered_among_noise():
    rng, durations = np.random.default_rng(0), [7, 1, 12, 3, 30]
    score = rng.normal(size=(1, sum(durations), len(durations))).astype(np.float32)
    score[0, np.arange(sum(durations)), np.repeat(np.arange(len(durations)), durations)] += 20
    found = monotonic(torch.from_numpy(score), torch.tensor([sum(durations)]), torch.tensor([len(durations)]))
    assert found.tolist() == [durations]


def test_a_long_clip_is_not_cut_short_by_the_value_for_impossible():
    frames, tokens = 3000, 40
    score = np.full((1, frames, tokens), -1e6, np.float32)  # sums to -3e9, below the customary -1e9
    score[0, :, 0] = -2e6
    found = monotonic(torch.from_numpy(score), torch.tensor([frames]), torch.tensor([tokens]))[0].tolist()
    assert sum(found) == frames
    assert min(found) >= 1
    assert found[0] == 1


def test_padding_does_not_change_a_path():
    score = torch.randn(1, 20, 6, generator=torch.Generator().manual_seed(0))
    alone = monotonic(score, torch.tensor([20]), torch.tensor([6]))
    wide = torch.full((2, 33, 11), 1e4)
    wide[0, :20, :6] = score[0]
    assert monotonic(wide, torch.tensor([20, 33]), torch.tensor([6, 11]))[0, :6].equal(alone[0])


def test_fewer_frames_than_tokens_is_refused_and_named():
    with pytest.raises(ValueError, match="item 1 of the batch has 2 frames for 3 tokens"):
        monotonic(torch.zeros(2, 5, 3), torch.tensor([5, 2]), torch.tensor([3, 3]))


@pytest.mark.parametrize(("frames", "tokens"), [(6, 3), (5, 4), (5, 0)])
def test_lengths_beyond_the_scores_are_refused_and_named(frames, tokens):
    with pytest.raises(
        ValueError, match=f"item 1 of the batch has {frames} frames and {tokens} tokens in 5 x 3 scores"
    ):
        monotonic(torch.zeros(2, 5, 3), torch.tensor([5, frames]), torch.tensor([3, tokens]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_not_finite_is_refused(bad):
    score = torch.zeros(1, 5, 3)
    score[0, 2, 1] = bad
    with pytest.raises(ValueError, match="not finite"):
        monotonic(score, torch.tensor([5]), torch.tensor([3]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=5), min_size=1, max_size=4), st.integers(0, 4))
def test_expand_inverts_durations(rows, extra):
    rows = [row if sum(row) else [1] for row in rows]
    width, frames = max(map(len, rows)), max(map(sum, rows))
    durations = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    token, place, mask = expand(durations, frames + extra if extra else None)
    assert token.shape == place.shape == mask.shape == (len(rows), frames + extra)
    for i, row in enumerate(rows):
        spoken = sum(row)
        assert mask[i].tolist() == [True] * spoken + [False] * (frames + extra - spoken)
        assert token[i, :spoken].tolist() == [n for n, count in enumerate(row) for _ in range(count)]
        assert place[i, :spoken].tolist() == pytest.approx([(k + 0.5) / n for n in row for k in range(n)])
        assert token[i, spoken:].tolist() == place[i, spoken:].tolist() == [0] * (frames + extra - spoken)
