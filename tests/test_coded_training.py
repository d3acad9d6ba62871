"""What every system that learns codes does in the one loop: packed or not, checkpointed or not, the same is learnt."""

import pytest
import torch

from ttslib import dataset, manifest, params, pipeline, speech

FEW = {"train.steps": 2, "train.evaluate_every": 4, "train.checkpoint_every": 2, "data.frames": 400}
QUIET = {"tracking": "disabled", "device": "cpu", "threads": 1}
# What draws random numbers sample by sample draws others in another layout; and a layer of each backbone.
SYSTEMS = {
    "t3": ({"t3.drop_text": 0.0}, lambda net: net.tfmr.layers[0].mlp.up_proj),
    "indextts": ({"indextts.dropout": 0.0}, lambda net: net.gpt.h[0].mlp.c_fc),
}


@pytest.fixture(params=SYSTEMS)
def name(request) -> str:
    return request.param


def test_packing_is_a_switch(prepared, name):
    made = {}
    for packing in (True, False):
        settings = FEW | SYSTEMS[name][0] | {f"{name}.packing": packing}
        p = params.load("qaa", settings, system=name, run=f"packing-{packing}".lower(), **QUIET)
        made[packing] = pipeline.train(p).run
    rows = [[r for r in run.rows() if "val/speech" in r][-1] for run in made.values()]
    assert rows[0]["val/speech"] == pytest.approx(rows[1]["val/speech"], rel=2e-3)


def test_gradient_checkpointing_changes_no_loss(prepared, name):
    made = []
    for on in (False, True):
        p = params.load("qaa", FEW | {f"{name}.checkpointing": on}, system=name, **QUIET)
        found = manifest.prepare(p)
        system = pipeline.beginning(p, found.split("train"))
        features = speech.features(system, found, "train", p)
        system.measure(features)
        system.net.train()
        torch.manual_seed(0)
        (terms,) = system.losses(dataset.collate([features[i] for i in range(4)]))
        sum(terms.values()).backward()
        made.append((terms["speech"].item(), SYSTEMS[name][1](system.net).weight.grad.clone()))
    assert made[0][0] == made[1][0]
    torch.testing.assert_close(made[0][1], made[1][1])
