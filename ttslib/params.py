"""One strict, typed, frozen object per run: `params/default.yaml` < `params/systems/<system>.yaml`, where there is one, <
`params/<lang>.yaml` < dials < overrides.

Unknown keys and wrong types are one clear error each (`ParamsError`), with the nearest valid name. The fields are in
`ttslib.sections`; `document()` writes them out as `params/default.yaml`.
"""

import difflib
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from ttslib.paths import PARAMS
from ttslib.sections import Params


class ParamsError(ValueError):
    """A parameter that does not exist or has the wrong type or value; the message says which, where and what to do."""


def load(lang: str | Path, overrides: Mapping[str, Any] | Iterable[str] = (), **dials: Any) -> Params:
    """Read `params/<lang>.yaml` (or the file `lang` names) over the defaults and apply dials and overrides.

    `dials` are top-level fields, `None` meaning "what the file says". `overrides` are dotted: `{"train.lr": 1e-3}` or
    `["train.lr=1.0e-3"]`. Raises `ParamsError` for a missing file, an unknown key, a wrong type or a value out of range.
    """
    if not isinstance(lang, str | Path):
        raise ParamsError(
            f"lang: got {lang!r}, a {type(lang).__name__}; YAML reads no, yes, on and off as booleans: quote it"
        )
    path = Path(lang) if str(lang).endswith((".yaml", ".yml")) else PARAMS / f"{lang}.yaml"
    if not path.is_file():
        known = sorted(f.stem for f in PARAMS.glob("*.yaml"))
        raise ParamsError(
            f"lang: no file {path}; known are {', '.join(known)}; copy params/default.yaml{near(str(lang), known)}"
        )
    merged, own, given = read(PARAMS / "default.yaml"), read(path), dotted(overrides)
    dials = {k: v for k, v in dials.items() if v is not None}
    system = (merged | own | dials | given).get("system")
    if (suited := PARAMS / "systems" / f"{system}.yaml").is_file():
        merge(merged, read(suited), str(suited))
    merge(merged, own, str(path))
    merge(merged, dials, "dials")
    for key, value in given.items():
        for name in reversed(key.split(".")[1:]):
            value = {name: value}
        merge(merged, {key.split(".")[0]: value}, f"override {key}")
    return validate(merged, f"{path} with its dials" if dials or overrides else str(path))


def from_dials(namespace: Mapping[str, Any]) -> Params:
    """The params of a notebook, from its `globals()` right after the parameters cell.

    Papermill injects whatever it is passed (`-p`, `-f`) and only warns of unknown names. Every plain value in the
    namespace is therefore taken as a dial, and an unknown one is an error.
    """
    shell = {"In", "Out", "exit", "quit", "get_ipython", "open"}
    given = {
        k: v
        for k, v in namespace.items()
        if not k.startswith("_") and k not in shell and not isinstance(v, types.ModuleType) and not callable(v)
    }
    overrides = given.pop("overrides", None) or {}
    lang = given.pop("lang", None)
    if lang is None:
        raise ParamsError("lang: not given; set it in the parameters cell or pass -p lang am")
    dials = {k: v for k, v in given.items() if not isinstance(v, dict)}
    sections = {k: v for k, v in given.items() if isinstance(v, dict)}
    flat = {f"{k}.{kk}": vv for k, v in sections.items() for kk, vv in v.items()}
    return load(lang, {**flat, **dotted(overrides)}, **dials)


def dotted(overrides: Mapping[str, Any] | Iterable[str]) -> dict[str, Any]:
    if isinstance(overrides, Mapping):
        return dict(overrides)
    out = {}
    for item in overrides:
        key, equals, value = item.partition("=")
        if not equals:
            raise ParamsError(f"{item!r} is not an override; write key=value, e.g. train.lr=1.0e-3")
        try:
            out[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ParamsError(f"{item}: the value is not readable as YAML: {error}; quote it") from None
    return out


def read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path}: not readable as YAML: {error}; correct that line") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ParamsError(
            f"{path}: must hold key: value lines, found {type(content).__name__}; write one setting a line"
        )
    return content


def merge(base: dict[str, Any], over: Mapping[str, Any], where: str) -> None:
    """Lay `over` onto `base`, section by section; a section given as a plain value is an error, never a replacement."""
    for key, value in over.items():
        if isinstance(base.get(key), dict):
            if not isinstance(value, Mapping):
                raise ParamsError(f"{where}: {key} is a section; write {key}: {{...}} or {key}.<name>, got {value!r}")
            merge(base[key], value, where)
        elif isinstance(value, Mapping) and base.get(key) is not None:  # train.lr.x: a value where a section would be
            raise ParamsError(f"{where}: there is no such parameter{near(where.removeprefix('override '), names())}")
        else:
            base[key] = value


def validate(values: Mapping[str, Any], where: str) -> Params:
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise ParamsError(f"{where}:\n" + "\n".join(f"  {explain(e)}" for e in error.errors())) from None


def explain(error: Mapping[str, Any]) -> str:
    """One line for one of pydantic's errors: the dotted name, what was found, what to write."""
    place = [str(part) for part in error["loc"]]
    name, found = ".".join(place), error["input"]
    if error["type"] == "extra_forbidden":
        return f"{name}: there is no such parameter{near(name, names())}"
    hint = ""
    if isinstance(found, bool):
        hint = " (YAML reads no, yes, on, off as booleans: quote it)"
    elif isinstance(found, str) and looks_numeric(found):
        hint = (
            f" (YAML reads {found} as text: write {yaml.safe_dump(float(found)).split()[0]})"
            if "e" in found.lower()
            else " (remove the quotes)"
        )
    return f"{name}: {error['msg'][0].lower()}{error['msg'][1:]}, got {found!r}{hint}"


def looks_numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def near(name: str, known: Iterable[str]) -> str:
    known = list(known)
    by_leaf = [k for k in known if k.split(".")[-1] == name.split(".")[-1]]
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.6) or by_leaf[:1]
    return f"; did you mean {found[0]}?" if found else ""


def names(section: type[BaseModel] = Params, prefix: str = "") -> list[str]:
    out = []
    for key, field in section.model_fields.items():
        out.append(prefix + key)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            out += names(field.annotation, f"{prefix}{key}.")
    return out


def document() -> str:
    """The text of `params/default.yaml`: every field with its meaning, unit, choices and default."""
    lines = ["# Every parameter with its default. Written by `python -m ttslib validate --document`; do not edit:"]
    lines += ["# put what differs into params/<lang>.yaml, or give it on the command line as key=value.", ""]

    def walk(section: BaseModel, indent: str) -> None:
        for key, field in type(section).model_fields.items():
            value = getattr(section, key)
            doc = " ".join((field.description or "").split())
            if get_args(field.annotation) and all(isinstance(a, str) for a in get_args(field.annotation)):
                doc += f" [{' | '.join(get_args(field.annotation))}]"
            if isinstance(value, BaseModel):
                lines.append(f"\n{indent}# {doc}\n{indent}{key}:")
                walk(value, indent + "  ")
            else:
                plain = section.model_dump(mode="json")[key]
                shown = yaml.safe_dump(plain, default_flow_style=True, width=10**6).removesuffix("\n...\n").strip()
                lines.append(f"{indent}# {doc}\n{indent}{key}: {shown}")

    walk(Params(), "")
    return "\n".join(lines) + "\n"
