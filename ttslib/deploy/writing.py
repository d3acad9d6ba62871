"""`ttslib export` beyond the plain copy: a folder appears under its name only when it is whole and passed its trial.

    export(run, out, weights="int8")                    # the system's own format, where that is ours
    export(run, out, weights="int8", form="ttslib")     # any system, for `ttslib` alone
    export(run, out, form="onnx")                       # acoustic and vits

Beside the weights stands `export.json`: bytes, what was measured, and whether it was checked.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ttslib import adapt, checkpoint, params, pipeline, runs
from ttslib.deploy import DeployError, trial, weights

FORMS = ("official", "ttslib", "onnx")
OWN = ("acoustic", "style")  # their official format is ours
TRAINING = {"vits": "discriminator"}  # nets that only training needs


def export(
    source: Path, out: Path, kind: str = "fp32", form: str = "official", unchecked: bool = False,
    overrides: Sequence[str] = (),
) -> dict:  # fmt: skip
    """Write the voice of a run, checkpoint or export into the new folder `out`; returns what `export.json` says.

    `overrides` are of the run's params (`evaluate.recogniser=...`). Raises `DeployError` for a form that the system does
    not have, for a folder that is not empty, for a voice that fails its trial, and where there is nobody to try it; then
    there is nothing in `out`.
    """
    source, out = Path(source), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DeployError(f"--out {out}: there is something already; name a new folder")
    system = pipeline.load(pipeline.checkpoint_of(source))
    refuse(system.p.system, kind, form)
    judged = kind != "fp32" and not unchecked
    run, p = judge(source, overrides) if judged else (None, None)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of an export that was killed
    partial.mkdir(parents=True)
    try:
        if form == "onnx":
            from ttslib.deploy import onnx_folder

            told = onnx_folder.write(system, partial)
        else:
            told = lighter(system, partial, kind, form)
        if judged:
            told["trial"] = trial.held(run, p, system, pipeline.load(partial))
            if told["trial"]["against"]:
                raise DeployError(refusal(kind, told))
        told |= {"source": str(source), "checked": judged or form == "onnx" or told["weight_error"]["max"] == 0}
        finish(system, partial, out, told)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return told


def refuse(system: str, kind: str, form: str) -> None:
    """Raise `DeployError` for a form that this system does not have."""
    if form == "onnx" and system not in ("acoustic", "vits"):
        raise DeployError(
            f"--format onnx: of {system} there is none, it speaks in a loop of its own; there is of acoustic and vits"
            "; give --format ttslib"
        )
    if form == "onnx" and kind != "fp32":
        raise DeployError(f"--format onnx --weights {kind}: ONNX is written in fp32; leave --weights out")
    if kind == "int8" and form == "official" and system not in OWN:
        raise DeployError(
            f"--weights int8: the runtime of {system} reads no int8; give --weights bf16, which it reads, or --format "
            "ttslib, which ttslib alone reads"
        )


def judge(source: Path, overrides: Sequence[str]) -> tuple[runs.Run, params.Params]:
    """The run whose sentences and recogniser try the export, and its params. Raises `DeployError` where there is none."""
    run = runs.Run(source)
    if missing := [name for name in ("params.yaml", "data.json") if not (source / name).is_file()]:
        raise DeployError(
            f"{source}: no {missing[0]} in it: only a run's folder knows its held-out sentences and who reads them back"
            "; give the run's folder, or --unchecked"
        )
    return run, params.load(source / "params.yaml", overrides)


def lighter(system, folder: Path, kind: str, form: str) -> dict:
    """Write the weights as `kind`, official or ours; what is known of them without speaking."""
    before = {f"{n}.{k}": v for n, net in spoken(system).items() for k, v in adapt.plain(net).items()}
    if form == "official" and system.p.system not in OWN:
        system.export(folder)
        files = official(system.p.system, folder)
        full = sum(file.stat().st_size for file in files)
        for file in files if kind == "bf16" else ():
            halve(file)
    else:
        full = sum(value.numel() * value.element_size() for value in before.values())
        files = [own(system, before, folder, kind)]
    after = pipeline.load(folder)
    read = {f"{n}.{k}": v for n, net in spoken(after).items() for k, v in adapt.plain(net).items()}
    told = {"format": form, "weights": kind, "system": system.p.system}
    told["bytes"] = {"fp32": full, kind: sum(file.stat().st_size for file in files)}
    same = {name: value for name, value in before.items() if name in read and read[name].shape == value.shape}
    told["weight_error"] = weights.error(same, read) | {"rebuilt": sorted(before.keys() - same.keys())}
    return told


def spoken(system) -> dict[str, torch.nn.Module]:
    """The nets that speaking takes."""
    return {name: net for name, net in system.nets.items() if name != TRAINING.get(system.p.system)}


def own(system, plain: dict, folder: Path, kind: str) -> Path:
    """Our format: the checkpoint of a run without the state of its training, whatever system it is."""
    axes = {f"{n}.{k}": axis for n, net in spoken(system).items() for k, axis in weights.channels(net).items()}
    state = system.state() | {"weights": kind}
    state["adaptation"] = state["adaptation"] and state["adaptation"] | {"lora": None}
    if system.p.system == "vits":
        state["params"]["vits"] |= {"discriminator": False, "discriminator_from": None}
    checkpoint.export(folder, weights.reduced(plain, axes, kind), state, system.vocabularies)
    checkpoint.seal(folder)  # by its checksums a system tells our format from its own
    return folder / "model.safetensors"


def official(system: str, folder: Path) -> list[Path]:
    """The files with the network's weights in an official export."""
    from ttslib.systems.t3.storage import WEIGHTS

    names = {"vits": ["model.safetensors"], "pocket": ["model.safetensors"], "indextts": ["gpt.pth"], "t3": WEIGHTS}
    return [folder / name for name in names[system] if (folder / name).is_file()]


def halve(file: Path) -> None:
    """Rewrite an official file of weights, its matrices in bfloat16; Mimi's, which Pocket's file brings along, stay."""
    pickled = file.suffix == ".pth"
    if pickled:
        found, about = torch.load(file, map_location="cpu", weights_only=True), None
    else:
        found = load_file(file)
        with safe_open(file, "pt") as opened:
            about = opened.metadata()
    axes = {k: 0 for k, v in found.items() if v.is_floating_point() and v.dim() > 1 and not k.startswith("mimi.")}
    made = {k: v.contiguous() for k, v in weights.reduced(found, axes, "bf16").items()}
    partial = file.with_name(f".{file.name}")
    torch.save(made, partial) if pickled else save_file(made, partial, about)
    os.replace(partial, file)


def finish(system, partial: Path, out: Path, told: dict) -> None:
    """Name the folder, with `export.json` in it and checksums of all of it."""
    if (file := partial / "system.json").is_file():
        state = checkpoint.read_json(file) | {"weights": told["weights"], "checked": told["checked"]}
        checkpoint.write_json(file, state)
    if (file := partial / "config.json").is_file():  # of Transformers: computed in fp32, whatever is stored
        checkpoint.write_json(file, checkpoint.read_json(file) | {"dtype": "float32"})
    if (file := partial / "config.yaml").is_file() and system.p.system == "pocket":
        relocate(file, partial, out)
    checkpoint.write_json(partial / "export.json", told)
    if (partial / "checksums.json").is_file():
        checkpoint.seal(partial)
    if out.is_dir():
        out.rmdir()
    os.rename(partial, out)


def relocate(file: Path, partial: Path, out: Path) -> None:
    """Pocket's package wants absolute paths in its configuration: those of the folder's final name."""

    def moved(value):
        if isinstance(value, dict):
            return {key: moved(one) for key, one in value.items()}
        return value.replace(str(partial.resolve()), str(out.resolve())) if isinstance(value, str) else value

    config = moved(yaml.safe_load(file.read_text(encoding="utf-8")))
    file.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")


def refusal(kind: str, told: dict) -> str:
    """What is said of a voice that failed, with its numbers."""
    t = told["trial"]
    read = ", ".join(sorted({one["recogniser"] for one in t["recogniser"].values()}))
    numbers = f"{t['sentences']} sentences, read by {read}"
    if t["difference"] and t["difference"]["low"] is not None:
        cer = [f"{name} {t[name]['cer']['value']:.4f} {trial.interval(t[name]['cer'])}" for name in ("full", "lighter")]
        numbers = f"CER {', '.join(cer)}, difference {trial.interval(t['difference'])}; {numbers}"
    return (
        f"--weights {kind}: {t['against']} ({numbers}). Nothing was written; take more bits (bf16, fp32), judge it on more "
        "sentences (evaluate.in_domain, evaluate.per_set), or give --unchecked"
    )
