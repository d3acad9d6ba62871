"""Pocket's language model through the one loop: resumed to the same bits, adapted from a run, over two processes."""

import pytest
import torch
import training
from training import halved

from ttslib import checks, dataset, manifest, params, pipeline, speech
from ttslib.systems.pocket import System

QUIET = {"tracking": "disabled", "device": "cpu", "threads": 1}
FEW = {
    "system": "pocket", "train.steps": 4, "train.evaluate_every": 4, "train.checkpoint_every": 2, "data.frames": 100,
    "pocket.distill_share": 0.5,
}  # fmt: skip


def test_training_resumes_to_the_same_bits(prepared):
    """Four steps are two and two more: drawn times, noise, prompts, withheld texts and the steps that distil among them."""
    whole = prepared / "qaa" / "pocket" / "whole"
    begun, ended = halved(FEW, whole)
    assert not begun["net.flow_lm.conditioner.embed.weight"].equal(ended["net.flow_lm.conditioner.embed.weight"])
    assert int(ended["net.turns"]) == 4, "how many steps were drawn for is part of where a run stands"


def test_a_run_is_the_base_of_another(prepared):
    """LoRA and new rows over a run of the toy language; the exported voice, merged, says what the checkpoint says."""
    first = pipeline.train(params.load("qaa", FEW | {"train.steps": 2}, run="base", **QUIET))
    few = FEW | {
        "train.steps": 2, "adapt.base": str(first.run.folder), "adapt.body": "lora", "adapt.lora.rank": 2,
        "adapt.lora.targets": ["in_proj", "out_proj"], "train.lr": 0.02, "train.ema": 0.0,
    }  # fmt: skip
    done = pipeline.train(params.load("qaa", few, run="adapted", **QUIET))
    own, base = (made.system.net.state_dict() for made in (done, first))
    moved = {name for name in own if not own[name].equal(base[name]) and name != "turns"}
    assert moved == {f"flow_lm.transformer.layers.{n}.self_attn.{k}_proj.weight" for n in (0, 1) for k in ("in", "out")}
    again = pipeline.load(done.system.export(prepared / "exported"))
    assert again.synthesize("bado kemi talu.", seed=2).equal(done.system.synthesize("bado kemi talu.", seed=2))


def test_a_student_is_trained_from_a_run(prepared):
    teacher = pipeline.train(params.load("qaa", FEW | {"train.steps": 2}, run="teacher", **QUIET)).run
    more = {"pocket.teacher": str(teacher.folder), "pocket.layers": [0], "train.steps": 2}
    done = pipeline.train(params.load("qaa", FEW | more, run="student", **QUIET))
    assert done.system.net.shape.layers == 1
    assert [r["val/states"] for r in done.run.rows() if "val/states" in r]


def test_the_whole_pipeline_passes_its_checks(prepared):
    rows = checks.run(params.load("qaa", {"system": "pocket", "train.ema": 0.0}, **QUIET))
    assert all(row.passed for row in rows), checks.table(rows)


def turn(rank: int, folder) -> None:
    """One of two processes: the gradient of its half of the batch, averaged with the other's."""
    torch.set_num_threads(1)
    where = f"file://{folder / 'meeting'}"  # a port that was free a moment ago may be another test's by now
    torch.distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=2)
    system = pipeline.load(folder / "voice")
    net = torch.nn.parallel.DistributedDataParallel(system.net.train())
    loss = total(net, torch.load(folder / f"{rank}.pt"), rank)
    loss.backward()
    both = loss.detach().clone()
    torch.distributed.all_reduce(both)
    if rank == 0:
        found = {name: q.grad for name, q in system.net.named_parameters()}
        torch.save({"loss": both / 2, "gradients": found}, folder / "found.pt")
    torch.distributed.destroy_process_group()


def total(net, batch, seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    return sum(net(batch).values())


def test_two_processes_compute_the_loss_and_gradients_of_one(prepared):
    """The same global batch, each half with draws of its own; one half's texts and voices may all be withheld."""
    p = params.load(
        "qaa", FEW | {"pocket.distill_share": 1.0, "pocket.drop_text": 0.7, "pocket.drop_voice": 0.7}, **QUIET
    )
    found = manifest.prepare(p)
    system = System.fresh(p, found.split("train"))
    features = speech.features(system, found, "train", p)
    system.measure(features)
    system.export(prepared / "voice")
    batches = [dataset.collate([features[i] for i in half]) for half in ((0, 1), (2, 3, 4))]
    ready = [system.pool.prompts(batch, 20, False) for batch in batches]
    for rank, batch in enumerate(ready):
        torch.save(batch, prepared / f"{rank}.pt")
    lives = [training.SERVER.Process(target=turn, args=(rank, prepared)) for rank in (0, 1)]
    for life in lives:
        life.start()
    for life in lives:
        life.join(180)
        assert life.exitcode == 0
    alone = pipeline.load(prepared / "voice").net.train()
    losses = [total(alone, batch, rank) for rank, batch in enumerate(ready)]
    (sum(losses) / 2).backward()
    theirs = torch.load(prepared / "found.pt")
    assert theirs["loss"].item() == pytest.approx((sum(losses) / 2).item(), abs=1e-6)
    for name, q in alone.named_parameters():
        torch.testing.assert_close(theirs["gradients"][name], q.grad, atol=1e-6, rtol=1e-5)


def test_the_loop_runs_over_two_processes(prepared):
    from test_processes import both, pair

    lives = pair(prepared, "system=pocket", "run=pair", "data.frames=100", "train.steps=4")
    assert both(lives) == [0, 0], lives[0].words() + lives[1].words()
    assert [r["step"] for r in training.history(prepared / "qaa" / "pocket" / "pair") if "eos" in r][-1] == 4
