"""A plan never lets a voice reach into another split, and a folder of pairs is the same however it came to be finished."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies

pytest.importorskip("supertonic")
pytest.importorskip("onnx")

import standin

from ttslib import pairs, styles
from ttslib.pairs.building import BuildError, Refused, Settings, build, plan
from ttslib.pairs.supertonic import RuntimeMissing, Supertonic
from ttslib.styles import Style, StyleError

TEXTS = [("Hello there.", "en"), ("Guten Tag!", "de"), ("Bonjour, vous.", "fr"), ("How do you do?", "en")]
SMALL = Settings(mixtures=2, held_out_mixtures=1, texts_per_voice=2, min_seconds=0.2, seed=1)
PRESETS = standin.presets()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return standin.write(tmp_path_factory.mktemp("standin") / "model")


@pytest.fixture(scope="module")
def finished(model, tmp_path_factory):
    """`(folder, jobs, summary)` of a small plan, spoken in one go by one process. Do not write into it."""
    folder, jobs = tmp_path_factory.mktemp("finished") / "pairs", plan(PRESETS, TEXTS, SMALL)
    return folder, jobs, build(functools.partial(Supertonic, folder=model), jobs, folder, SMALL)


class Tone:
    """A runtime of sines that counts what it was asked, and speaks certain texts badly."""

    model, rate = "supertonic-3", 8000

    def __init__(self) -> None:
        self.asked: list[tuple] = []

    def speak(self, text: str, style: Style, lang: str, seed: int, speed: float) -> np.ndarray:
        self.asked.append((text, style.digest, lang, seed, speed))
        if text == "refused":
            raise Refused("no such words")
        if text == "broken":
            raise KeyError("a bug")
        wav = np.sin(np.arange(8000 * {"short": 0.1, "long": 40}.get(text, 1)) * (0.1 + seed / 2**33)).astype(
            np.float32
        )
        return {"nan": wav * np.nan, "silent": wav * 1e-4, "constant": wav * 0 + 0.5}.get(text, wav)


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def told(jobs) -> list[dict]:
    return [job.record() | {"parts": job.voice.parts} for job in jobs]


# --- plans -----------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    seed=strategies.integers(0, 2**32),
    count=strategies.integers(3, 10),
    most=strategies.integers(2, 5),
    alpha=strategies.floats(0.01, 5),
    extrapolation=strategies.sampled_from([0.0, 0.2]),
    separate=strategies.booleans(),
    held=strategies.tuples(strategies.integers(0, 3), strategies.integers(0, 3)),
)
def test_no_plan_leaks(seed, count, most, alpha, extrapolation, separate, held):
    presets = dict(list(PRESETS.items())[10 - count :])
    asked = Settings(
        mixtures=5, held_out_mixtures=2, most_presets=most, alpha=alpha, extrapolation=extrapolation,
        separate_dp=separate, val_presets=held[0], test_presets=held[1], texts_per_voice=1, seed=seed,
    )  # fmt: skip
    if count < sum(held) + 2:
        with pytest.raises(BuildError, match=f"{count} presets: {sum(held)} are held out"):
            plan(presets, TEXTS, asked)
        return
    jobs = plan(presets, TEXTS, asked)
    voices, inside, digests = {job.voice.name: job.voice for job in jobs}, {}, {}
    for voice in voices.values():
        for array, (kind, weights) in zip((voice.style.ttl, voice.style.dp), voice.parts.items(), strict=True):
            inside.setdefault(voice.split, set()).update(weights)
            rows = sum(weight * getattr(presets[name], kind).astype(np.float64) for name, weight in weights.items())
            assert np.allclose(array, rows / np.linalg.norm(rows, axis=1, keepdims=True), atol=1e-5)
            assert sum(weights.values()) == pytest.approx(1) and len(weights) <= most
            assert all(-extrapolation - 1e-9 <= weight <= 1 + extrapolation for weight in weights.values())
            digests.setdefault(voice.split, set()).add(array.tobytes())
    splits = ("train", "val", "test")
    wished = {"train": count - sum(held), "val": held[0], "test": held[1]}
    for number, split in enumerate(splits):
        mixtures = [name for name, voice in voices.items() if voice.split == split and name not in presets]
        assert len(inside.get(split, ())) == wished[split]
        assert len(mixtures) == (0 if wished[split] < 2 else 5 if split == "train" else 2)
        for other in splits[number + 1 :]:
            assert not inside.get(split, set()) & inside.get(other, set())
            assert not digests.get(split, set()) & digests.get(other, set())
    assert len({job.file for job in jobs}) == len(jobs) == len(voices)
    assert all(job.file.startswith(f"{job.voice.split}/{job.voice.name}-") for job in jobs)


def test_of_each_sex_one_is_held_out():
    for seed in range(20):
        jobs = plan(PRESETS, TEXTS, replace(SMALL, seed=seed))
        for split in ("val", "test"):
            held = {job.voice.name for job in jobs if job.voice.split == split and job.voice.name in PRESETS}
            assert sorted(name[0] for name in held) == ["F", "M"]


def test_a_plan_follows_from_its_seed():
    jobs, other = plan(PRESETS, TEXTS, SMALL), replace(SMALL, seed=2)
    splits = [{j.voice.name: j.voice.split for j in plan(PRESETS, TEXTS, replace(SMALL, seed=n))} for n in range(4)]
    assert len({tuple(sorted(some.items())) for some in splits}) == 4
    assert told(jobs) == told(plan(dict(reversed(PRESETS.items())), TEXTS, SMALL))
    drawn = [{(j.text, j.seed) for j in some if j.voice.name == "F1"} for some in (jobs, plan(PRESETS, TEXTS, other))]
    assert drawn[0] and not drawn[0] & drawn[1]
    more = plan(PRESETS, TEXTS, replace(SMALL, mixtures=9))
    assert [one for one in told(more) if one["file"] in {job.file for job in jobs}] == told(jobs)


def test_a_voice_speaks_its_own_draw_of_texts():
    jobs = plan(PRESETS, TEXTS, replace(SMALL, texts_per_voice=6, speeds=(0.9, 1.2)))
    by_voice = {}
    for job in jobs:
        by_voice.setdefault(job.voice.name, []).append(job)
    assert len({tuple(job.text for job in some) for some in by_voice.values()}) > 1
    for some in by_voice.values():
        assert {(job.text, job.lang) for job in some[:4]} == set(TEXTS) and len({job.seed for job in some}) == 6
        assert all(0.9 <= job.speed <= 1.2 for job in some) and len({job.speed for job in some}) == 6
    assert {job.speed for job in plan(PRESETS, TEXTS, SMALL)} == {1.05}


def test_pace_and_timbre_are_mixed_apart_only_where_asked():
    for separate in (False, True):
        mixtures = [
            j.voice for j in plan(PRESETS, TEXTS, replace(SMALL, separate_dp=separate)) if "mix" in j.voice.name
        ]
        assert {voice.parts["ttl"] == voice.parts["dp"] for voice in mixtures if voice.split == "train"} == {
            not separate
        }


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"mixtures": -1}, "mixtures is -1"),
        ({"most_presets": 1}, "most_presets is 1"),
        ({"texts_per_voice": 0}, "texts_per_voice is 0"),
        ({"alpha": 0.0}, "alpha is 0"),
        ({"extrapolation": 2.0}, "extrapolation is 2"),
        ({"speeds": (1.2, 0.9)}, "speeds are"),
        ({"min_seconds": 9.0, "max_seconds": 3.0}, "leave nothing"),
    ],
)
def test_settings_without_sense_are_refused(changed, said):
    with pytest.raises(BuildError, match=said):
        replace(SMALL, **changed)


def test_presets_and_texts_without_sense_are_refused():
    for presets, texts, said in (
        ({"../F1": PRESETS["F1"]}, TEXTS, r"'\.\./F1'"),
        ({"mix-train-0000": PRESETS["F1"]}, TEXTS, "'mix-train-0000'"),
        (PRESETS, [], "there are none"),
        (PRESETS, [("  ", "en")], "is empty"),
    ):
        with pytest.raises(BuildError, match=said):
            plan(presets, texts, SMALL)
    with pytest.raises(StyleError, match="cannot be mixed"):
        plan(PRESETS | {"F9": standin.presets(model="supertonic-2")["F1"]}, TEXTS, replace(SMALL, mixtures=50))


# --- folders ---------------------------------------------------------------------------------------------------------


def test_a_folder_has_what_was_planned(finished):
    folder, jobs, summary = finished
    assert set(content(folder)) == {job.file for job in jobs} | {"pairs.json", "rejected.jsonl"}
    seconds = 0
    for job in jobs:
        pair, style = pairs.read(folder / job.file), job.voice.style
        assert (pair.text, pair.lang, pair.seed, pair.voice) == (job.text, job.lang, job.seed, job.voice.name)
        assert (pair.style.digest, pair.style.model, pair.rate) == (style.digest, "supertonic-3", 44100)
        assert len(pair.audio) / pair.rate == pytest.approx(standin.seconds(job.text, style, job.lang), abs=1e-3)
        seconds += len(pair.audio) / pair.rate
    assert summary["hours"] == pytest.approx(seconds / 3600) and summary["rejected"] == 0
    assert summary["voices"] == {"train": 8, "val": 3, "test": 3}
    assert summary["pairs"] == {"train": 16, "val": 6, "test": 6}
    made_of = json.loads((folder / "pairs.json").read_text())
    assert made_of["model"] == "supertonic-3" and made_of["settings"]["seed"] == 1
    assert {name: voice["ttl"] for name, voice in made_of["voices"].items()} == {
        job.voice.name: job.voice.parts["ttl"] for job in jobs
    }


def test_two_workers_make_what_one_makes(finished, model, tmp_path):
    folder, jobs, summary = finished
    assert build(functools.partial(Supertonic, folder=model), jobs, tmp_path / "pairs", SMALL, workers=2) == summary
    assert content(tmp_path / "pairs") == content(folder)


def test_a_build_killed_with_its_workers_at_work_is_finished_as_if_it_had_not_been(finished, model, tmp_path):
    folder, jobs, summary = finished
    program = """if True:
        import functools, sys
        import standin, test_pairs_building as given
        jobs = given.plan(given.PRESETS, given.TEXTS, given.SMALL)
        given.build(functools.partial(standin.Slow, folder=sys.argv[1]), jobs, sys.argv[2], given.SMALL, workers=2)
    """
    mine, tests = tmp_path / "pairs", str(Path(__file__).parent)
    search = os.pathsep.join([tests, str(Path(tests).parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", program, str(model), str(mine)]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": search}, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: len(list(mine.glob("*/*.npz"))) >= 4 or process.poll() is not None)
        workers = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
        process.kill()
    assert process.returncode == -signal.SIGKILL and len(workers) >= 2
    wait_until(lambda: not any(alive(pid) for pid in workers))
    done = list(mine.glob("*/*.npz"))
    assert 4 <= len(done) < len(jobs), "it was killed too late to show anything"
    before = {file: file.stat().st_mtime_ns for file in done}
    (mine / "train" / ".mix-train-0000-0000.npz.1.partial").write_bytes(b"PK half of one")
    assert build(functools.partial(Supertonic, folder=model), jobs, mine, SMALL) == summary
    assert content(mine) == content(folder)
    assert {file: file.stat().st_mtime_ns for file in done} == before, "whole pairs were spoken again"


def wait_until(holds, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_only_what_is_not_whole_or_another_jobs_is_spoken_again(finished, model, tmp_path, capsys):
    folder, jobs, summary = finished
    mine = shutil.copytree(folder, tmp_path / "pairs")
    cut, foreign, gone, text = (mine / job.file for job in jobs[:4])
    cut.write_bytes(cut.read_bytes()[:-100])
    shutil.copy(mine / jobs[9].file, foreign)
    gone.unlink()
    pair = pairs.read(text)
    pairs.write(text, replace(pair, text="Others."))
    asked = []

    class Counting(Supertonic):
        def speak(self, text, style, lang, seed, speed):
            asked.append((text, seed))
            return super().speak(text, style, lang, seed, speed)

    assert build(functools.partial(Counting, folder=model), jobs, mine, SMALL) == summary
    assert asked == [(job.text, job.seed) for job in jobs[:4]] and content(mine) == content(folder)
    assert f"{cut.name}: no .npz archive" in capsys.readouterr().err
    assert build(lambda: pytest.fail("nothing is left to speak"), jobs, mine, SMALL) == summary


def test_a_folder_of_other_pairs_is_refused_and_says_what_differs(finished, tmp_path):
    folder, _, _ = finished
    before = content(folder)
    turned = {n: Style.of(styles.unit(s.ttl * np.linspace(1, 2, 256)), s.dp, s.model) for n, s in PRESETS.items()}
    for presets, texts, asked, said in (
        (PRESETS, TEXTS, replace(SMALL, seed=4), "seed 1 there, 4 here"),
        (PRESETS, TEXTS, replace(SMALL, speeds=(0.9, 1.1)), r"speeds \[1.05, 1.05\] there, \[0.9, 1.1\] here"),
        (PRESETS, TEXTS, replace(SMALL, max_seconds=9.0), "max_seconds 30.0 there, 9.0 here"),
        (PRESETS, [*TEXTS, ("More.", "en")], SMALL, "otherwise: other texts"),
        (turned, TEXTS, SMALL, r"otherwise: 14 voices \(F1, F2, F3, F4, F5, …\);"),
        (standin.presets(model="supertonic-2"), TEXTS, SMALL, "model 'supertonic-3' there, 'supertonic-2' here"),
    ):
        with pytest.raises(BuildError, match=said):
            build(Tone, plan(presets, texts, asked), folder, asked)
    assert content(folder) == before
    jobs = plan(PRESETS, TEXTS, SMALL)
    (tmp_path / "train").mkdir()
    shutil.copy(folder / jobs[0].file, tmp_path / "train")
    with pytest.raises(BuildError, match=r"no pairs\.json"):
        build(Tone, jobs, tmp_path, SMALL)
    for damaged in ('{"model": "supertonic-3", "set', "[]"):
        (tmp_path / "pairs.json").write_text(damaged)
        with pytest.raises(BuildError, match=r"pairs\.json: damaged"):
            build(Tone, jobs, tmp_path, SMALL)


def test_jobs_that_are_no_plan_are_refused(tmp_path):
    jobs, other = plan(PRESETS, TEXTS, SMALL), plan(standin.presets(model="supertonic-2"), TEXTS, SMALL)
    nameless = plan(standin.presets(model=""), TEXTS, SMALL)
    for some, said in (
        ([], "there are none"),
        (jobs[:1] * 2, "same file"),
        ([jobs[0], other[1]], "2', 'sup"),
        (nameless, "''"),
    ):
        with pytest.raises(BuildError, match=said):
            build(Tone, some, tmp_path / "pairs", SMALL)
    with pytest.raises(StyleError, match=r"a style of supertonic-2; the runtime speaks those of supertonic-3"):
        build(Tone, other, tmp_path / "pairs", SMALL)


# --- what goes wrong while speaking ----------------------------------------------------------------------------------


def test_what_is_no_speech_is_rejected_with_its_reason_and_not_tried_again(tmp_path, capsys):
    faults = {
        "refused": "no such words", "nan": "8000 of 8000 samples are not finite", "silent": "silent: -83 dB",
        "constant": "silent: -inf dB", "short": "0.10 s long", "long": "40.00 s long",
    }  # fmt: skip
    asked = replace(SMALL, mixtures=0, held_out_mixtures=0, val_presets=0, test_presets=0, texts_per_voice=7)
    jobs, tone = plan({"F1": PRESETS["F1"]}, [(text, "en") for text in [*faults, "fine"]], asked), Tone()
    summary = build(lambda: tone, jobs, tmp_path, asked)
    assert summary["rejected"] == 6 and summary["pairs"] == {"train": 1, "val": 0, "test": 0}
    assert summary["hours"] == pytest.approx(1 / 3600) and len(list(tmp_path.glob("*/*.npz"))) == 1
    log = tmp_path / "rejected.jsonl"
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert [r["file"] for r in records] == [job.file for job in jobs if job.text != "fine"]
    assert all(record["reason"].startswith(faults[record["text"]]) for record in records)
    assert "6 of 7 jobs were rejected" in capsys.readouterr().err
    whole = content(tmp_path)
    assert build(lambda: pytest.fail("it spoke again"), jobs, tmp_path, asked) == summary
    log.write_bytes(whole["rejected.jsonl"][:-5])  # killed while the last line was being written
    tone.asked.clear()
    assert build(lambda: tone, jobs, tmp_path, asked) == summary
    assert content(tmp_path) == whole and [text for text, *_ in tone.asked] == [records[-1]["text"]]
    log.write_text("{}\n")
    with pytest.raises(BuildError, match="not a list of rejected jobs"):
        build(Tone, jobs, tmp_path, asked)


def test_a_bug_stops_the_build_and_the_pairs_before_it_stay(tmp_path):
    asked = replace(SMALL, texts_per_voice=1)
    jobs = plan(PRESETS, [("fine", "en")], asked)
    broken = [*jobs[:5], replace(jobs[5], text="broken"), *jobs[6:]]
    with pytest.raises(KeyError, match="a bug"):
        build(Tone, broken, tmp_path, asked)
    assert len(list(tmp_path.glob("*/*.npz"))) == 5


def test_a_runtime_that_is_missing_in_a_worker_says_so_here(tmp_path):
    jobs = plan(PRESETS, TEXTS, SMALL)
    with pytest.raises(RuntimeMissing, match="nowhere: onnx/duration_predictor"):
        build(functools.partial(Supertonic, folder="nowhere"), jobs, tmp_path / "pairs", SMALL, workers=2)


def test_a_worker_that_dies_is_told(tmp_path):
    jobs = plan(PRESETS, TEXTS, SMALL)
    with pytest.raises(
        BuildError, match=rf"died \(crash or out of memory\) at or after {jobs[0].file}; .*fewer workers"
    ):
        build(functools.partial(os._exit, 3), jobs, tmp_path / "pairs", SMALL, workers=2)
