"""Loss terms have the values a hand computes, and padding never changes them."""

import math

import pytest
import torch

from ttslib import losses
from ttslib.dataset import collate
from ttslib.systems.acoustic.net import PRESETS, Net

MASK = torch.tensor([[True, True, False], [True, False, False]])


def test_masked_l1_by_hand():
    predicted = torch.tensor([[[1.0, 3.0], [0.0, 0.0], [9.0, 9.0]], [[2.0, 2.0], [9.0, 9.0], [9.0, 9.0]]])
    target = torch.tensor([[[0.0, 1.0], [4.0, 0.0], [0.0, 0.0]], [[2.0, 5.0], [0.0, 0.0], [0.0, 0.0]]])
    # frames: (1+2)/2, (4+0)/2, (0+3)/2
    assert losses.masked_l1(predicted, target, MASK).item() == pytest.approx((1.5 + 2.0 + 1.5) / 3)


def test_gaussian_prior_by_hand():
    mean = torch.zeros(2, 3, 2)
    target = torch.tensor([[[1.0, 3.0], [2.0, 0.0], [9.0, 9.0]], [[2.0, 2.0], [9.0, 9.0], [9.0, 9.0]]])
    # frames: (1+9)/2/2, (4+0)/2/2, (4+4)/2/2
    assert losses.gaussian_prior(mean, target, MASK).item() == pytest.approx((2.5 + 1.0 + 2.0) / 3)


def test_log_duration_by_hand():
    predicted = torch.tensor([[0.0, 1.0, 7.0], [2.0, 7.0, 7.0]])
    durations = torch.tensor([[1, 4, 0], [3, 0, 0]])
    expected = (0 + (1 - math.log(4)) ** 2 + (2 - math.log(3)) ** 2) / 3
    assert losses.log_duration(predicted, durations, MASK).item() == pytest.approx(expected)


def test_terms_are_computed_in_single_precision():
    half = torch.full((1, 2000, 8), 100.0, dtype=torch.float16)
    mask = torch.ones(1, 2000, dtype=torch.bool)
    assert losses.masked_l1(half, -half, mask).item() == 200.0
    assert losses.gaussian_prior(half * 10, -half * 10, mask).item() == 0.5 * 2000.0**2  # overflows in half precision


def test_total_is_the_sum_and_differentiable():
    terms = {"a": torch.tensor(1.5, requires_grad=True), "b": torch.tensor(2.0, requires_grad=True)}
    losses.total(terms).backward()
    assert losses.total(terms).item() == 3.5
    assert [t.grad.item() for t in terms.values()] == [1.0, 1.0]


@pytest.mark.parametrize("term", ["masked_l1", "gaussian_prior"])
def test_padded_frames_do_not_count(term):
    a, b = torch.randn(2, 2, 7, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, 7, dtype=torch.bool)
    before = getattr(losses, term)(a, b, mask)
    grown = [torch.cat([x, torch.full((2, 5, 4), fill)], 1) for x, fill in ((a, 1e3), (b, -1e3))]
    after = getattr(losses, term)(*grown, torch.cat([mask, torch.zeros(2, 5, dtype=torch.bool)], 1))
    assert after.item() == pytest.approx(before.item(), rel=1e-6)  # sums may be added up in another order


def test_padding_a_batch_changes_no_term_of_the_whole_network():
    torch.manual_seed(0)
    net = Net(20, PRESETS["unit"], mels=16, cepstra=6, dropout=0.5).eval()
    make = torch.Generator().manual_seed(1)
    examples = [
        {"text": torch.randint(3, 20, (n,), generator=make), "mel": torch.randn(16, t, generator=make)}
        | {"cepstra": torch.randn(6, t, generator=make), "speaker": torch.tensor(0), "language": torch.tensor(0)}
        for n, t in ((5, 30), (9, 40))
    ]
    batch = collate(examples)
    padded = dict(batch)
    padded["text"] = torch.cat([batch["text"], torch.zeros(2, 6, dtype=torch.long)], 1)
    padded["cepstra"] = torch.cat([batch["cepstra"], torch.zeros(2, 6, 25)], 2)
    padded["mel"] = torch.cat([batch["mel"], torch.zeros(2, 16, 25)], 2)
    with torch.no_grad():
        (before, seen), (after, seen_padded) = net(batch), net(padded)
    assert seen_padded["durations"][:, :9].equal(seen["durations"])
    for name in before:
        assert after[name].item() == pytest.approx(before[name].item(), rel=1e-5), name
