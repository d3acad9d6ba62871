"""Codes are computed once a clip and codec and kept: through kills, damage and several processes, never mixed."""

import hashlib
import json
import os
import signal
import socket
import sys
import time
from dataclasses import replace

import pytest
import torch
import training
from safetensors.torch import load_file

from ttslib import codecs, manifest, params, speech
from ttslib.codecs import CodecError, encoding, kept
from ttslib.codecs.kept import keep
from ttslib.dataset import BadClip


class Loudness:
    """A codec of 25 codes a second: loudness (64 steps) and zero crossings (16 steps) of 640 samples; none for less."""

    rate = rate_out = 16000
    frame_rate, vocab, dim = 25.0, 1024, None

    def __init__(self, version: int = 1):
        self.name, self.version, self.batches = "loudness", version, []
        self.special = {"start": 1024, "stop": 1025}

    @property
    def hash(self) -> str:
        return hashlib.sha256(f"loudness {self.version} {self.vocab} {self.dim}".encode()).hexdigest()

    def measured(self, wav):
        """`(frames, 2)` in 0..1."""
        pieces = wav[: len(wav) // 640 * 640].reshape(-1, 640)
        crossings = (pieces[:, 1:].sign() != pieces[:, :-1].sign()).float().mean(1)
        return torch.stack([1 + pieces.square().mean(1).clamp(min=1e-8).log10() / 8, crossings], 1).clamp(0, 1)

    def encode(self, wav):
        loud, crossings = self.measured(wav).T
        return (loud * 63).long() * 16 + (crossings * 15).long()

    def encode_batch(self, wavs):
        self.batches.append([len(wav) for wav in wavs])
        return [self.encode(wav) for wav in wavs]

    def voice(self, wav):
        return {}

    def decode(self, codes, voice=None, seed=0):
        level = 10.0 ** (4 * ((codes // 16 + 0.5) / 63 - 1))
        return (level[:, None] * torch.sin(0.3 * torch.arange(640.0))).flatten()

    def to(self, device):
        return self

    def state(self):
        return {"name": self.name, "hash": self.hash, "where": "nowhere"}


class Latents(Loudness):
    vocab, dim = None, 2

    def encode(self, wav):
        return self.measured(wav)


@pytest.fixture
def rows(spoken):
    return list(spoken.rows)


@pytest.fixture
def read(spoken):
    return lambda row: speech.recording(spoken, row, 16000)


def unread(row):
    pytest.fail(f"{row.id} read again")


def shards(folder) -> list:
    return sorted(folder.glob("*/codes-*.safetensors"))


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(kept, "SHARD_CLIPS", 5)


def test_the_double_is_a_codec():
    assert isinstance(Loudness(), codecs.Codec)


def test_codes_are_computed_once_and_given_back_as_they_were(rows, read, tmp_path):
    codec = Loudness()
    first = keep(codec, tmp_path, rows, read)
    second = keep(codec, tmp_path, rows, unread)
    assert len(first) == len(second) == len(rows) and not first.quarantined
    for row in rows:
        assert second[row].dtype == torch.int64
        assert torch.equal(second[row], codec.encode(read(row))) and torch.equal(first[row], second[row])
    (file,) = shards(tmp_path)
    assert file.parent.name == f"loudness-{codec.hash[:12]}" and file.name == "codes-0-00000.safetensors"
    assert {t.dtype for t in load_file(file).values()} == {torch.int16}
    assert json.loads((file.parent / "codec.json").read_text()) == {
        "name": "loudness", "hash": codec.hash, "rate": 16000, "rate_out": 16000, "frame_rate": 25.0,
        "vocab": 1024, "dim": None, "special": {"start": 1024, "stop": 1025},
    }  # fmt: skip
    assert second.summary()["codes"] == sum(len(second[row]) for row in rows)


def test_a_large_vocabulary_is_kept_whole(rows, read, tmp_path):
    class Many(Loudness):
        vocab = 2**17

        def encode(self, wav):
            return super().encode(wav) * 128

    made = keep(Many(), tmp_path, rows, read)
    assert {t.dtype for t in load_file(shards(tmp_path)[0]).values()} == {torch.int32}
    assert max(int(made[row].max()) for row in rows) > 2**15
    assert all(torch.equal(made[row], Many().encode(read(row))) for row in rows)


def test_latents_stay_on_disk_and_come_back_exactly(rows, read, tmp_path, small_shards):
    made = keep(Latents(), tmp_path, rows, read)
    assert len(shards(tmp_path)) > 2 and not made.codes
    for row in rows:
        assert made[row].dtype == torch.float32 and torch.equal(made[row], Latents().encode(read(row)))
    for file in shards(tmp_path):
        file.unlink()
    fresh = keep(Latents(), tmp_path, rows, read)
    fresh.shards.clear()
    for file in shards(tmp_path):
        file.unlink()
    with pytest.raises(CodecError, match="has gone or changed"):
        fresh[rows[0]]


@pytest.mark.parametrize(("limit", "value"), [("SHARD_CLIPS", 5), ("SHARD_BYTES", 300), ("SHARD_SECONDS", 0.0)])
def test_a_shard_ends_at_whichever_limit_comes_first(rows, read, tmp_path, monkeypatch, limit, value):
    monkeypatch.setattr(kept, limit, value)
    keep(Loudness(), tmp_path, rows, read)
    sizes = [len(load_file(file)) for file in shards(tmp_path)]
    assert sum(sizes) == len(rows)
    assert {"SHARD_CLIPS": max(sizes) == 5, "SHARD_BYTES": 2 <= max(sizes) <= 12, "SHARD_SECONDS": max(sizes) == 1}[
        limit
    ]


def test_keys_are_those_of_the_samples(rows, read, tmp_path):
    made = keep(Loudness(), tmp_path, rows[:2], read)
    other = replace(rows[0], id="x", text="nothing", raw="x", speaker="y", lang="de", split="val", audio="moved.wav")
    assert other in made and torch.equal(made[other], made[rows[0]])
    for change in ({"sha": "0" * 40}, {"start": rows[0].start + 0.1}, {"end": rows[0].end + 0.1}):
        assert replace(rows[0], **change) not in made
    with pytest.raises(CodecError, match=f"{rows[2].id}: no codes of codec loudness"):
        made[rows[2]]


def test_batches_keep_to_the_budget_and_take_like_lengths(rows, read, tmp_path):
    codec = Loudness()
    made = keep(codec, tmp_path, rows, read, budget_seconds=4.0)
    assert len(made) == len(rows)
    assert all(len(batch) * max(batch) <= 4.0 * 16000 + 2 * len(batch) for batch in codec.batches)
    padded = sum(len(batch) * max(batch) for batch in codec.batches)
    assert sum(map(sum, codec.batches)) > 0.9 * padded
    assert len(codec.batches) < len(rows) / 2
    assert [len(batch) for batch in encoding.batches(rows, 0.1)] == [1] * len(rows)
    assert sorted(r.id for batch in encoding.batches(rows, 4.0) for r in batch) == sorted(r.id for r in rows)


def test_another_text_or_split_adds_only_what_is_new(rows, read, tmp_path):
    one, two = keep(Loudness(), tmp_path, rows[:9], read), keep(Loudness(), tmp_path, rows[9:], read)
    assert len(one) == 9 and len(two) == len(rows) - 9
    codec = Loudness()
    assert len(keep(codec, tmp_path, rows, unread)) == len(one | two) == len(rows)
    assert codec.batches == []
    with pytest.raises(CodecError, match="do not mix"):
        one | keep(Loudness(2), tmp_path, rows[:1], read)


@pytest.mark.parametrize("moment", ["before the rename", "while encoding"])
def test_a_kill_costs_only_the_shard_in_work(rows, read, tmp_path, small_shards, monkeypatch, moment):
    class Killed(BaseException):
        pass

    codec, whole, calls = Loudness(), keep(Loudness(), tmp_path / "whole", rows, read), []

    def third(original):
        def replaced(*arguments):
            calls.append(arguments)
            if len(calls) == 3:
                raise Killed
            return original(*arguments)

        return replaced

    with monkeypatch.context() as patch:
        if moment == "before the rename":
            keep(codec, tmp_path, [], read)  # codec.json, whose writing also renames
            patch.setattr(os, "replace", third(os.replace))
        else:
            patch.setattr(codec, "encode_batch", third(codec.encode_batch))
        with pytest.raises(Killed):
            keep(codec, tmp_path, rows, read, budget_seconds=6.0)
    names = [file.name for file in shards(tmp_path) if file.parent.parent == tmp_path]
    done = sum(len(load_file(file)) for file in shards(tmp_path))
    assert 0 < done < len(rows) and names
    seen = []
    again = keep(codec, tmp_path, rows, lambda row: (seen.append(row.id), read(row))[1])
    assert len(seen) == len(rows) - done
    assert all(torch.equal(again[row], whole[row]) for row in rows)


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(rows, read, tmp_path):
    keep(Loudness(), tmp_path, rows[:1], read)
    folder = shards(tmp_path)[0].parent
    dead, living = folder / ".codes-0-00007-1.tmp", folder / ".codes-1-00000-2.tmp"
    for file in (dead, living):
        file.write_bytes(b"half")
    os.utime(dead, (time.time() - 7200,) * 2)
    keep(Loudness(), tmp_path, rows[:1], unread)
    assert living.exists() and not dead.exists()


@pytest.mark.parametrize("damage", [b"", b"\0" * 100, "half"], ids=["empty", "zeros", "cut in half"])
def test_a_damaged_shard_is_said_and_computed_again(rows, read, tmp_path, small_shards, capsys, damage):
    whole = keep(Loudness(), tmp_path, rows, read)
    broken = shards(tmp_path)[1]
    lost, content = len(load_file(broken)), broken.read_bytes()
    broken.write_bytes(content[: len(content) // 2] if damage == "half" else damage)
    codec = Loudness()
    again = keep(codec, tmp_path, rows, read)
    assert f"{broken} is damaged" in capsys.readouterr().err
    assert sum(map(len, codec.batches)) == lost
    assert all(torch.equal(again[row], whole[row]) for row in rows)
    assert len(keep(codec, tmp_path, rows, unread)) == len(rows)
    assert "damaged" not in capsys.readouterr().err


def test_codecs_never_mix(rows, read, tmp_path):
    keep(Loudness(1), tmp_path, rows[:2], read)
    assert len(keep(Loudness(2), tmp_path, rows[:2], read)) == 2  # another hash, another folder
    first, second = (tmp_path / f"loudness-{Loudness(v).hash[:12]}" for v in (1, 2))
    told = (first / "codec.json").read_text()
    (second / "codec.json").write_text(told)
    with pytest.raises(CodecError, match="do not mix"):
        keep(Loudness(2), tmp_path, rows[:2], read)
    (second / "codec.json").unlink()
    (second / "codes-9-00000.safetensors").write_bytes(next(first.glob("codes-*")).read_bytes())
    with pytest.raises(CodecError, match=r"codes-9-00000.*do not mix"):
        keep(Loudness(2), tmp_path, rows[:2], read)


def test_clips_without_codes_are_named_and_touch_no_other(rows, read, tmp_path):
    bad = {rows[1].id: "gone", rows[4].id: "short", rows[7].id: "refused", rows[9].id: "nan"}

    class Picky(Loudness):
        def encode(self, wav):
            if len(wav) == 7777:
                raise BadClip("refused")
            return super().encode(wav)

    def reader(row):
        wav = read(row)
        kind = bad.get(row.id)
        if kind == "gone":
            raise BadClip("a.wav: no such file")
        return {"short": wav[:600], "refused": wav[:7777], "nan": wav * torch.nan}.get(kind, wav)

    made = keep(Picky(), tmp_path, rows, reader)
    reasons = {clip["id"]: clip["reason"] for clip in made.quarantined}
    assert reasons == {
        rows[1].id: "a.wav: no such file",
        rows[4].id: "codec loudness makes no frame of it: it is too short",
        rows[7].id: "refused",
        rows[9].id: "its samples are not finite",
    }
    for row in rows:
        assert (row in made) == (row.id not in bad)
        assert row.id in bad or torch.equal(made[row], Loudness().encode(read(row)))
    mended = keep(Picky(), tmp_path, rows, read)  # tried again, and now whole
    assert len(mended) == len(rows) and mended.quarantined == []


@pytest.mark.parametrize("wrong", [torch.tensor([3, 1024]), torch.tensor([-1]), torch.zeros(2, 3)])
def test_what_a_codec_must_not_give_is_an_error_not_a_wrong_number(rows, read, tmp_path, wrong, monkeypatch):
    codec = Loudness()
    monkeypatch.setattr(codec, "encode_batch", lambda wavs: [wrong for _ in wavs])
    with pytest.raises(CodecError, match=r"expected codes \(frames,\) in 0\.\.1023"):
        keep(codec, tmp_path, rows, read)
    assert shards(tmp_path) == []


def test_two_processes_divide_the_work_whoever_comes_first(rows, read, tmp_path, small_shards):
    """Also when the second starts after the first has written: its part is the same."""
    alone = keep(Loudness(), tmp_path / "alone", rows, read)
    parts = []
    for rank in (1, 0):
        codec = Loudness()
        keep(codec, tmp_path / "pair", rows, read, budget_seconds=4.0, rank=rank, processes=2)
        parts.append(sum(map(len, codec.batches)))
    assert sum(parts) == len(rows) and abs(parts[0] - parts[1]) <= 1
    assert {file.name.split("-")[1] for file in shards(tmp_path / "pair")} == {"0", "1"}
    together = keep(Loudness(), tmp_path / "pair", rows, unread)
    assert all(torch.equal(together[row], alone[row]) for row in rows)


class Speaker:
    """The least of a system that learns codes."""

    length_of, rate, feature_key = "codes", 16000, "0" * 64

    def __init__(self, codec):
        self.codec, self.kept, self.computed = codec, None, []

    def encode(self, row, wav):
        if row not in self.kept:
            self.computed.append(row.id)
        return {"codes": self.kept[row] if row in self.kept else self.codec.encode(wav)}


def test_features_find_their_codes_and_a_second_split_adds_to_them(prepared):
    p = params.load("qaa", device="cpu", tracking="disabled")
    found, system = manifest.prepare(p), Speaker(Loudness())
    train, val = found.split("train"), found.split("val")
    found.audio(train[3]).unlink()
    examples = speech.features(system, found, "train", p)
    assert [clip["id"] for clip in examples.quarantined] == [train[3].id]
    assert "no such file" in examples.quarantined[0]["reason"]
    assert len(speech.features(system, found, "val", p)) == len(val)
    assert len(system.kept) == len(train) + len(val) - 1
    assert system.computed == [] and all(row in system.kept for row in [*train[:3], *val])
    assert (found.folder / "codes" / f"loudness-{Loudness().hash[:12]}" / "codec.json").is_file()
    assert torch.equal(examples[0]["codes"], system.kept[train[0]])


def live(outputs, log, rank, where) -> None:
    """`prepare` as `accelerate launch` starts it, the codec's name meaning the one of this file."""
    os.environ.update(where, RANK=rank, LOCAL_RANK=rank, TTSLIB_OUTPUTS=str(outputs))
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    from ttslib.__main__ import main

    codecs.of = lambda p: Loudness()
    sys.exit(main(["prepare", "qaa", "codec=loudness", *training.QUIET]))


def test_prepare_in_two_processes(outputs):
    """The first makes the manifest and the features, both make codes, and it says what there is."""
    outputs.mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    lives = []
    for rank in "01":
        process = training.SERVER.Process(target=live, args=(outputs, outputs / f"{rank}.txt", rank, where))
        process.start()
        lives.append(training.Life(process, outputs / f"{rank}.txt"))
    assert [life.finish() for life in lives] == [0, 0], lives[0].words() + lives[1].words()
    said = json.loads(lives[0].words().splitlines()[-1])
    found = manifest.read(said["manifest"])
    rows = [*found.split("train"), *found.split("val")]
    assert said["codec"] | {"codes": 0} == {
        "name": "loudness", "hash": Loudness().hash, "clips": len(rows), "codes": 0, "quarantined": [],
    }  # fmt: skip
    assert "totals" not in lives[1].words()
    made = keep(Loudness(), found.folder / "codes", rows, unread)
    assert said["codec"]["codes"] == sum(len(made[row]) for row in rows) > 100
    ranks = {file.name.split("-")[1]: len(load_file(file)) for file in shards(found.folder / "codes")}
    assert abs(ranks["0"] - ranks["1"]) <= 1
    assert len([*found.folder.glob("features/*/*.safetensors")]) == len(rows)


def test_prepare_without_a_codec_makes_none(prepared, capsys):
    from ttslib.__main__ import main

    assert main(["prepare", "qaa", *training.QUIET]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said.keys() == {"manifest", "totals"}
    assert not [*prepared.glob("qaa/data/*/codes")]


def test_a_codec_that_does_not_exist_is_one_clear_error(prepared, capsys):
    from ttslib.__main__ import main

    assert main(["prepare", "qaa", "codec=nonesuch", *training.QUIET]) == 1
    assert "error: codec=nonesuch: no folder with codec.json" in capsys.readouterr().err


def test_a_killed_process_really_leaves_whole_shards_only(prepared):
    """SIGKILL while codes are computed: the next run takes up the shards that are there."""
    log = prepared / "killed.txt"
    process = training.SERVER.Process(target=slow, args=(prepared, log))
    process.start()
    life = training.Life(process, log)
    life.wait_for("encoded", count=12)
    life.send(signal.SIGKILL)
    assert life.finish() == 128 + signal.SIGKILL
    found = manifest.prepare(params.load("qaa", tracking="disabled"))
    done = sum(len(load_file(file)) for file in shards(found.folder / "codes"))
    assert 0 < done < len(found.rows)
    codec = Loudness()
    made = keep(codec, found.folder / "codes", found.rows, lambda row: speech.recording(found, row, 16000))
    assert len(made) == len(found.rows) and sum(map(len, codec.batches)) == len(found.rows) - done


def slow(outputs, log) -> None:
    os.environ["TTSLIB_OUTPUTS"] = str(outputs)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
    found, codec = manifest.prepare(params.load("qaa", tracking="disabled")), Loudness()
    encode = codec.encode

    def delayed(wav):
        with log.open("a") as file:
            file.write("encoded\n")
        time.sleep(0.02)
        return encode(wav)

    codec.encode, kept.SHARD_CLIPS = delayed, 3
    reader = lambda row: speech.recording(found, row, 16000)  # noqa: E731
    keep(codec, found.folder / "codes", found.rows, reader, budget_seconds=2.0)
    time.sleep(60)
