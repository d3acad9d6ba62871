"""Weights in shards (FSDP2 over gloo): resumed with and without them, adapted with LoRA beside held rows, or refused.

That its steps are those of one process: test_same_loss.py. CUDA, and what it spares of a GPU's memory, is not tested here.
"""

from types import SimpleNamespace

import pytest
import torch
import training
from test_contract import MISSING
from test_same_loss import ALL, SYSTEMS, begin, drawn_from_the_batch
from training import as_it_was, assert_near

from ttslib import adapt, checkpoint, encoding, params, pipeline, sharding, speech
from ttslib.systems import system_class

LONG = ["train.checkpoint_every=2", "train.keep=9"]


def told(system: str, run: str, *more: str) -> list[str]:
    return [*ALL, *SYSTEMS[system], *LONG, f"system={system}", f"run={run}", *more]


@pytest.fixture(scope="module")
def base(stocked, spoken):
    """A fresh t3 that lacks two letters of the toy language."""
    p = params.load("qaa", training.QUIET, system="t3")
    rows = [row for row in spoken.split("train") if not set(row.text) & set(MISSING)]
    system = system_class("t3").fresh(p, rows)
    system.measure(encoding.encode_all(system, rows, speech.reader(system, spoken), stocked / "features", 1.0))
    system.meet(rows, speech.reader(system, spoken))
    return system.export(stocked / "base")


@pytest.fixture(scope="module")
def runs(stocked, base):
    """`folder(system, run)`: the same in one process and in two with shards, and half of it in each."""
    lora = [f"adapt.base={base}", "adapt.body=lora", "adapt.lora.rank=2", "adapt.rows_first=1"]

    def alone(system: str, *more: str) -> None:
        pipeline.train(params.load("qaa", told(system, *more, "data.accumulate=2")))

    with pytest.MonkeyPatch.context() as patch:
        for name in ("acoustic", "t3"):
            patch.setattr(system_class(name), "losses", system_class(name).losses)
            drawn_from_the_batch(name)
        alone("acoustic", "one")
        alone("t3", "one", *lora)
        as_it_was(stocked / "qaa" / "acoustic" / "one", 2, "from-one")
        both = [
            told("acoustic", "shards", "sharding=full"),
            told("acoustic", "from-one", "sharding=full", "resume=true"),
            told("t3", "shards", *lora, "sharding=full"),
        ]
        lives = begin(stocked, [["train", "qaa", *one] for one in both], 2)
        assert [life.finish() for life in lives] == [0, 0], "".join(life.words() for life in lives)
        as_it_was(stocked / "qaa" / "acoustic" / "shards", 2, "from-shards")
        alone("acoustic", "from-shards", "resume=true")
    return lambda system, run: stocked / "qaa" / system / run


@pytest.mark.parametrize("run", ["from-one", "from-shards"])
def test_a_run_goes_on_with_shards_and_without(run, runs):
    """Weights, averages and optimizer state are whole in a checkpoint."""
    assert_near(runs("acoustic", "one"), runs("acoustic", run))


def test_checkpoints_are_of_one_kind(runs):
    one, shards = (checkpoint.load(runs("acoustic", run) / "checkpoints" / "latest") for run in ("one", "shards"))
    assert {k: v.shape for k, v in one[0].items()} == {k: v.shape for k, v in shards[0].items()}
    for part, optimizer in one[2]["optimizers"].items():
        theirs = shards[2]["optimizers"][part]
        assert optimizer["param_groups"] == theirs["param_groups"]
        for index, state in optimizer["state"].items():
            for name, value in state.items():
                torch.testing.assert_close(value, theirs["state"][index][name], rtol=1e-3, atol=1e-4)
    for name, value in one[2]["weights"].items():
        torch.testing.assert_close(value, shards[2]["weights"][name], rtol=1e-3, atol=1e-4)
        assert not value.equal(one[0][name]), "an average is no live weight"


def test_lora_and_new_rows_learn_in_shards_and_held_rows_do_not_move(runs, base):
    assert_near(runs("t3", "one"), runs("t3", "shards"), rel=1e-4)
    weights, state = checkpoint.trained(runs("t3", "shards") / "checkpoints" / "latest")
    learnt = [k for k, v in weights.items() if "lora_B" in k and v.abs().max() > 0]
    assert learnt and "text_emb.weight" in "".join(weights)
    before = pipeline.load(base)
    rows = adapt.RowMap.restore(state["adaptation"]["rows"]["text"])
    old, new = ([i for i, s in enumerate(rows.sources) if (s is None) == fresh] for fresh in (False, True))
    assert weights["net.text_emb.weight"][old].equal(before.net.text_emb.weight[[rows.sources[i] for i in old]])
    start = checkpoint.trained(next((runs("t3", "shards") / "checkpoints").glob("*step0")))[0]
    assert not weights["net.text_emb.weight"][new].equal(start["net.text_emb.weight"][new])


@pytest.mark.parametrize(
    ("settings", "processes", "precision", "words"),
    [
        ({"system": "vits"}, 2, "no", "vits is small enough for every GPU.*set sharding=none"),
        ({"system": "style"}, 2, "no", "style is small enough for every GPU.*set sharding=none"),
        ({"system": "t3"}, 1, "no", "this is the only process; start several"),
        ({"system": "t3"}, 2, "fp16", "precision=bf16 or fp32"),
    ],
)
def test_what_cannot_be_sharded_is_refused(settings, processes, precision, words):
    p = params.load("qaa", sharding="full", **settings)
    engine = SimpleNamespace(num_processes=processes, mixed_precision=precision)
    with pytest.raises(params.ParamsError, match=words):
        sharding.allowed(p, engine)
    sharding.allowed(p.model_copy(update={"sharding": "none"}), engine)
