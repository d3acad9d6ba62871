"""The base language is replayed evenly, watched at every evaluation, and what it is replayed to knows it."""

import json
import math
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
import training
from hypothesis import given, settings
from hypothesis import strategies as st
from training import assert_same, small

from ttslib import checkpoint, dataset, forgetting, manifest, pipeline, runs, speech, train
from ttslib.checkpoint import CheckpointError
from ttslib.dataset import DatasetError, Features, Position, Stream, chosen
from ttslib.features import joined
from ttslib.params import ParamsError
from ttslib.systems import system_class
from ttslib.track import Track

OWN, POOL, RATIO, SEEDS = st.integers(1, 80), st.integers(1, 60), st.floats(0.01, 0.8), st.integers(0, 2**31)


# --- which clips an epoch takes --------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(OWN, POOL, RATIO, SEEDS, st.integers(0, 40))
def test_an_epoch_is_every_new_clip_once_and_the_ratio_of_replayed_ones(own, pool, ratio, seed, epoch):
    taken = chosen(own, pool, ratio, seed, epoch)
    assert taken[:own] == list(range(own))
    replayed = taken[own:]
    assert all(own <= i < own + pool for i in replayed)
    assert abs(len(replayed) - own * ratio / (1 - ratio)) < 1
    assert taken == chosen(own, pool, ratio, seed, epoch)


@settings(max_examples=60, deadline=None)
@given(OWN, POOL, RATIO, SEEDS, st.integers(1, 30))
def test_every_replayed_clip_is_visited_before_any_repeats_and_the_ratio_is_exact_over_epochs(
    own, pool, ratio, seed, epochs
):
    visited = [i for epoch in range(epochs) for i in chosen(own, pool, ratio, seed, epoch)[own:]]
    assert len(visited) == math.floor(epochs * (own * ratio / (1 - ratio)))
    decks = [visited[i : i + pool] for i in range(0, len(visited), pool)]
    assert all(len(set(deck)) == len(deck) for deck in decks)
    counts = Counter({i: 0 for i in range(own, own + pool)} | Counter(visited))
    assert max(counts.values()) - min(counts.values()) <= 1


def test_the_choice_differs_between_epochs_decks_and_seeds():
    choices = [tuple(chosen(40, 10, 0.2, seed, epoch)[40:]) for seed in (1, 2) for epoch in (0, 1, 2)]
    assert all(sorted(choice) == list(range(40, 50)) for choice in choices)
    assert len(set(choices)) == 6


def test_nothing_is_replayed_without_clips_or_ratio():
    assert chosen(5, 0, 0.5, 1, 3) == chosen(5, 9, 0.0, 1, 3) == [0, 1, 2, 3, 4]
    lengths = list(range(50, 90))
    assert Stream(lengths, 300, 1).epoch(2) == dataset.plan(lengths, 300, 1, 2)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 900), min_size=2, max_size=60), RATIO, SEEDS, st.integers(1, 30), st.integers(1, 3))
def test_a_mixed_stream_goes_on_from_any_position_in_any_number_of_processes(lengths, ratio, seed, k, processes):
    def take(count: int, start=Position(), rank=0, of=1):  # noqa: B008
        return list(islice(Stream(lengths, 800, seed, start, rank, of, len(lengths) // 2, ratio), count))

    single = [indices for _, indices in take((k + 9) * processes)]
    ranks = [take(k + 9, rank=rank, of=processes) for rank in range(processes)]
    assert [ranks[r][turn][1] for turn in range(k + 9) for r in range(processes)] == single
    for rank in range(processes):
        assert take(9, ranks[rank][k - 1][0], rank, processes) == ranks[rank][k:]


def test_a_stream_deals_all_replayed_clips_over_its_epochs():
    lengths, seen, epochs = list(range(50, 90)), Counter(), set()
    for position, indices in Stream(lengths, 300, 1, replayed=20, ratio=0.2):
        if position.epoch == 8:
            break
        seen.update(indices)
        epochs.add(position.epoch)
    assert epochs == set(range(8))
    assert {seen[i] for i in range(20)} == {8}, "the new clips: every epoch"
    assert {seen[i] for i in range(20, 40)} == {2}, "five of twenty an epoch"


def test_joined_features_are_one_sequence_with_ids_of_their_own():
    def some(ids: str, first: int) -> Features:
        numbers = range(first, first + len(ids))
        ram = {i: {"mel": n} for i, n in enumerate(numbers) if i != 1}
        return Features([*ids], [Path(f"{n}.safetensors") for n in numbers], [*numbers], [{"id": f"q{first}"}], ram)

    own, replayed = some("abc", 0), {"en": some("bd", 10), "de": some("bde", 20)}
    whole = joined(own, replayed)
    assert whole.ids == ["a", "b", "c", "en-b", "d", "de-b", "de-d", "e"]
    assert whole.lengths == [0, 1, 2, 10, 11, 20, 21, 22] == [int(file.stem) for file in whole.files]
    assert {i: example["mel"] for i, example in whole.ram.items()} == {0: 0, 2: 2, 3: 10, 5: 20, 7: 22}
    assert [bad["id"] for bad in whole.quarantined] == ["q0", "q10", "q20"]
    assert whole.replayed == 5
    assert (len(own), own.replayed, len(own.quarantined)) == (3, 0, 1), "the parts stay as they were"


# --- a base language in English --------------------------------------------------------------------------------------

BASE = """lang: en
corpus: {sentences: 30, voices: [f2]}
doctor: {val_share: 0.2, test_share: 0}
seed: 4
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """The params file of the base language."""
    pytest.importorskip("espeakng_loader")
    path = tmp_path_factory.mktemp("params") / "base.yaml"
    path.write_text(BASE)
    return path


def guarded(file: Path, *overrides: str, **dials):
    return small(f"replay.lang={file}", "replay.ratio=0.3", *overrides, **dials)


@pytest.fixture(scope="module")
def both(spoken, file):
    """`(rows of both languages, qaa's train and val, the base's train and val)`, encoded once."""
    p = guarded(file)
    rows = spoken.split("train") + manifest.prepare(forgetting.corpus(p)).split("train")
    system = system_class(p.system).fresh(p, rows)
    own, val = (speech.features(system, spoken, split, p) for split in ("train", "val"))
    system.measure(own)
    return rows, own, val, *pipeline.replay(system, p)


@pytest.fixture
def fit(outputs, both):
    """Train a system that knows both languages, guarding English."""

    def go(p):
        rows, own, val, replayed, guard = both
        system = system_class(p.system).fresh(p, rows)
        system.measure(own)
        run = runs.start(p)
        mixed = joined(own, replayed if p.replay.ratio else {})
        return train.fit(system, mixed, val, p, run, Track(p, run), guard=guard), run

    return go


def history(run) -> list[dict]:
    return [json.loads(line) for line in run.history.read_text().splitlines()]


def test_the_corpus_is_the_bases_own_but_for_what_makes_features(file):
    p = guarded(file, "doctor.trim_db=33", "doctor.val_share=0.3", "text.homophones=true", seed=9)
    base = forgetting.corpus(p)
    assert (base.lang, base.seed, base.doctor.val_share, base.corpus.voices) == ("en", 4, 0.2, ["f2"])
    assert (base.doctor.trim_db, base.text.homophones) == (33.0, True)
    other = forgetting.corpus(guarded(file, "replay.source=custom", "replay.path=/some/where"))
    assert (other.corpus.source, other.corpus.path) == ("custom", "/some/where")
    with pytest.raises(ParamsError, match="no file"):
        forgetting.corpus(small("replay.lang=nowhere"))


def test_both_splits_are_taken_per_language_and_only_val_is_when_only_watching(both, file):
    rows, own, _, replayed, guard = both
    p = guarded(file)
    found = manifest.prepare(forgetting.corpus(p))
    assert replayed["en"].ids == [row.id for row in found.split("train")]
    assert guard["en"].ids == [row.id for row in found.split("val")]
    assert not set(guard["en"].ids) & set(joined(own, replayed).ids)
    system = system_class(p.system).fresh(p, rows)
    only, watched = pipeline.replay(system, guarded(file, "replay.ratio=0"))
    assert only == {}
    assert watched["en"].digest == guard["en"].digest
    assert pipeline.replay(system, small()) == ({}, {})


def test_the_guarded_language_is_validated_beside_the_new_one(fit, file):
    result, run = fit(guarded(file, "train.steps=6", "train.evaluate_every=3", "replay.max_rise=100"))
    rows = [row for row in history(run) if "val/total" in row]
    assert [row["step"] for row in rows] == [0, 3, 6]
    terms = {"mel", "prior", "duration"}
    for row in rows:
        assert {k for k in row if k.startswith("val/en/")} == {f"val/en/{t}" for t in (*terms, "total")}
        assert row["val/en/total"] == pytest.approx(sum(row[f"val/en/{t}"] for t in terms))
        assert row["val/en/total"] != pytest.approx(row["val/total"])
        assert "tripped" not in row
    assert result.best == min(row["val/total"] for row in rows), "best is judged on the new language"
    kept = checkpoint.load(run.checkpoints / "latest")[2]["progress"]
    assert kept["before"] == {"en": rows[0]["val/en/total"]}
    assert kept["rise"] == {"en": pytest.approx(rows[-1]["val/en/total"] - rows[0]["val/en/total"])}


FORGET = ["train.lr=0.5", "train.warmup=0", "replay.ratio=0", "replay.max_rise=1.0e-6", "train.evaluate_every=2"]


def test_training_reads_the_mixed_stream(fit, file, both, monkeypatch):
    read, get = [], Features.__getitem__

    def spy(self, index):
        read.extend([index] * bool(self.replayed))
        return get(self, index)

    monkeypatch.setattr(Features, "__getitem__", spy)
    p = guarded(file, "train.steps=5", "data.accumulate=2")
    fit(p)
    mixed = joined(both[1], both[3])
    stream = Stream(mixed.lengths, 400, p.seed, replayed=mixed.replayed, ratio=0.3)
    assert read == [i for _, indices in islice(stream, 10) for i in indices]
    assert any(i >= len(both[1]) for i in read)


def test_a_tripped_wire_warns_and_training_goes_on(fit, file, capsys):
    result, run = fit(guarded(file, *FORGET, "train.steps=5"))
    assert (result.stopped, result.steps) == ("steps", 5)
    tripped = {row["step"]: row.get("tripped") for row in history(run) if "val/total" in row}
    assert tripped == {0: None, 2: "en", 4: "en", 5: "en"}
    warnings = [line for line in capsys.readouterr().err.splitlines() if "forgetting en" in line]
    assert [line.split(":")[0] for line in warnings] == ["step 2", "step 4", "step 5"]
    assert "replay.max_rise=1e-06" in warnings[0]


def test_a_tripped_wire_stops_after_saving_and_stays_tripped_until_it_is_loosened(fit, file):
    stop = [*FORGET, "train.steps=5", "replay.tripwire=stop", "run=a"]
    result, run = fit(guarded(file, *stop))
    assert (result.stopped, result.steps) == ("forgetting", 2)
    assert checkpoint.step_of((run.checkpoints / "latest").resolve()) == 2
    assert history(run)[-1]["tripped"] == "en"
    before = run.history.read_text()
    again, _ = fit(guarded(file, *stop, resume=True))
    assert (again.stopped, again.steps) == ("forgetting", 2)
    assert run.history.read_text() == before
    on, _ = fit(guarded(file, *stop, "replay.tripwire=warn", resume=True))
    assert (on.stopped, on.steps) == ("steps", 5)
    assert history(run)[-1]["tripped"] == "en", "measured against the loss before the first step, not before the resume"


def test_a_loss_that_is_not_a_number_trips():
    p, now = small(), forgetting.Progress()
    for rise, trips in ((0.3, False), (0.31, True), (-1.0, False), (math.nan, True), (math.inf, True)):
        now.rise = {"en": rise}
        assert bool(forgetting.tripped(now, p)) == trips


# --- what the system must know ---------------------------------------------------------------------------------------


def test_a_corpus_of_unknown_speakers_languages_and_units_is_one_error(spoken, file, capsys):
    p = guarded(file)
    system = system_class(p.system).fresh(p, spoken.split("train"))
    capsys.readouterr()
    with pytest.raises(DatasetError) as error:
        pipeline.replay(system, p)
    said = str(error.value)
    assert "speakers f2 (it knows espeak)" in said
    assert "languages en (it knows qaa)" in said
    assert "units of " in said and "'c' (U+0063)" in said
    assert "quarantined" not in capsys.readouterr().err


def test_one_unknown_speaker_is_enough(both, file, tmp_path):
    p, rows = guarded(file), both[0]
    system = system_class(p.system).fresh(p, rows)
    path = tmp_path / "more.yaml"
    path.write_text(BASE.replace("[f2]", "[f2, m3]").replace("30", "12"))
    with pytest.raises(DatasetError, match=r"speakers m3 \(it knows espeak, f2\);") as error:
        pipeline.replay(system, guarded(path))
    assert "languages" not in str(error.value)


def test_a_base_without_clips_to_watch_is_refused(both, tmp_path):
    path = tmp_path / "blind.yaml"
    path.write_text(BASE.replace("val_share: 0.2", "val_share: 0").replace("30", "5"))
    p = guarded(path)
    with pytest.raises(DatasetError, match="no validation clip to watch en with"):
        pipeline.replay(system_class(p.system).fresh(p, both[0]), p)


# --- resume ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def taught(both, tmp_path_factory) -> Path:
    """A base that knows English alone, as exported."""
    rows, _, _, replayed, _ = both
    p = small()
    system = system_class(p.system).fresh(p, [row for row in rows if row.lang == "en"])
    system.measure(replayed["en"])
    return system.export(tmp_path_factory.mktemp("taught"))


def test_killed_and_resumed_with_replay_is_the_same_as_uninterrupted(prepared, taught, file):
    every = [f"adapt.base={taught}", f"replay.lang={file}", "replay.ratio=0.4", "replay.max_rise=1.0e-9"]
    every += ["data.frames=400", "train.log_every=1", "train.steps=18", "train.evaluate_every=8"]
    every += ["train.checkpoint_every=5", "train.lr=0.01"]
    whole = training.train(prepared, "run=whole", *every)
    first = training.start(prepared, "run=parts", *every)
    first.wait_for("step 13 ")
    first.kill()
    parts = whole.with_name("parts")
    position = training.progress(parts)["position"]
    assert position["epoch"] > 0 and position["batch"] > 0, "the kill should fall inside an epoch"
    training.train(prepared, "run=parts", "resume=true", *every)
    assert_same(whole, parts)
    clips = json.loads((whole / "clips.json").read_text())
    assert any(clip.startswith("en/") for clip in clips) and any(clip.startswith("qaa/") for clip in clips)


def test_a_run_with_another_guard_is_not_resumed(fit, file, both):
    watching = ["replay.ratio=0", "train.steps=2", "run=a"]
    fit(guarded(file, *watching))
    with pytest.raises(CheckpointError, match=r"replay: .*this run null"):
        fit(small("train.steps=2", "replay.ratio=0", run="a", resume=True))
    with pytest.raises(CheckpointError, match=r"replay: ratio: the checkpoint has 0\.0, this run 0\.5") as error:
        fit(guarded(file, *watching, "replay.ratio=0.5", resume=True))
    assert "training clips new: " in str(error.value) and "en/" in str(error.value)
    guard = both[-1]["en"]
    guard.ids[0], kept = "another", guard.ids[0]
    try:
        with pytest.raises(CheckpointError, match="replay: validation clips: en: the checkpoint has"):
            fit(guarded(file, *watching, resume=True))
    finally:
        guard.ids[0] = kept
    assert fit(guarded(file, *watching, "replay.max_rise=7", resume=True))[0].steps == 2
