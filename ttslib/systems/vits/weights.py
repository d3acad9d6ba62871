"""Weights of the original VITS (jaywalnut310/vits `models.py`; Piper and MMS have the same names) for `VitsModel`."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import VitsModel

NORM, DIRECTION = "parametrizations.weight.original0", "parametrizations.weight.original1"

# Applied one after the other, each to the result of those before.
RULES = [
    (r"^enc_p\.emb\.", "text_encoder.embed_tokens."),
    (r"^enc_p\.proj\.", "text_encoder.project."),
    (r"^enc_p\.encoder\.attn_layers\.(\d+)\.conv_o\.", r"text_encoder.encoder.layers.\1.attention.out_proj."),
    (r"^enc_p\.encoder\.attn_layers\.(\d+)\.conv_([qkv])\.", r"text_encoder.encoder.layers.\1.attention.\2_proj."),
    (r"^enc_p\.encoder\.attn_layers\.(\d+)\.emb_", r"text_encoder.encoder.layers.\1.attention.emb_"),
    (r"^enc_p\.encoder\.norm_layers_1\.(\d+)\.", r"text_encoder.encoder.layers.\1.layer_norm."),
    (r"^enc_p\.encoder\.norm_layers_2\.(\d+)\.", r"text_encoder.encoder.layers.\1.final_layer_norm."),
    (r"^enc_p\.encoder\.ffn_layers\.(\d+)\.", r"text_encoder.encoder.layers.\1.feed_forward."),
    (r"^enc_q\.(pre|proj)\.", r"posterior_encoder.conv_\1."),
    (r"^enc_q\.enc\.", "posterior_encoder.wavenet."),
    (r"^(flow\.flows\.\d+)\.(pre|post)\.", r"\1.conv_\2."),
    (r"^(flow\.flows\.\d+)\.enc\.", r"\1.wavenet."),
    (r"^dec\.ups\.", "decoder.upsampler."),
    (r"^dec\.", "decoder."),
    (r"^emb_g\.", "embed_speaker."),
    (r"^dp\.(post_|(?:post_)?flows\.\d+\.|)(pre|proj)\.", r"duration_predictor.\1conv_\2."),
    (r"^dp\.(post_|(?:post_)?flows\.\d+\.|)convs\.", r"duration_predictor.\1conv_dds."),
    (r"^dp\.", "duration_predictor."),
    (r"\.convs_sep\.", ".convs_dilated."),
    (r"\.convs_1x1\.", ".convs_pointwise."),
    (r"\.m$", ".translate"),
    (r"\.logs$", ".log_scale"),
    (r"\.gamma$", ".weight"),
    (r"\.beta$", ".bias"),
]


def renamed(name: str) -> str:
    """The name in `VitsModel` of a parameter of the original; one that no rule knows comes back as it is.

    The original counts the parameterless flips between flows as layers, `VitsModel` does not.
    """
    for pattern, replacement in RULES:
        name = re.sub(pattern, replacement, name)
    name = re.sub(r"^flow\.flows\.(\d+)\.", lambda found: f"flow.flows.{int(found[1]) // 2}.", name)
    return re.sub(
        r"^(duration_predictor\.(?:post_)?flows)\.(\d+)\.",
        lambda found: f"{found[1]}.{(int(found[2]) + 1) // 2}.",
        name,
    )


@torch.no_grad()
def fill(model: VitsModel, weights: Mapping[str, Tensor]) -> set[str]:
    """Put weights under their original names (weight norm folded) into the model; the names of its tensors now filled.

    Raises `ValueError` naming weights that the model has no place for, or whose shape differs.
    """
    state, wrong = {}, []
    mine = model.state_dict()
    for original, tensor in weights.items():
        name, tensor = renamed(original), torch.as_tensor(tensor)
        layer, _, role = name.rpartition(".")
        if "_proj.weight" in name and ".attention." in name:  # a convolution of width 1 there, a linear layer here
            tensor = tensor.squeeze(-1)
        found = {name: tensor}
        if f"{layer}.{DIRECTION}" in mine and role == "weight":
            norm = tensor.norm(dim=tuple(range(1, tensor.ndim)), keepdim=True)
            found = {f"{layer}.{NORM}": norm, f"{layer}.{DIRECTION}": tensor}
        for place, value in found.items():
            if place not in mine or mine[place].shape != value.shape:
                wrong.append(f"{original} {tuple(value.shape)}")
            state[place] = value
    if wrong:
        raise ValueError(f"the model has no place for {len(wrong)} weights: {', '.join(wrong[:5])}")
    model.load_state_dict(state, strict=False)  # what is not in `state` is the caller's to judge, by name
    return set(state)
