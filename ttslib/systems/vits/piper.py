"""Piper voices (`.onnx` and `.onnx.json`, rhasspy/piper) as trainable `VitsModel`s, bit for bit the same weights.

An exported voice holds what speaks; what only training needs is absent and starts fresh: the posterior encoder (see
`posterior.recover`), the posterior flows of the duration predictor and the one of its flows that inference leaves out.
Reads the ONNX file only: no ONNX runtime.
"""

import json
import re
import unicodedata
from pathlib import Path

import numpy as np
import torch
from transformers import VitsConfig, VitsModel

from ttslib.systems.vits import net
from ttslib.systems.vits.piper_onnx import PiperError, read_onnx
from ttslib.systems.vits.resblocks import with_blocks
from ttslib.systems.vits.weights import fill

BLANK, START, END = "_", "^", "$"
TRAINING_ONLY = ("posterior_encoder.", "duration_predictor.post_", "duration_predictor.flows.1.")


def load(onnx_file: str | Path, json_file: str | Path | None = None, seed: int = 0) -> tuple[VitsModel, dict]:
    """A Piper voice as a `VitsModel` in eval mode, and its description.

    `json_file` is `<onnx_file>.json` unless given; `seed` draws the absent parts, leaving the global generator alone.
    The description has `rate` (Hz), `language`, `espeak_voice`, `phoneme_type`, `phoneme_ids` (symbol to ids), `speakers`
    (name to id), `filled` and `absent` (names of the model's tensors) and `constants` (how many ONNX initialisers are
    shapes and scalars of the graph; all others are in the model). The decoder is of the kind `model.config.resblock`.
    Raises `PiperError` for anything else than such a voice.
    """
    onnx_file = Path(onnx_file)
    voice = read_json(Path(json_file) if json_file else onnx_file.with_name(onnx_file.name + ".json"))
    weights, convs, constants = read_onnx(onnx_file)
    try:
        config = config_of(weights, convs, voice)
    except KeyError as error:
        raise PiperError(f"{onnx_file} is not a Piper VITS voice: it has no {error}") from None
    except PiperError as error:
        raise PiperError(f"{onnx_file}: {error}") from None
    if (highest := max(i for ids in voice["phoneme_id_map"].values() for i in ids)) >= config.vocab_size:
        raise PiperError(f"{onnx_file}: {config.vocab_size} embedding rows, but its JSON has the phoneme id {highest}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = with_blocks(net.fresh(config)).eval()
    try:
        filled = fill(model, weights)
    except ValueError as error:
        raise PiperError(f"{onnx_file}: {error}") from None
    absent = sorted(model.state_dict().keys() - filled)
    if wrong := [name for name in absent if not name.startswith(TRAINING_ONLY)]:
        raise PiperError(f"{onnx_file} lacks {len(wrong)} tensors of the voice: {', '.join(wrong[:5])}, ...")
    return model, {
        "source": onnx_file.name,
        "rate": config.sampling_rate,
        "language": voice.get("language", {}).get("code"),
        "espeak_voice": voice.get("espeak", {}).get("voice"),
        "phoneme_type": voice.get("phoneme_type", "espeak"),
        "phoneme_ids": voice["phoneme_id_map"],
        "speakers": voice.get("speaker_id_map", {}),
        "filled": sorted(filled),
        "absent": absent,
        "constants": constants,
    }


def ids_of(phonemes: str, description: dict) -> list[int]:
    """Ids of espeak-ng's IPA for one sentence as Piper's training had them: start, blank, (phoneme, blank) ..., end.

    Raises `PiperError` naming symbols that the voice lacks; Piper itself leaves them out.
    """
    table = description["phoneme_ids"]
    symbols = unicodedata.normalize("NFD", phonemes)
    if missing := sorted(set(symbols) - table.keys()):
        named = ", ".join(f"{s!r} (U+{ord(s):04X})" for s in missing)
        raise PiperError(f"the voice {description['source']} has no id for {named}, in {phonemes!r}")
    return [i for s in (START, *symbols) for i in (*table[s], *table[BLANK])] + [*table[END]]


def read_json(path: Path) -> dict:
    try:
        voice = json.loads(path.read_text(encoding="utf-8"))
        for keys in (("audio", "sample_rate"), *(("inference", k) for k in ("noise_scale", "length_scale", "noise_w"))):
            if not isinstance(voice[keys[0]][keys[1]], int | float):
                raise PiperError(f"{path}: {'.'.join(keys)} is {voice[keys[0]][keys[1]]!r}, expected a number")
        if voice["inference"]["length_scale"] <= 0:
            raise PiperError(f"{path}: inference.length_scale is {voice['inference']['length_scale']}, expected > 0")
        if missing := {BLANK, START, END} - voice["phoneme_id_map"].keys():
            raise PiperError(f"{path}: its phoneme_id_map lacks {', '.join(sorted(missing))}")
    except FileNotFoundError:
        raise PiperError(f"{path} does not exist; a Piper voice is two files, NAME.onnx and NAME.onnx.json") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise PiperError(f"{path} is not JSON: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise PiperError(f"{path} is not the description of a Piper voice: {error!r}") from None
    return voice


def config_of(weights: dict[str, np.ndarray], convs: dict[str, dict], voice: dict) -> VitsConfig:
    """The shape of the network, from the shapes of its weights. Raises `KeyError` naming a layer that is not there."""

    def count(pattern: str) -> int:
        return len({found[1] for name in weights if (found := re.match(pattern, name))})

    def shape(name: str) -> tuple[int, ...]:
        return weights[name].shape

    vocabulary, hidden = shape("enc_p.emb.weight")
    _, places, head = shape("enc_p.encoder.attn_layers.0.emb_rel_k")
    feed_forward, _, feed_forward_kernel = shape("enc_p.encoder.ffn_layers.0.conv_1.weight")
    wavenet, layers = "flow.flows.0.enc.in_layers", count(r"flow\.flows\.0\.enc\.in_layers\.(\d+)\.weight")
    dilations = [convs[f"{wavenet}.{i}"]["dilations"][0] for i in range(layers)]
    rate = dilations[1] if layers > 1 else 1
    if dilations != [rate**i for i in range(layers)]:
        raise PiperError(f"dilations {dilations} in the flow are not powers, which VitsModel cannot express")
    speakers, speaker_size = weights["emb_g.weight"].shape if "emb_g.weight" in weights else (1, 0)
    inference = voice["inference"]
    return VitsConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=count(r"enc_p\.encoder\.attn_layers\.(\d+)\."),
        num_attention_heads=hidden // head,
        window_size=places // 2,
        ffn_dim=feed_forward,
        ffn_kernel_size=feed_forward_kernel,
        flow_size=shape("enc_p.proj.weight")[0] // 2,
        prior_encoder_num_flows=count(r"flow\.flows\.(\d+)\.pre\.weight"),
        prior_encoder_num_wavenet_layers=layers,
        wavenet_kernel_size=shape(f"{wavenet}.0.weight")[2],
        wavenet_dilation_rate=rate,
        depth_separable_num_layers=count(r"dp\.convs\.convs_sep\.(\d+)\.weight"),
        duration_predictor_kernel_size=shape("dp.convs.convs_sep.0.weight")[2],
        duration_predictor_num_flows=count(r"dp\.flows\.([357]|\d\d+)\.pre\.weight") + 1,
        duration_predictor_flow_bins=(shape("dp.flows.3.proj.weight")[0] + 1) // 3,
        num_speakers=speakers,
        speaker_embedding_size=speaker_size,
        sampling_rate=int(voice["audio"]["sample_rate"]),
        noise_scale=inference["noise_scale"],
        noise_scale_duration=inference["noise_w"],
        speaking_rate=1 / inference["length_scale"],
        layerdrop=0.0,  # the original drops no layers
        **decoder_of(weights, convs),
    )


def decoder_of(weights: dict[str, np.ndarray], convs: dict[str, dict]) -> dict:
    """The decoder's part of the config: of either kind of residual block, told apart by their layers' names."""

    def count(pattern: str) -> int:
        return len({found[1] for name in convs if (found := re.match(pattern, name))})

    stages, blocks = count(r"dec\.ups\.(\d+)$"), count(r"dec\.resblocks\.(\d+)\.")
    if not stages or blocks % stages:
        raise PiperError(f"a decoder of {stages} upsampling layers and {blocks} residual blocks is not HiFi-GAN's")
    ups = [convs[f"dec.ups.{i}"] for i in range(stages)]
    stack = "convs" if "dec.resblocks.0.convs.0" in convs else "convs1"

    def block(i: int) -> tuple[int, list[int]]:
        depth = count(rf"dec\.resblocks\.{i}\.{stack}\.(\d+)$")
        layers = [convs[f"dec.resblocks.{i}.{stack}.{j}"] for j in range(depth)]
        return layers[0]["kernel_shape"][0], [layer["dilations"][0] for layer in layers]

    kinds = [block(i) for i in range(blocks)]
    each = blocks // stages
    if kinds != kinds[:each] * stages:
        raise PiperError(
            f"residual blocks differ between the decoder's stages, which VitsModel cannot express: {kinds}"
        )
    return {
        "resblock": "2" if stack == "convs" else "1",
        "upsample_initial_channel": weights["dec.conv_pre.weight"].shape[0],
        "upsample_rates": [up["strides"][0] for up in ups],
        "upsample_kernel_sizes": [up["kernel_shape"][0] for up in ups],
        "resblock_kernel_sizes": [kernel for kernel, _ in kinds[:each]],
        "resblock_dilation_sizes": [dilations for _, dilations in kinds[:each]],
    }
