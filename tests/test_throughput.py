"""`bench`: what it tells of a system adds up, and a system that cannot train is named with its reason."""

import json
import types

import pytest
import torch

from ttslib import throughput
from ttslib.__main__ import main
from ttslib.throughput import STAGES, Watch, summary


class Clock:
    """Every reading is a second later."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_stages_are_timed_where_they_happen():
    watch = Watch(Clock(), torch.device("cpu"), waits=False)
    place = types.SimpleNamespace(three=lambda x: 3 * x, numbers=lambda n: iter(range(n)))
    watch.around("forward", place, "three")
    watch.between("data", place, "numbers")
    assert place.three(2) == 6
    assert list(place.numbers(2)) == [0, 1]
    assert watch.stages == {"forward": 1.0, "data": 3.0}, "two values and the end of them"


def test_what_the_runs_come_to():
    step = {"whole": 2.0, "clips": 4.0, "audio_s": 6.0}
    shares = {"whole": 4.0} | dict.fromkeys(STAGES, 0.5)
    found = {
        "speed": {"steps": [{"whole": 99.0, "clips": 0, "audio_s": 0}, step, step], "memory_gb": 0.5, "peak": 4e9},
        "shares": {"steps": [{"whole": 99.0}, shares, shares]},
        "arithmetic": {"flop": [7e9, 1e9, 3e9]},
    }
    told = summary("t3", found, warm=1)
    assert (told["samples/s"], told["audio s/s"], told["s a step"]) == (2.0, 3.0, 2.0)
    assert (told["GFLOP a step"], told["of the peak"], told["peak GFLOP/s"]) == (2.0, 0.25, 4.0)
    assert [told[stage] for stage in STAGES] == [0.125] * 5


@pytest.mark.usefixtures("stocked")
def test_a_system_is_trained_and_told(tmp_path, capsys):
    settings = ["tracking=disabled", "threads=1", "device=cpu", "data.frames=400"]
    few = ["--systems", "acoustic", "--steps", "6", "--square", "128", "--cpu-seconds"]
    assert main(["bench", "qaa", *settings, *few, "--json", str(tmp_path / "b.json")]) == 0
    told = json.loads((tmp_path / "b.json").read_text())
    (row,) = told["rows"]
    assert row["system"] == "acoustic" and row["samples/s"] > 0 and row["GFLOP a step"] > 0
    assert 0 < row["of the peak"] < 1.5
    assert all(row[stage] > 0 for stage in STAGES) and sum(row[stage] for stage in STAGES) < 1.1
    said = capsys.readouterr().out
    assert "| acoustic |" in said and told["machine"] in said and "1 thread, fp32; torch" in told["machine"]


def test_a_system_that_cannot_train_is_named(tmp_path, capsys):
    corpus = ["corpus.source=ljspeech", "corpus.path=/nowhere"]
    assert main(["bench", "qaa", "tracking=disabled", *corpus, "--systems", "acoustic", "--steps", "3"]) == 1
    assert "acoustic did not train" in (said := capsys.readouterr().err) and "nothing at /nowhere" in said
    assert main(["bench", "qaa", "--systems", "akoustic"]) == 1
    assert "got 'akoustic'" in capsys.readouterr().err


def test_style_learns_from_its_own_pairs(monkeypatch):
    asked = []
    monkeypatch.setattr(throughput.subprocess, "run", lambda command, **_: asked.append(json.loads(command[-1])))
    with pytest.raises(AttributeError):
        throughput.measured("style", "qaa", ["corpus.source=hub", "threads=1"], 6, 64, True)
    assert asked[0]["settings"][0] == "style_fast" and "threads=1" in asked[0]["settings"]
    assert not [one for one in asked[0]["settings"] if one.startswith("corpus.")]
