"""The verbs do the notebooks' jobs: results on stdout and in files, exit codes that mean what they say."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import huggingface_hub
import pytest
import soundfile

from ttslib.__main__ import main
from ttslib.listen.answers import ANSWERS
from ttslib.paths import ROOT

QUIET = ["tracking=disabled", "device=cpu", "threads=1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run trained through the command line, its corpus spoken and prepared on the way."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cli")
        patch.setenv("TTSLIB_OUTPUTS", str(folder))
        assert main(["train", "qaa", "run=cli", *QUIET]) == 0
        yield folder / "qaa/acoustic/cli"


def test_train_writes_what_a_run_is(run):
    assert {f.name for f in run.iterdir()} >= {
        "params.yaml", "data.json", "clips.json", "provenance.json", "quarantined.json", "history.jsonl",
        "training_history.json", "samples", "checkpoints",
    }  # fmt: skip


def test_speak_a_text_and_a_file(run, tmp_path, capsys):
    assert main(["speak", str(run), "--text", "bado kemi.", "--out", str(tmp_path / "a.wav")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "a.wav")
    samples, rate = soundfile.read(tmp_path / "a.wav")
    assert rate == 16000 and samples.ndim == 1 and len(samples) > 1000
    (tmp_path / "lines.txt").write_text("bado kemi.\n\ntalu?\n", encoding="utf-8")
    assert main(["speak", str(run), "--file", str(tmp_path / "lines.txt"), "--out", str(tmp_path / "many")]) == 0
    assert sorted(f.name for f in (tmp_path / "many").iterdir()) == ["0000.wav", "0001.wav"]


def test_evaluate_and_export(run, tmp_path, capsys):
    assert main(["evaluate", str(run)]) == 0
    voice = json.loads(capsys.readouterr().out)["voice"]["in_domain"]
    assert voice["mcd_db"]["value"] > 0 and voice["cer"]["count"] == voice["sentences"]
    assert main(["card", str(run)]) == 0
    assert Path(capsys.readouterr().out.strip()).read_text().startswith("---\nlanguage:")
    assert main(["evaluate", str(run), "evaluate.recogniser=null", "evaluate.sets=[]"]) == 0
    assert "cer" not in json.loads(capsys.readouterr().out)["voice"]["in_domain"]
    assert main(["evaluate", str(run), "evaluate.recogniser=whisper"]) == 1
    assert "names no recogniser" in capsys.readouterr().err
    assert (run / "scorecard.json").is_file()
    assert main(["export", str(run), "--out", str(tmp_path / "voice")]) == 0
    assert main(["speak", str(tmp_path / "voice"), "--text", "talu.", "--out", str(tmp_path / "b.flac")]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "qaa", "trian.lr=1"], "trian: there is no such parameter; did you mean train?"),
        (["train", "xx"], "no file"),
        (["train"], "no params file given"),
        (["speak", "nowhere", "--text", "a", "--out", "x.wav"], "neither a run"),
        (["evaluate", "nowhere"], "no checkpoint"),
        (["prepare", "qaa", "corpus.source=ljspeech", "corpus.path=/nowhere"], "/nowhere"),
    ],
)
def test_bad_input_is_one_clear_error(outputs, capsys, arguments, message):
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and message in said and "Traceback" not in said


def test_unknown_letters_are_named(run, tmp_path, capsys):
    assert main(["speak", str(run), "--text", "zzz", "--out", str(tmp_path / "c.wav")]) == 1
    assert "'z' (U+007A)" in capsys.readouterr().err
    assert not (tmp_path / "c.wav").exists()


def test_validate_prints_the_resolved_params(capsys):
    assert main(["validate", "qaa", "train.lr=5.0e-4"]) == 0
    assert "lr: 0.0005" in capsys.readouterr().out


def test_a_language_is_looked_at_merged_and_grown(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TTSLIB_OUTPUTS", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    few = ["am", "corpus.sentences=30", *QUIET]
    assert main(["preflight", *few]) == 0
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert row["unknown"]["letters"] == 1.0 and "Ethiopic letters have no row" in row["verdict"]
    assert main(["merge", *few]) == 0
    assert json.loads(capsys.readouterr().out) == {"tokenizer": str(tmp_path / "am/tokenizer/merged"), "changed": 0}
    assert main(["extend", *few, f"adapt.base={run}"]) == 0
    folder = tmp_path / "am/acoustic/extended"
    assert capsys.readouterr().out.strip() == str(folder)
    short = ["train.steps=2", "train.warmup=0", "data.frames=4000", "evaluate.recogniser=null"]
    assert main(["train", *few, *short, f"adapt.base={folder}", "run=a"]) == 0
    assert (
        main(
            [
                "speak",
                str(tmp_path / "am/acoustic/a"),
                "--text",
                "bado.",
                "--lang",
                "qaa",
                "--out",
                str(tmp_path / "a.wav"),
            ]
        )
        == 0
    )


def test_letters_a_tokenizer_cannot_read_stop_preparation(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TTSLIB_OUTPUTS", str(tmp_path))
    few = ["am", "corpus.sentences=30", *QUIET]
    assert main(["merge", *few]) == 0
    read = ["text.units=tokenizer", f"text.tokenizer={tmp_path / 'am/tokenizer/base'}"]
    capsys.readouterr()
    assert main(["prepare", *few, *read]) == 1
    said = capsys.readouterr().err
    assert "of letters" in said and "have no row" in said and "በ" in said and "Traceback" not in said


def test_from_speech_to_a_blind_test_to_feedback(run, tmp_path, capsys):
    """Two folders of speech become a page; a listener prefers one and taps a word of the other, which can be trained on."""
    for name, seed in (("a", "0"), ("b", "1")):
        main(["generate", str(run), "--out", str(tmp_path / name), "--seed", seed, "--limit", "2"])
    capsys.readouterr()
    assert main(["listen", str(tmp_path / "a"), f"other={tmp_path / 'b'}", "--out", str(tmp_path / "test")]) == 0
    made = json.loads(capsys.readouterr().out)
    assert Path(made["page"]).read_text().startswith("<!doctype html>") and made["trials"] == 3
    key = json.loads(Path(made["key"]).read_text())
    for number in (0, 1):
        trials = []
        for place, trial in enumerate(key["sessions"][number]):
            systems = [key["stimuli"][sound]["system"] for sound in trial["sounds"]]
            flags = [{"sound": trial["sounds"][systems.index("a")], "word": 0}]
            answer = 2 if systems[1] == "other" else -2
            told = {"trial": place, "sounds": trial["sounds"], "answer": answer, "flags": flags, "seconds": 1.0}
            trials.append(told)
        told = {"format": ANSWERS, "test": key["test"], "kind": "cmos", "rater": f"r{number}", "number": number}
        told |= {"session": number, "began": "x", "finished": "y", "trials": trials}
        (tmp_path / "answers").mkdir(exist_ok=True)
        (tmp_path / "answers" / f"{number}.json").write_text(json.dumps(told))
    assert main(["opinions", made["key"], str(tmp_path / "answers")]) == 0
    (pair,) = json.loads(capsys.readouterr().out)["pairs"]
    assert pair["cmos"]["mean"] == -2.0 and pair["n"]["listeners"] == 2, "a is worse than the other"
    file = tmp_path / "feedback.jsonl"
    assert main(["feedback", made["key"], str(tmp_path / "answers"), "--voice", "a", "--out", str(file)]) == 0
    kinds = Counter(json.loads(line)["kind"] for line in file.read_text().splitlines())
    assert kinds == {"flagged": 2, "rejected": 2}
    assert main(["listen", str(tmp_path / "a"), f"a={tmp_path / 'b'}", "--out", str(tmp_path / "test")]) == 1
    assert "two voices have one name" in capsys.readouterr().err
    assert main(["opinions", str(tmp_path / "answers" / "0.json"), str(tmp_path / "answers")]) == 1
    assert "no key of a listening test" in capsys.readouterr().err


def test_forgetting_is_an_exit_code_of_its_own(run, tmp_path, monkeypatch):
    monkeypatch.setenv("TTSLIB_OUTPUTS", str(tmp_path))
    forgetful = ["train.lr=0.3", "train.warmup=0", "train.steps=40", "train.evaluate_every=2", "adapt.train_rows=all"]
    guard = ["replay.lang=qaa", "replay.ratio=0.0", "replay.max_rise=0.01", "replay.tripwire=stop"]
    assert main(["train", "qaa", *QUIET, f"adapt.base={run}", *forgetful, *guard]) == 3


@pytest.mark.parametrize(
    ("asked", "not_loaded"), [("ttslib.__main__, ttslib.verbs", "torch"), ("ttslib.listen", "ttslib.systems")]
)
def test_what_is_not_needed_yet_is_not_loaded(asked, not_loaded):
    """Torch takes seconds: `--help` and a refused params file do without, a listening test without the systems."""
    said = subprocess.run(
        [sys.executable, "-c", f"import sys, {asked}; print({not_loaded!r} in sys.modules)"],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert said.stdout == "False\n"
