import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from ttslib import manifest, splits
from ttslib.manifest import ManifestError, Row
from ttslib.params import Params
from ttslib.sections import Corpus, Doctor, Text


def row(n: int = 0, **changes) -> Row:
    base = Row(
        id=f"en/{n}",
        audio=f"/corpus/{n}.wav",
        text=f"sentence {chr(97 + n % 26)}",
        raw=f"Sentence {chr(65 + n % 26)}",
        lang="en",
        speaker="ann",
        source="custom",
        licence="CC0",
        start=0.1,
        end=2.1,
        rate=16000,
        sha=f"{n:040x}",
    )
    return replace(base, **changes)


DROP = {"where": "/corpus/x.wav", "reason": "silent", "detail": "-90 dB"}


def test_what_is_written_is_what_is_read(tmp_path):
    odd = "a\u2028b\x85c ሰላም"  # U+2028 and U+0085 end lines for str.splitlines, not for JSON lines
    rows = [row(0, suspects=("level: +13 dB",)), row(1, raw=odd, text=odd, split="test"), row(2, end=3, split="val")]
    surrogate = {**DROP, "where": "/corpus/caf\udce9.wav"}
    made = manifest.write(tmp_path / "a", rows, [DROP, surrogate])
    again = manifest.read(tmp_path / "a")
    assert again == made
    assert again.rows == tuple(rows)
    assert again.dropped == (DROP, surrogate)
    assert "ሰላም" in (tmp_path / "a/manifest.jsonl").read_text(encoding="utf-8")
    assert sorted(f.name for f in (tmp_path / "a").iterdir()) == [
        "dropped.jsonl",
        "manifest.jsonl",
        "summary.json",
        "suspects.jsonl",
    ]
    summary = json.loads((tmp_path / "a/summary.json").read_text())
    assert summary["clips"] == 3
    assert summary["dropped"] == {"silent": 2}
    assert summary["suspects"] == {"level": 1}
    assert summary["digest"] == made.digest
    (suspect,) = (tmp_path / "a/suspects.jsonl").read_text().splitlines()
    assert json.loads(suspect)["id"] == "en/0"


def test_audio_below_the_folder_is_relative_and_moves_with_it(tmp_path):
    inside = tmp_path / "a/audio/x.wav"
    made = manifest.write(tmp_path / "a", [row(0, audio=str(inside)), row(1, audio="/elsewhere/../y.wav")], [])
    assert [r.audio for r in made.rows] == ["audio/x.wav", "/y.wav"]
    assert made.audio(made.rows[0]) == inside
    (tmp_path / "a").rename(tmp_path / "b")
    moved = manifest.read(tmp_path / "b")
    assert moved.audio(moved.rows[0]) == tmp_path / "b/audio/x.wav"
    assert moved.audio(moved.rows[1]) == Path("/y.wav")
    assert moved.digest == made.digest


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"extra": 1}, "unknown extra"),
        ({"sha": None}, "sha must be a string"),
        ({"rate": 16000.5}, "rate must be"),
        ({"rate": True}, "rate must be"),
        ({"rate": 0}, "rate must be"),
        ({"start": "0"}, "start must be"),
        ({"end": float("nan")}, "end must be"),
        ({"end": 0.1}, "end must be after start"),
        ({"start": -1.0}, "not negative"),
        ({"split": "dev"}, "split must be one of train, val, test"),
        ({"suspects": "noise"}, "suspects must be"),
        ({"text": ""}, "text must be non-empty"),
        ({"audio": "../secret.wav"}, "inside the manifest's folder"),
        ({"audio": "a/../../secret.wav"}, "inside the manifest's folder"),
        ({"id": "en/0"}, "id 'en/0' is also that of"),
    ],
)
def test_reading_refuses_a_broken_row_by_file_and_line(tmp_path, change, names):
    manifest.write(tmp_path, [row(0), row(1)], [])
    path = tmp_path / "manifest.jsonl"
    first, second = path.read_text().splitlines()
    path.write_text(first + "\n" + json.dumps({**json.loads(second), **change}) + "\n")
    with pytest.raises(ManifestError) as caught:
        manifest.read(tmp_path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert names in str(caught.value)


@pytest.mark.parametrize("line", ["{", "[]", "", "\udcff"])
def test_reading_refuses_a_line_that_is_no_object(tmp_path, line):
    manifest.write(tmp_path, [row(0)], [DROP])
    for name in ("manifest.jsonl", "dropped.jsonl"):
        path = tmp_path / name
        good = path.read_bytes()
        path.write_bytes(good + line.encode("utf-8", "surrogateescape") + b"\n" + good)
        with pytest.raises(ManifestError, match=f"{name}:2: "):
            manifest.read(tmp_path)
        path.write_bytes(good)


def test_reading_refuses_missing_keys_and_missing_files(tmp_path):
    manifest.write(tmp_path, [row(0)], [DROP])
    record = json.loads((tmp_path / "manifest.jsonl").read_text())
    del record["licence"]
    (tmp_path / "manifest.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(ManifestError, match=r"manifest\.jsonl:1: missing licence"):
        manifest.read(tmp_path)
    (tmp_path / "manifest.jsonl").unlink()
    with pytest.raises(ManifestError, match=r"manifest\.jsonl: no such file"):
        manifest.read(tmp_path)


def test_a_refused_or_interrupted_write_leaves_the_old_manifest(tmp_path, monkeypatch):
    old = manifest.write(tmp_path, [row(0)], [])
    with pytest.raises(ManifestError, match="id 'en/1' is also that of"):
        manifest.write(tmp_path, [row(1), row(1)], [])
    with pytest.raises(ManifestError, match="folder"):
        manifest.write(tmp_path, [row(1, audio="../x.wav")], [])
    assert manifest.read(tmp_path) == old

    opened = Path.open

    def full(path, mode="r", *rest, **named):
        if "w" in mode:
            raise OSError("no space left on device")
        return opened(path, mode, *rest, **named)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="no space"):
        manifest.write(tmp_path, [row(2)], [])
    assert manifest.read(tmp_path) == old


def test_the_digest_is_of_what_changes_training_and_nothing_else(tmp_path):
    def digest(*rows):
        return manifest.Manifest(rows, (), tmp_path).digest

    base = digest(row(0), row(1))
    changes = dict(id="x", sha="f" * 40, text="x", lang="x", speaker="x", start=0.2, end=2.2, split="val")
    other = [digest(replace(row(0), **{k: v}), row(1)) for k, v in changes.items()] + [digest(row(1), row(0))]
    assert len({base, *other}) == len(changes) + 2
    assert digest(row(0, audio="/b.wav", raw="y", licence="x", suspects=("a: b",)), row(1)) == base


def test_totals_and_charset():
    rows = (row(0, text="aab"), row(1, text="ab", split="val"), row(2, text="bc"), row(3, speaker="bob", text="d"))
    made = manifest.Manifest(rows, (), Path("/m"))
    assert made.totals() == [
        dict(lang="en", speaker="ann", split="train", clips=2, minutes=0.067, characters=5),
        dict(lang="en", speaker="ann", split="val", clips=1, minutes=0.033, characters=2),
        dict(lang="en", speaker="bob", split="train", clips=1, minutes=0.033, characters=1),
    ]
    assert made.charset() == Counter("aabbcd")
    assert made.split("val") == [rows[1]]
    with pytest.raises(ManifestError, match="no split 'dev'"):
        made.split("dev")


# --- splits ----------------------------------------------------------------------------------------------------------

SHARES = st.floats(0, 0.3)
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def pangram(n: int) -> str:
    """A text of its own for every n that holds every letter, so that no clip is kept in train for a rare letter."""
    return LETTERS + word(n)


def word(n: int) -> str:
    return LETTERS[n // 676 % 26] + LETTERS[n // 26 % 26] + LETTERS[n % 26]


@st.composite
def corpora_with_repeats(draw):
    said = draw(st.lists(st.tuples(st.integers(0, 60), st.sampled_from(["ann", "bob", "eve"])), max_size=120))
    looks = ["{}", "{}.", " {} !", "«{}»"]
    return [
        row(
            n,
            text=looks[n % 4].format(pangram(k).upper() if n % 3 else pangram(k)),
            speaker=who,
            lang="en" if k % 5 else "fr",
        )
        for n, (k, who) in enumerate(said)
    ]


@settings(deadline=None, max_examples=80)
@given(corpora_with_repeats(), SHARES, SHARES, st.integers(0, 9), st.randoms())
def test_splits_are_a_function_of_the_set_and_share_no_text(rows, val, test, seed, random):
    done = splits.assign(rows, val, test, seed)
    assert [replace(r, split="train") for r in done] == rows
    shuffled = random.sample(rows, len(rows))
    assert {r.id: r.split for r in splits.assign(shuffled, val, test, seed)} == {r.id: r.split for r in done}
    splits_of = {}
    for r in done:
        splits_of.setdefault("".join(c for c in r.text.lower() if c.isalpha()), set()).add(r.split)
    assert all(len(splits) == 1 for splits in splits_of.values())
    trained = {(r.lang, r.speaker) for r in done if r.split == "train"}
    assert {(r.lang, r.speaker) for r in done} == trained


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.text("abcdefgh", min_size=1, max_size=3), min_size=2, max_size=60), SHARES, SHARES, st.integers(0, 9)
)
def test_every_character_is_trained(texts, val, test, seed):
    done = splits.assign([row(n, text=text) for n, text in enumerate(texts)], val, test, seed)
    assert set("".join(texts)) == set("".join(r.text for r in done if r.split == "train"))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 400), st.integers(1, 7), SHARES, SHARES, st.integers(0, 9))
def test_each_speaker_gives_its_share(count, speakers, val, test, seed):
    rows = [row(n, text=pangram(n), speaker=f"s{n % speakers}") for n in range(count)]
    done = splits.assign(rows, val, test, seed)
    for name, share in (("val", val), ("test", test)):
        for who in {r.speaker for r in rows}:
            mine = [r for r in done if r.speaker == who]
            got = sum(r.split == name for r in mine)
            if len(mine) >= 5:
                assert abs(got - share * len(mine)) < 1 or (got == 1 and count >= 20)
        if count >= 20 and share > 0:
            assert any(r.split == name for r in done)
        if share == 0:
            assert not any(r.split == name for r in done)


@settings(deadline=None, max_examples=60)
@given(st.integers(10, 200), st.data(), SHARES, SHARES, st.integers(0, 9))
def test_a_clip_that_goes_moves_at_most_one_other_clip_a_split(count, data, val, test, seed):
    rows = [row(n, text=pangram(n * 37)) for n in range(count)]
    gone = data.draw(st.integers(0, count - 1))
    before = {r.id: r.split for r in splits.assign(rows, val, test, seed)}
    after = {r.id: r.split for r in splits.assign(rows[:gone] + rows[gone + 1 :], val, test, seed)}
    moved = [(before[i], after[i]) for i in after if before[i] != after[i]]
    assert all("train" in pair for pair in moved)
    assert len([pair for pair in moved if "val" in pair]) <= 1
    assert len([pair for pair in moved if "test" in pair]) <= 1


def test_repeated_texts_are_trained_on_while_enough_occur_once():
    rows = [row(n, text=pangram(n)) for n in range(80)] + [row(80 + n, text=pangram(1000 + n // 2)) for n in range(20)]
    done = splits.assign(rows, 0.1, 0.1, seed=1)
    assert {r.split for r in done[80:]} == {"train"}
    assert {r.split for r in done[:80]} == {"train", "val", "test"}


def test_when_every_speaker_reads_the_same_sentences_whole_sentences_are_held_out():
    rows = [row(n, text=pangram(n // 3), speaker=f"s{n % 3}") for n in range(300)]
    done = splits.assign(rows, 0.1, 0.1, seed=1)
    for name in ("val", "test"):
        held = [r for r in done if r.split == name]
        assert 27 <= len(held) <= 36
        assert set(Counter(r.text for r in held).values()) == {3}


def test_many_speakers_of_few_clips_give_their_share_together():
    rows = [row(n, text=pangram(n), speaker=f"s{n // 4}") for n in range(2000)]
    held = Counter(r.split for r in splits.assign(rows, 0.05, 0.05, seed=1))
    assert 70 <= held["val"] <= 130
    assert 70 <= held["test"] <= 130


def test_the_seed_and_nothing_but_it_chooses_other_clips():
    rows = [row(n, text=pangram(n)) for n in range(100)]
    one, two = (splits.assign(rows, 0.2, 0.2, seed) for seed in (1, 2))
    assert sum(a.split != b.split for a, b in zip(one, two, strict=True)) > 20


# --- corpus.minutes --------------------------------------------------------------------------------------------------


def spoken_rows(count: int, speakers: int = 2, seed: int = 0) -> list[Row]:
    """Clips of 1 to 9 s in two languages, a few of them with a letter of their own, with their splits."""
    rng = np.random.default_rng(seed)
    rows = [
        row(
            n,
            text=pangram(n) + "àèìòùáéíóúâêîôû"[n // 7 : n // 7 + 1] * (n % 7 == 0),
            end=round(1.1 + rng.uniform(0, 8), 2),
            lang="en" if n % 3 else "fr",
            speaker=f"s{n % speakers}",
        )
        for n in range(count)
    ]
    return splits.assign(rows, 0.1, 0.1, seed)


def ids(rows, lang=None, split=None) -> set[str]:
    return {r.id for r in rows if lang in (None, r.lang) and split in (None, r.split)}


@settings(deadline=None, max_examples=40)
@given(st.integers(30, 120), st.integers(1, 3), st.integers(0, 9), st.floats(1.0, 4.0), st.randoms())
def test_minutes_keeps_a_part_of_train_per_language_and_less_is_part_of_more(count, speakers, seed, minutes, random):
    rows = spoken_rows(count, speakers, seed)
    kept, dropped = splits.limit(rows, minutes, seed)
    assert [r for r in kept if r.split != "train"] == [r for r in rows if r.split != "train"]
    assert kept == [r for r in rows if r.id in ids(kept)]
    assert {d["id"] for d in dropped} == ids(rows) - ids(kept)
    for lang in ("en", "fr"):
        have = sum(r.seconds for r in kept if r.lang == lang and r.split == "train")
        assert have <= minutes * 60
        gone = ids(rows, lang, "train") - ids(kept, lang, "train")
        assert not gone or have > minutes * 60 - 9, "stops only where the next clip would not fit"
    assert ids(splits.limit(random.sample(rows, len(rows)), minutes, seed)[0]) == ids(kept)
    more, _ = splits.limit(rows, minutes * 1.3, seed)
    assert ids(kept) <= ids(more)
    assert splits.limit(rows, 1000.0, seed) == (rows, [])


def test_minutes_keeps_every_character_and_every_speaker_held_out_when_it_can(capsys):
    rows = spoken_rows(120, speakers=3)
    kept, _ = splits.limit(rows, 2.0, 0)
    for lang in ("en", "fr"):
        was, now = ([r for r in some if r.lang == lang and r.split == "train"] for some in (rows, kept))
        assert set("".join(r.text for r in was)) == set("".join(r.text for r in now))
        assert {r.speaker for r in rows if r.lang == lang and r.split != "train"} <= {r.speaker for r in now}
        assert len(now) < len(was)
    said = capsys.readouterr().err
    assert "manifest: en: " in said and "minutes to train on (corpus.minutes)" in said
    assert "no clip is left" not in said


def test_minutes_says_which_characters_are_lost(capsys):
    rows = [row(n, text=letter, end=10.1) for n, letter in enumerate("abc")] + [row(9, text="a", split="val")]
    kept, dropped = splits.limit(rows, 0.4, 1)
    (lost,) = {"a", "b", "c"} - {r.text for r in kept if r.split == "train"}
    assert f"en: no clip is left to learn {lost!r} from" in capsys.readouterr().err
    assert [d["reason"] for d in dropped] == ["beyond corpus.minutes"]
    assert dropped[0]["where"].startswith("/corpus/") and dropped[0]["detail"] == "0.4 minutes of en are kept"


def test_minutes_too_few_for_the_speakers_held_out_is_refused():
    rows = [row(n, text=pangram(n), speaker=f"s{n}", end=10.1) for n in range(4)]
    rows += [replace(r, id=f"{r.id}v", split="val") for r in rows[:3]]
    assert {r.speaker for r in splits.limit(rows, 0.5, 1)[0] if r.split == "train"} == {"s0", "s1", "s2"}
    with pytest.raises(
        ManifestError, match=r"corpus\.minutes: 0\.4 are too few .* 3 speakers of en .*none is left of s\d$"
    ):
        splits.limit(rows, 0.4, 1)


def test_the_seed_chooses_the_clips_beyond_those_needed():
    rows = [row(n, text=pangram(n)) for n in range(100)]
    one, two = (ids(splits.limit(rows, 1.5, seed)[0]) for seed in (1, 2))
    assert len(one) == len(two) == 45
    assert len(one & two) < 35


# --- prepare ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def corpus(tmp_path, monkeypatch) -> Params:
    monkeypatch.setenv("TTSLIB_OUTPUTS", str(tmp_path / "outputs"))
    rng = np.random.default_rng(0)
    (tmp_path / "en").mkdir()
    for n in range(6):
        soundfile.write(tmp_path / f"en/{n}.wav", rng.normal(size=16000) * 0.1, 16000)
        (tmp_path / f"en/{n}.txt").write_text(f"the {word(n)} sentence")
    return Params(lang="en", corpus=Corpus(source="custom", path=str(tmp_path / "{lang}")))


def test_prepare_makes_the_manifest_once(corpus, tmp_path, capsys):
    made = manifest.prepare(corpus)
    assert "manifest: made" in capsys.readouterr().err
    assert made.folder == manifest.folder(corpus)
    assert made.folder.parent == tmp_path / "outputs/en/data"
    assert [r.id for r in made.rows] == [f"en/{n}" for n in range(6)]
    (tmp_path / "en/0.wav").unlink()
    assert manifest.prepare(corpus) == made
    assert "manifest: found" in capsys.readouterr().err
    again = manifest.prepare(corpus, again=True)
    assert [r.id for r in again.rows] == [f"en/{n}" for n in range(1, 6)]
    assert [d["reason"] for d in again.dropped] == ["no audio"]
    assert manifest.prepare(corpus) == again


def test_prepare_keeps_so_many_minutes_and_records_the_others(corpus, tmp_path, monkeypatch, capsys):
    few = corpus.model_copy(update={"corpus": corpus.corpus.model_copy(update={"minutes": 0.055})})
    whole, made = manifest.prepare(corpus), manifest.prepare(few)
    assert made.folder != whole.folder
    assert 1 <= len(made.split("train")) <= 3
    beyond = [d for d in made.dropped if d["reason"] == "beyond corpus.minutes"]
    assert ids(made.rows) | {d["id"] for d in beyond} == ids(whole.rows)
    assert all(Path(d["where"]).is_file() for d in beyond)
    assert f"dropped: {len(beyond)} beyond corpus.minutes" in capsys.readouterr().err
    assert manifest.read(made.folder) == made
    told, real = [], json.dumps
    monkeypatch.setattr(manifest.json, "dumps", lambda value, **how: told.append(value) or real(value, **how))
    manifest.folder(few)
    manifest.folder(corpus)
    assert [v["corpus"].get("minutes", "absent") for v in told] == [0.055, "absent"], (
        "no limit: found where it was before"
    )


def test_prepare_says_why_nothing_survived(corpus, tmp_path):
    for n in range(6):
        (tmp_path / f"en/{n}.wav").write_bytes(b"not audio" if n else b"")
    with pytest.raises(ManifestError, match=r"no clip to train on for en .*6 unreadable"):
        manifest.prepare(corpus)
    assert not (manifest.folder(corpus) / "manifest.jsonl").exists()
    assert len((manifest.folder(corpus) / "dropped.jsonl").read_text().splitlines()) == 6


def test_prepare_refuses_a_language_without_clips(corpus, tmp_path):
    (tmp_path / "fr").mkdir()
    (tmp_path / "fr/0.wav").write_bytes(b"not audio")
    (tmp_path / "fr/0.txt").write_text("bonjour")
    with pytest.raises(ManifestError, match=r"no clip to train on for fr in"):
        manifest.prepare(corpus.model_copy(update={"languages": ["en", "fr"]}))


def test_params_that_change_the_data_have_a_folder_of_their_own(corpus):
    changes = [
        {"corpus": Corpus(source="custom", path="/other")},
        {"doctor": Doctor(trim_db=41.0)},
        {"text": Text(homophones=True)},
        {"languages": ["en", "fr"]},
        {"seed": 2},
    ]
    folders = {manifest.folder(corpus.model_copy(update=change)) for change in [{}, *changes]}
    assert len(folders) == len(changes) + 1
    assert manifest.folder(corpus.model_copy(update={"minutes": 3.0, "run": "other"})) == manifest.folder(corpus)
    assert all(f.name.startswith("custom-") and len(f.name) == len("custom-") + 8 for f in folders)
