"""Pocket TTS in files: checkpoints, and what the official package loads, read and written (`configs.py` finds the files)."""

from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ttslib import adapt, checkpoint, vocab
from ttslib.codecs.pocket import OFFICIAL
from ttslib.params import Params, ParamsError
from ttslib.sections import Pocket, Text
from ttslib.systems import coded
from ttslib.systems.pocket import configs, speaking
from ttslib.vocab.tokenizer import Tokenizer, VocabError

WEIGHTS, CONFIG, MINE = "model.safetensors", "config.yaml", "flow_lm."
MIMI = {
    "name": "pocket",
    "hash": None,
    "rate": 24000,
    "rate_out": 24000,
    "frame_rate": 12.5,
    "vocab": None,
    "special": {},
}


def load(cls, source: str | Path):
    """The system of a run's checkpoint, of an export, or of Pocket TTS's files (`configs.locate`).

    Raises `CheckpointError` for missing, damaged or other weights, `VocabError` where the tokenizer is not theirs.
    """
    folder = Path(source)
    if not (folder / "system.json").is_file():
        return published(cls, str(source))
    if (folder / "checksums.json").is_file():
        system, weights = coded.trained(cls, folder)
    else:
        system = cls.restore(checkpoint.read_json(folder / "system.json"))
        weights = system.net.state_dict() | flow_lm(folder / WEIGHTS)
    adapt.load_plain("net", system.net, weights, system.adaptation)
    system.net.eval()
    return system


def published(cls, source: str):
    """A new system of the published files; its codec is loaded when it is first needed."""
    files = configs.locate(source)
    config, weights = configs.read(files.config), flow_lm(files.weights)
    shape, flags = configs.shape_of(config), configs.flags_of(config)
    tokenizer = vocab.read(f"pocket={files.tokenizer}")
    if len(tokenizer) != shape.text_rows - 1:
        raise VocabError(f"{files.tokenizer}: {len(tokenizer)} names, {files.config} has n_bins={shape.text_rows - 1}")
    shipped = files.config.stem == source or source.startswith(f"{OFFICIAL}#")  # by the name of a config in the package
    where = f"pocket={OFFICIAL}#{files.config.stem}" if shipped else f"pocket={files.config.parent.resolve()}"
    pocket = Pocket(preset="24l" if shape.layers > 8 else "6l", eos_threshold=config.get("default_eos_threshold", -4.0),
                    temperature=config.get("default_temperature", 0.3), frames_after_end=None)  # fmt: skip
    p = Params(lang="en", system="pocket", codec=where, text=Text(units="tokenizer"), pocket=pocket)
    codec = MIMI | {"dim": shape.latent, "where": where}
    system = cls(p, shape, tokenizer.made_for("en"), codec, flags, [], ["en"], config)
    try:
        system.net.flow_lm.load_state_dict({name.removeprefix(MINE): value for name, value in weights.items()})
    except RuntimeError as error:
        told = " ".join(str(error).split()[:40])
        raise checkpoint.CheckpointError(
            f"{files.weights}: not the weights that {files.config} describes: {told}"
        ) from None
    system.net.eval()
    return system


def flow_lm(file: Path) -> dict[str, Tensor]:
    """The language model's weights, `flow_lm.*`, of a whole model or of the official trainer's `.pt`, whose average (EMA) is
    taken where it has one. Raises `CheckpointError`."""
    try:
        if file.suffix == ".safetensors":
            found = load_file(file)
        else:
            saved = torch.load(file, map_location="cpu", weights_only=True)
            found = dict(saved["model"]) | dict(saved.get("ema") or {})
    except (
        OSError,
        SafetensorError,
        UnpicklingError,
        RuntimeError,
        EOFError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:
        raise checkpoint.CheckpointError(f"{file}: missing or damaged ({' '.join(repr(error).split()[:20])})") from None
    if not (mine := {name: value.float() for name, value in found.items() if name.startswith(MINE)}):
        raise checkpoint.CheckpointError(f"{file}: no flow_lm.* in it, {', '.join(sorted(map(str, found))[:3])}, ...")
    return mine


def export(system, folder: Path) -> Path:
    """Write what `pocket_tts.TTSModel.load_model(config=folder / "config.yaml")` loads: `model.safetensors` (the language
    model and Mimi), tokenizer and config; beside them `system.json`, with which `load` reads them back, and a README.

    A network over another codec than Pocket's Mimi, or one that reads characters or phonemes, speaks through ttslib only;
    it has no config, and the README says so. Voices go with it one by one (`export_voice`), or are recordings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = system.state()
    state["adaptation"] = state["adaptation"] and state["adaptation"] | {"lora": None}
    plain = {name: value.float() for name, value in adapt.plain(system.net).items()}
    weights = {name: value for name, value in plain.items() if name.startswith(MINE)}
    stock = isinstance(system.tokenizer, Tokenizer) and system.codec_state["name"] == "pocket"
    if stock:
        weights |= {f"mimi.{name}": value for name, value in system.codec.network.state_dict().items()}
    checkpoint.write_weights(folder / WEIGHTS, {k: v.contiguous() for k, v in weights.items()}, {})
    if isinstance(system.tokenizer, Tokenizer):
        (folder / system.tokenizer.file).write_bytes(system.tokenizer.data)
    if stock:
        s = system.p.pocket
        paths = (folder / WEIGHTS, folder / system.tokenizer.file)
        dials = {"flags": system.flags, "temperature": s.temperature, "threshold": s.eos_threshold}
        configs.write(folder / CONFIG, configs.config_of(system.net.shape, system.config, *paths, **dials))
    (folder / "README.md").write_text(card(system, stock), encoding="utf-8")
    checkpoint.write_json(folder / "system.json", state)
    return folder


def card(system, stock: bool) -> str:
    """What this folder is, for who finds it."""
    lines = [
        "# A voice of Pocket TTS's language model",
        f"Languages: {', '.join(system.languages)}; codec {system.codec_state['name']}; {len(system.tokenizer)} tokens.",
        "Its weights are under the terms of the model it came from (kyutai/pocket-tts: a gated repository)."
        if system.config
        else "Trained from scratch.",
        f'In the official package: `TTSModel.load_model(config="<this folder>/{CONFIG}")`; the paths in it are absolute. '
        "As the voice give it a recording, or a file that `ttslib voice` writes."
        if stock
        else "It speaks through ttslib (`ttslib speak <this folder>`), not in the official package: that wants Pocket's "
        "Mimi and a tokenizer file.",
    ]
    return "\n\n".join(lines) + "\n"


def export_voice(system, voice: str | None, file: Path) -> Path:
    """The state after a voice, as `pocket_tts.export_model_state` writes it: it belongs to these very weights.

    Raises `ParamsError` for a voice that is neither a speaker nor a recording, and for another ending than .safetensors, by
    which the package knows a state from a recording.
    """
    if file.suffix != ".safetensors":
        raise ParamsError(f"{file}: the package takes a voice's state by its ending: call it {file.stem}.safetensors")
    file.parent.mkdir(parents=True, exist_ok=True)
    state = speaking.listened(system.net.flow_lm, system.reference(voice).latents)
    tensors = {}
    for i, cache in enumerate(state.caches):
        name = f"transformer.layers.{i}.self_attn"
        tensors[f"{name}/cache"] = cache[:, :, : state.read].contiguous()
        tensors[f"{name}/offset"] = torch.full((1,), state.read)
        tensors[f"{name}/pad"] = torch.zeros(1, dtype=torch.long)
    checkpoint.write_weights(file, tensors, {})
    return file
