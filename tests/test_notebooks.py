"""The notebooks: the .ipynb is a pure function of the .py, cells are thin, dials are declared, and the chain runs."""

import ast
import json
import statistics
from pathlib import Path

import jupytext
import nbformat
import papermill
import pytest
from safetensors.torch import load_file

from ttslib.paths import ROOT

SOURCES = sorted((ROOT / "notebooks").glob("*.py"))
DIALS = {"lang", "system", "run", "minutes", "tracking", "overrides"}


def cells(notebook) -> list[tuple]:
    return [(c.cell_type, c.source, c.metadata.get("tags", [])) for c in notebook.cells]


def code(notebook) -> list[str]:
    return [c.source for c in notebook.cells if c.cell_type == "code"]


def test_there_are_notebooks():
    assert [s.stem for s in SOURCES] == [
        "00_data_prep", "01_tokenizer_merge", "02_embedding_extension", "03_train", "04_listening", "05_compare"
    ]  # fmt: skip
    assert {s.stem for s in SOURCES} == {n.stem for n in (ROOT / "notebooks").glob("*.ipynb")}


@pytest.mark.parametrize("source", SOURCES, ids=lambda s: s.stem)
def test_pair_agrees_and_is_clean(source):
    ours, paired = jupytext.read(source), nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    assert cells(ours) == cells(paired), f"make notebooks: {source.stem}.ipynb is not what {source.name} gives"
    assert paired.metadata.kernelspec.name == "python3"
    for cell in paired.cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None


@pytest.mark.parametrize("source", SOURCES, ids=lambda s: s.stem)
def test_stays_thin(source):
    blocks = code(jupytext.read(source))
    lengths = [len(block.splitlines()) for block in blocks]
    assert max(lengths) <= 30
    assert statistics.median(lengths) <= 7
    for block in blocks:
        defined = [n for n in ast.walk(ast.parse(block)) if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.Lambda)]
        assert not [n for n in defined if not isinstance(n, ast.Lambda)], f"a notebook defines {defined[0].name}"


@pytest.mark.parametrize("source", SOURCES, ids=lambda s: s.stem)
def test_declares_its_dials(source):
    tagged = [c for c in jupytext.read(source).cells if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    names = {target.id for node in ast.parse(tagged[0].source).body for target in node.targets}
    own = {"03_train": DIALS | {"feedback"}, "05_compare": DIALS - {"system"} | {"systems"}}
    assert names == own.get(source.stem, DIALS)
    for line in tagged[0].source.splitlines():
        assert line.count("=") == 1 and "#" in line, f"papermill shows one assignment and its comment a line: {line}"


LITTLE = {"evaluate.sets": ["one_word"], "evaluate.seen": 0}  # to be spoken by untrained systems, that do not stop


def run(name: str, folder: Path, **dials) -> nbformat.NotebookNode:
    out = folder / f"{name}.ipynb"
    source = jupytext.read(ROOT / "notebooks" / f"{name}.py")
    return papermill.execute_notebook(
        source, out, parameters={"lang": "qaa", "tracking": "disabled"} | dials, progress_bar=False
    )


def outputs_of(notebook, kind: str) -> list:
    return [o["data"][kind] for c in notebook.cells for o in c.get("outputs", []) if kind in o.get("data", {})]


def test_listening_first_then_the_chain(outputs, monkeypatch, tmp_path):
    """04 as the first thing ever run makes what is missing; 00 and 03 then find the manifest and train another run."""
    monkeypatch.chdir(tmp_path)  # no notebook may lean on the caller's folder
    heard = run("04_listening", tmp_path)
    card = json.loads((outputs / "qaa/acoustic/001/scorecard.json").read_text())
    assert (
        list(card["voices"]) == ["recordings", "Griffin-Lim copy", "voice"] and card["source"] == "espeak (synthetic)"
    )
    assert set(card["voices"]["voice"]["in_domain"]) >= {"cer", "wer", "mcd_db", "duration_error", "rtf", "similarity"}
    page = "".join("".join(html) for html in outputs_of(heard, "text/html"))
    assert page.count("<audio") >= 12 and "Griffin-Lim copy" in page and "numerals" in page and "ctc-qaa" in page
    run_folder = outputs / "qaa/acoustic/001"
    assert (run_folder / "card.md").is_file() and len([*(run_folder / "listening").glob("*.html")]) == 1
    assert outputs_of(heard, "application/vnd.jupyter.widget-view+json")

    prepared = run("00_data_prep", tmp_path)
    page = "".join("".join(html) for html in outputs_of(prepared, "text/html"))
    assert "espeak (synthetic)" in page and "<audio" in page
    assert len(list((outputs / "qaa/data").iterdir())) == 1, "the same params must find the same manifest"

    trained = run("03_train", tmp_path, run="chained", overrides={"train.steps": 4})
    assert (outputs / "qaa/acoustic/chained/checkpoints/best/model.safetensors").is_file()
    page = "".join("".join(html) for html in outputs_of(trained, "text/html"))
    assert "step 0" in page and "step 4" in page and "<audio" in page
    assert len(outputs_of(trained, "image/png")) >= 3
    written = json.loads((outputs / "qaa/acoustic/chained/training_history.json").read_text())
    assert written[-1]["step"] == 4
    floods = [
        c for c in trained.cells for o in c.get("outputs", []) if o.output_type == "stream" and len(o.text) > 4000
    ]
    assert not floods


def test_a_new_script_is_grown_first_then_merged_then_trained(outputs, monkeypatch, tmp_path):
    """02 as the first thing ever run makes tokenizer and base; 01 then merges the same; 03 goes on from 02's model."""
    monkeypatch.chdir(tmp_path)
    few = {"corpus.sentences": 60, "evaluate.recogniser_minutes": 0.1, "evaluate.recogniser_steps": 5}
    grown = run("02_embedding_extension", tmp_path, lang="am", overrides=few)
    page = "".join("".join(html) for html in outputs_of(grown, "text/html"))
    assert "romanised" in page and len(outputs_of(grown, "image/png")) == 2
    said = "".join(o.text for c in grown.cells for o in c.get("outputs", []) if o.output_type == "stream")
    assert "largest difference 0.0" in said and "a small English model on synthetic speech is the base" in said
    extended = outputs / "am/acoustic/extended"
    assert {f.name for f in extended.iterdir()} == {"model.safetensors", "system.json", "rows.json"}
    before = (outputs / "am/tokenizer/merged/tokenizer.json").read_bytes()

    merged = run("01_tokenizer_merge", tmp_path, lang="am", overrides=few)
    assert (outputs / "am/tokenizer/merged/tokenizer.json").read_bytes() == before
    report = json.loads((outputs / "am/tokenizer/report.json").read_text())
    assert report["changed"] == 0 and report["unknown_after"] == 0 and report["unknown_before"] > 0.7
    page = "".join("".join(html) for html in outputs_of(merged, "text/html"))
    assert "Ethiopic letters have no row" in page and "0 of 215" in page
    assert len(outputs_of(merged, "image/png")) == 1

    onward = few | {"adapt.base": str(extended), "train.steps": 3, "acoustic.griffin_lim": 4}
    run("03_train", tmp_path, lang="am", run="onward", overrides=onward)
    old, new = (
        load_file(f)
        for f in (extended / "model.safetensors", outputs / "am/acoustic/onward/checkpoints/latest/model.safetensors")
    )
    name, size = "net.encoder.embedding.weight", report["base_size"]
    assert new[name][:size].equal(old[name][:size]) and not new[name][size:].equal(old[name][size:])


def test_another_system_takes_the_same_notebooks(outputs, monkeypatch, tmp_path):
    """03 and 04 with VITS: the alignment is drawn over its own spectrum, the same sentences stand before and after."""
    monkeypatch.chdir(tmp_path)
    few = {"train.steps": 2, "train.log_every": 1, "data.frames": 400}
    trained = run("03_train", tmp_path, system="vits", run="first", overrides=few)
    page = "".join("".join(html) for html in outputs_of(trained, "text/html"))
    assert "step 0" in page and "step 2" in page and page.count("<audio") >= 3
    assert len(outputs_of(trained, "image/png")) >= 3
    rows = json.loads((outputs / "qaa/vits/first/training_history.json").read_text())
    assert {"discriminator", "adversarial", "feature_matching", "kl", "mel", "duration"} <= rows[-2].keys()
    assert rows[-1]["val/total"] == rows[-1]["val/prior_mel"]
    heard = run("04_listening", tmp_path, system="vits", run="first", overrides=LITTLE)
    card = json.loads((outputs / "qaa/vits/first/scorecard.json").read_text())
    assert card["voices"]["voice"]["all"]["cer"]["count"] > 0
    assert "".join("".join(html) for html in outputs_of(heard, "text/html")).count("<audio") >= 12


def test_a_system_of_codes_trains_its_codec_first(outputs, monkeypatch, tmp_path):
    """00 as the first thing run makes the codec and plays what it leaves of speech; 03 and 04 learn and speak its codes."""
    monkeypatch.chdir(tmp_path)
    few = {"train.steps": 2, "train.log_every": 1, "data.frames": 400}
    prepared = run("00_data_prep", tmp_path, system="t3", overrides=few)
    page = "".join("".join(html) for html in outputs_of(prepared, "text/html"))
    assert "mel-6561" in page and "317" in page, "bits a second"
    assert page.count("<audio") >= 3 + 3 * 3
    assert len([*(outputs / "qaa" / "codecs").glob("mel-6561-*/codec.json")]) == 1
    trained = run("03_train", tmp_path, system="t3", run="first", overrides=few)
    assert len(outputs_of(trained, "image/png")) >= 3
    rows = json.loads((outputs / "qaa/t3/first/training_history.json").read_text())
    assert {"val/speech", "val/text_ce", "val/top1", "val/end"} <= rows[-1].keys()
    assert len([*(outputs / "qaa" / "codecs").glob("mel-6561-*")]) == 1, "no second codec for the same corpus"
    heard = run("04_listening", tmp_path, system="t3", run="first", overrides=LITTLE)
    card = json.loads((outputs / "qaa/t3/first/scorecard.json").read_text())
    assert card["totals"]["voice"]["items"] == card["voices"]["voice"]["all"]["sentences"] > 0
    assert "mel-6561 copy" in card["floors"] and card["voices"]["mel-6561 copy"]["in_domain"]["cer"]["count"] > 0
    assert "".join("".join(html) for html in outputs_of(heard, "text/html")).count("<audio") >= 12


def test_systems_are_compared(outputs, monkeypatch, tmp_path):
    """05 as the first thing run: a table, a verdict, two pictures, players and a test page; who reads no text says so."""
    monkeypatch.chdir(tmp_path)
    few = LITTLE | {"train.steps": 2, "device": "cpu", "threads": 1}
    made = run("05_compare", tmp_path, systems="acoustic,style", run="both", overrides=few)
    told = json.loads((outputs / "qaa/compare/both/compare.json").read_text())
    assert [row["reason"] is None for row in told["rows"]] == [True, False]
    page = "".join("".join(html) for html in outputs_of(made, "text/html"))
    assert "Griffin-Lim copy" in page and "style has no scores" in page and "reads no text" in page
    assert page.count("<audio") >= 2 and len(outputs_of(made, "image/png")) == 2
    pages = [*(outputs / "qaa/compare/both/listening").glob("*.html")]
    assert len(pages) == 1 and pages[0].name in page


def test_unknown_parameter_stops_the_notebook(outputs, tmp_path):
    with pytest.raises(
        papermill.PapermillExecutionError, match=r"langg: there is no such parameter; did you mean lang\?"
    ):
        run("00_data_prep", tmp_path, langg="am")
