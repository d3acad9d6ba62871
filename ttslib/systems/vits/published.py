"""Transformers' files of VITS: a folder or hub repository in, a folder that stock Transformers speaks from out."""

import json
import re
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import VitsConfig, VitsModel

from ttslib import vocab
from ttslib.checkpoint import CheckpointError
from ttslib.vocab.characters import CONFIG, Characters, declared
from ttslib.vocab.published import MMS

LANGS = {code.partition("-")[0]: lang for lang, code in MMS.items()}


def tokenizer(source: str) -> tuple[Characters, dict]:
    """The vocabulary of a folder or hub id and what its tokenizer_config.json says. Raises `VocabError` where there is
    none, and `CheckpointError` for a model that reads phonemes."""
    path = vocab.source.located(source)
    found, config = vocab.source.parse(path, source), path.with_name("tokenizer_config.json")
    says = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    if not isinstance(found, Characters):
        raise CheckpointError(f"{source}: a tokenizer of kind {found.kind}; a VITS model has a vocab.json")
    if says.get("phonemize", True):  # VitsTokenizer's default
        raise CheckpointError(
            f"{source}: its tokenizer reads phonemes of the phonemizer package (phonemize is true, or there is no "
            "tokenizer_config.json to say otherwise); only models that read characters are supported, as MMS-TTS"
        )
    return replace(found, front="vits", declared=declared(says)), says


def model(source: str) -> VitsModel:
    """The network of a folder or hub id. Raises `CheckpointError` when it cannot be had or weights are missing in it."""
    try:
        found, info = VitsModel.from_pretrained(source, output_loading_info=True, dtype=torch.float32)
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{source}: no VITS model of Transformers in it: {str(error).splitlines()[0]}") from None
    wrong = sorted(info["missing_keys"]) + sorted(str(key) for key in info["mismatched_keys"])
    if wrong:
        raise CheckpointError(f"{source}: {len(wrong)} weights of a VitsModel are missing or misshapen, as {wrong[:3]}")
    found.config.layerdrop = 0.0
    return found


def language(says: dict, source: str) -> str:
    """The language a tokenizer_config.json names, or the name of an MMS repository, as this library writes it (`ku`);
    `und` where neither does."""
    named = re.search(r"mms-tts-([a-z]{3})", source)
    code = str(says.get("language") or (named[1] if named else "und")).partition("-")[0]
    return LANGS.get(code, code)


def write(
    folder: Path, config: VitsConfig, weights: dict[str, Tensor], names: dict, tokenizer: Characters, blanks: bool,
    lang: str,
) -> None:  # fmt: skip
    """config.json, model.safetensors (row names beside the weights), vocab.json and tokenizer_config.json.

    Stock `VitsTokenizer` reads normalised text as we do; numbers and abbreviations are our normaliser's business.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config.architectures = ["VitsModel"]
    config.save_pretrained(folder)
    plain = {k: v.detach().cpu().contiguous() for k, v in weights.items()}
    listed = {name: list(rows) for name, rows in names.items()}
    save_file(plain, folder / "model.safetensors", {"format": "pt", "vocabularies": json.dumps(listed)})
    (folder / "vocab.json").write_bytes(tokenizer.data)
    special = {f"{CONFIG[role]}_token": name for role, name in tokenizer.roles.items() if role in ("pad", "unk")}
    says = {
        "tokenizer_class": "VitsTokenizer", "add_blank": blanks, "normalize": True, "phonemize": False,
        "is_uroman": tokenizer.uroman, "language": lang,
    }  # fmt: skip
    text = json.dumps({"pad_token": tokenizer.names[0]} | special | says, ensure_ascii=False, indent=2)
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
