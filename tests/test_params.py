"""Params are strict: every shipped file loads, and every mistake is one clear error that names the nearest real key."""

import os
import re

import pytest
import yaml
from pydantic import ValidationError

from ttslib import params
from ttslib.params import ParamsError
from ttslib.paths import PARAMS
from ttslib.systems import SYSTEMS

FILES = sorted(PARAMS.glob("*.yaml"))


def written(tmp_path, text: str):
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_files_were_found():
    assert len(FILES) >= 10
    assert {"default", "qaa", "am", "ku", "multilingual"} <= {f.stem for f in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_every_shipped_file_loads_under_its_name(file):
    p = params.load(file.stem)
    assert p.lang == (file.stem if file.stem != "default" else "am")
    assert p == params.load(file)
    assert params.validate(yaml.safe_load(str(p)), "printed") == p  # what a run stores is what it ran with


@pytest.mark.parametrize("file", sorted((PARAMS / "systems").glob("*.yaml")), ids=lambda f: f.stem)
def test_a_system_has_its_own_defaults_below_the_languages_file(file, tmp_path):
    assert file.stem in SYSTEMS
    own, plain = params.load("am", system=file.stem), params.load("am")
    assert own != plain.model_copy(update={"system": file.stem}), "it says nothing"
    assert own == params.load("am", {"system": file.stem})
    lower = written(tmp_path, f"lang: am\nsystem: {file.stem}\ntrain: {{lr: 0.5}}\n")
    found = params.load(lower)
    assert found.train.lr == 0.5 and found.data == own.data != plain.data
    assert params.load(lower, {"system": "acoustic"}).data == plain.data


def test_default_file_is_the_documentation():
    assert (PARAMS / "default.yaml").read_text(encoding="utf-8") == params.document()
    assert params.load("default") == params.Params()


def test_every_field_is_documented():
    for name in params.names():
        section, *rest = name.split(".")
        owner = params.Params.model_fields[section].annotation if rest else params.Params
        assert owner.model_fields[rest[0] if rest else section].description, name


MISTAKES = {
    "unknown key": ("train: {setps: 5}", "train.setps: there is no such parameter; did you mean train.steps?"),
    "key of a section at the top": ("steps: 5", "steps: there is no such parameter; did you mean train.steps?"),
    "unknown section": ("trian: {steps: 5}", "trian: there is no such parameter; did you mean train?"),
    "nothing near": ("qwxz: 5", "qwxz: there is no such parameter"),
    "fraction for a count": ("train: {steps: 1.5}", "train.steps: input should be a valid integer"),
    "boolean for a number": ("train: {steps: yes}", "got True (YAML reads no, yes, on, off as booleans"),
    "quoted number": ("train: {steps: '5'}", "got '5' (remove the quotes)"),
    "out of range": ("train: {lr: -1.0}", "train.lr: input should be greater than 0, got -1.0"),
    "not a number": ("train: {lr: .nan}", "train.lr: input should be greater than 0, got nan"),
    "no as a language": ("lang: no", "lang: input should be a valid string, got False (YAML reads no, yes, on, off"),
    "exponent without a dot": ("train: {lr: 1e-4}", "got '1e-4' (YAML reads 1e-4 as text: write"),
    "unknown choice": ("acoustic: {preset: huge}", "acoustic.preset: input should be 'unit', 'tiny' or 'base'"),
    "plain value for a section": ("train: 5", "train is a section; write train: {...} or train.<name>, got 5"),
    "empty section": ("train:", "train is a section"),
    "run that leaves its folder": ("run: ../other", "run: string should match pattern"),
    "a list": ("- lang", "must hold key: value lines, found list"),
    "not YAML": ("a: [", "not readable as YAML"),
}


@pytest.mark.parametrize(("text", "said"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_clear_error(tmp_path, text, said):
    with pytest.raises(ParamsError) as error:
        params.load(written(tmp_path, text))
    assert said in str(error.value)
    assert "mine.yaml" in str(error.value)


def test_every_mistake_gets_its_own_line(tmp_path):
    with pytest.raises(ParamsError) as error:
        params.load(written(tmp_path, "train: {setps: 5, lr: -1.0}\nlang: no"))
    assert len(str(error.value).splitlines()) == 4


@pytest.mark.parametrize("text", ["1e-4", "125e-6", "12E-6", "3e2"])
def test_the_number_to_write_is_the_number_that_was_meant(tmp_path, text):
    with pytest.raises(ParamsError) as error:
        params.load(written(tmp_path, f"train: {{lr: {text}}}"))
    advice = re.search(r"write (\S+)\)", str(error.value))[1]
    assert yaml.safe_load(advice) == float(text)


def test_a_missing_file_names_the_nearest():
    with pytest.raises(ParamsError, match=r"no file .*qab\.yaml.*did you mean qaa\?"):
        params.load("qab")
    with pytest.raises(ParamsError, match="quote it"):
        params.load(False)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.setps=5", "did you mean train.steps?"),
        ("train.lr.x=3", "train.lr.x: there is no such parameter; did you mean train.lr?"),
        ("train.lr", "'train.lr' is not an override; write key=value"),
        ("train.lr=[", "train.lr=["),
        ("train=5", "train is a section"),
        ("train.lr=1e-4", "(YAML reads 1e-4 as text"),
        ("lang.x=5", "lang"),
    ],
)
def test_a_wrong_override_is_one_clear_error(override, said):
    with pytest.raises(ParamsError, match=re.escape(said)):
        params.load("qaa", [override])


def test_default_then_file_then_dial_then_override(tmp_path):
    file = written(tmp_path, "lang: qaa\nminutes: 2.0\nseed: 3\ntrain: {steps: 7, warmup: 1}")
    assert params.load(file).train.log_every == params.Params().train.log_every
    assert (params.load(file).minutes, params.load(file).train.steps) == (2.0, 7)
    assert params.load(file, minutes=None).minutes == 2.0
    assert params.load(file, minutes=3.0).minutes == 3.0
    both = params.load(file, ["minutes=4.0", "train.steps=9"], minutes=3.0)
    assert (both.minutes, both.train.steps, both.train.warmup, both.seed) == (4.0, 9, 1, 3)
    assert params.load(file, {"train.steps": 9, "minutes": None}).minutes is None
    assert params.load(file, {"train": {"steps": 9}}).train.warmup == 1


def namespace(**dials) -> dict:
    """A notebook's globals() after papermill's injected cell."""
    shell = {"__name__": "__main__", "_dh": ["/x"], "_": "", "In": ["", "x"], "Out": {}, "exit": exit, "quit": quit}
    return shell | {"get_ipython": lambda: None, "open": open, "params": params, "os": os} | dials


def test_a_notebook_names_its_dials():
    p = params.from_dials(
        namespace(lang="qaa", run=None, minutes=0.5, tracking=None, overrides={"train.steps": 3}, data={"workers": 2})
    )
    assert (p.minutes, p.train.steps, p.data.workers, p.tracking) == (0.5, 3, 2, params.load("qaa").tracking)
    assert params.from_dials(namespace(lang="qaa", overrides=None)) == params.load("qaa")


@pytest.mark.parametrize(
    ("dials", "said"),
    [
        ({"lang": "qaa", "langg": "am"}, "langg: there is no such parameter; did you mean lang?"),
        ({"lang": None}, "lang: not given"),
        ({"lang": "qaa", "overides": {"train.steps": 3}}, "overides"),
        ({"lang": "qaa", "minutes": "5"}, "minutes: input should be a valid number, got '5' (remove the quotes)"),
        ({"lang": "qaa", "train": {"setps": 3}}, "did you mean train.steps?"),
        ({"lang": False}, "quote it"),
    ],
)
def test_a_wrong_dial_is_one_clear_error(dials, said):
    with pytest.raises(ParamsError, match=re.escape(said)):
        params.from_dials(namespace(**dials))


def test_params_are_frozen():
    p = params.load("qaa")
    with pytest.raises(ValidationError):
        p.lang = "am"
    with pytest.raises(ValidationError):
        p.train.steps = 1
