"""T3 through the one loop: resumed to the same bits, adapted from a run, packed as the switch says."""

import json

import pytest
from training import halved

from ttslib import checkpoint, codecs, manifest, params, pipeline, scorecard

QUIET = {"tracking": "disabled", "device": "cpu", "threads": 1}
FEW = {"system": "t3", "train.steps": 4, "train.evaluate_every": 4, "train.checkpoint_every": 2, "data.frames": 200}


def test_training_resumes_to_the_same_bits(prepared):
    """Four steps are two and two more: withheld texts, drawn prompts and the perceiver's dropout among them."""
    whole = prepared / "qaa" / "t3" / "whole"
    begun, ended = halved(FEW, whole)
    assert not begun["net.text_emb.weight"].equal(ended["net.text_emb.weight"]), "nothing was trained in between"

    (folder,) = (prepared / "qaa" / "data").glob("*/codes/mel-6561-*")
    told = json.loads((folder / "codec.json").read_text())
    assert (told["vocab"], told["frame_rate"], told["special"]) == (6561, 25.0, {"start": 6561, "stop": 6562})

    other = params.load("qaa", FEW | {"mel_codec.steps": 6}, run="again", resume=True, **QUIET)
    with pytest.raises(checkpoint.CheckpointError, match="codec: hash: the checkpoint has"):
        pipeline.train(other)

    card = scorecard.make(whole, params.load("qaa", {"evaluate.sets": [], "evaluate.encoder": None}))
    voice = card["voices"]["voice"]["all"]
    assert voice["length_ratio"]["value"] > 0 and voice["cer"]["count"] == card["totals"]["voice"]["items"]
    assert {one["ended"] for one in card["sentences"] if one["voice"] == "voice"} <= {"stop", "loop", "limit"}


def test_a_run_is_the_base_of_another(prepared):
    """LoRA and new rows over a run of the toy language, its codec kept, whatever codec the new params name."""
    first = pipeline.train(params.load("qaa", FEW | {"train.steps": 2}, run="base", **QUIET))
    few = FEW | {
        "train.steps": 2, "adapt.base": str(first.run.folder), "adapt.body": "lora", "adapt.lora.rank": 2,
        "codec": "mel-8192",
    }  # fmt: skip
    done = pipeline.train(params.load("qaa", few, run="adapted", **QUIET))
    assert done.system.codec.hash == first.system.codec.hash and done.system.p.codec == "mel-6561"
    assert not [k for k in done.system.net.state_dict() if "lora" in k], "loaded to speak, updates are merged"
    assert done.system.synthesize("bado kemi talu.", seed=2).isfinite().all()


def test_a_few_clips_learnt_by_heart_are_heard_from_the_last_checkpoint(prepared):
    """Their validation loss only rises: at so high a rate it does from the first step on."""
    worse = FEW | {"train.lr": 0.5, "train.steps": 4, "train.evaluate_every": 2, "train.warmup": 1}
    made = {}
    for choose in ("validation", "last"):
        p = params.load("qaa", worse | {"train.choose": choose}, run=choose, **QUIET)
        made[choose] = pipeline.train(p).run.trained.resolve().name
    assert made["validation"].endswith("step0") and made["last"].endswith("step4")


def test_any_speaker_can_be_replayed(prepared):
    """The base language comes back in voices that the base never had: they are prompts."""
    base = pipeline.train(params.load("qaa", FEW | {"train.steps": 1}, run="base", **QUIET)).run
    few = FEW | {"train.steps": 2, "adapt.base": str(base.folder), "adapt.train_rows": "all", "replay.lang": "qaa"}
    p = params.load("qaa", few | {"replay.ratio": 0.3}, run="guarded", **QUIET)
    found = manifest.prepare(p)
    system = pipeline.beginning(p, found.split("train"))
    system.speakers = ["built-in"]  # as in a published base
    pipeline.replay(system, p)
    assert system.speakers == ["built-in", *sorted({row.speaker for row in found.split("train")})]
    done = pipeline.train(p)
    assert [row for row in done.run.rows() if "val/qaa/speech" in row]


def test_codes_and_latents_of_codecs_that_are_not_there_are_refused(prepared):
    for codec, words in (("mel-9", "no folder with codec.json"), ("s3=nowhere", "nowhere")):
        with pytest.raises(codecs.CodecError, match=words):
            pipeline.train(params.load("qaa", FEW | {"codec": codec}, run="refused", **QUIET))
