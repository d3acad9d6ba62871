"""Features: encoded once, kept under what they are made of; a bad clip is set aside by name and touches no other."""

import re
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from ttslib import encoding, manifest, params, speech
from ttslib.features import BadClip, DatasetError, nbytes
from ttslib.systems import system_class


class Counting:
    """The acoustic system, counting what it encodes."""

    def __init__(self, system):
        self.system, self.encoded = system, []
        self.feature_key, self.length_of, self.rate = system.feature_key, system.length_of, system.rate

    def encode(self, row, wav):
        self.encoded.append(row.id)
        return self.system.encode(row, wav)


@pytest.fixture
def system(clips):
    return Counting(clips[0])


@pytest.fixture
def rows(spoken):
    return spoken.split("train")[:6]


@pytest.fixture
def read(spoken):
    return lambda row: speech.recording(spoken, row, 16000)


def encode(system, rows, read, cache, ram_gb=1.0):
    return encoding.encode_all(system, rows, read, cache, ram_gb)


def equal(a, b) -> bool:
    return a.keys() == b.keys() and all(a[k].equal(b[k]) for k in a)


def test_clips_are_encoded_once_and_kept(system, rows, read, tmp_path):
    first = encode(system, rows, read, tmp_path)
    assert first.ids == [row.id for row in rows] == system.encoded
    assert first.lengths == [example["mel"].shape[1] for example in map(first.__getitem__, range(6))]
    second = encode(system, rows, lambda row: pytest.fail("read again"), tmp_path)
    assert all(equal(first[i], second[i]) for i in range(6))


def test_features_beyond_the_memory_budget_come_from_disk_unchanged(system, rows, read, tmp_path):
    ram = encode(system, rows, read, tmp_path)
    two = sum(t.nbytes for i in range(2) for t in ram[i].values())
    disk = encode(system, rows, read, tmp_path, ram_gb=two / 2**30)
    assert len(ram.ram) == 6
    assert 0 < len(disk.ram) < 6
    assert all(equal(ram[i], disk[i]) for i in range(6))


def test_what_will_fill_the_memory_is_foretold(system, spoken, read, tmp_path, capsys):
    """From a part of the clips, within 5 %, whatever else is set aside."""
    rows = spoken.split("train")
    whole = encode(system, rows, read, tmp_path)
    taken = sum(nbytes(whole[i]) for i in range(len(whole)))
    some = {row: nbytes(whole[i]) for i, row in enumerate(rows) if i % 2}
    assert encoding.foretold(rows, some) == pytest.approx(taken, rel=0.05)
    assert "features:" not in capsys.readouterr().err, "a small corpus needs no statement"
    encode(system, [*rows, replace(rows[0], text="ሰ")], read, tmp_path, ram_gb=taken / 4 / 2**30)
    said = capsys.readouterr().err
    hours = sum(row.seconds for row in rows) / 3600
    assert f"features: {len(rows) + 1} clips, {hours:.2f} h, {taken / 2**30:.2f} GB of RAM" in said
    share = float(re.search(r"holds (\d+)%, the others are read in every epoch", said)[1])
    assert 22 <= share <= 25


def test_what_is_held_in_memory_holds_no_file_open(system, rows, read, tmp_path):
    encode(system, rows, read, tmp_path)
    held = encode(system, rows, read, tmp_path).ram.values()
    assert all(t.untyped_storage().nbytes() == t.nbytes for example in held for t in example.values())


@pytest.mark.parametrize("change", [{"text": "bado."}, {"sha": "0" * 40}, {"end": 1.0}])
def test_a_changed_clip_is_encoded_anew(system, rows, read, tmp_path, change):
    encode(system, rows, read, tmp_path)
    system.encoded.clear()
    encode(system, [replace(rows[0], **change), *rows[1:]], read, tmp_path)
    assert system.encoded == [rows[0].id]


@pytest.mark.parametrize("damage", [b"", b"\0" * 100, "half"], ids=["empty", "zeros", "cut in half"])
def test_a_damaged_feature_is_computed_again_and_said(system, rows, read, tmp_path, damage, capsys):
    whole = encode(system, rows, read, tmp_path)
    file = whole.files[2]
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if damage == "half" else damage)
    system.encoded.clear()
    again = encode(system, rows, read, tmp_path)
    assert system.encoded == [rows[2].id]
    assert file.name in capsys.readouterr().err
    assert equal(again[2], whole[2])
    assert equal(load_file(file), whole[2])


def broken(kind: str, read, row_id: str):
    def reader(row):
        wav = read(row)
        if row.id != row_id:
            return wav
        if kind == "gone":
            raise BadClip("a.wav: no such file")
        if kind == "empty":
            return wav[:0]
        if kind == "a few samples":
            return wav[:100]
        if kind == "too fast":
            return wav[: 256 * 3]
        return torch.where(torch.arange(len(wav)) == 5000, torch.nan, wav)

    return reader


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("gone", "no such file"),
        ("not a number", "mel is not finite"),
        ("too fast", "spoken faster than one unit a frame"),
        ("empty", "0 samples"),
        ("a few samples", "100 samples"),
    ],
)
def test_a_bad_clip_is_set_aside_by_name_and_touches_no_other(system, rows, read, tmp_path, kind, said, capsys):
    good = encode(system, rows, read, tmp_path / "good")
    found = encode(system, rows, broken(kind, read, rows[3].id), tmp_path / "bad")
    assert found.ids == [row.id for row in rows if row.id != rows[3].id]
    (bad,) = found.quarantined
    assert bad["id"] == rows[3].id
    assert said in bad["reason"]
    assert rows[3].id in capsys.readouterr().err
    kept = [i for i in range(6) if i != 3]
    assert all(equal(found[n], good[i]) for n, i in enumerate(kept))
    assert len(list((tmp_path / "bad").glob("*/*"))) == 5


def test_letters_the_training_clips_lack_set_a_clip_aside(spoken, read, tmp_path):
    train = [row for row in spoken.split("train") if "g" not in row.text]
    rare = next(row for row in spoken.rows if "g" in row.text)
    system = system_class("acoustic").fresh(params.load("qaa"), train)
    found = encode(system, [*train[:2], rare], read, tmp_path)
    assert found.ids == [row.id for row in train[:2]]
    assert "'g' (U+0067)" in found.quarantined[0]["reason"]


def test_no_clip_left_is_an_error_with_the_reasons(system, rows, tmp_path):
    def gone(row):
        raise BadClip("no such file")

    with pytest.raises(DatasetError, match=r"none of 6 clips can be encoded.*no such file"):
        encode(system, rows, gone, tmp_path)


def test_a_recording_that_is_gone_or_cut_short_is_a_bad_clip(prepared):
    found = manifest.prepare(params.load("qaa"))
    short, gone = found.rows[0], found.rows[1]
    whole = speech.recording(found, short, 16000)
    assert len(whole) == pytest.approx(short.seconds * 16000, abs=2)
    path = found.audio(short)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(BadClip, match=path.name):
        speech.recording(found, replace(short, start=0.5), 16000)
    found.audio(gone).unlink()
    with pytest.raises(BadClip, match="no such file"):
        speech.recording(found, gone, 16000)
