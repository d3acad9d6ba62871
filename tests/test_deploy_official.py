"""Official formats in bfloat16: smaller, read by the official loaders into fp32, and what they say is near."""

import json

import torch
import yaml
from official import needs
from safetensors.torch import load_file
from test_indextts_storage import english, official_base, sizes  # noqa: F401
from test_pocket_storage import folder as pocket_folder  # noqa: F401
from test_pocket_storage import official as official_pocket
from test_pocket_storage import pieces  # noqa: F401
from test_t3_parity import alone, batch, official, weights  # noqa: F401
from test_t3_storage import folder as t3_folder  # noqa: F401
from test_t3_storage import kind  # noqa: F401
from transformers import VitsModel

from ttslib import params, pipeline
from ttslib.codecs import indextts, published
from ttslib.deploy import writing
from ttslib.systems import system_class

QUIET = {"tracking": "disabled", "device": "cpu", "threads": 1}


def halved(system, place):
    """`(plain export, bf16 export, what was told)` of a system."""
    system.export(place / "plain")
    return place / "plain", place / "voice", writing.export(place / "plain", place / "voice", "bf16", unchecked=True)


def near(read, whole):
    """Every tensor within the eight bits that bfloat16 keeps, vectors the same, some matrix not."""
    assert read.keys() == whole.keys()
    for name, value in whole.items():
        torch.testing.assert_close(read[name].float(), value.float(), rtol=2**-8 if value.dim() > 1 else 0, atol=0)
    assert any(not read[name].float().equal(value.float()) for name, value in whole.items())


def test_stock_transformers_speaks_a_halved_voice_in_fp32(spoken, tmp_path):
    given = {"system": "vits", "vits.noise": 0.0, "vits.noise_duration": 0.0} | QUIET
    system = system_class("vits").fresh(params.load("qaa", given), spoken.split("train"))
    for net in system.nets.values():
        net.eval()
    plain, voice, told = halved(system, tmp_path)
    assert told["bytes"]["bf16"] < 0.62 * told["bytes"]["fp32"] and told["checked"] is False
    near(load_file(voice / "model.safetensors"), load_file(plain / "model.safetensors"))
    model, info = VitsModel.from_pretrained(voice, output_loading_info=True)
    assert not any(info.values()) and {q.dtype for q in model.parameters()} == {torch.float32}
    text, again = "bado kemi talu", pipeline.load(voice)
    ids = torch.tensor([again.ids(again.tokenizer.normalise(text, "qaa"), "qaa")])
    with torch.no_grad():
        stock = model.eval()(ids).waveform[0]
    mine = again.synthesize(text)
    assert mine.shape == stock.shape and (mine - stock).abs().max() <= 1e-4
    assert json.loads((voice / "system.json").read_text())["weights"] == "bf16"


@needs("pocket_tts")
def test_the_package_of_pocket_loads_a_halved_voice(pocket_folder, tmp_path):  # noqa: F811
    system = system_class("pocket").load(pocket_folder)
    plain, voice, _ = halved(system, tmp_path)
    stored, whole = (load_file(place / "model.safetensors") for place in (voice, plain))
    near({k: v for k, v in stored.items() if "flow_lm." in k}, {k: v for k, v in whole.items() if "flow_lm." in k})
    assert all(stored[k].equal(v) for k, v in whole.items() if k.startswith("mimi.")), "the codec is not the voice's"
    assert str(tmp_path / "voice") in (config := (voice / "config.yaml").read_text()) and ".partial" not in config
    model = official_pocket(voice / "config.yaml").state_dict()
    assert all(model[k].dtype == torch.float32 and model[k].equal(v.float()) for k, v in stored.items())
    again = pipeline.load(voice).net.state_dict()
    assert all(again[k].equal(v.float()) for k, v in stored.items() if k.startswith("flow_lm."))


@needs("indextts")
def test_the_package_of_indextts_loads_a_halved_voice(english, tmp_path):  # noqa: F811
    package, _ = official_base(english, tmp_path / "base")
    plain, voice, told = halved(system_class("indextts").load(tmp_path / "base"), tmp_path)
    assert told["bytes"]["bf16"] < 0.55 * told["bytes"]["fp32"]
    stored, whole = (torch.load(place / "gpt.pth", weights_only=True) for place in (voice, plain))
    near(stored, whole)
    gpt = yaml.safe_load((voice / "config.yaml").read_text())["gpt"]
    gpt.pop("condition_num_latent")
    stock = package.UnifiedVoice(**gpt).eval()
    utilities = published.imported("indextts.utils.checkpoint", indextts.INSTALL)
    utilities.load_checkpoint(stock, str(voice / "gpt.pth"))  # strict
    assert all(stock.state_dict()[k].equal(v.float()) for k, v in stored.items())
    again = pipeline.load(voice).net.state_dict()
    assert all(again[k].equal(stored[k].float()) for k in again)


def test_the_class_of_t3_loads_halved_weights_and_says_nearly_the_same(official, weights, batch, tmp_path):  # noqa: F811
    from ttslib import checkpoint

    file = tmp_path / "t3_cfg.safetensors"
    checkpoint.write_weights(file, weights, {"text": ["a"]})
    bytes_before = file.stat().st_size
    writing.halve(file)
    assert file.stat().st_size < 0.52 * bytes_before and [f.name for f in tmp_path.iterdir()] == [file.name]
    near(load_file(file), weights)
    fresh = type(official)(official.hp)
    fresh.load_state_dict(load_file(file))
    assert {q.dtype for q in fresh.parameters()} == {torch.float32}
    said, full = (alone(net.eval(), batch, 0)[1] for net in (fresh, official))
    assert (said - full).abs().max() < 0.2 * full.abs().max() and not said.equal(full)


def test_a_halved_chatterbox_folder_loads_back(t3_folder, tmp_path):  # noqa: F811
    plain, voice, told = halved(system_class("t3").load(t3_folder), tmp_path)
    assert told["bytes"]["bf16"] < 0.55 * told["bytes"]["fp32"] and told["weight_error"]["rebuilt"] == []
    before, after = (pipeline.load(place).net.state_dict() for place in (plain, voice))
    near(after, before)
    assert sorted(f.name for f in voice.iterdir()) == sorted([*(f.name for f in plain.iterdir()), "export.json"])


def test_any_system_is_written_in_eight_bits_for_ttslib(t3_folder, tmp_path):  # noqa: F811
    system = system_class("t3").load(t3_folder)
    system.export(tmp_path / "plain")
    told = writing.export(tmp_path / "plain", tmp_path / "voice", "int8", "ttslib", unchecked=True)
    assert told["bytes"]["int8"] < 0.35 * told["bytes"]["fp32"]
    again = pipeline.load(tmp_path / "voice")
    assert again.vocabularies == system.vocabularies
    for name, value in system.net.state_dict().items():
        assert (again.net.state_dict()[name] - value).abs().max() <= value.abs().max() / 250, name
