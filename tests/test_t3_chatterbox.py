"""From Chatterbox's folder to a trained voice and back: T3, its codec, its voice encoder, all small."""

import shutil

import pytest
import torch
from safetensors.torch import load_file
from test_published_codecs import needs, s3gen  # noqa: F401
from test_t3_storage import folder  # noqa: F401

from ttslib import params, pipeline

QUIET = {"tracking": "disabled", "device": "cpu", "threads": 1}


@pytest.fixture
def kind() -> str:
    return "multilingual"


@needs("chatterbox")
def test_a_published_folder_is_trained_on_its_own_codes_and_speaks(folder, s3gen, prepared, tmp_path):  # noqa: F811
    shutil.copy(s3gen[0] / "s3gen.safetensors", folder)
    few = {
        "system": "t3", "adapt.base": str(folder), "train.steps": 2, "train.evaluate_every": 2, "data.frames": 200,
        "t3.longest": 12, "t3.tries": 1, "train.lr": 1.0e-4,
    }  # fmt: skip
    done = pipeline.train(params.load("qaa", few, run="first", **QUIET))
    system = done.system
    assert (system.codec.name, system.rate) == ("s3", 24000)
    (codes,) = (prepared / "qaa" / "data").glob("*/codes/s3-*")
    assert [*codes.glob("codes-0-*.safetensors")], "computed once and kept"
    speaker = next(name for name in system.references if name != "built-in")
    assert system.references[speaker].decoder.keys() == {
        "embedding", "prompt_feat", "prompt_token", "prompt_token_len",
    }  # fmt: skip
    wav = system.synthesize("bado kemi talu.", voice=speaker, lang="qaa", seed=1)
    assert wav.isfinite().all() and len(wav) % 960 == 0
    exported = system.export(tmp_path / "voice")
    assert {f.name for f in exported.iterdir()} >= {
        "t3_mtl23ls_v2.safetensors", "grapheme_mtl_merged_expanded_v1.json", "ve.pt", "conds.pt", "s3gen.safetensors",
        "system.json",
    }  # fmt: skip
    conds = torch.load(exported / "conds.pt", weights_only=True)
    # what `S3Gen.inference` is called with, and nothing else
    assert conds["gen"].keys() == {
        "embedding", "prompt_feat", "prompt_feat_len", "prompt_token", "prompt_token_len",
    }  # fmt: skip
    assert conds["t3"]["speaker_emb"].shape == (1, 256)
    before, after = (load_file(f / "t3_mtl23ls_v2.safetensors") for f in (folder, exported))
    assert before.keys() == after.keys() and not after["speech_head.weight"].equal(before["speech_head.weight"])
    again = pipeline.load(exported)
    assert again.synthesize("bado", voice=speaker, lang="qaa", seed=1).equal(
        system.synthesize("bado", voice=speaker, lang="qaa", seed=1)
    )
