"""Generators of the original VITS (jaywalnut310/vits; `full_models/*/G_100000.pth` of MMS) as `VitsModel`s.

Two files: the checkpoint and its config.json. `discriminator.load_original` reads the `D_*.pth` beside it.
"""

import json
import re
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor
from transformers import VitsConfig, VitsModel

from ttslib.checkpoint import CheckpointError
from ttslib.systems.vits import net
from ttslib.systems.vits.resblocks import with_blocks
from ttslib.systems.vits.weights import fill

# Weight norm is written weight_g, weight_v by old torch and original0, original1 by new.
PARTS = re.compile(r"(.+)\.(?:weight_([gv])|parametrizations\.weight\.original([01]))$")


class OriginalError(CheckpointError):
    """Not an original VITS checkpoint, or one whose config.json does not fit; the message names the file and why."""


def load(pth_file: str | Path, json_file: str | Path) -> VitsModel:
    """The whole generator, in eval mode: every tensor of the file has its place and every tensor is filled.

    Reads tensors only (`weights_only`), never code. Raises `OriginalError`.
    """
    weights, config = read(Path(pth_file)), read_config(Path(json_file))
    try:
        model_part, data = config["model"], config["data"]
        made = config_of(weights, model_part, data)
        hop = data["hop_length"]
    except (KeyError, TypeError) as error:
        raise OriginalError(f"{pth_file} and {json_file} are no original VITS: {error!r} is missing") from None
    if (product := torch.tensor(made.upsample_rates).prod().item()) != hop:
        raise OriginalError(f"{json_file}: upsample_rates make {product} samples a frame, hop_length is {hop}")
    with torch.random.fork_rng(devices=[]):
        model = with_blocks(net.fresh(made)).eval()
    try:
        filled = fill(model, weights)
    except ValueError as error:
        raise OriginalError(f"{pth_file}: {error}") from None
    if absent := sorted(model.state_dict().keys() - filled):
        raise OriginalError(f"{pth_file} lacks {len(absent)} tensors of the generator: {', '.join(absent[:5])}")
    return model


def read(path: Path) -> dict[str, Tensor]:
    """A checkpoint's generator by original names, in fp32, weight norm folded: w = g v / |v|."""
    if not path.is_file():
        raise OriginalError(f"{path} does not exist; correct the path")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        found = found.get("model", found)
        tensors = {name: tensor.float() for name, tensor in found.items()}
    except (UnpicklingError, RuntimeError, EOFError, AttributeError, KeyError) as error:
        raise OriginalError(f"{path} is not a checkpoint of tensors: {str(error).strip().splitlines()[0]}") from None
    weights, norms = {}, {}
    for name, tensor in tensors.items():
        if parts := PARTS.match(name):
            norms.setdefault(parts[1], {})["g" if "0" in (parts[3] or "") or parts[2] == "g" else "v"] = tensor
        else:
            weights[name] = tensor
    for layer, pair in norms.items():
        if pair.keys() != {"g", "v"}:
            raise OriginalError(f"{path}: {layer} has one half of a weight norm only")
        v = pair["v"]
        weights[f"{layer}.weight"] = pair["g"] * v / v.norm(dim=tuple(range(1, v.ndim)), keepdim=True)
    return weights


def read_config(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OriginalError(f"{path} cannot be read: {error}") from None


def config_of(weights: dict[str, Tensor], model: dict, data: dict) -> VitsConfig:
    """What config.json says, in Transformers' words. Raises `KeyError` for what is missing."""
    if not model.get("use_sdp", True):
        raise OriginalError(
            "use_sdp is false: only models with the stochastic duration predictor are supported; take another model"
        )
    vocabulary = len(weights["enc_p.emb.weight"])
    speakers = len(weights["emb_g.weight"]) if "emb_g.weight" in weights else 1
    return VitsConfig(
        vocab_size=vocabulary,
        hidden_size=model["hidden_channels"],
        num_hidden_layers=model["n_layers"],
        num_attention_heads=model["n_heads"],
        ffn_dim=model["filter_channels"],
        ffn_kernel_size=model["kernel_size"],
        flow_size=model["inter_channels"],
        hidden_dropout=model["p_dropout"],
        attention_dropout=model["p_dropout"],
        activation_dropout=model["p_dropout"],
        resblock=str(model["resblock"]),
        resblock_kernel_sizes=model["resblock_kernel_sizes"],
        resblock_dilation_sizes=model["resblock_dilation_sizes"],
        upsample_rates=model["upsample_rates"],
        upsample_initial_channel=model["upsample_initial_channel"],
        upsample_kernel_sizes=model["upsample_kernel_sizes"],
        spectrogram_bins=data["filter_length"] // 2 + 1,
        sampling_rate=data["sampling_rate"],
        num_speakers=speakers,
        speaker_embedding_size=model["gin_channels"] if speakers > 1 else 0,
        layerdrop=0.0,
    )
