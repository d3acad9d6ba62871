"""Intervals are those of SciPy's bootstrap to the last digit, and systems that cannot be told apart are not ranked."""

import numpy as np
import pytest
import scipy.stats

from ttslib import intervals

SCORES = [0.31, 0.05, 0.12, 0.44, 0.08, 0.2, 0.19, 0.02, 0.27, 0.11]
ERRORS, LENGTHS = [3, 0, 7, 1, 2, 9, 0, 4], [30, 12, 41, 9, 25, 60, 18, 33]


def scipys(data, statistic, **options):
    found = scipy.stats.bootstrap(
        data, statistic, n_resamples=intervals.DRAWS, method="percentile", rng=np.random.default_rng(0), **options
    )
    return found.confidence_interval.low, found.confidence_interval.high


@pytest.mark.parametrize(("ours", "statistic"), [(intervals.median, np.median), (intervals.mean, np.mean)])
def test_intervals_of_scores_are_scipys(ours, statistic):
    found = ours(SCORES)
    assert found.value == pytest.approx(statistic(SCORES), rel=1e-12)
    assert (found.low, found.high) == pytest.approx(scipys((SCORES,), statistic), rel=1e-12)
    assert found.count == len(SCORES)


def test_a_rate_draws_sentences_and_divides_their_sums():
    found = intervals.rate(ERRORS, LENGTHS)
    assert found.value == pytest.approx(26 / 228)
    expected = scipys((ERRORS, LENGTHS), lambda e, n, axis: e.sum(axis) / n.sum(axis), paired=True)
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-12)
    assert found.value != pytest.approx(np.mean(np.divide(ERRORS, LENGTHS)))  # a mean of rates is another number


def test_the_seed_decides():
    assert intervals.median(SCORES) == intervals.median(SCORES)
    assert intervals.mean(SCORES, seed=1) != intervals.mean(SCORES)


def test_the_interval_holds_the_truth_as_often_as_it_says(monkeypatch):
    """Means of 40 exponential numbers: percentile intervals cover a little less than 95 % (Efron's tables: 92 to 95)."""
    monkeypatch.setattr(intervals, "DRAWS", 500)
    rng = np.random.default_rng(5)
    found = [intervals.mean(rng.exponential(size=40)) for _ in range(300)]
    assert 0.88 <= np.mean([one.low <= 1 <= one.high for one in found]) <= 0.98


def test_one_sentence_has_no_interval():
    assert intervals.median([0.2]) == (0.2, None, None, 1)
    assert str(intervals.median([0.2])) == "0.2 [?]"
    assert not intervals.distinguishable({"x": 0.0}, {"x": 1.0})
    assert not intervals.distinguishable({"x": 0.0}, {"y": 1.0, "z": 1.0})


def test_same_sentences_are_compared_one_by_one():
    """A gain of 0.01 on every sentence is certain, though the two intervals overlap nearly whole."""
    hard = {str(i): score for i, score in enumerate(SCORES)}
    better = {key: hard[key] - 0.01 - 0.001 * (int(key) % 3) for key in reversed(hard)}  # the order says nothing
    assert intervals.distinguishable(hard, better) and intervals.distinguishable(better, hard)
    elsewhere = {f"other {key}": score for key, score in better.items()}
    assert not intervals.distinguishable(hard, elsewhere)
    assert not intervals.distinguishable(hard, hard)


def test_rates_are_told_apart_by_their_sums():
    few = {str(i): (e, n) for i, (e, n) in enumerate(zip(ERRORS, LENGTHS, strict=True))}
    many = {key: (e + 0.3 * n, n) for key, (e, n) in few.items()}
    assert intervals.distinguishable(few, many)
    assert intervals.distinguishable(few, {f"other {key}": score for key, score in many.items()})
    one_worse = few | {"0": (4, 30)}
    assert not intervals.distinguishable(few, one_worse)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: intervals.median([]), "no sentences"),
        (lambda: intervals.mean([0.1, float("nan")]), "sentence 1 scores nan"),
        (lambda: intervals.rate([1, 2], [3]), "2 counts of errors and 1 lengths"),
        (lambda: intervals.rate([1, 0], [3, 0]), "no length"),
        (lambda: intervals.distinguishable({"x": 0.1, "y": 0.2}, {"x": (1, 2), "y": (0, 2)}), "both alike|alike"),
    ],
)
def test_what_has_no_score_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
