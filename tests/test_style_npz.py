"""Folders of pairs become manifests: every fault is named, nothing good is lost, no voice is in two splits."""

import io
import zipfile
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from ttslib import audio, corpora, manifest, pairs, params, speech
from ttslib.corpora.clip import Clip, CorpusError, Dropped
from ttslib.pairs import Pair, PairError
from ttslib.pairs.parametric import Parametric
from ttslib.styles import Style

RUNTIME = Parametric(count=9, seed=3)
VOICES = list(RUNTIME.presets().items())
QUIET = {"device": "cpu", "threads": 1, "tracking": "disabled"}


def pair(voice: int = 0, text: str = "bado kemi talu", lang: str = "en", seed: int = 0, **other) -> Pair:
    name, style = VOICES[voice]
    wav = RUNTIME.speak(text, style, lang, seed, 1.05)
    return Pair(
        **({"audio": wav, "rate": RUNTIME.rate, "style": style, "text": text, "lang": lang, "voice": name} | other)
    )


@pytest.fixture
def folder(tmp_path):
    """Nine voices of two clips each: seven to train on, one for each other split."""
    for voice in range(9):
        split = {7: "val", 8: "test"}.get(voice, "train")
        for take in range(2):
            pairs.write(tmp_path / "pairs" / split / f"{voice}_{take}.npz", pair(voice, seed=take))
    return tmp_path / "pairs"


def asked(folder, *more):
    return params.load("style_fast", [f"corpus.path={folder}", *more], **QUIET)


def content(file) -> dict:
    with np.load(file) as found:
        return {name: found[name] for name in found.files}


def test_a_pair_is_read_as_it_was_written(tmp_path):
    meant = pair(seed=5)
    found = pairs.read(pairs.write(tmp_path / "train" / "a.npz", meant))
    assert np.abs(found.audio - meant.audio).max() <= 0.5 / 32768 + 1e-7
    assert (found.text, found.lang, found.voice, found.rate) == (meant.text, "en", "V000", 16000)
    assert found.style.digest == meant.style.digest
    assert pairs.style(tmp_path / "train" / "a.npz").digest == meant.style.digest
    assert [f.name for f in (tmp_path / "train").iterdir()] == ["a.npz"]
    assert audio.load(tmp_path / "train" / "a.npz")[1] == 16000


def test_the_five_bare_fields_are_enough(tmp_path):
    """As other generators write them: float audio at 44.1 kHz, a leading 1 in the styles, bytes for texts."""
    style = VOICES[0][1]
    np.savez(tmp_path / "a.npz", audio=np.ones((1, 99), np.float64) / 2, style_ttl=style.ttl[None],
             style_dp=style.dp.ravel(), text="Hi.", lang=np.bytes_("en"), extra=1)  # fmt: skip
    found = pairs.read(tmp_path / "a.npz")
    assert (found.rate, found.lang, found.voice, found.style.model, found.audio.tolist()) == (
        44100,
        "en",
        "",
        "",
        [0.5] * 99,
    )


FAULTS = {
    "audio is missing": {"audio": None}, "lang is missing": {"lang": None}, "style_dp is missing": {"style_dp": None},
    "text is empty": {"text": np.array("  ")},
    "audio has no samples": {"audio": np.zeros(0, np.float32)},
    "2 values that are not finite": {"audio": np.array([0, np.nan, np.inf], np.float32)},
    "audio is float32 of shape (2, 9)": {"audio": np.zeros((2, 9), np.float32)},
    "audio is uint8": {"audio": np.zeros(9, np.uint8)},
    "style_ttl has the shape (49, 256)": {"style_ttl": np.zeros((49, 256), np.float32)},
    "style_ttl has the shape (256, 50)": {"style_ttl": np.zeros((256, 50), np.float32)},
    "row 0 of style_dp has the length 0": {"style_dp": np.zeros((8, 16), np.float32)},
    "text is no text but float64": {"text": np.array(1.5)}, "sr is 0": {"sr": np.array(0)},
    "seed is no whole number": {"seed": np.array(np.nan)}, "lang is not UTF-8": {"lang": np.array(b"\xff")},
    "text cannot be read": {"text": np.array({"a": 1}, dtype=object)},
}  # fmt: skip


@pytest.mark.parametrize("told", FAULTS)
def test_each_fault_of_a_file_is_named(tmp_path, told):
    file = pairs.write(tmp_path / "a.npz", pair())
    changed = {k: v for k, v in (content(file) | FAULTS[told]).items() if v is not None}
    np.savez(file, **changed)
    with pytest.raises(PairError) as caught:
        pairs.read(file)
    assert told in str(caught.value)
    assert str(file) in str(caught.value)


def test_all_faults_are_told_at_once(tmp_path):
    np.savez(tmp_path / "a.npz", audio=np.zeros(0), text=3, extra=1)
    with pytest.raises(PairError) as caught:
        pairs.read(tmp_path / "a.npz")
    assert all(f"{name} is missing" in str(caught.value) for name in ("style_ttl", "style_dp", "lang"))
    assert all(told in str(caught.value) for told in ("audio has no samples", "text is no text"))


def test_a_pickle_is_refused_and_never_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    np.savez(
        tmp_path / "a.npz", **(content(pairs.write(tmp_path / "b.npz", pair())) | {"text": np.array(Bomb(), object)})
    )
    with pytest.raises(PairError, match="text cannot be read"):
        pairs.read(tmp_path / "a.npz")
    assert not (tmp_path / "exploded").exists()


def broken(folder) -> dict[str, str]:
    """Files with faults beside the good ones, and a word of what is said of each."""
    whole = (folder / "train" / "0_0.npz").read_bytes()
    (folder / "train" / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "train" / "empty.npz").write_bytes(b"")
    (folder / "train" / "text.npz").write_text("no archive")
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    (folder / "train" / "flipped.npz").write_bytes(flipped)
    np.save(folder / "train" / "array.npy", np.zeros(3))
    (folder / "train" / "array.npy").rename(folder / "train" / "array.npz")
    with zipfile.ZipFile(folder / "train" / "zip.npz", "w") as archive:
        archive.writestr("audio.npy", b"rubbish")
    pairs.write(folder / "train" / "silent.npz", pair(0, audio=np.zeros(16000, np.float32)))
    pairs.write(folder / "train" / "short.npz", pair(0, audio=pair(0).audio[8000:8100]))
    pairs.write(folder / "train" / "again.npz", pairs.read(folder / "train" / "1_0.npz"))
    pairs.write(folder / "train" / "claimed.npz", pair(2, audio=pairs.read(folder / "train" / "3_0.npz").audio))
    pairs.write(folder / "stray.npz", pair(4, seed=9))
    return {
        "cut": "no pair", "empty": "no pair", "text": "no pair", "flipped": "no pair", "array": "no pair",
        "zip": "no pair", "silent": "silent", "short": "too short", "again": "duplicate audio",
        "claimed": "conflicting speakers", "stray": "no split",
    }  # fmt: skip


def test_every_fault_of_a_folder_is_named_and_nothing_is_lost(folder, outputs):
    expected = broken(folder)
    found = manifest.prepare(asked(folder))
    said = {d["where"].split("/")[-1].removesuffix(".npz"): d for d in found.dropped}
    assert {name: said[name]["reason"] for name in expected} == expected
    assert {*said} - {*expected} == {"3_0"}, "the recording that two voices claim"
    assert all(d["detail"] for d in found.dropped)
    assert len(found.rows) + len(found.dropped) == len([*folder.rglob("*.npz")])
    assert len(found.rows) == 17


def test_splits_are_the_folders_and_texts_are_left_alone(folder, outputs):
    pairs.write(folder / "train" / "odd.npz", pair(0, text="Raum 42 ☃!", lang="ko", seed=7))
    found = manifest.prepare(asked(folder))
    assert Counter(row.split for row in found.rows) == {"train": 15, "val": 2, "test": 2}
    odd = next(row for row in found.rows if row.id == "train/odd")
    assert (odd.text, odd.lang, odd.suspects) == ("Raum 42 ☃!", "ko", ())
    speakers = {row.speaker for row in found.rows if row.id.startswith("train/0_")} | {odd.speaker}
    assert speakers == {f"V000-{VOICES[0][1].digest[:8]}"}
    assert len(speech.recording(found, odd, 16000)) > 1000


def test_languages_choose_and_the_others_are_counted(folder, outputs):
    pairs.write(folder / "train" / "odd.npz", pair(0, lang="ko", seed=7))
    found = manifest.prepare(asked(folder, "languages=[en]"))
    assert {row.lang for row in found.rows} == {"en"}
    assert [d["detail"] for d in found.dropped] == ["1 files of language ko, not en"]


def test_a_voice_in_two_splits_is_refused_and_can_be_divided_anew(folder, outputs):
    pairs.write(folder / "val" / "leak.npz", replace(pair(0, seed=8), voice="another name"))
    with pytest.raises(
        CorpusError, match=r"1 of \d+ voices are in more than one split.*corpus.splits=voices"
    ) as caught:
        manifest.prepare(asked(folder))
    assert VOICES[0][1].digest[:8] in str(caught.value), "the style decides what a voice is, not its name"
    found = manifest.prepare(asked(folder, "corpus.splits=voices"))
    splits = {}
    for row in found.rows:
        splits.setdefault(row.speaker.split("-")[-1], set()).add(row.split)
    assert all(len(some) == 1 for some in splits.values())
    assert Counter(next(iter(some)) for some in splits.values()) == {"train": 7, "val": 1, "test": 1}
    assert len(found.rows) == 19


def test_styles_of_several_models_are_refused(folder, outputs):
    other = Style.of(VOICES[6][1].ttl, VOICES[6][1].dp, "supertonic-2")
    pairs.write(folder / "train" / "other.npz", pair(6, seed=4, style=other))
    with pytest.raises(CorpusError, match=r"several models.*parametric-1 \(.*supertonic-2 \("):
        manifest.prepare(asked(folder))


def test_a_folder_without_pairs_is_said_to_have_none(tmp_path, outputs):
    (tmp_path / "empty" / "train").mkdir(parents=True)
    with pytest.raises(CorpusError, match=r"no \.npz in train/, val/ or test/"):
        manifest.prepare(asked(tmp_path / "empty"))


def test_the_reader_keeps_the_doctors_hands_off_what_it_refuses(folder):
    p = asked(folder)
    (folder / "val" / "bad.npz").write_bytes(io.BytesIO(b"x").getvalue())
    read = list(corpora.read(p.corpus, "all", folder))
    assert Counter(type(item) for item in read) == {Clip: 18, Dropped: 1}


def test_pairs_that_are_missing_are_made_and_found_again(outputs, capsys):
    p = params.load("style_fast", {"pairs.voices": 6, "pairs.texts": 1}, **QUIET)
    found = manifest.prepare(p)
    assert Counter(row.split for row in found.rows) == {"train": 4, "val": 1, "test": 1}
    assert "manifest: made" in capsys.readouterr().err
    assert manifest.prepare(p).digest == found.digest
    assert "manifest: found" in capsys.readouterr().err
    other = p.model_copy(update={"pairs": p.pairs.model_copy(update={"seed": 1})})
    assert manifest.folder(other) != manifest.folder(p)
