"""IndexTTS2's language model through the one loop: resumed to the same bits, adapted from a run."""

from training import halved

from ttslib import params, pipeline, scorecard

QUIET = {"tracking": "disabled", "device": "cpu", "threads": 1}
FEW = {
    "system": "indextts", "train.steps": 4, "train.evaluate_every": 4, "train.checkpoint_every": 2, "data.frames": 400,
}  # fmt: skip


def test_training_resumes_to_the_same_bits(prepared):
    """Four steps are two and two more: dropped durations, drawn prompts and dropout among them."""
    whole = prepared / "qaa" / "indextts" / "whole"
    begun, ended = halved(FEW | {"indextts.duration_control": True}, whole)
    assert not begun["net.text_embedding.weight"].equal(ended["net.text_embedding.weight"]), "nothing was trained"
    card = scorecard.make(whole, params.load("qaa", {"evaluate.sets": [], "evaluate.encoder": None}))
    voice = card["voices"]["voice"]["all"]
    assert voice["length_ratio"]["value"] > 0 and voice["cer"]["count"] == card["totals"]["voice"]["items"]
    assert {one["ended"] for one in card["sentences"] if one["voice"] == "voice"} <= {"stop", "loop", "limit"}


def test_a_run_is_the_base_of_another_and_merged_lora_speaks_the_same(prepared):
    """LoRA on attention and MLP; rows all the same; the exported voice, merged, says what the checkpoint says."""
    first = pipeline.train(params.load("qaa", FEW | {"train.steps": 2}, run="base", **QUIET))
    few = FEW | {
        "train.steps": 2, "adapt.base": str(first.run.folder), "adapt.body": "lora", "adapt.lora.rank": 2,
        "adapt.lora.targets": ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"], "train.lr": 0.02,
        "train.choose": "last",
    }  # fmt: skip
    done = pipeline.train(params.load("qaa", few, run="adapted", **QUIET))
    assert done.system.codec.hash == first.system.codec.hash
    own, base = (made.system.net.state_dict() for made in (done, first))
    moved = {name for name in own if not own[name].equal(base[name])}
    assert moved == {f"gpt.h.{n}.{layer}.weight" for n in range(2) for layer in few["adapt.lora.targets"]}
    again = pipeline.load(done.system.export(prepared / "exported"))
    again.net.eval(), done.system.net.eval()
    assert again.synthesize("bado kemi talu.", seed=2).equal(done.system.synthesize("bado kemi talu.", seed=2))
