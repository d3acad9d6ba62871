"""Checkpoints of the original VITS: the same waveform, everything filled, nothing executed, misfits refused."""

import json
import re

import pytest
import torch

from ttslib.systems.vits import net, original

# The way back, written for these tests: from names of VitsModel to those of the original repository.
BACK = [
    (r"^text_encoder\.embed_tokens", "enc_p.emb"),
    (r"^text_encoder\.project", "enc_p.proj"),
    (r"^text_encoder\.encoder\.layers\.(\d+)\.attention\.out_proj", r"enc_p.encoder.attn_layers.\1.conv_o"),
    (r"^text_encoder\.encoder\.layers\.(\d+)\.attention\.(.)_proj", r"enc_p.encoder.attn_layers.\1.conv_\2"),
    (r"^text_encoder\.encoder\.layers\.(\d+)\.attention\.emb", r"enc_p.encoder.attn_layers.\1.emb"),
    (r"^text_encoder\.encoder\.layers\.(\d+)\.layer_norm\.weight", r"enc_p.encoder.norm_layers_1.\1.gamma"),
    (r"^text_encoder\.encoder\.layers\.(\d+)\.layer_norm\.bias", r"enc_p.encoder.norm_layers_1.\1.beta"),
    (r"^text_encoder\.encoder\.layers\.(\d+)\.final_layer_norm\.weight", r"enc_p.encoder.norm_layers_2.\1.gamma"),
    (r"^text_encoder\.encoder\.layers\.(\d+)\.final_layer_norm\.bias", r"enc_p.encoder.norm_layers_2.\1.beta"),
    (r"^text_encoder\.encoder\.layers\.(\d+)\.feed_forward", r"enc_p.encoder.ffn_layers.\1"),
    (r"^posterior_encoder\.conv_", "enc_q."),
    (r"^posterior_encoder\.wavenet", "enc_q.enc"),
    (r"^decoder\.upsampler", "dec.ups"),
    (r"^decoder", "dec"),
    (r"^embed_speaker", "emb_g"),
    (r"^duration_predictor", "dp"),
    (r"(?<=\.)conv_dds\.convs_dilated", "convs.convs_sep"),
    (r"(?<=\.)conv_dds\.convs_pointwise", "convs.convs_1x1"),
    (r"conv_dds\.(norms_.\.\d)\.weight", r"convs.\1.gamma"),
    (r"conv_dds\.(norms_.\.\d)\.bias", r"convs.\1.beta"),
    (r"^dp\.(post_)?conv_(pre|proj)", r"dp.\1\2"),
    (r"^dp\.post_convs", "dp.post_convs"),
    (r"(flows\.\d\.)conv_(pre|proj|post)", r"\1\2"),
    (r"(flows\.\d\.)wavenet", r"\1enc"),
    (r"translate$", "m"),
    (r"log_scale$", "logs"),
    (r"parametrizations\.weight\.original0", "weight_g"),
    (r"parametrizations\.weight\.original1", "weight_v"),
]
SHAPE = {
    "inter_channels": 6, "hidden_channels": 8, "filter_channels": 12, "n_heads": 2, "n_layers": 1, "kernel_size": 3,
    "p_dropout": 0.1, "resblock": "1", "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 3]],
    "upsample_rates": [4, 2], "upsample_initial_channel": 8, "upsample_kernel_sizes": [8, 4], "gin_channels": 4,
}  # fmt: skip
DATA = {"sampling_rate": 16000, "filter_length": 64, "hop_length": 8}


def originally(name: str) -> str:
    for pattern, replacement in BACK:
        name = re.sub(pattern, replacement, name)
    name = re.sub(r"^flow\.flows\.(\d)", lambda found: f"flow.flows.{2 * int(found[1])}", name)
    return re.sub(
        r"^dp\.(post_)?flows\.([1-9])", lambda found: f"dp.{found[1] or ''}flows.{2 * int(found[2]) - 1}", name
    )


def write(folder, speakers=1, model=None, data=None, change=lambda tensors: None):
    shape, sound = SHAPE | (model or {}), DATA | (data or {})
    weights = {"enc_p.emb.weight": torch.zeros(7, 8)} | (
        {"emb_g.weight": torch.zeros(speakers, 4)} if speakers > 1 else {}
    )
    torch.manual_seed(0)
    truth = net.fresh(original.config_of(weights, SHAPE, DATA)).eval()
    with torch.no_grad():
        for parameter in truth.parameters():  # also where training starts from zero
            parameter.add_(0.1 * torch.randn_like(parameter))
    tensors = {}
    for name, tensor in truth.state_dict().items():
        if ".attention." in name and name.endswith("proj.weight"):
            tensor = tensor[..., None]
        if re.match(r"decoder\.(upsampler|resblocks)\..*weight$", name):  # weight norm, as the original trains them
            norm = tensor.norm(dim=(1, 2), keepdim=True)
            tensors |= {originally(name) + "_g": norm, originally(name) + "_v": 3 * tensor}
        else:
            tensors[originally(name)] = tensor
    change(tensors)
    torch.save({"model": tensors, "iteration": 1, "learning_rate": 2e-4}, folder / "G.pth")
    (folder / "config.json").write_text(json.dumps({"train": {}, "data": sound, "model": shape}))
    return truth, (folder / "G.pth", folder / "config.json")


@pytest.mark.parametrize("speakers", [1, 3])
def test_every_layer_computes_what_it_did(tmp_path, speakers):
    truth, files = write(tmp_path, speakers)
    model = original.load(*files)
    theirs = dict(truth.named_modules())
    for name, module in model.named_modules():
        for part in ("weight", "bias", "emb_rel_k", "emb_rel_v", "translate", "log_scale"):
            if isinstance(getattr(module, part, None), torch.Tensor):
                torch.testing.assert_close(getattr(module, part), getattr(theirs[name], part), atol=1e-6, rtol=1e-5)
    for voice in (model, truth):
        voice.noise_scale = voice.noise_scale_duration = 0.0
    speaker = speakers - 1 if speakers > 1 else None
    said, expected = (voice(torch.tensor([[0, 3, 0, 5]]), speaker_id=speaker).waveform for voice in (model, truth))
    torch.testing.assert_close(said, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"change": lambda x: x.pop("enc_q.proj.bias")},
            "lacks 1 tensors of the generator: posterior_encoder.conv_proj",
        ),
        ({"change": lambda x: x.pop("dec.ups.0.weight_g")}, "dec.ups.0 has one half of a weight norm"),
        ({"change": lambda x: x.update(extra=torch.zeros(1))}, "no place for 1 weights: extra"),
        ({"change": lambda x: x.pop("enc_p.emb.weight")}, "no original VITS.*enc_p.emb.weight"),
        ({"model": {"n_layers": 2}}, "lacks 18 tensors"),
        ({"model": {"use_sdp": False}}, "use_sdp is false"),
        ({"data": {"hop_length": 256}}, "8 samples a frame, hop_length is 256"),
    ],
)
def test_what_does_not_fit_is_refused_and_named(tmp_path, changes, message):
    _, files = write(tmp_path, **changes)
    with pytest.raises(original.OriginalError, match=message):
        original.load(*files)


class Harm:
    def __reduce__(self):
        return print, ("executed",)


def test_a_file_that_would_run_code_is_refused(tmp_path, capsys):
    _, (file, config) = write(tmp_path)
    torch.save({"model": Harm()}, file)
    with pytest.raises(original.OriginalError, match="not a checkpoint of tensors"):
        original.load(file, config)
    assert "executed" not in capsys.readouterr().out
    file.write_bytes(b"not a zip")
    with pytest.raises(original.OriginalError, match="not a checkpoint of tensors"):
        original.load(file, config)
    with pytest.raises(original.OriginalError, match="does not exist"):
        original.load(tmp_path / "none.pth", config)
    with pytest.raises(original.OriginalError, match="cannot be read"):
        original.load(write(tmp_path)[1][0], tmp_path / "none.json")
