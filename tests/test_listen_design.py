"""A listening test compares what it says it compares: balanced, blind, equally loud, and nothing left out."""

import json
import math
import random
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from ttslib import audio, listen
from ttslib.items import Item
from ttslib.listen import design, sound
from ttslib.listen.design import ANCHOR, REFERENCE, ListenError, Text, plan, public
from ttslib.listen.sound import SoundError, loudness, low_anchor, matched

TEXTS = [Text(f"t{i}", f"text {i}", "en") for i in range(6)]


def noise(seconds: float, rate: int = 16000, level: float = 0.1, seed: int = 0) -> tuple[np.ndarray, int]:
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * rate))).astype(np.float32), rate


def named(key: dict, trial: dict) -> list[str]:
    return [key["stimuli"][one]["system"] for one in trial["sounds"]]


def firsts(session: list[dict]) -> list[dict]:
    return [trial for trial in session if trial["repeats"] is None]


sizes = {"systems": st.integers(2, 4), "texts": st.integers(1, 7), "seed": st.integers(0, 99)}


@given(**sizes, kind=st.sampled_from(design.KINDS), repeats=st.sampled_from([0.0, 0.2, 0.5]))
def test_every_listener_hears_every_comparison_once_and_some_again(systems, texts, seed, kind, repeats):
    of = [Text(str(i), "a b") for i in range(texts)]
    key = plan([f"system {i}" for i in range(systems)], of, kind, seed, repeats=repeats)
    groups = 1 if kind == "mushra" else math.comb(systems, 2)
    for session in key["sessions"]:
        once = Counter((trial["text"], frozenset(named(key, trial))) for trial in firsts(session))
        assert set(once.values()) == {1} and len(once) == texts * groups
        again = [(i, trial) for i, trial in enumerate(session) if trial["repeats"] is not None]
        assert len(again) == (min(max(1, round(repeats * len(once))), (len(once) + 1) // 2) if repeats else 0)
        for i, trial in again:
            first = session[trial["repeats"]]
            assert first["repeats"] is None and trial["repeats"] < i and first["text"] == trial["text"]
            assert sorted(first["sounds"]) == sorted(trial["sounds"]) and first["sounds"] != trial["sounds"]
            assert i - trial["repeats"] > 1 or len(once) == 1
    assert plan([f"system {i}" for i in range(systems)], of, kind, seed, repeats=repeats) == key
    assert json.loads(json.dumps(key)) == key


@given(**sizes)
def test_pairs_begin_with_either_system_equally_often(systems, texts, seed):
    key = plan([f"system {i}" for i in range(systems)], [Text(str(i), "a") for i in range(texts)], "cmos", seed)
    for session in key["sessions"]:
        led = Counter(tuple(named(key, trial)) for trial in firsts(session))
        assert all(abs(count - led[pair[::-1]]) <= 1 for pair, count in led.items())
    for one, other in pairwise(key["sessions"]):
        sides = {(t["text"], frozenset(t["sounds"])): t["sounds"] for t in firsts(one)}
        assert all(sides[t["text"], frozenset(t["sounds"])] == t["sounds"][::-1] for t in firsts(other))


@given(**sizes)
def test_x_and_sides_are_crossed_over_four_listeners(systems, texts, seed):
    key = plan([f"system {i}" for i in range(systems)], [Text(str(i), "a") for i in range(texts)], "abx", seed)
    assert len(key["sessions"]) % 4 == 0
    seen = Counter(
        (frozenset(t["sounds"]), tuple(t["sounds"]), t["x"]) for session in key["sessions"][:4] for t in firsts(session)
    )
    assert set(seen.values()) == {1} and len(seen) == 4 * texts * math.comb(systems, 2)


@given(**sizes)
def test_mushra_is_a_latin_square_over_listeners(systems, texts, seed):
    key = plan([f"system {i}" for i in range(systems)], [Text(str(i), "a") for i in range(texts)], "mushra", seed)
    conditions = systems + 2
    assert len(key["sessions"]) % conditions == 0
    places = Counter(
        (t["text"], name, place)
        for session in key["sessions"][:conditions]
        for t in firsts(session)
        for place, name in enumerate(named(key, t))
    )
    assert set(places.values()) == {1} and len(places) == texts * conditions**2
    for trial in key["sessions"][0]:
        assert key["stimuli"][trial["reference"]] == {"system": REFERENCE, "text": trial["text"]}


def test_order_of_trials_differs_between_listeners_and_numbers_tell_nothing():
    key = plan(["a", "b"], TEXTS, "cmos", seed=3)
    assert len({tuple(t["text"] for t in firsts(s)) for s in key["sessions"]}) > 8
    assert plan(["a", "b"], TEXTS, "cmos", seed=4)["stimuli"] != key["stimuli"]
    order = [key["stimuli"][one]["system"] for one in sorted(key["stimuli"])]
    assert order != sorted(order) and order != sorted(order, reverse=True)
    assert set(key["stimuli"]) == {f"s{n:02d}" for n in range(1, 13)}


def test_a_page_is_told_neither_systems_nor_repeats():
    key = design.sealed(plan(["alpha", "beta"], TEXTS, "mushra", title="x"), dict.fromkeys(plan_ids("mushra"), b"1"))
    told = json.dumps(public(key))
    assert not any(name in told for name in ("alpha", "beta", ANCHOR, "repeats", '"t0"', "sha256", "seed"))


def plan_ids(kind: str) -> list[str]:
    return list(plan(["alpha", "beta"], TEXTS, kind)["stimuli"])


def test_what_cannot_be_tested_is_refused_with_every_reason():
    with pytest.raises(ListenError, match=r"no kind 'mos'(.|\n)*too few(.|\n)*'t0' is there twice(.|\n)*repeats is 2"):
        plan(["a"], [TEXTS[0], TEXTS[0]], "mos", repeats=2)
    with pytest.raises(ListenError, match=r"may be called reference(.|\n)*pairs are of cmos"):
        plan(["reference"], TEXTS, "mushra", pairs=[("a", "b")])
    with pytest.raises(ListenError, match=r"\('a', 'c'\) is no pair"):
        plan(["a", "b"], TEXTS, "cmos", pairs=[("a", "c")])
    with pytest.raises(ListenError, match="one pair twice"):
        plan(["a", "b"], TEXTS, "cmos", pairs=[("a", "b"), ("b", "a")])
    with pytest.raises(ListenError, match="no texts"):
        plan(["a", "b"], [], "cmos")


def test_only_the_pairs_asked_for():
    key = plan(["base", "a", "b"], TEXTS, "cmos", pairs=[("base", "a"), ("base", "b")], repeats=0)
    assert {frozenset(named(key, t)) for t in key["sessions"][0]} == {
        frozenset({"base", "a"}),
        frozenset({"base", "b"}),
    }


# ---- folders


def spoken(folder, texts, seed=0, leave_out=()):
    """A folder as `ttslib generate` writes it."""
    for i, text in enumerate(texts):
        if text.id not in leave_out:
            audio.save(folder / f"{text.id}.wav", *noise(0.5, seed=seed + i))
    told = [{"id": t.id, "text": t.text, "lang": t.lang} for t in texts]
    (folder / "results.json").write_text(json.dumps({"items": told}), encoding="utf-8")
    return folder


def test_a_test_of_two_folders(tmp_path):
    a, b = spoken(tmp_path / "a", TEXTS), spoken(tmp_path / "b", TEXTS, seed=9)
    made = listen.build(tmp_path / "test", {"a": a, "b": b}, seed=1)
    key = json.loads(made["key"].read_text(encoding="utf-8"))
    assert [Text(**text) for text in key["texts"]] == TEXTS and made["trials"] == 7
    assert made["bytes"] == made["page"].stat().st_size and made["page"].stem == key["test"] == made["test"]
    assert listen.build(tmp_path / "test", {"a": a, "b": b}, seed=1) == made
    assert listen.build(tmp_path / "test", {"a": b, "b": a}, seed=1)["test"] != made["test"]


def test_a_sentence_that_a_system_lacks_is_named(tmp_path):
    a, b = spoken(tmp_path / "a", TEXTS), spoken(tmp_path / "b", TEXTS, leave_out=("t3", "t4"))
    with pytest.raises(ListenError, match="b lacks 2 of 6: t3, t4"):
        listen.build(tmp_path, {"a": a, "b": b})
    asked = [Item(text.id, text.text, text.lang, "a voice") for text in TEXTS[:3]]
    assert listen.build(tmp_path, {"a": a, "b": b}, asked)["trials"] == 4


def test_folders_of_other_sentences_are_no_comparison(tmp_path):
    a = spoken(tmp_path / "a", TEXTS)
    other = spoken(tmp_path / "b", [TEXTS[0]._replace(text="another"), *TEXTS[1:]])
    with pytest.raises(ListenError, match="another"):
        listen.build(tmp_path, {"a": a, "b": other})
    with pytest.raises(ListenError, match=r"b: .* other texts under the ids t0"):
        listen.build(tmp_path, {"a": a, "b": other}, TEXTS)
    with pytest.raises(ListenError, match="not asked for the same sentences: t5"):
        listen.build(tmp_path, {"a": a, "b": spoken(tmp_path / "c", TEXTS[:5])})
    (tmp_path / "c" / "results.json").unlink()
    with pytest.raises(ListenError, match=r"no results\.json"):
        listen.texts({"a": a, "c": tmp_path / "c"})
    with pytest.raises(ListenError, match="give the texts"):
        listen.texts({"a": {}, "b": a})
    with pytest.raises(ListenError, match="no systems"):
        listen.build(tmp_path, {})


def test_recordings_of_a_run_have_the_ids_that_generate_gives(outputs, spoken_run):
    of, recorded = listen.recordings(spoken_run)
    assert {text.id for text in of} == set(recorded) and all(text.lang == "qaa" for text in of)
    wav, rate = recorded[of[0].id]
    assert wav.ndim == 1 and len(wav) / rate > 0.2
    voices = {one: (wav[::-1].copy(), rate) for one, (wav, rate) in recorded.items()}
    key, _ = listen.prepare({"backwards": voices}, of[:3], "mushra", reference=recorded)
    assert key["systems"] == ["backwards", REFERENCE, ANCHOR]
    with pytest.raises(ListenError, match="reference is needed"):
        listen.prepare({"backwards": voices}, of[:3], "mushra")


@pytest.fixture
def spoken_run(spoken, tmp_path):
    (tmp_path / "data.json").write_text(json.dumps({"manifest": str(spoken.folder)}), encoding="utf-8")
    return tmp_path


# ---- sound


@pytest.mark.parametrize("rate", [16000, 22050, 24000, 44100])
def test_loudness_is_that_of_bs1770(rate):
    """Its calibration: a 997 Hz sine at full scale in one channel reads -3.01 LUFS."""
    tone = np.sin(2 * np.pi * 997 * np.arange(5 * rate) / rate).astype(np.float32)
    assert loudness(tone, rate) == pytest.approx(-3.01, abs=0.1)
    assert loudness(0.1 * tone, rate) == pytest.approx(loudness(tone, rate) - 20, abs=0.01)
    silence = np.zeros(5 * rate, np.float32)
    assert loudness(np.concatenate([tone, silence]), rate) == pytest.approx(loudness(tone, rate), abs=0.2)  # gated
    assert loudness(silence, rate) == -math.inf


@pytest.mark.parametrize("seconds", [0.02, 0.1, 0.399, 0.4, 0.401])
@pytest.mark.parametrize("level", [1.0, 1e-4])
def test_short_sounds_are_measured_at_their_own_length(seconds, level):
    tone = level * np.sin(2 * np.pi * 997 * np.arange(round(16000 * seconds)) / 16000).astype(np.float32)
    assert loudness(tone, 16000) == pytest.approx(-3.01 + 20 * math.log10(level), abs=0.7 if seconds < 0.1 else 0.3)


def test_all_sounds_are_equally_loud_and_none_is_clipped():
    draw = random.Random(0)
    sounds = {i: noise(draw.uniform(0.1, 2), level=10 ** draw.uniform(-4, -0.5), seed=i) for i in range(12)}
    same, level = matched(sounds)
    assert level == sound.TARGET
    click, rate = noise(1.0, level=1e-3)
    click[5000] = 0.9
    same, level = matched(sounds | {"click": (click, rate)})
    assert level < sound.TARGET - 3
    assert all(loudness(*one) == pytest.approx(level, abs=0.05) for one in same.values())
    assert max(np.abs(wav).max() for wav, _ in same.values()) == pytest.approx(10 ** (-1 / 20), abs=1e-3)


@pytest.mark.parametrize(
    ("wav", "fault"),
    [
        (np.zeros(8000), "x: it is silent"),
        (np.zeros(0), "silent"),
        (np.full(9, np.nan), "finite"),
        (np.ones((9, 2)), r"\(9, 2\)"),
    ],
)
def test_what_cannot_be_judged_is_refused(wav, fault):
    with pytest.raises(SoundError, match=fault):
        matched({"x": (wav.astype(np.float32), 16000)})


@pytest.mark.parametrize("rate", [16000, 24000, 48000])
def test_low_anchor_is_that_of_bs1534(rate):
    pulse = np.zeros(rate, np.float32)
    pulse[rate // 2] = 1
    gain = 20 * np.log10(np.abs(np.fft.rfft(low_anchor(pulse, rate))) + 1e-9)  # one bin a Hz
    assert np.abs(gain[:3500]).max() < 0.1 and gain[4000:].max() < -25 and gain[4500:].max() < -50
    assert np.abs(low_anchor(pulse, rate)).argmax() == rate // 2  # no delay


def test_a_telephone_recording_has_no_low_anchor():
    for wav, rate in (noise(1.0, 8000), (low_anchor(*noise(1.0)), 16000)):
        with pytest.raises(SoundError, match=r"no sound above 3\.5 kHz"):
            low_anchor(wav, rate)


def test_sounds_survive_embedding(tmp_path):
    file = audio.save(tmp_path / "a.wav", *noise(0.5))
    key, sounds = listen.prepare({"a": {"x": file}, "b": {"x": noise(0.5, seed=1)}}, [Text("x", "x")])
    (tmp_path / "s.flac").write_bytes(sounds["s1"])
    heard, rate = soundfile.read(tmp_path / "s.flac")
    assert loudness(heard, rate) == pytest.approx(key["loudness"], abs=0.05)
    small = listen.prepare({"a": {"x": file}, "b": {"x": noise(0.5, seed=1)}}, [Text("x", "x")], sound="MP3")[1]
    assert sum(map(len, small.values())) < 0.4 * sum(map(len, sounds.values()))
