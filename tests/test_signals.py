"""SIGTERM in any phase: status 143, nobody left behind, nothing half-written passes for whole, the same again goes on."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
import training
from safetensors.torch import load_file
from test_kill_while_saving import dies_at
from training import QUIET, Life, assert_same, command, small

from ttslib import checkpoint, disk, extension, manifest, params, pipeline, runs
from ttslib.__main__ import main
from ttslib.paths import ROOT

EVERY = [
    "train.steps=12",
    "train.evaluate_every=6",
    "train.checkpoint_every=1000",
    "train.log_every=1",
    "data.frames=400",
]


def until(seen, life: Life, seconds: float = 60) -> None:
    """Until `seen()`, which has to come before the process ends."""
    end = time.monotonic() + seconds
    while not seen():
        assert life.process.is_alive(), f"ended before it was seen:\n{life.words()}"
        assert time.monotonic() < end, f"not seen in {seconds} s:\n{life.words()}"
        time.sleep(0.002)


def ended(life: Life) -> str:
    """What it has said, having been told to end: with the status that a shell gives, without a traceback."""
    life.send(signal.SIGTERM)
    assert life.finish() == 143, life.words()
    assert "Traceback" not in life.words()
    return life.words()


def done(outputs: Path, *arguments: str, before=None) -> str:
    life = command(outputs, *arguments, before=before)
    assert life.finish() == 0, life.words()
    return life.words()


def children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(line) for line in found.stdout.split()]


def gone(pids: list[int], seconds: float = 20) -> list[int]:
    """Those of them that are still there after so long; zombies wait for nobody but their parent."""
    end = time.monotonic() + seconds
    while (left := [pid for pid in pids if alive(pid)]) and time.monotonic() < end:
        time.sleep(0.05)
    return left


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def rows(histories: Iterable[Path]) -> int:
    """How many rows of history there are: with the first the loop has begun, and minds signals."""
    return sum(file.read_bytes().count(b"\n") for file in histories)


def hidden(folder: Path) -> list[str]:
    return [str(f) for f in folder.rglob("*") if f.name.startswith(".") or f.suffix in (".tmp", ".partial")]


def written(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_preparation_is_ended_in_each_phase_and_ends_as_if_it_had_not(outputs, clips, spoken):
    """While espeak-ng speaks, while features are computed; what an older kill left half-written goes away."""
    prepare, data = ["prepare", "qaa", *QUIET], outputs / "qaa/data"
    life = command(outputs, *prepare)
    until(lambda: len([*data.glob("*/espeak/qaa/*.wav")]) >= 4, life)
    ended(life)
    assert not [*data.glob("*/*.jsonl")]
    life = command(outputs, *prepare)
    until(lambda: len([*data.glob("*/features/*/*.safetensors")]) >= 3, life)
    ended(life)
    assert len([*data.glob("*/features/*/*.safetensors")]) < 21
    (features,) = data.glob("*/features/*")
    for litter in (features / "0123.77.tmp", features.parent.parent / ".manifest.jsonl.77"):
        litter.write_bytes(b"half")
        os.utime(litter, (time.time() - 2 * disk.STALE,) * 2)
    done(outputs, *prepare, "--again")
    (folder,) = data.iterdir()
    assert (folder / "manifest.jsonl").read_bytes() == (spoken.folder / "manifest.jsonl").read_bytes()
    whole = written(spoken.folder / "features")
    assert written(folder / "features").items() <= whole.items() and len([*features.iterdir()]) == 21
    assert not hidden(outputs)


def test_the_doctors_workers_go_with_it(outputs):
    life = command(outputs, "prepare", "am", *QUIET, "threads=2", "corpus.sentences=40")
    until(lambda: len(children(life.process.pid)) >= 2, life)
    workers = children(life.process.pid)
    ended(life)
    assert not gone(workers)
    assert not [*outputs.glob("am/data/*/manifest.jsonl")]


def test_a_codecs_training_and_its_codes_go_on(prepared):
    prepare = ["prepare", "qaa", *QUIET, "system=t3", "mel_codec.steps=12"]
    life = command(prepared, *prepare)
    life.wait_for("training one on")
    until(lambda: rows(prepared.glob("qaa/mel_codec/*/history.jsonl")), life)
    assert re.search(r"\ncodec mel-6561: stopped by SIGTERM at step \d+; call again to go on\n$", ended(life))
    assert not [*prepared.glob("qaa/codecs/mel-6561-*")]
    life = command(prepared, *prepare)
    until(lambda: [*prepared.glob("qaa/codecs/mel-6561-*/codec.json")], life)
    ended(life)
    told = json.loads(done(prepared, *prepare).splitlines()[-1])
    assert told["codec"]["clips"] == 21 and told["codec"]["quarantined"] == []
    assert len([*prepared.glob("qaa/codecs/mel-6561-*")]) == 1 and not hidden(prepared)


def test_an_evaluation_inside_training_is_heard_to_its_end(prepared):
    whole = training.train(prepared, "run=whole", *EVERY)
    life = training.start(prepared, "run=parts", *EVERY)
    until(lambda: (prepared / "qaa/acoustic/parts/samples/step_000000/0.wav").exists(), life)
    ended(life)
    parts = whole.with_name("parts")
    assert checkpoint.newest(parts / "checkpoints").name == "epoch0_step0"
    training.train(prepared, "run=parts", "resume=true", *EVERY)
    assert_same(whole, parts)


@pytest.fixture(scope="module")
def run(stocked) -> Path:
    """A trained run to be judged and to speak."""
    return pipeline.train(small("run=heard")).run.folder


def test_recogniser_and_scorecard_go_on(run):
    """Killed while the recogniser learns, it learns anew; killed among the scores, those that were made are kept."""
    outputs = run.parents[2]
    judge = ["evaluate", str(run), "evaluate.recogniser=ctc", "evaluate.recogniser_steps=40", "evaluate.encoder=null"]
    judge += ["evaluate.mos=null", "evaluate.sets=[]", "evaluate.in_domain=3", "evaluate.seen=3"]
    life = command(outputs, *judge)
    life.wait_for("a recogniser of qaa is trained")
    time.sleep(0.5)
    ended(life)
    assert not [*outputs.glob("qaa/recognisers/*/recogniser.json")]
    scores = run / "evaluation/scores.jsonl"
    life = command(outputs, *judge)
    until(lambda: scores.is_file() and scores.stat().st_size, life)
    ended(life)
    kept = scores.read_bytes()
    kept = kept[: kept.rfind(b"\n") + 1]
    assert kept and not (run / "scorecard.json").exists()
    assert main(judge) == 0
    assert scores.read_bytes().startswith(kept)
    card = checkpoint.read_json(run / "scorecard.json")
    scores.unlink()
    assert main(judge) == 0
    uncut = checkpoint.read_json(run / "scorecard.json")
    clock = ("rtf", "first_audio_s")
    one, two = ([{k: v for k, v in s.items() if k not in clock} for s in c["sentences"]] for c in (card, uncut))
    assert one == two and card["recognisers"] == uncut["recognisers"]


def test_a_batch_goes_on_where_it_was(run, tmp_path):
    outputs = run.parents[2]
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(["bado kemi talu", "talu", "kemi bado"] * 8), encoding="utf-8")
    speak = ["generate", str(run), "--file", str(texts), "--out"]
    life = command(outputs, *speak, str(tmp_path / "parts"))
    items = tmp_path / "parts/items.jsonl"
    until(lambda: items.is_file() and items.stat().st_size, life)
    ended(life)
    assert not (tmp_path / "parts/results.json").exists()
    assert [main([*speak, str(tmp_path / name)]) for name in ("parts", "whole")] == [0, 0]
    parts, whole = (checkpoint.read_json(tmp_path / name / "results.json")["items"] for name in ("parts", "whole"))
    assert len(whole) == 24 and [one["sha256"] for one in parts] == [one["sha256"] for one in whole]


def quick() -> None:
    """The base that `extend` makes, from fewer steps."""
    extension.SMALL |= {
        "train.steps": 40,
        "train.evaluate_every": 40,
        "train.checkpoint_every": 10,
        "corpus.sentences": 10,
    }


def test_half_of_a_base_is_never_extended(outputs, tmp_path):
    grow = ["extend", "am", "corpus.sentences=30", *QUIET]
    life = command(outputs, *grow, before=quick)
    until(lambda: [*outputs.glob("en/acoustic/base-*/checkpoints/latest")], life)
    assert re.search(r"base-\w+: stopped by SIGTERM at step \d+; call again to go on\n$", ended(life))
    assert not (outputs / "am/acoustic").exists()
    words = done(outputs, *grow, before=quick)
    assert "its training was stopped; going on with it" in words
    done(tmp_path / "uncut", *grow, before=quick)
    bases = [next(place.glob("en/acoustic/base-*")) for place in (outputs, tmp_path / "uncut")]
    assert_same(*bases)
    one, two = (load_file(p / "am/acoustic/extended/model.safetensors") for p in (outputs, tmp_path / "uncut"))
    assert one.keys() == two.keys() and all(one[k].equal(two[k]) for k in one)
    assert not (bases[0] / "begun").exists(), "a whole base is found as it is"


def test_a_wanted_run_that_has_no_checkpoint_yet_is_begun_again(prepared):
    started = runs.Run(prepared / "qaa/acoustic/001")
    started.folder.mkdir(parents=True)
    started.begun.touch()
    assert pipeline.trained(small()).folder == started.folder
    assert not started.begun.exists() and not (prepared / "qaa/acoustic/002").exists()


def test_the_checks_end_at_once_and_their_folder_goes(prepared):
    home = prepared / "qaa/acoustic"
    old = home / ".check-old"
    old.mkdir(parents=True)
    os.utime(old, (time.time() - 2 * disk.STALE,) * 2)
    life = command(prepared, "check", "qaa", *QUIET)
    until(lambda: rows(home.glob(".check-*/learning/history.jsonl")), life)
    assert ended(life).endswith("the checks: stopped by SIGTERM; call again\n")
    assert not hidden(home), "its own folder, and that of a check that was killed"


def test_killed_anywhere_in_an_export_nothing_or_a_whole_one_is_there(tmp_path, clips):
    system, weights = clips[0].state(), {f"net.{k}": v for k, v in clips[0].net.state_dict().items()}
    new, event = {k: v + 1 if v.is_floating_point() else v for k, v in weights.items()}, 0
    while True:
        folder = checkpoint.export(tmp_path / str(event), weights, {"of": "old"}, {})
        died = dies_at(event, lambda folder=folder: checkpoint.export(folder, new, system, {}))
        if (folder / "system.json").exists():
            held, told = checkpoint.trained(folder)
            expected = weights if told == {"of": "old"} else new
            assert all(held[k].equal(expected[k]) for k in expected)
        if not died:
            break
        event += 1
    assert event >= 4 and told == json.loads(json.dumps(system))


def test_killed_anywhere_in_a_merge_it_is_made_anew(outputs, monkeypatch):
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")  # its threads do not live on in a fork
    p = params.load("am", ["corpus.sentences=12", "vocab.size=60", *QUIET])
    found, base, event = manifest.prepare(p), extension.base_tokenizer(p), 0
    folder = extension.tokenizer_folder(p)
    extension.merged(p, found, base)
    whole = written(folder)
    shutil.rmtree(folder)
    while dies_at(event, lambda: extension.merged(p, found, base)):
        if (folder / "report.json").exists():
            assert whole.items() <= written(folder).items()
        shutil.rmtree(folder, ignore_errors=True)
        event += 1
    assert event >= 4 and whole.items() <= written(folder).items()


def test_papermill_ends_with_its_kernel_and_the_run_goes_on(prepared, tmp_path):
    """Notebook 04, as the first thing ever run, trains what it is to listen to."""
    overrides = {"device": "cpu", "threads": 1, "evaluate.recogniser": None, "train.steps": 40, "train.log_every": 1}
    dials = {"lang": "qaa", "run": "parts", "tracking": "disabled", "overrides": overrides}
    where = [str(ROOT / "notebooks/04_listening.ipynb"), str(tmp_path / "04.ipynb")]
    env = os.environ | {"TTSLIB_OUTPUTS": str(prepared), "PYTHONPATH": str(ROOT)}
    with (tmp_path / "log").open("wb") as log:
        command = [sys.executable, "-m", "papermill", *where, "-y", json.dumps(dials)]
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    parts, end = prepared / "qaa/acoustic/parts", time.monotonic() + 90
    while not (parts / "history.jsonl").exists() or rows([parts / "history.jsonl"]) < 3:
        assert process.poll() is None and time.monotonic() < end, (tmp_path / "log").read_text()
        time.sleep(0.01)
    kernel = children(process.pid)
    assert kernel
    process.terminate()
    assert process.wait(20) in (-signal.SIGTERM, 143)
    assert not gone(kernel)
    p = {"tracking": "disabled"} | overrides
    assert checkpoint.step_of(checkpoint.newest(parts / "checkpoints")) < 40 and (parts / "begun").exists()
    assert pipeline.trained(params.load("qaa", p, run="parts")).folder == parts
    whole = pipeline.trained(params.load("qaa", p, run="whole")).folder
    one, two = (load_file(run / "checkpoints/latest/model.safetensors") for run in (parts, whole))
    assert one.keys() == two.keys() and all(one[k].equal(two[k]) for k in one)
    assert training.history(parts) == training.history(whole)
