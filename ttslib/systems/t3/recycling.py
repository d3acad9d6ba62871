"""How a T3 with more tokens gets back into the stock package: a shim that tells it the size, or rows used a second time."""

import json
import os
import shutil
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from torch import Tensor

from ttslib.adapt import AdaptError
from ttslib.vocab.bpe import Bpe
from ttslib.vocab.source import HUB

CODECS = ("s3gen.safetensors", "s3gen.pt", "s3gen_v3.pt")


def expendable(names: Sequence[str]) -> list[int]:
    """Ids of tokens to give up, those nobody misses first: placeholders, then Cangjie, bopomofo, Hangul and kana."""
    kinds = (
        lambda n: n.startswith(("[PLACEHOLDER", "<hole ")),
        lambda n: n.startswith("[cj_"),
        lambda n: script(n) == "BOPOMOFO",
        lambda n: script(n) == "HANGUL",
        lambda n: script(n) in ("KATAKANA", "HIRAGANA"),
    )
    return [i for kind in kinds for i, name in enumerate(names) if kind(name)]


def script(name: str) -> str:
    """The first word of the Unicode name of a token's first character."""
    return unicodedata.name(name[0], "").partition(" ")[0] if name else ""


def recycled(system, weights: Mapping[str, Tensor]) -> tuple[Bpe, dict[str, Tensor]]:
    """The tokenizer and weights with every new token in the row of one that is given up: as many rows as the base has.

    Raises `AdaptError` without a base to keep the size of, for other tokenizers than tokenizer.json, and when there are more
    new tokens than rows to spare.
    """
    if not isinstance(system.tokenizer, Bpe) or not system.adaptation:
        raise AdaptError(
            "t3.recycle: needs a base (adapt.base) whose tokenizer is a tokenizer.json"
            "; set t3.recycle=false, or name such a base"
        )
    names, size = system.tokenizer.names, len(system.adaptation["rows"]["text"]["old"])
    new, free = range(size, len(names)), expendable(names[:size])
    if len(new) > len(free):
        raise AdaptError(
            f"t3.recycle: {len(new)} new tokens, {len(free)} rows of scripts to give up; export with t3.recycle=false"
        )
    moved = dict(zip(new, free, strict=False))
    weights = dict(weights)
    for table in ("text_emb.weight", "text_head.weight"):
        rows = weights[table][:size].clone()
        rows[list(moved.values())] = weights[table][list(moved)]
        weights[table] = rows
    return replace(system.tokenizer, data=renamed(system.tokenizer, moved)), weights


def renamed(tokenizer: Bpe, moved: Mapping[int, int]) -> bytes:
    """The file with every token that moves at its new id, and without those that stood there, merges included."""
    found, names = json.loads(tokenizer.data), tokenizer.names
    gone = {names[slot] for slot in moved.values()}
    ids = {name: i for i, name in enumerate(names) if name not in gone}
    ids |= {names[source]: slot for source, slot in moved.items()}
    model = found["model"]
    model["vocab"] = {name: i for name, i in sorted(ids.items(), key=lambda item: item[1])}
    pairs = [(pair.split(" ") if isinstance(pair, str) else pair, pair) for pair in model["merges"]]
    model["merges"] = [pair for (a, b), pair in pairs if not {a, b, a + b} & gone]
    found["added_tokens"] = [t | {"id": ids[t["content"]]} for t in found["added_tokens"] if t["content"] in ids]
    found["added_tokens"].sort(key=lambda token: token["id"])
    return json.dumps(found, ensure_ascii=False, indent=2).encode()


def shim(rows: int, english: bool, languages: Sequence[str]) -> str:
    """A module that makes the stock package expect `rows` text rows and take the languages."""
    kind = "english_only" if english else "multilingual"
    lines = [
        f'"""Import this before the stock package loads this folder: its text tables have {rows} rows.',
        "",
        "    import chatterbox_shim",
        "    from chatterbox.tts import ChatterboxTTS"
        if english
        else "    from chatterbox.mtl_tts import ChatterboxMultilingualTTS",
        f"    voice = {'ChatterboxTTS' if english else 'ChatterboxMultilingualTTS'}.from_local(folder, device)",
        '"""',
        "",
        "from chatterbox.models.t3.modules.t3_config import T3Config",
        "",
        f"T3Config.{kind} = classmethod(lambda cls: cls(text_tokens_dict_size={rows}))",
    ]
    if not english:
        lines += ["", "from chatterbox.mtl_tts import SUPPORTED_LANGUAGES", ""]
        lines += [f"SUPPORTED_LANGUAGES.setdefault({lang!r}, {lang!r})" for lang in languages]
    return "\n".join(lines) + "\n"


def copy_codec(state: Mapping, folder: Path) -> None:
    """Put S3Gen's file beside the export where it is at hand: linked where that is possible, it has a gigabyte."""
    kind, _, source = str(state.get("where", "")).partition("=")
    if kind != "s3":
        return
    repository, _, revision = source.partition("@")
    for name in CODECS:
        file = Path(source) / name
        if not file.is_file() and HUB.fullmatch(source):
            file = Path(try_to_load_from_cache(repository, name, revision=revision or None) or "")
        if file.is_file() and not (folder / name).exists():
            try:
                os.link(file.resolve(), folder / name)
            except OSError:  # another file system
                shutil.copy(file, folder / name)
