"""Keys of the environment stay there: no file of a run, no card and no output has them."""

import os
from pathlib import Path

import pytest
import training

from ttslib import provenance
from ttslib.__main__ import main

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
    pytest.importorskip("wandb")
    assert MARKER not in training.tracked_offline(tmp_path, os.environ)
    assert holding(tmp_path) == []
