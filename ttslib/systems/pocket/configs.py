"""Configs of pocket-tts 4.0.1 (YAML, `utils/config.py`): read strictly, turned into shapes, written for export; and where
the files of a model are.

The package resolves a path in a config as `hf://owner/name/file@revision`, as an http(s) address, or as a path from the
*working directory*, never from the config's folder (`download_if_necessary`). So what we write is absolute, or hf:// as
given: a config that loads from anywhere on this machine. In a folder that was moved or copied the absolute paths are stale:
`locate` therefore looks for a file of the same name beside the config first; for the package, `weights_path` and
`tokenizer_path` are to be edited.

A second address, `weights_path_without_voice_cloning`, is where the package turns without a word when the first fails, so
it is never exported: that would be another model.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType

import yaml

from ttslib.checkpoint import CheckpointError
from ttslib.codecs import CodecError, pocket
from ttslib.codecs.published import imported
from ttslib.snapshots import located
from ttslib.systems.pocket.wording import Flags
from ttslib.units import UnitsError
from ttslib.vocab.source import HUB, fetched, in_cache

FLOWS = ("lsd", "flow_matching", "drifting", "pointwise")
TEMPERATURE, THRESHOLD = 0.3, -4.0  # the package's, where a config does not say
TOKENIZERS = {".json": "tokenizers", ".model": "sentencepiece"}

# Keys and their types; what ends in ? may be left out.
_SEANET = {
    "dimension": int, "channels": int, "n_filters": int, "n_residual_layers": int, "ratios": list, "kernel_size": int,
    "residual_kernel_size": int, "last_kernel_size": int, "dilation_base": int, "pad_mode": str, "compress": int,
}  # fmt: skip
_MIMI_TRANSFORMER = {
    "d_model": int, "input_dimension": int, "output_dimensions": list, "num_heads": int, "num_layers": int,
    "layer_scale": float, "context": int, "max_period?": float, "dim_feedforward": int,
}  # fmt: skip
SCHEMA = {
    "flow_lm": {
        "dtype": str,
        "flow": {"dim": int, "depth": int, "type?": str},
        "transformer": {
            "hidden_scale": int, "max_period": int, "d_model": int, "num_heads": int, "num_layers": int,
            "attn_dim?": int | None, "num_kv_heads?": int | None, "dim_feedforward?": int | None,
        },
        "z_dim?": int | None,
        "lookup_table": {"dim": int, "n_bins": int, "tokenizer": str, "tokenizer_path": str, "rank?": int | None},
        "weights_path?": str | None,
        "insert_bos_before_voice?": bool,
    },
    "mimi": {
        "dtype": str, "sample_rate": int, "channels": int, "frame_rate": float,
        "seanet": _SEANET, "transformer": _MIMI_TRANSFORMER,
        "quantizer": {"dimension": int, "output_dimension": int},
        "weights_path?": str | None, "inner_dim?": int | None, "outer_dim?": int | None,
        "decoder_seanet?": _SEANET, "decoder_transformer?": _MIMI_TRANSFORMER,
    },
    "weights_path?": str | None, "weights_path_without_voice_cloning?": str | None,
    "pad_with_spaces_for_short_inputs?": bool, "remove_semicolons?": bool, "append_terminal_punctuation?": bool,
    "capitalize_first_letter?": bool, "replace_characters?": dict, "model_recommended_frames_after_eos?": int | None,
    "default_temperature?": float, "default_eos_threshold?": float,
}  # fmt: skip

# Of all published models but english_2026-01 and the small ones
MIMI = {
    "dtype": "float32", "sample_rate": 24000, "inner_dim": 32, "outer_dim": 512, "channels": 1, "frame_rate": 12.5,
    "seanet": {
        "dimension": 512, "channels": 1, "n_filters": 64, "n_residual_layers": 1, "ratios": [6, 5, 4],
        "kernel_size": 7, "residual_kernel_size": 3, "last_kernel_size": 3, "dilation_base": 2,
        "pad_mode": "constant", "compress": 2,
    },
    "transformer": {
        "d_model": 512, "num_heads": 8, "num_layers": 2, "layer_scale": 0.01, "context": 250,
        "dim_feedforward": 2048, "input_dimension": 512, "output_dimensions": [512],
    },
    "quantizer": {"dimension": 32, "output_dimension": 512},
}  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """The sizes of a FlowLM; the defaults are those of the published six layers."""

    text_rows: int
    """of the text table: one more than the tokenizer has names (`n_bins`), for padding"""
    dim: int = 1024
    heads: int = 16
    layers: int = 6
    ff: int = 4096
    latent: int = 32
    """numbers a frame that are foretold"""
    voice: int = 32
    """numbers a frame of the voice that is given"""
    flow: str = "lsd"
    flow_dim: int = 512
    flow_depth: int = 6
    z_dim: int | None = None
    """what the heads read, where it is projected"""
    attn_dim: int | None = None
    """of queries and attention's output, where it is not `dim`"""
    kv_heads: int | None = None
    rank: int | None = None
    """of the text table, where it is a product of two"""
    max_period: int = 10000
    voice_bos: bool = True
    """whether a learnt vector stands before the voice"""

    def __post_init__(self):
        """Raises `CheckpointError` for sizes of which no network can be made."""
        width, shared = self.attn_dim or self.dim, self.kv_heads or self.heads
        if self.flow not in FLOWS:
            raise CheckpointError(f"a flow of type {self.flow!r}; there are {', '.join(FLOWS)}")
        if width % self.heads or width // self.heads % 2 or self.heads % shared:
            raise CheckpointError(
                f"{self.heads} heads, {shared} of them with keys, over {width}: an even width each, and a whole number of "
                "heads to each key"
            )


@dataclass(frozen=True)
class Files:
    """Local paths of a model. `weights` are safetensors of a whole `TTSModel`, or a `.pt` of the official trainer, in which
    Mimi is not."""

    config: Path
    weights: Path
    tokenizer: Path


def read(path: Path) -> dict:
    """A config as it is written. Raises `CheckpointError` naming every unknown, missing and ill-typed key."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; correct the path") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise CheckpointError(f"{path}: not YAML: {' '.join(str(error).split()[:30])}") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: no config of pocket-tts: {type(found).__name__}, not keys and values")
    if wrong := list(_faults(found, SCHEMA, "")):
        raise CheckpointError(f"{path}: no config of pocket-tts 4.0.1: {'; '.join(wrong)}")
    try:
        shape_of(found)
        flags_of(found)
    except (CheckpointError, UnitsError) as error:
        raise CheckpointError(f"{path}: {error}") from None
    return found


def _faults(found: Mapping, schema: Mapping, where: str):
    keys = {key.removesuffix("?"): (kind, key.endswith("?")) for key, kind in schema.items()}
    yield from (f"unknown key {where}{key}" for key in found if key not in keys)
    for key, (kind, optional) in keys.items():
        value = found.get(key)
        if key not in found:
            yield from [] if optional else [f"{where}{key} is missing"]
        elif isinstance(kind, dict):
            if isinstance(value, dict):
                yield from _faults(value, kind, f"{where}{key}.")
            elif value is not None or not optional:
                yield f"{where}{key} is {value!r}, not a section"
        elif not _is(value, kind):
            yield f"{where}{key} is {value!r}, not {kind.__name__ if isinstance(kind, type) else kind}"
        elif kind is dict and (bad := [item for item in [*value, *value.values()] if not isinstance(item, str)]):
            yield f"{where}{key} has {bad[0]!r}, which is no text (in quotes it would be)"
        elif kind is list and (bad := [item for item in value if not _is(item, int)]):
            yield f"{where}{key} has {bad[0]!r}, which is no int"


def _is(value, kind: type | UnionType) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, float | int if kind is float else kind)


def write(path: Path, config: Mapping) -> Path:
    """A config as YAML, in the order of its keys."""
    path.write_text(yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def shape_of(config: Mapping) -> Shape:
    """The sizes that a config describes. Raises `CheckpointError` when they contradict each other."""
    lm, mimi = config["flow_lm"], config["mimi"]
    backbone, flow, table = lm["transformer"], lm["flow"], lm["lookup_table"]
    if table["dim"] != backbone["d_model"]:
        raise CheckpointError(f"flow_lm: lookup_table.dim={table['dim']}, transformer.d_model={backbone['d_model']}")
    return Shape(
        text_rows=table["n_bins"] + 1,
        dim=backbone["d_model"],
        heads=backbone["num_heads"],
        layers=backbone["num_layers"],
        ff=backbone.get("dim_feedforward") or backbone["d_model"] * backbone["hidden_scale"],
        latent=mimi["quantizer"]["dimension"],
        voice=_voice(mimi),
        flow=flow.get("type", "lsd"),
        flow_dim=flow["dim"],
        flow_depth=flow["depth"],
        z_dim=lm.get("z_dim"),
        attn_dim=backbone.get("attn_dim"),
        kv_heads=backbone.get("num_kv_heads"),
        rank=table.get("rank"),
        max_period=backbone["max_period"],
        voice_bos=lm.get("insert_bos_before_voice", False),
    )


def _voice(mimi: Mapping) -> int:
    return mimi.get("inner_dim") or mimi["seanet"]["dimension"]


def flags_of(config: Mapping) -> Flags:
    """How the model's texts are prepared. Raises `UnitsError` for a map of anything but single characters."""
    return Flags(
        replace=config.get("replace_characters", {}),
        semicolons=config.get("remove_semicolons", False),
        terminal=config.get("append_terminal_punctuation", True),
        capital=config.get("capitalize_first_letter", True),
        spaces=config.get("pad_with_spaces_for_short_inputs", False),
    )


def config_of(
    shape: Shape, base: Mapping | None, weights: str | Path, tokenizer: str | Path, flags: Flags | None = None,
    temperature: float | None = None, threshold: float | None = None,
) -> dict:  # fmt: skip
    """The config of a model of this shape, for `write`.

    `base` is the config of the model it came from, whose Mimi and, where nothing else is given, flags, temperature and
    threshold it keeps; None: the Mimi of most published models, and the package's defaults. `weights` are safetensors of a
    whole `TTSModel`, `tokenizer` a `.json` or `.model`: files, which are written as absolute paths, or addresses (`hf://`,
    `https://`), which stay. Raises `CheckpointError` when they are of another kind, or Mimi's frames do not fit the shape.
    """
    base = base or {"mimi": MIMI}
    mimi = {key: value for key, value in base["mimi"].items() if key != "weights_path"}  # its weights are in the bundle
    if (_voice(mimi), mimi["quantizer"]["dimension"]) != (shape.voice, shape.latent):
        raise CheckpointError(
            f"a model of {shape.latent} numbers a frame and {shape.voice} of a voice with a Mimi that has "
            f"{mimi['quantizer']['dimension']} and {_voice(mimi)}"
        )
    suffix = Path(_name(str(tokenizer))).suffix
    if suffix not in TOKENIZERS:
        raise CheckpointError(f"{tokenizer}: no tokenizer that the package reads; there are {', '.join(TOKENIZERS)}")
    whole, rest = divmod(shape.ff, shape.dim)
    flags = flags or flags_of(base)
    backbone = {
        "d_model": shape.dim,
        "hidden_scale": 1 if rest else whole,
        "max_period": shape.max_period,
        "num_heads": shape.heads,
        "num_layers": shape.layers,
    }
    more = {"dim_feedforward": shape.ff if rest else None, "attn_dim": shape.attn_dim, "num_kv_heads": shape.kv_heads}
    table = {
        "dim": shape.dim,
        "n_bins": shape.text_rows - 1,
        "tokenizer": TOKENIZERS[suffix],
        "tokenizer_path": _address(tokenizer),
    }
    made = {
        "weights_path": _address(weights),
        "default_temperature": base.get("default_temperature", TEMPERATURE) if temperature is None else temperature,
        "default_eos_threshold": base.get("default_eos_threshold", THRESHOLD) if threshold is None else threshold,
        "model_recommended_frames_after_eos": base.get("model_recommended_frames_after_eos"),
        "pad_with_spaces_for_short_inputs": flags.spaces,
        "remove_semicolons": flags.semicolons,
        "append_terminal_punctuation": flags.terminal,
        "capitalize_first_letter": flags.capital,
        "replace_characters": dict(flags.replace),
        "flow_lm": {
            "insert_bos_before_voice": shape.voice_bos,
            "dtype": "float32",
            "flow": {"depth": shape.flow_depth, "dim": shape.flow_dim, "type": shape.flow},
            "transformer": backbone | {key: value for key, value in more.items() if value is not None},
            "lookup_table": table | ({} if shape.rank is None else {"rank": shape.rank}),
        } | ({} if shape.z_dim is None else {"z_dim": shape.z_dim}),
        "mimi": mimi,
    }  # fmt: skip
    return {key: value for key, value in made.items() if value is not None}


def _address(file: str | Path) -> str:
    return str(file) if re.match(r"(hf|https?)://", str(file)) else str(Path(file).expanduser().resolve())


def locate(source: str) -> Files:
    """The files of a model: of a folder with one config in it, of a config, of a checkpoint of the official trainer with a
    config beside it, of a config of the package (`english`, `french_24l`), or of a hub repository (`owner/name`, then
    `/config.yaml` and `@revision` if wished; `kyutai/pocket-tts#french`).

    What a config names is looked for beside it, then where it says, then on the hub. Raises `CheckpointError` saying what is
    missing and where it was looked for.
    """
    path = Path(source).expanduser()
    place, _, language = source.partition("#")
    if path.is_file() and path.suffix in (".yaml", ".yml"):
        return _files(path)
    if path.is_file() and path.suffix == ".pt":
        return _files(_only(path.parent), weights=path)
    if path.is_file():
        raise CheckpointError(f"{source}: neither a config (.yaml) nor a checkpoint (.pt); give the folder it lies in")
    if path.is_dir():
        return _files(_only(path))
    if place == pocket.OFFICIAL or re.fullmatch(r"[\w-]+", source):
        return _files(_shipped(language or "english" if place == pocket.OFFICIAL else source))
    if (match := HUB.fullmatch(source)) and Path(match["file"] or "").suffix in (".yaml", ".yml"):
        return _files(_of_hub(match, source))
    if match and match["file"]:
        raise CheckpointError(f"{source}: {match['file']} is no config (.yaml)")
    folder, *_ = located(source, "*.yaml", ())
    found = read(config := _only(folder))
    names = found.get("weights_path") or "", found["flow_lm"]["lookup_table"]["tokenizer_path"]
    located(source, _name(names[0]), (_name(names[1]),))
    return _files(config)


def _only(folder: Path) -> Path:
    """The config in a folder; other YAML, such as the settings of the official trainer, is passed over."""
    files = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
    configs = [file for file in files if re.search(b"^flow_lm:", file.read_bytes(), re.MULTILINE)]
    if not configs:
        raise CheckpointError(f"{folder}: no config of pocket-tts (.yaml) in this folder")
    if len(configs) > 1:
        names = ", ".join(file.name for file in configs)
        raise CheckpointError(f"{folder}: {len(configs)} configs of pocket-tts in this folder, not one: {names}")
    return configs[0]


def _shipped(name: str) -> Path:
    try:
        configs = imported("pocket_tts.utils.config", pocket.INSTALL).CONFIGS_DIR
    except CodecError as error:
        raise CheckpointError(f"{name}: no such file or folder, and {error}") from None
    if not (path := configs / f"{name}.yaml").is_file():
        there = ", ".join(sorted(path.stem for path in configs.glob("*.yaml")))
        raise CheckpointError(f"{name}: no such file or folder, and no config of pocket-tts, which has {there}")
    return path


def _files(config: Path, weights: Path | None = None) -> Files:
    found = read(config)
    if weights is None:
        if found["flow_lm"].get("weights_path"):
            raise CheckpointError(f"{config}: flow_lm.weights_path: only whole models (weights_path) are read here")
        weights = _file(config, "weights_path", found.get("weights_path"))
    return Files(config, weights, _file(config, "tokenizer_path", found["flow_lm"]["lookup_table"]["tokenizer_path"]))


def _file(config: Path, key: str, said: str | None) -> Path:
    """The local path of what a config names. Raises `CheckpointError`."""
    if not said:
        raise CheckpointError(f"{config}: no {key} in it")
    if (beside := config.parent / (name := _name(said))).is_file():
        return beside
    if said.startswith(("http://", "https://")):
        raise CheckpointError(f"{config}: {key} is {said}; download it and put it beside the config, as {name}")
    if said.startswith("hf://"):
        where = f"{config}: {key}: {said}"
        if not (match := HUB.fullmatch(said.removeprefix("hf://"))) or not match["file"]:
            raise CheckpointError(f"{where}: no file of a hub repository (hf://owner/name/file)")
        return _of_hub(match, where)
    if (path := Path(said).expanduser()).is_file():
        return path
    raise CheckpointError(f"{config}: {key} is {said}; there is no such file, and no {name} beside the config")


def _name(address: str) -> str:
    """The file's own name, of a path or address."""
    return (address.split("@")[0] if address.startswith("hf://") else address).rpartition("/")[2]


def _of_hub(match: re.Match[str], where: str) -> Path:
    repo, names, revision = match["repo"], [match["file"]], match["revision"]
    return in_cache(repo, names, revision) or fetched(where, repo, names, revision, CheckpointError)
