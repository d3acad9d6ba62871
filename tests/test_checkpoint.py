"""Checkpoints give back exactly what they were given, name what is damaged, and keep what matters."""

import contextlib
import math
import os
import random
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ttslib import checkpoint, pipeline
from ttslib.checkpoint import CheckpointError

WEIGHTS = {"net.a": torch.arange(12.0).view(3, 4), "net.b": torch.tensor(3), "net.c": torch.ones(2).bfloat16()}
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool]


def save(folder, step: int, state: dict | None = None):
    weights = {name: tensor + step for name, tensor in WEIGHTS.items()}
    return checkpoint.save(folder, f"epoch0_step{step}", weights, {"system": "acoustic"}, state or {"step": step})


def tensors(seed: int):
    make = torch.Generator().manual_seed(seed)
    return (torch.randn(seed % 4, 3, generator=make) * 9).to(DTYPES[seed % len(DTYPES)]).squeeze(0).movedim(0, -1)


STATES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.integers(0, 99).map(tensors),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("ab/0", max_size=3), inner, max_size=3)
        | st.dictionaries(st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=12,
)


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and (a.dtype, a.shape) == (b.dtype, b.shape) and bool(a.equal(b))
    if isinstance(a, float) and math.isnan(a):
        return isinstance(b, float) and math.isnan(b)
    if isinstance(a, dict):
        return isinstance(b, dict) and [*a] == [*b] and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(max_size=3), STATES, max_size=4))
@example({"a/b": torch.ones(1), "a": {"b": torch.zeros(2)}, "c": {1: torch.ones(3)}})
def test_any_nested_state_comes_back_exactly(tmp_path, state):
    path = save(tmp_path, 1, state or {"": None})
    weights, system, found = checkpoint.load(path)
    assert same(state or {"": None}, found)
    assert same({k: v + 1 for k, v in WEIGHTS.items()}, {k: weights[k] for k in WEIGHTS})
    assert system == {"system": "acoustic"}


def test_what_cannot_be_stored_is_refused_by_name_and_leaves_no_checkpoint(tmp_path):
    with pytest.raises(TypeError, match="/a/0: a set cannot be stored"):
        save(tmp_path, 1, {"a": [{1, 2}]})
    assert checkpoint.listed(tmp_path) == []
    with pytest.raises(CheckpointError, match="no whole checkpoint"):
        checkpoint.newest(tmp_path)


def test_an_optimizer_comes_back_bit_for_bit(tmp_path):
    net = torch.nn.Linear(3, 3)
    optimizer = torch.optim.AdamW(net.parameters(), fused=True)
    for _ in range(3):
        net(torch.randn(2, 3)).sum().backward()
        optimizer.step()
    state = optimizer.state_dict()
    _, _, found = checkpoint.load(save(tmp_path, 1, {"optimizer": state}))
    assert same(state, found["optimizer"])
    torch.optim.AdamW(net.parameters(), fused=True).load_state_dict(found["optimizer"])


def draws() -> list:
    return [torch.rand(3).tolist(), np.random.rand(3).tolist(), np.random.randn(), random.random(), random.gauss(0, 1)]


def test_every_random_generator_goes_on_where_it_was(tmp_path):
    random.gauss(0, 1), np.random.randn()  # both keep a second draw in store
    path = save(tmp_path, 1, {"rng": checkpoint.rng_state()})
    first = draws()
    assert draws() != first
    checkpoint.set_rng_state(checkpoint.load(path)[2]["rng"])
    assert draws() == first


def test_own_rng_starts_from_its_seed_and_leaves_no_trace():
    before = checkpoint.rng_state()
    with checkpoint.own_rng(7):
        first = draws()
    assert same(checkpoint.rng_state(), before)
    with contextlib.suppress(KeyError), checkpoint.own_rng(7):
        assert draws() == first
        raise KeyError
    assert same(checkpoint.rng_state(), before)


def test_nothing_is_pickled(tmp_path):
    path = save(tmp_path, 1, {"rng": checkpoint.rng_state()})
    files = sorted(path.iterdir())
    assert {f.suffix for f in files} == {".json", ".safetensors"}
    for file in files:
        assert not zipfile.is_zipfile(file)
        assert file.read_bytes()[:1] not in (b"\x80", b"(", b"]", b"}")  # how pickles of each protocol begin


FILES = ("model.safetensors", "state.safetensors", "system.json", "state.json", "checksums.json")


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES = {"bit": flip, "cut": lambda path: os.truncate(path, path.stat().st_size // 2), "gone": os.unlink}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_damage_is_named_and_the_one_before_is_taken_loudly(tmp_path, name, damage, capsys):
    save(tmp_path, 1)
    damaged = save(tmp_path, 2)
    DAMAGES[damage](damaged / name)
    with pytest.raises(CheckpointError, match=str(damaged)) as error:
        checkpoint.load(damaged)
    if name != "checksums.json":
        assert name in str(error.value)
    assert checkpoint.newest(tmp_path).name == "epoch0_step1"
    said = capsys.readouterr().err
    assert "WARNING" in said
    assert str(error.value) in said
    checkpoint.load(tmp_path / "epoch0_step1")


def test_when_all_are_damaged_nothing_is_resumed(tmp_path):
    for step in (1, 2):
        flip(save(tmp_path, step) / "model.safetensors")
    with pytest.raises(CheckpointError, match="no whole checkpoint to resume from"):
        checkpoint.newest(tmp_path)


def test_a_damaged_checkpoint_does_not_speak(tmp_path, clips):
    path = checkpoint.save(tmp_path, "epoch0_step1", {}, clips[0].state(), {})
    clips[0].export(path)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged"):
        pipeline.load(path)
    assert pipeline.load(clips[0].export(tmp_path / "exported")).rate == 16000


def test_latest_and_best_are_links_to_names(tmp_path):
    save(tmp_path, 1)
    checkpoint.link(tmp_path, "best", "epoch0_step1")
    save(tmp_path, 2)
    assert os.readlink(tmp_path / "best") == "epoch0_step1"
    assert os.readlink(tmp_path / "latest") == "epoch0_step2"
    moved = tmp_path.rename(tmp_path.with_name("moved"))  # links are relative: a run may be moved as a whole
    assert checkpoint.newest(moved).name == "epoch0_step2"
    assert checkpoint.load(moved / "best")[2] == {"step": 1}


@pytest.mark.parametrize("keep", [1, 2, 3])
@pytest.mark.parametrize("best", [1, 4, 5])
def test_retention_keeps_the_newest_and_never_deletes_best_or_latest(tmp_path, keep, best):
    for step in range(1, 6):
        save(tmp_path, step)
    checkpoint.link(tmp_path, "best", f"epoch0_step{best}")
    checkpoint.link(tmp_path, "latest", "epoch0_step5")
    gone = checkpoint.prune(tmp_path, keep)
    left = {checkpoint.step_of(path) for path in checkpoint.listed(tmp_path)}
    assert left == {best, *range(6 - keep, 6)}
    assert len(gone) + len(left) == 5
    for path in checkpoint.listed(tmp_path):
        checkpoint.load(path)


def test_newest_goes_by_step_not_by_epoch_or_text(tmp_path):
    for name in ("epoch1_step9", "epoch1_step100", "epoch0_step20"):
        checkpoint.save(tmp_path, name, WEIGHTS, {}, {})
    (tmp_path / "latest").unlink()
    assert checkpoint.newest(tmp_path).name == "epoch1_step100"
