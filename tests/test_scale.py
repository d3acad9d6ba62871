"""What was made fast or small for millions of clips gives what it gave before: the plain way of each is kept here."""

import hashlib
import json
import os
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttslib import dataset, doctor, manifest, splits
from ttslib.corpora.clip import Clip
from ttslib.dataset import Position, Stream
from ttslib.doctor import Case
from ttslib.manifest import ManifestError, Row
from ttslib.measuring import Measured
from ttslib.sections import Doctor

ROW = Row("a", "a.wav", "ሰላም", "ሰላም", "am", "s", "custom", "CC0", 0.0, 1.0, 16000, "0")


def planned(lengths, budget, seed, epoch):
    """The plan, clip by clip: golden curves and every resumed run depend on this order."""
    rng = np.random.default_rng([seed, epoch])
    jitter = np.asarray(lengths) * rng.uniform(0.97, 1.03, len(lengths))
    batches, current, longest = [], [], 0
    for index in np.argsort(jitter, kind="stable").tolist():
        grown = max(longest, lengths[index])
        if current and grown * (len(current) + 1) > budget:
            batches.append(current)
            current, grown = [], lengths[index]
        current.append(index)
        longest = grown
    batches.append(current)
    return [batches[i] for i in rng.permutation(len(batches))]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 900), max_size=80), st.integers(1, 3000), st.integers(0, 9), st.integers(0, 5))
def test_a_plan_is_what_it_was(lengths, budget, seed, epoch):
    assert dataset.plan(lengths, budget, seed, epoch) == planned(lengths, budget, seed, epoch)


def test_a_plan_of_known_lengths_is_known():
    assert dataset.plan([40, 10, 30, 20, 50], 60, 1, 0) == [[0], [4], [2], [1, 3]]
    assert dataset.plan([], 60, 1, 0) == [[]]


@pytest.mark.parametrize(("replayed", "ratio"), [(0, 0.0), (10, 0.3)])
def test_an_epoch_is_planned_once_for_sampler_loader_and_log(monkeypatch, replayed, ratio):
    asked, real = [], dataset.plan
    monkeypatch.setattr(dataset, "plan", lambda *args: asked.append(args[-1]) or real(*args))
    lengths = list(range(10, 60))
    stream = Stream(lengths, 200, 3, replayed=replayed, ratio=ratio)
    fresh = [Stream(lengths, 200, 3, replayed=replayed, ratio=ratio).epoch(n) for n in range(4)]
    asked.clear()
    for number in range(4):
        # The sampler is an epoch ahead of the log and the loader for a few batches.
        assert stream.epoch(number) == fresh[number]
        back = max(0, number - 1)
        assert stream.left(Position(back, 1)) == len(fresh[back]) - 1
        assert stream.left(Position(number, 2)) == len(fresh[number]) - 2
    assert asked == [0, 1, 2, 3]
    assert len(stream.plans) == 2
    assert stream == Stream(lengths, 200, 3, replayed=replayed, ratio=ratio)  # what is remembered is no part of it


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_a_text_key_is_its_letters_marks_and_digits(text):
    folded = unicodedata.normalize("NFKC", text).casefold()
    assert splits.text_key(text) == "".join(c for c in folded if unicodedata.category(c)[0] in "LMN")


def test_a_digest_is_that_of_the_whole_list(tmp_path):
    rows = tuple(replace(ROW, id=f"é{n}", end=1 + n / 3) for n in range(3))
    for some in (rows, rows[:1], ()):
        told = [[r.id, r.sha, r.text, r.lang, r.speaker, r.start, r.end, r.split] for r in some]
        whole = hashlib.sha256(json.dumps(told).encode()).hexdigest()
        assert manifest.Manifest(some, (), tmp_path).digest == whole


def test_rows_that_are_read_share_their_repeated_strings(tmp_path):
    manifest.write(tmp_path, [ROW, replace(ROW, id="b", raw="Sälam")], [])
    one, two = manifest.read(tmp_path).rows
    assert all(getattr(one, name) is getattr(two, name) for name in manifest.FEW)
    assert one.raw is one.text and two.raw == "Sälam"
    assert not hasattr(one, "__dict__")


def test_a_second_row_of_an_id_is_named_with_the_first(tmp_path):
    manifest.write(tmp_path, [ROW, replace(ROW, id="b"), replace(ROW, id="c")], [])
    file = tmp_path / "manifest.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join([*lines, lines[1]]), encoding="utf-8")  # no newline at the end
    with pytest.raises(ManifestError) as caught:
        manifest.read(tmp_path)
    assert str(caught.value) == f"{file}:4: id 'b' is also that of {file}:2"
    file.write_text("\n", encoding="utf-8")
    with pytest.raises(ManifestError, match=r"manifest\.jsonl:1: not a line of JSON"):
        manifest.read(tmp_path)


@pytest.mark.parametrize("linked", [False, True])
def test_audio_below_a_folder_or_what_it_links_to_is_relative(tmp_path, linked):
    real = tmp_path / "real"
    real.mkdir()
    where = tmp_path / "link" if linked else real
    if linked:
        where.symlink_to(real)
    inside = manifest.roots(where)
    for audio, said in {
        f"{where}/x/../y.wav": "y.wav", f"{real}/y.wav": "y.wav", f"{real}er/y.wav": f"{real}er/y.wav",
        "/y.wav": "/y.wav", "x/y.wav": "x/y.wav",
    }.items():  # fmt: skip
        assert manifest.below(audio, inside) == manifest.placed(audio, Path(where)) == said
    assert manifest.below("/a/b.wav", manifest.roots(Path("/"))) == f"a{os.sep}b.wav"


def cases(count: int, texts: list[str], sha: str | None = None) -> list[Case]:
    found = []
    for n in range(count):
        measured = Measured(16000, 2.0, sha or f"{n}", 0.0, 2.0, -20.0, -20.0, 0.0, 0.0, None, 40.0, False)
        clip = Clip(f"c{n}", Path(f"/{n}.wav"), texts[n % len(texts)], "en", "ann", "custom", "CC0")
        found.append(Case(clip, clip.text, measured, None))
    return found


def test_copies_of_a_recording_are_named_five_at_a_time():
    torn = doctor.compare(cases(8, ["one two", "three"], "same"), Doctor())
    assert {case.drop[0] for case in torn} == {"conflicting transcripts"}
    assert torn[0].drop[1] == "the same audio has another text in c1, c2, c3, c4, c5 and 2 more"
    assert torn[3].drop[1] == "the same audio has another text in c0, c1, c2, c4, c5 and 2 more"
    twice = doctor.compare(cases(2, ["one", "two"], "same"), Doctor())
    assert twice[1].drop[1] == "the same audio has another text in c0"
    (row, *_) = doctor.mark(cases(8, ["one two"]), Doctor())
    assert row.suspects[-1] == "duplicate text: ann also says it in c1, c2, c3, c4, c5 and 2 more"
    assert doctor.mark(cases(1, ["one two"]), Doctor())[0].suspects == ()


def test_a_transcript_is_compared_once_a_copy(monkeypatch):
    asked, real = [], doctor.text_key
    monkeypatch.setattr(doctor, "text_key", lambda text: asked.append(text) or real(text))
    doctor.compare(cases(100, ["one two", "three"], "same"), Doctor())
    assert len(asked) <= 300  # in pairs: 10,000
