"""Streams laid out without gaps, in rows or flat: the same numbers either way, and nothing that padding could change."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaModel

from ttslib import packing
from ttslib.packing import READY
from ttslib.systems.t3.net import Shape, llama

LENGTHS = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 6), st.integers(1, 5)), min_size=1, max_size=5)


def streams(lengths: list[tuple[int, ...]], dim: int = 3) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Random values whose padding is not zero."""
    g = torch.Generator().manual_seed(0)
    columns = [torch.tensor(column) for column in zip(*lengths, strict=True)]
    return [(torch.randn(len(lengths), max(1, int(c.max())), dim, generator=g), c) for c in columns]


@settings(max_examples=60, deadline=None)
@given(LENGTHS)
def test_both_layouts_are_the_samples_one_after_another(lengths):
    made = streams(lengths)
    wanted = [torch.cat([v[i, : n[i]] for v, n in made]) for i in range(len(lengths))]
    flat, rows = packing.pack(made, True), packing.pack(made, False)
    assert flat.values[0].equal(torch.cat(wanted))
    assert flat.blocks == tuple(len(w) for w in wanted) and rows.blocks is None
    assert flat.positions[0].tolist() == [t for w in wanted for t in range(len(w))]
    for i, w in enumerate(wanted):
        assert rows.values[i, : len(w)].equal(w) and not rows.values[i, len(w) :].any()
        assert rows.positions[i, : len(w)].tolist() == list(range(len(w)))
    for k, (values, count) in enumerate(made):
        own = torch.cat([values[i, : count[i]] for i in range(len(lengths))])
        assert flat.stream(flat.values, k).equal(own) and rows.stream(rows.values, k).equal(own)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(2, 7), min_size=1, max_size=5))
def test_every_id_but_the_first_is_a_target_once(lengths):
    ids = torch.arange(8 * len(lengths)).view(-1, 8)
    count = torch.tensor(lengths)
    predicting, targets = packing.shifted(ids, count)
    flat = torch.cat([ids[i, :n] for i, n in enumerate(lengths)])
    assert targets.tolist() == [int(x) for i, n in enumerate(lengths) for x in ids[i, 1:n]]
    assert (flat[predicting] + 1).tolist() == targets.tolist()


def test_gradients_reach_what_counts_and_no_padding():
    made = streams([(0, 3, 2), (2, 1, 4)])
    for values, _ in made:
        values.requires_grad_()
    for flat in (True, False):
        (packing.pack(made, flat).values ** 2).sum().backward()
        for values, count in made:
            assert (values.grad.abs().sum(-1) > 0).equal(packing.valid(count, values.shape[1]))
            values.grad = None


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    return LlamaModel(llama(Shape(128, 2, 256, 8, 8))).eval()


def test_a_sample_in_a_packed_row_is_as_it_is_alone(backbone):
    """Outputs and gradients: each attends to itself alone, at its own positions."""
    made = streams([(2, 5, 3), (0, 1, 2), (4, 6, 5)], dim=128)
    results = []
    for flat in (True, False):
        packed = packing.pack(made, flat)
        more = {"blocks": packed.blocks, "attention_mask": READY} if flat else {}
        hidden = backbone(inputs_embeds=packed.values, position_ids=packed.positions, **more).last_hidden_state
        speech = packed.stream(hidden, 2)
        backbone.zero_grad()
        speech.square().sum().backward()
        results.append((speech.detach(), backbone.layers[0].mlp.up_proj.weight.grad.clone()))
    torch.testing.assert_close(*(r[0] for r in results), atol=1e-5, rtol=0)
    torch.testing.assert_close(*(r[1] for r in results), atol=1e-5, rtol=1e-4)
    whole = torch.cat([values[2, : n[2]] for values, n in made])
    single = backbone(inputs_embeds=whole[None]).last_hidden_state[0, -5:]
    torch.testing.assert_close(results[0][0][-5:], single.detach(), atol=1e-5, rtol=0)


def test_without_blocks_the_samples_of_a_row_would_mix(backbone):
    packed = packing.pack(streams([(2, 5, 3), (4, 6, 5)], dim=128), True)
    with torch.no_grad():
        apart = backbone(
            inputs_embeds=packed.values, position_ids=packed.positions, attention_mask=READY, blocks=packed.blocks
        )
        mixed = backbone(inputs_embeds=packed.values, position_ids=packed.positions, attention_mask=None, use_cache=False,
                         blocks=(packed.values.shape[1],))  # fmt: skip
    gap = (apart.last_hidden_state - mixed.last_hidden_state).abs().amax(-1)[0]
    assert gap[:10].max() < 1e-5 < 1e-3 < gap[10:].max()
