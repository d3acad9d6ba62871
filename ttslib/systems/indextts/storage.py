"""IndexTTS2 in files: checkpoints, and the files of its own runtime, read and written (`files.py` has their names)."""

import os
from pathlib import Path

import torch
import yaml

from ttslib import adapt, checkpoint, vocab
from ttslib.params import Params
from ttslib.sections import IndexTTS, Text
from ttslib.snapshots import located
from ttslib.systems import coded
from ttslib.systems.indextts import files
from ttslib.systems.indextts.files import CONFIG, TOKENIZER, WEIGHTS, Beside
from ttslib.vocab.pieces import Pieces
from ttslib.vocab.tokenizer import VocabError

# of the published codec, until it is loaded
CODES = {"name": "indextts", "hash": None, "rate": 16000, "rate_out": 22050, "frame_rate": 50.0, "dim": None}
LANGUAGES = ["en", "zh"]  # what the published weights speak


def load(cls, source: str | Path):
    """The system of a run's checkpoint, of an export, or of IndexTTS2's files: a folder, its `gpt.pth`, or a hub id
    (`IndexTeam/IndexTTS-2`).

    Raises `CheckpointError` for missing, damaged or other weights, `VocabError` where the tokenizer is not theirs.
    """
    folder = Path(source)
    if not (folder / "system.json").is_file():
        return published(cls, str(source))
    if (folder / "model.safetensors").is_file():
        system, weights = coded.trained(cls, folder)
    else:
        state = checkpoint.read_json(folder / "system.json")
        weights, system = files.flat(folder / WEIGHTS), cls.restore(state)
        if system.ear.beside is not None:
            gpt = system.ear.beside.gpt
            system.ear.beside.made = files.encoders(weights, gpt, folder)
            weights = {k: v for k, v in weights.items() if k not in system.ear.beside.made.state_dict()}
    adapt.load_plain("net", system.net, weights, system.adaptation)
    system.net.eval()
    return system


def published(cls, source: str):
    """A new system of the published files; its codec is loaded when it is first needed."""
    folder, file, home = located(source, WEIGHTS, (CONFIG, TOKENIZER))
    config = files.config(folder)
    where = folder / (file or config.get("gpt_checkpoint", WEIGHTS))
    weights, gpt = files.flat(where), config["gpt"]
    shape, ids = files.shape_of(weights, gpt, where)
    tokenizer = vocab.read(f"indextts={folder / config.get('dataset', {}).get('bpe_model', TOKENIZER)}")
    if len(tokenizer) != shape.text_rows - 1:
        raise VocabError(
            f"{folder}: the tokenizer has {len(tokenizer)} pieces, the weights {shape.text_rows} rows; one row is spare, so "
            f"{shape.text_rows - 1} pieces belong to them"
        )
    beside = Beside.of(home, gpt, files.encoders(weights, gpt, where))
    p = Params(
        lang=LANGUAGES[0], system="indextts", codec=f"indextts={home}", text=Text(units="tokenizer"),
        indextts=IndexTTS(preset="official"),
    )  # fmt: skip
    special = {"start": ids.start, "stop": ids.stop}
    codec = CODES | {"vocab": shape.mel_rows - 2, "special": special, "where": f"indextts={home}"}
    system = cls(p, shape, tokenizer.made_for("en"), codec, [], list(LANGUAGES), beside, config)
    if (system.net.special.text_start, system.net.special.text_stop) != (ids.text_start, ids.text_stop):
        raise VocabError(f"{folder}: {CONFIG} has text ids {ids}, the tokenizer's start and end are others")
    system.net.load_state_dict({k: v for k, v in weights.items() if k not in beside.net.state_dict()})
    system.net.eval()
    return system


def export(system, folder: Path) -> Path:
    """Write `gpt.pth`, `config.yaml` and `bpe.model`, which IndexTTS2's runtime loads in place of its own, and beside them
    `README.md` and `system.json`, with which `load` reads them back.

    Weights are flat fp32, LoRA merged, the prompt encoders those of the base. A network that was trained without them is
    no voice for that runtime, and one that reads no SentencePiece file has no `bpe.model`: the README says so.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights, state = {k: v.float() for k, v in adapt.plain(system.net).items()}, system.state()
    state["adaptation"] = state["adaptation"] and state["adaptation"] | {"lora": None}
    if system.ear.beside is not None:
        weights |= system.ear.beside.net.state_dict()
    partial = folder / f"{WEIGHTS}.tmp"
    torch.save({name: value.contiguous() for name, value in weights.items()}, partial)
    os.replace(partial, folder / WEIGHTS)
    if isinstance(system.tokenizer, Pieces):
        (folder / TOKENIZER).write_bytes(system.tokenizer.data)
    config = configuration(system)
    (folder / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
    (folder / "README.md").write_text(card(system), encoding="utf-8")
    checkpoint.write_json(folder / "system.json", state)
    return folder


def configuration(system) -> dict:
    """The base's configuration, or a new one, with the sizes of this network."""
    shape, ids, base = system.net.shape, system.net.special, system.config or {}
    gpt = {
        "model_dim": shape.dim,
        "max_mel_tokens": shape.mel_positions - 3,
        "max_text_tokens": shape.text_positions - 2,
        "heads": shape.heads,
        "layers": shape.layers,
        "number_text_tokens": shape.text_rows - 1,
        "number_mel_codes": shape.mel_rows,
        "start_mel_token": ids.start,
        "stop_mel_token": ids.stop,
        "start_text_token": ids.text_start,
        "stop_text_token": ids.text_stop,
        "condition_num_latent": shape.latents,
    }
    known = base.get("gpt", {"condition_type": "conformer_perceiver"})
    dataset = base.get("dataset", {}) | {"bpe_model": TOKENIZER}
    return base | {"dataset": dataset, "gpt": known | gpt, "gpt_checkpoint": WEIGHTS}


def card(system) -> str:
    """What this folder is, for who finds it."""
    lines = [
        "# A voice of IndexTTS2's language model",
        f"Languages: {', '.join(system.languages)}. {system.state()['training_type']} training; codec "
        f"{system.codec_state['name']}; {len(system.tokenizer)} text tokens.",
    ]
    if system.ear.beside is None:
        lines.append(
            "Trained from scratch, without IndexTTS2's encoders of prompts and with a codec of its own: it speaks through "
            "ttslib (`ttslib speak <this folder>`), not in IndexTTS2's runtime."
        )
    else:
        lines += [
            f"Derived from {system.ear.beside.home}: IndexTTS2's weights and what is trained from them are under the "
            "bilibili Model Use License, which is not an open-source licence; read it before you use or pass this on.",
            f"In IndexTTS2's own runtime: copy `{WEIGHTS}`, `{CONFIG}` and `{TOKENIZER}` over those in a copy of its "
            "checkpoints folder. Texts have to be normalised as in training; its front end upper-cases them.",
        ]
    return "\n\n".join(lines) + "\n"
