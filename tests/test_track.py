"""The history is on disk after every row, survives a half-written line, and forgets steps that are trained again."""

import json
import os
import socket

import pytest
import training
from training import small

from ttslib import runs, track
from ttslib.track import Track


@pytest.fixture
def run(tmp_path) -> runs.Run:
    return runs.Run(tmp_path / "a")


def lines(run) -> list[dict]:
    return [json.loads(line) for line in run.history.read_text(encoding="utf-8").splitlines()]


def test_every_row_is_on_disk_at_once_and_shown(run):
    seen = []
    track = Track(small(), run, watch=lambda rows: seen.append([row["step"] for row in rows]))
    track.log({"mel": 1.0, "clips": ["ሰላም"]}, 1)
    assert lines(run) == [{"step": 1, "mel": 1.0, "clips": ["ሰላም"]}]
    track.log({"mel": 0.5}, 2)
    assert [row["step"] for row in lines(run)] == [1, 2]
    assert seen == [[1], [1, 2]]
    track.finish()
    assert run.rows() == lines(run)


def test_a_resumed_history_forgets_later_steps_and_half_a_line(run):
    first = Track(small(), run)
    for step in range(6):
        first.log({"mel": 1.0 - step / 10}, step)
    with run.history.open("a") as file:
        file.write('{"step": 6, "mel": 0.')
    second = Track(small(), run)
    second.resume_at(3)
    second.log({"mel": 0.6}, 4)
    assert [row["step"] for row in lines(run)] == [0, 1, 2, 3, 4]
    assert lines(run)[:4] == [{"step": s, "mel": 1.0 - s / 10} for s in range(4)]


def test_other_processes_write_nothing(run):
    track = Track(small(), run, main=False)
    track.resume_at(0)
    track.log({"mel": 1.0}, 1)
    track.write()
    track.finish()
    assert not run.folder.exists()


def test_online_without_a_key_is_offline_and_said(monkeypatch, capsys):
    from ttslib.track import mode

    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert mode(small("tracking=online")) == "offline"
    assert "WANDB_API_KEY is not set" in capsys.readouterr().err
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert [mode(small(f"tracking={m}")) for m in ("online", "offline", "disabled")] == [
        "online",
        "offline",
        "disabled",
    ]


def hurry() -> None:
    track.FIRST = 2.0


def test_training_goes_on_offline_when_nobody_answers(prepared):
    """A port of this machine that nobody listens on: said in one line, and everything is on disk."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}"
    few = ("run=a", "tracking=online", "train.log_every=1")
    life = training.start(prepared, *few, before=hurry, WANDB_API_KEY="x" * 40, WANDB_BASE_URL=closed)
    assert life.finish() == 0, life.words()
    made = training.folder(prepared, few)
    words = life.words()
    (said,) = [line for line in words.splitlines() if line.startswith("W&B")]
    assert said.startswith("W&B cannot be reached (") and said.endswith(
        "); tracking offline; later: wandb sync <run>/wandb"
    )
    assert "Traceback" not in words
    assert [row["step"] for row in training.history(made) if "mel" in row] == [1, 2, 3, 4, 5, 6]
    assert runs.Run(made).rows()[-1]["step"] == 6
    assert [*made.glob("wandb/offline-run-*/run-*.wandb")]


def test_offline_asks_nobody(tmp_path):
    """A server of this machine stands where W&B would: neither the run nor wandb's own telemetry comes to it."""
    pytest.importorskip("wandb")
    own = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        asked = f"http://127.0.0.1:{server.getsockname()[1]}"
        training.tracked_offline(tmp_path, {**own, "WANDB_API_KEY": "x" * 40, "WANDB_BASE_URL": asked})
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
