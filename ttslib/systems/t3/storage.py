"""T3 in files: checkpoints, and Chatterbox's own folder, read and written.

| file | English | multilingual |
|---|---|---|
| weights, flat fp32 | t3_cfg.safetensors | t3_mtl23ls_v3, t3_mtl23ls_v2 or t3_23lang.safetensors |
| tokenizer | tokenizer.json | grapheme_mtl_merged_expanded_v1.json, mtl_tokenizer.json |
| voice encoder | ve.safetensors | ve.pt |
| built-in voice | conds.pt | conds.pt |
| codec | s3gen.safetensors | s3gen.pt |
"""

import re
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ttslib import adapt, checkpoint, vocab, voice_encoder
from ttslib.params import Params
from ttslib.sections import T3, Text
from ttslib.snapshots import located
from ttslib.systems import coded
from ttslib.systems.t3 import recycling, voices
from ttslib.systems.t3.net import shape_of
from ttslib.vocab.tokenizer import Tokenizer, VocabError

WEIGHTS = ("t3_mtl23ls_v3.safetensors", "t3_mtl23ls_v2.safetensors", "t3_23lang.safetensors", "t3_cfg.safetensors")
TOKENIZERS = ("grapheme_mtl_merged_expanded_v1.json", "mtl_tokenizer.json", "tokenizer.json")
ENCODERS = ("ve.safetensors", "ve.pt")
BESIDE = (*TOKENIZERS, *ENCODERS, "conds.pt", "s3gen.pt", "Cangjie5_TC.json")
S3 = {
    "name": "s3", "hash": None, "rate": 16000, "rate_out": 24000, "vocab": 6561, "frame_rate": 25.0,
    "special": {"start": 6561, "stop": 6562},
}  # fmt: skip
ENGLISH_ROWS = 704
BUILT_IN = "built-in"


def load(cls, source: str | Path):
    """The system of a run's checkpoint, of an export, or of Chatterbox's files: a folder, one of its weight files, or a
    hub id (`ResembleAI/chatterbox`, a file after it chooses: `ResembleAI/chatterbox/t3_cfg.safetensors`).

    Raises `CheckpointError` for missing, damaged or other weights, `VocabError` where no tokenizer fits them.
    """
    folder = Path(source)
    if not (folder / "system.json").is_file():
        return published(cls, str(source))
    if (folder / "model.safetensors").is_file():
        system, weights = coded.trained(cls, folder)
    else:
        state = checkpoint.read_json(folder / "system.json")
        weights, system = flat(folder / chosen(folder, WEIGHTS)), cls.restore(state)
    adapt.load_plain("net", system.net, weights, system.adaptation)
    system.net.eval()
    return system


def published(cls, source: str):
    """A new system of Chatterbox's files; its codec is loaded when it is first needed."""
    folder, file, home = located(source, WEIGHTS[1], BESIDE)
    weights = flat(folder / (file or chosen(folder, WEIGHTS)))
    shape = shape_of(weights)
    tokenizer = fitting(folder, shape.text_rows)
    languages = sorted(m[1] for name in tokenizer.special if (m := re.fullmatch(r"\[([a-z]{2,3})\]", name))) or ["en"]
    tokenizer = tokenizer.made_for("en")
    multilingual = tokenizer.front == "t3"
    t3 = T3(preset="multilingual" if multilingual else "english", repetition_penalty=2.0 if multilingual else 1.2)
    p = Params(lang=languages[0], system="t3", codec=f"s3={home}", t3=t3, text=Text(units="tokenizer"))
    encoder = voice_encoder.VoiceEncoder.load(folder / chosen(folder, ENCODERS))
    codec = S3 | {"where": f"s3={home}"}
    system = cls(p, shape, tokenizer, codec, encoder, [], ["en", *(x for x in languages if x != "en")], chatterbox=True)
    system.net.load_state_dict(weights)
    system.net.eval()
    if (folder / "conds.pt").is_file():
        system.speakers, system.references = [BUILT_IN], {BUILT_IN: built_in(folder / "conds.pt")}
    return system


def chosen(folder: Path, names: tuple[str, ...]) -> str:
    """The first of the names that is in the folder, or the only other `t3_*.safetensors` (single-language packs)."""
    if found := next((name for name in names if (folder / name).is_file()), None):
        return found
    others = sorted(p.name for p in folder.glob("t3_*.safetensors")) if names is WEIGHTS else []
    if len(others) != 1:
        raise checkpoint.CheckpointError(f"{folder}: none of {', '.join(names)} in it")
    return others[0]


def flat(file: Path) -> dict[str, Tensor]:
    """Published weights by their official names. Raises `CheckpointError` for other networks than T3 over Llama."""
    try:
        weights = load_file(file)
    except (SafetensorError, FileNotFoundError) as error:
        raise checkpoint.CheckpointError(f"{file}: missing or damaged ({error})") from None
    if "tfmr.wte.weight" in weights or "tfmr.h.0.ln_1.weight" in weights:
        raise checkpoint.CheckpointError(f"{file}: Turbo or Nano (GPT-2 inside); only T3 over Llama is supported")
    if "text_emb.weight" not in weights or "tfmr.layers.0.mlp.gate_proj.weight" not in weights:
        raise checkpoint.CheckpointError(f"{file}: not T3's weights: {', '.join(sorted(weights)[:3])}, ...")
    # The package's `inference` adds second names for its weights; who saves it after speaking saves them too.
    return {name: value.float() for name, value in weights.items() if not name.startswith("patched_model.")}


def fitting(folder: Path, rows: int) -> Tokenizer:
    """The tokenizer in the folder whose names are the rows of the text table."""
    sizes = {}
    for name in TOKENIZERS:
        if (folder / name).is_file():
            found = vocab.read(f"t3={folder / name}")
            sizes[name] = len(found)
            if len(found) == rows:
                return found
    told = ", ".join(f"{name} ({size})" for name, size in sizes.items()) or "none"
    raise VocabError(f"{folder}: no tokenizer of {rows} names, as the weights have rows; there is {told}")


def built_in(file: Path) -> voices.Reference:
    """The voice of a `conds.pt`: T3's conditioning and S3Gen's. Raises `CheckpointError`."""
    try:
        saved = torch.load(file, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise checkpoint.CheckpointError(f"{file}: missing or damaged ({str(error).splitlines()[0]})") from None
    t3, prompt = saved["t3"], saved["t3"].get("cond_prompt_speech_tokens")
    codes = torch.zeros(0, dtype=torch.long) if prompt is None else prompt.reshape(-1).long()
    decoder = {k: v for k, v in saved["gen"].items() if torch.is_tensor(v)}
    return voices.Reference(t3["speaker_emb"].reshape(-1).float(), codes, decoder)


def export(system, folder: Path) -> Path:
    """Write what the stock Chatterbox package loads, and beside it `system.json`, with which `load` reads it back.

    Flat fp32 weights, LoRA merged; the tokenizer; the voice encoder; one voice as `conds.pt`. A vocabulary of another
    size than the stock 704 or 2454 needs `chatterbox_shim.py`, which is then written too and says how; with `t3.recycle` new
    tokens take the rows of scripts nobody trains instead, and no shim is needed. S3Gen's file is copied where it is known.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights, tokenizer, state = adapt.plain(system.net), system.tokenizer, system.state()
    state["adaptation"] = state["adaptation"] and state["adaptation"] | {"lora": None}
    if system.p.t3.recycle:
        tokenizer, weights = recycling.recycled(system, weights)
        state |= {
            "tokenizer": tokenizer.state(),
            "shape": state["shape"] | {"text_rows": len(weights["text_emb.weight"])},
        }
        state["adaptation"] = None  # its row maps belong to the longer tables
    english = system.p.t3.preset != "multilingual"
    weights = {k: v.float() for k, v in weights.items()}
    checkpoint.write_weights(folder / (WEIGHTS[3] if english else WEIGHTS[1]), weights, {})
    if isinstance(tokenizer, Tokenizer):
        (folder / (TOKENIZERS[2] if english else TOKENIZERS[0])).write_bytes(tokenizer.data)
    if isinstance(system.encoder, voice_encoder.VoiceEncoder):
        system.encoder.save(folder / (ENCODERS[0] if english else ENCODERS[1]))
    if system.references:
        write_voice(system, folder / "conds.pt")
    if (rows := len(weights["text_emb.weight"])) not in (ENGLISH_ROWS, 2454):
        (folder / "chatterbox_shim.py").write_text(recycling.shim(rows, english, system.languages), encoding="utf-8")
    recycling.copy_codec(system.codec_state, folder)
    checkpoint.write_json(folder / "system.json", state)
    return folder


def write_voice(system, file: Path) -> None:
    """`conds.pt` with the first voice of the training, else the base's own; its `gen` is empty where the codec is not
    S3Gen: the stock runtime cannot speak its codes."""
    reference = next((r for name, r in system.references.items() if name != BUILT_IN), None)
    reference = reference or system.references[BUILT_IN]
    t3 = {
        "speaker_emb": reference.vector[None],
        "clap_emb": None,
        "cond_prompt_speech_tokens": reference.codes[None] if len(reference.codes) else None,
        "cond_prompt_speech_emb": None,
        "emotion_adv": torch.full((1, 1, 1), system.p.t3.emotion),
    }
    gen = dict(reference.decoder) | ({"prompt_feat_len": None} if reference.decoder else {})  # S3Gen wants it named
    torch.save({"t3": t3, "gen": gen}, file)
