"""The average of the weights follows its formula, is swapped in and out without a trace, and costs nothing when off."""

import contextlib

import pytest
import torch
from torch import nn

from ttslib.ema import Ema


def weights(net: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in net.parameters()]


def test_the_average_is_the_warmed_up_formula():
    net = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        net.weight.fill_(0.0)
    ema, expected = Ema({"net": net}, 0.5), 0.0
    for step in range(20):
        with torch.no_grad():
            net.weight.fill_(step + 1.0)
        ema.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * (step + 1.0)
        assert ema.average["net.weight"].tolist()[0] == pytest.approx([expected] * 2)


def test_inside_swapped_the_nets_hold_the_average_and_outside_their_own():
    net = nn.Linear(3, 2)
    ema, before = Ema({"a": net}, 0.9), weights(net)
    for parameter in net.parameters():
        parameter.data.add_(1)
    own = weights(net)
    with contextlib.suppress(KeyError), ema.swapped():
        assert all(a.equal(b) for a, b in zip(weights(net), before, strict=True))
        raise KeyError
    assert all(a.equal(b) for a, b in zip(weights(net), own, strict=True))


def test_no_decay_means_no_average():
    net = nn.Linear(3, 2)
    ema, before = Ema({"a": net}, 0.0), weights(net)
    ema.update(0)
    assert ema.average == {}
    with ema.swapped():
        assert all(a.equal(b) for a, b in zip(weights(net), before, strict=True))
