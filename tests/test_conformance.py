"""Every system keeps the one interface: see `ttslib.systems` and the architecture's conformance list."""

import inspect
import statistics
from collections import Counter
from dataclasses import replace

import pytest
import torch

from ttslib import adapt, dataset, encoding, losses, params, pipeline, speech
from ttslib.params import ParamsError
from ttslib.session import adamw
from ttslib.step import counters, halves
from ttslib.systems import SYSTEMS, system_class
from ttslib.units import UnitsError

TEXT = "bado kemi talu."


SPEAKING = [
    name for name in SYSTEMS if name != "style"
]  # which reads nothing: tests/test_style.py holds it to the rest


@pytest.fixture(scope="module", params=SPEAKING)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def encoded(name, spoken, tmp_path_factory):
    """`(params, training rows, features)` of one system over the toy corpus."""
    p = params.load("qaa", {"system": name}, tracking="disabled", device="cpu", threads=1)
    rows = spoken.split("train")
    system = system_class(name).fresh(p, rows)
    cache = tmp_path_factory.mktemp("features")
    return p, rows, encoding.encode_all(system, rows, lambda r: speech.recording(spoken, r, system.rate), cache, 1.0)


@pytest.fixture
def system(name, encoded):
    """A fresh system, measured, as training starts from it."""
    p, rows, features = encoded
    fresh = system_class(name).fresh(p, rows)
    fresh.measure(features)
    return fresh


@pytest.fixture
def batch(encoded):
    features = encoded[2]
    return dataset.collate([features[i] for i in range(4)])


def mode(system, training: bool) -> None:
    for net in system.nets.values():
        net.train(training)


def test_selection_is_by_name_and_a_wrong_name_says_which_there_are(name):
    assert system_class(name).__name__ == "System"
    with pytest.raises(ValueError, match=f"system 'nosuch' does not exist; there are .*{name}"):
        system_class("nosuch")


def test_it_owns_what_the_rest_of_the_library_asks_for(system):
    assert isinstance(system.rate, int)
    assert system.rate > 0
    assert system.nets
    assert all(isinstance(net, torch.nn.Module) for net in system.nets.values())
    assert all(isinstance(table.module, torch.nn.Module) for table in system.tables.values())
    for table in system.tables.values():
        assert table.tensors["weight"].shape[0] == len(table.names) == len(system.vocabularies[table.vocabulary])
    assert len(system.tokenizer) > 3
    assert inspect.isgeneratorfunction(system.losses)


def test_parts_share_no_parameter_and_leave_none_out(system):
    parts = [id(p) for part in system.parts().values() for p in part]
    assert len(parts) == len(set(parts))
    trained = {id(p) for net in system.nets.values() for p in net.parameters() if p.requires_grad}
    assert set(parts) == trained


class Counted:
    """Features that count how often each clip is read."""

    def __init__(self, features):
        self.features, self.reads = features, Counter()

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, i: int):
        self.reads[i] += 1
        return self.features[i]

    def __iter__(self):
        return (self[i] for i in range(len(self)))


def test_before_training_clips_are_read_as_often_as_docs_scale_says(name, encoded):
    """One of each speaker's once more, to speak with."""
    p, rows, features = encoded
    counted = Counted(features)
    system_class(name).fresh(p, rows).measure(counted)
    often = {"acoustic": 1, "vits": 0, "t3": 1, "indextts": 1, "pocket": 3}[name]
    assert statistics.median(counted.reads[i] for i in range(len(counted))) == often


def test_encoding_is_pure_and_on_the_cpu(system, encoded, spoken):
    row = encoded[1][0]
    before = torch.get_rng_state()
    first, second = (system.encode(row, speech.recording(spoken, row, system.rate)) for _ in range(2))
    assert torch.get_rng_state().equal(before)
    assert first.keys() == second.keys()
    assert all(first[k].equal(second[k]) and first[k].device.type == "cpu" for k in first)
    assert first[system.length_of].ndim >= 1
    fresh = system_class(encoded[0].system).fresh(encoded[0], encoded[1])
    assert fresh.feature_key == system.feature_key
    less = system_class(encoded[0].system).fresh(encoded[0], [r for r in encoded[1] if "g" not in r.text])
    assert less.feature_key != system.feature_key, "other units must not meet these features"


def test_losses_are_one_dict_of_finite_scalars_a_part(system, batch):
    turns = list(system.losses(batch))
    assert len(turns) == len(system.parts())
    for terms in turns:
        assert losses.total(terms).requires_grad, "a term may carry another's gradient"
        for name, value in terms.items():
            assert value.shape == (), name
            assert value.isfinite(), name
    names = [name for terms in turns for name in terms]
    assert len(names) == len(set(names))


def test_each_parts_backward_reaches_every_parameter_it_steps(system, batch):
    """From the third step on: a last layer that correctly starts at zero (VITS's couplings) hides what lies before it, and
    so do gates that start at zero behind one (Pocket's head)."""
    optimizers = {part: torch.optim.AdamW(parameters, lr=1e-3) for part, parameters in system.parts().items()}
    for step in range(3):
        for (part, parameters), terms in zip(system.parts().items(), system.losses(batch), strict=True):
            for every in system.parts().values():
                for p in every:
                    p.grad = None
            losses.total(terms).backward()
            if step == 2:
                ids = {id(p) for p in parameters if p.grad is None or not p.grad.abs().sum() > 0}
                named = [n for net in system.nets.values() for n, p in net.named_parameters() if id(p) in ids]
                assert not ids, f"{part}: no gradient for {len(ids)} of {len(parameters)}, among {named[:10]}"
            assert all(p.grad.isfinite().all() for p in parameters if p.grad is not None)
            optimizers[part].step()


def test_a_part_gets_its_gradients_from_its_own_terms_alone(system, batch):
    """The loop goes backward through all parts before any of them learns."""
    parts, grads, before = system.parts(), [], [(c, c.clone()) for c in counters(system)]
    for together in (True, False):
        for net in system.nets.values():
            net.zero_grad()
        for counter, value in before:
            counter.copy_(value)
        torch.manual_seed(0)
        for part, terms in zip(parts, system.losses(batch), strict=True):
            losses.total(terms).backward()
            if not together:
                grads += [q.grad.clone() for q in parts[part]]
                for q in (q for every in parts.values() for q in every):
                    q.grad = None
        if together:
            whole = [q.grad.clone() for every in parts.values() for q in every]
    assert all(a.equal(b) for a, b in zip(whole, grads, strict=True))


def test_a_batch_is_halved_as_collate_would_have_made_it(system, encoded):
    features = encoded[2]
    order = sorted(range(len(features)), key=features.lengths.__getitem__)
    examples = [features[order[at]] for at in (-2, -1, 0, 1, 2)]
    made = halves(dataset.collate(examples), system.length_of)
    for (half, _), some in zip(made, (examples[:2], examples[2:]), strict=True):
        expected = dataset.collate(some)
        assert half.keys() == expected.keys()
        assert all(half[name].equal(value) for name, value in expected.items())
    frames = [sum(features.lengths[order[at]] for at in some) for some in ((-2, -1), (0, 1, 2))]
    assert [share for _, share in made] == pytest.approx([n / sum(frames) for n in frames])
    one = dataset.collate(examples[:1])
    assert halves(one, system.length_of) == [(one, 1.0)]


def test_the_loss_falls_on_one_batch(system, batch, encoded):
    p = params.load("qaa", {"system": encoded[0].system, "train.lr": 3.0e-3})
    optimizers = {part: adamw(ps, p, torch.device("cpu")) for part, ps in system.parts().items()}
    totals = []
    for _ in range(30):
        for optimizer, terms in zip(optimizers.values(), system.losses(batch), strict=True):
            optimizer.zero_grad()
            losses.total(terms).backward()
            optimizer.step()
        totals.append(losses.total(terms).item())
    assert sum(totals[-3:]) < 0.8 * sum(totals[:3])


@pytest.mark.parametrize("enabled", [False, True])
def test_autocast_does_not_leak_out_of_a_turn(system, batch, enabled):
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
        for terms in system.losses(batch):
            assert torch.is_autocast_enabled("cpu") is enabled
            assert torch.is_grad_enabled()
            assert all(value.isfinite() for value in terms.values())
        assert torch.is_autocast_enabled("cpu") is enabled


def test_padding_a_batch_changes_no_loss(system, encoded):
    """Each term is a mean over what is not padding."""
    features = encoded[2]
    mode(system, False)
    order = sorted(range(len(features)), key=features.lengths.__getitem__)
    short = dataset.collate([features[i] for i in order[:3]])
    padded = {}
    for name, value in short.items():
        if f"{name}_len" in short:
            extra = value.new_zeros(*value.shape[:-1], 17)
            value = torch.cat([value, extra], -1)
        padded[name] = value
    with torch.no_grad():
        for before, after in zip(system.losses(short), system.losses(padded), strict=True):
            for term in before:
                assert after[term].item() == pytest.approx(before[term].item(), rel=1e-4), term


def test_speech_is_mono_finite_at_its_rate_and_the_seeds(system):
    mode(system, True)
    before = torch.get_rng_state()
    first, same = (system.synthesize(TEXT, seed=3) for _ in range(2))
    other = system.synthesize(TEXT, seed=4)
    assert torch.get_rng_state().equal(before)
    assert all(net.training for net in system.nets.values()), "speaking in the middle of training must leave the mode"
    assert (first.ndim, first.dtype, first.requires_grad) == (1, torch.float32, False)
    assert first.isfinite().all()
    assert 0.05 * system.rate < len(first) < 60 * system.rate
    assert first.abs().max() <= 1
    assert first.equal(same)
    assert not other.equal(first)


def test_what_cannot_be_spoken_is_refused_and_the_mode_is_left(system):
    mode(system, True)
    wrong = [{"text": "bado \u1230"}, {"text": TEXT, "voice": "nobody"}, {"text": TEXT, "lang": "xx"}, {"text": " "}]
    for choice in wrong:
        with pytest.raises(
            (UnitsError, ParamsError), match=r"\u1230|nobody|xx|nothing to speak"
        ):  # the command line prints these
            system.synthesize(**choice)
        assert all(net.training for net in system.nets.values())


@pytest.mark.parametrize("text", ["a", "o.", "7"])
def test_the_shortest_texts_are_spoken(system, text):
    mode(system, False)
    assert system.synthesize(text, speaking_rate=3.0).isfinite().all()


def test_an_export_loads_back_and_speaks_the_same(system, tmp_path):
    folder = system.export(tmp_path / "exported")
    again = pipeline.load(folder)
    mode(system, False)
    assert again.synthesize(TEXT, seed=1).equal(system.synthesize(TEXT, seed=1))
    assert (again.rate, again.tokenizer, again.feature_key) == (system.rate, system.tokenizer, system.feature_key)


def test_a_loaded_system_is_ready_to_listen(system, tmp_path):
    again = pipeline.load(system.export(tmp_path / "exported"))
    assert not any(net.training for net in again.nets.values())


def test_growing_its_tables_changes_nothing_it_could_do(system, encoded, spoken):
    """Old rows, everything outside the tables and speech stay as they are, to the bit; the new letter has a row."""
    p, rows, _ = encoded
    mode(system, False)
    letter = "\u1230"
    more = [replace(rows[0], text=rows[0].text + letter, lang="am", speaker="another")]
    grown = adapt.extend(system, p, more)
    mode(grown, False)
    assert grown.synthesize(TEXT, seed=3).equal(system.synthesize(TEXT, seed=3))
    for name, table in grown.tables.items():
        names = system.vocabularies[table.vocabulary]
        added = [n for n in table.names if n not in names]
        assert added, f"{name} has not grown"
        if name in system.tables:
            for tensor, values in table.tensors.items():
                for old, row in zip(system.tables[name].names, system.tables[name].tensors[tensor], strict=True):
                    assert values[table.names.index(old)].equal(row), (name, tensor, old)
    adapt.freeze(grown, p.adapt)
    mode(grown, False)
    assert grown.synthesize(TEXT, seed=3).equal(system.synthesize(TEXT, seed=3))
    assert {id(q) for part in grown.parts().values() for q in part} == {
        id(q) for net in grown.nets.values() for q in net.parameters() if q.requires_grad
    }
