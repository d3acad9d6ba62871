"""Keys of the environment stay there: no file of a run, no card and no output has them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ttslib import provenance
from ttslib.__main__ import main
from ttslib.paths import ROOT

MARKER = "s3cretmarker0123456789abcdef0123456789abcdef"  # 40 or more: the length that wandb asks of a key
NAMES = ("WANDB_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


@pytest.fixture
def secret(monkeypatch):
    for name in NAMES:
        monkeypatch.setenv(name, MARKER)


def holding(folder: Path) -> list[str]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert files
    return [str(file) for file in files if MARKER.encode() in file.read_bytes()]


def test_no_key_is_in_a_run_its_card_or_what_is_printed(secret, prepared, capfd):
    few = [
        "tracking=disabled",
        "device=cpu",
        "threads=1",
        "train.steps=2",
        "train.warmup=0",
        "evaluate.recogniser=null",
    ]
    assert main(["train", "qaa", *few, "run=a"]) == 0
    run = prepared / "qaa/acoustic/a"
    assert main(["card", str(run)]) == 0
    assert main(["validate", "qaa"]) == 0
    assert main(["train", "qaa", "nothing=1"]) == 1  # an error says no more than it must
    said = capfd.readouterr()
    assert (run / "provenance.json").is_file() and (run / "card.md").is_file() and "error:" in said.err
    assert holding(prepared) == []
    assert MARKER not in said.out + said.err and MARKER not in str(provenance.describe())


def test_no_key_is_in_what_wandb_writes_offline(secret, tmp_path):
    """In a process of its own: wandb reads the environment once, and leaves a service behind."""
    pytest.importorskip("wandb")
    code = (
        "from pathlib import Path; from ttslib import params, runs, track;"
        f"run = runs.Run(Path({str(tmp_path / 'run')!r}));"
        "one = track.Track(params.load('qaa', tracking='offline', device='cpu'), run);"
        "one.log({'mel': 1.0}, 1); one.finish()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert MARKER not in done.stdout + done.stderr
    assert any((tmp_path / "run").rglob("*.wandb"))
    assert holding(tmp_path) == []
