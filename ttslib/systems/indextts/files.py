"""The files of IndexTTS2: `config.yaml`, `gpt.pth`, `bpe.model`, as its repository and its runtime name them.

`gpt.pth` is a flat state dict, or one under `model`; saved after its first sentence it holds second names for its weights.
`config.yaml` says what the weights do not: heads, special ids, sizes of the encoders.
"""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
import yaml
from torch import Tensor

from ttslib.adapt.tables import fingerprint
from ttslib.checkpoint import CheckpointError
from ttslib.packing import Ids
from ttslib.snapshots import located
from ttslib.systems.indextts.encoders import Encoders
from ttslib.systems.indextts.net import Shape

CONFIG, WEIGHTS, TOKENIZER = "config.yaml", "gpt.pth", "bpe.model"
SECOND_NAMES = ("inference_model.", "gpt.wte.", "gpt.wpe.")
LATER = ("lang_embedding.weight", "spk_emb_proj.weight")  # IndexTTS-2.5, another conditioning


def config(folder: Path) -> dict:
    """`config.yaml`. Raises `CheckpointError` when it is missing or has no `gpt` section."""
    try:
        found = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
        if lacking := {"heads", "number_text_tokens"} - found["gpt"].keys():
            raise KeyError(f"gpt.{min(lacking)}")
    except FileNotFoundError:
        raise CheckpointError(f"{folder}: no {CONFIG} in it, which IndexTTS2's weights come with") from None
    except (yaml.YAMLError, TypeError, KeyError) as error:
        raise CheckpointError(f"{folder / CONFIG}: not IndexTTS2's configuration: {error!r}") from None
    return found


def flat(file: Path) -> dict[str, Tensor]:
    """Published weights in fp32 by their official names, each once. Raises `CheckpointError` for anything else."""
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, UnpicklingError, RuntimeError, EOFError, IndexError, KeyError, ValueError) as error:
        raise CheckpointError(f"{file}: missing or damaged ({' '.join(repr(error).split()[:20])})") from None
    found = found.get("model", found) if isinstance(found, dict) else {}
    if later := [name for name in LATER if name in found]:
        raise CheckpointError(f"{file}: {later[0]} in it, as in IndexTTS-2.5; only IndexTTS2 is supported")
    if "mel_pos_embedding.emb.weight" not in found or "gpt.h.0.attn.c_attn.weight" not in found:
        raise CheckpointError(
            f"{file}: not the weights of IndexTTS2's GPT: {', '.join(sorted(map(str, found))[:3])}, ..."
        )
    return {name: value.float() for name, value in found.items() if not name.startswith(SECOND_NAMES)}


def shape_of(weights: Mapping[str, Tensor], gpt: Mapping, where: Path) -> tuple[Shape, Ids]:
    """Sizes and ids of published weights. Raises `CheckpointError` where weights and configuration disagree: a table
    reshaped to fit would speak gibberish."""
    rows, (mel_rows, dim) = len(weights["text_embedding.weight"]), weights["mel_embedding.weight"].shape
    layers = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("gpt.h."))
    told = {
        "number_text_tokens": (rows - 1, "rows of text_embedding, less the spare one"),
        "number_mel_codes": (mel_rows, "rows of mel_embedding"),
        "model_dim": (dim, "columns of mel_embedding"),
        "layers": (layers, "layers in gpt.h"),
    }
    for name, (found, what) in told.items():
        if gpt.get(name, found) != found:
            raise CheckpointError(f"{where}: {CONFIG} says gpt.{name}={gpt[name]}, the weights have {found} ({what})")
    shape = Shape(
        dim=dim,
        layers=layers,
        heads=gpt["heads"],
        text_rows=rows,
        mel_rows=mel_rows,
        text_positions=len(weights["text_pos_embedding.emb.weight"]),
        mel_positions=len(weights["mel_pos_embedding.emb.weight"]),
        latents=len(weights["perceiver_encoder.latents"]),
    )
    start, stop = gpt.get("start_mel_token", mel_rows - 2), gpt.get("stop_mel_token", mel_rows - 1)
    return shape, Ids(gpt.get("start_text_token", 0), gpt.get("stop_text_token", 1), start, stop)


def encoders(weights: Mapping[str, Tensor], gpt: Mapping, where: str | Path) -> Encoders:
    """The prompt encoders among published weights, in evaluation. Raises `CheckpointError` when they are not whole."""
    dim, width = weights["emovec_layer.weight"].shape
    try:
        latents = len(weights["perceiver_encoder.latents"])
        made = Encoders(dim, latents, gpt["condition_module"], gpt["emo_condition_module"], width)
        made.load_state_dict({name: value for name, value in weights.items() if name in made.state_dict()})
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"{where}: no encoders of prompts as {CONFIG} describes them: {error}") from None
    return made.eval()


class Beside:
    """The prompt encoders of a published checkpoint, read again when they are needed: a third of its size, never trained
    and therefore not in ours."""

    def __init__(self, home: str, gpt: Mapping, hash: str, net: Encoders | None = None):
        """`home`: folder or repository that they were read from; `hash` of their weights."""
        self.home, self.gpt, self.hash, self.made = home, gpt, hash, net

    @classmethod
    def of(cls, home: str, gpt: Mapping, net: Encoders) -> "Beside":
        return cls(home, gpt, fingerprint(net), net)

    @property
    def net(self) -> Encoders:
        """Raises `CheckpointError` when they are gone or others."""
        if self.made is None:
            folder, file, _ = located(self.home, WEIGHTS, (CONFIG,))
            made = encoders(flat(folder / (file or config(folder).get("gpt_checkpoint", WEIGHTS))), self.gpt, folder)
            if fingerprint(made) != self.hash:
                raise CheckpointError(
                    f"{self.home}: its prompt encoders are not those that this voice was trained with"
                )
            self.made = made
        return self.made
