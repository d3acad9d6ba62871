"""Features in shards: any fsspec folder, any reader of WebDataset; their order is f(seed, epoch) and goes on exactly."""

import json
import re
import signal
import threading
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import training
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load
from test_preparing_together import pair, told
from training import assert_same, small

from ttslib import dataset, sharded, shards
from ttslib.dataset import Position, Stream
from ttslib.features import Features
from ttslib.shards import Place, ShardError

SIZE = 0.15  # MB, so that the toy corpus fills several


def written(clips, spoken, url, **named) -> dict:
    return sharded.write(clips[0], spoken, {"train": clips[1], "val": clips[2]}, str(url), SIZE, 1, **named)


@pytest.fixture(scope="module")
def packed(clips, spoken, tmp_path_factory):
    """The toy corpus in a folder of shards. Read only."""
    folder = tmp_path_factory.mktemp("packed") / "shards"
    written(clips, spoken, folder)
    return folder


@pytest.fixture
def copy(packed, tmp_path):
    import shutil

    return shutil.copytree(packed, tmp_path / "copy")


def opened(clips, spoken, url, split="train", *overrides) -> Features:
    return sharded.opened(clips[0], spoken, split, small(f"data.shards={url}", "data.window=2", *overrides))


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(a[name].equal(b[name]) and a[name].dtype == b[name].dtype for name in a)


# --- what is written --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["", "file://", "memory://", "dir::file://"])
def test_shards_give_the_features_back_wherever_they_lie(scheme, clips, spoken, tmp_path):
    url = f"{scheme}{tmp_path}/a"
    about = written(clips, spoken, url)
    for split, some in (("train", clips[1]), ("val", clips[2])):
        found = opened(clips, spoken, url, split)
        assert sorted(found.ids) == sorted(some.ids) and found.quarantined == some.quarantined
        for index, clip in enumerate(found.ids):
            there = some.ids.index(clip)
            assert same(found[index], some[there]) and found.lengths[index] == some.lengths[there]
            assert found.files[index].stem == some.files[there].stem
        assert all(same(one, found[i]) for i, one in enumerate(found))
    assert found.ids == clips[2].ids and [*found.ram] == [*range(len(found))], "validation is in order, and in RAM"
    assert [one["split"] for one in about["shards"]].count("train") >= 3
    assert all(one["bytes"] <= SIZE * 1e6 for one in about["shards"])
    train = opened(clips, spoken, url)
    assert train.ids != clips[1].ids and train.ram == {}, "training clips are shuffled, and stay where they are"


def test_other_software_reads_the_shards(packed, clips, monkeypatch, tmp_path):
    """As WebDataset's layout is documented: `<key>.safetensors`, by Hugging Face datasets, streamed."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", False)  # it would ask the network
    files = sorted(map(str, packed.glob("train-*.tar")))
    found = datasets.load_dataset("webdataset", data_files=files, split="train", streaming=True, cache_dir=tmp_path)
    rows = {row["__key__"]: load(row["safetensors"]) for row in found}
    assert len(rows) == len(clips[1])
    assert all(same(rows[file.stem], clips[1][i]) for i, file in enumerate(clips[1].files))


def test_the_index_is_one_file_that_says_all(packed, clips, spoken):
    found = shards.read(str(packed))
    assert found.about["features"] == clips[0].feature_key and found.about["manifest"] == spoken.digest
    for number, one in enumerate(found.about["shards"]):
        whole = (packed / one["name"]).read_bytes()
        assert shards.hashlib.sha256(whole).hexdigest() == one["sha256"] and len(whole) == one["bytes"]
        assert (found.columns.shard == number).sum() == one["clips"]
    assert sum(one["clips"] for one in found.about["shards"]) == len(found.columns.ids)


def test_shards_that_are_there_are_not_overwritten(copy, clips, spoken):
    before = {file.name: file.read_bytes() for file in copy.iterdir()}
    with pytest.raises(ShardError, match="there are shards already"):
        written(clips, spoken, copy)
    assert {file.name: file.read_bytes() for file in copy.iterdir()} == before


def test_a_writing_that_is_cut_off_leaves_no_index(clips, spoken, tmp_path, monkeypatch):
    done, packed = [], sharded.packed

    def cut_off(*args):
        done.append(packed(*args) if len(done) < 2 else 1 / 0)
        return done[-1]

    monkeypatch.setattr(sharded, "packed", cut_off)
    with pytest.raises(ZeroDivisionError):
        written(clips, spoken, tmp_path / "a")
    assert not (tmp_path / "a/index.safetensors").exists()
    monkeypatch.undo()
    written(clips, spoken, tmp_path / "a")
    assert len(opened(clips, spoken, tmp_path / "a")) == len(clips[1])


def test_a_feature_that_is_damaged_is_not_packed(clips, spoken, tmp_path):
    file = tmp_path / f"{'0' * 24}.safetensors"
    file.write_bytes(b"half")
    bad = replace(clips[1], files=[*clips[1].files[:3], file, *clips[1].files[4:]])
    with pytest.raises(ShardError, match=f"{file}: the features of clip {bad.ids[3]} cannot be read"):
        sharded.write(clips[0], spoken, {"train": bad}, str(tmp_path / "a"), SIZE, 1)


# --- who may read them ------------------------------------------------------------------------------------------------


class Other:
    """The system, something about it being different."""

    def __init__(self, system, **differs):
        self.__dict__.update(p=system.p, tokenizer=system.tokenizer, feature_key=system.feature_key, codec_state=None)
        self.__dict__.update(differs)


def test_shards_of_another_training_are_refused_with_the_difference(packed, clips, spoken):
    system, rows = clips[0], [*spoken.rows]
    p = small(f"data.shards={packed}", "data.window=2")

    def refused(system=system, found=spoken) -> str:
        with pytest.raises(ShardError, match="belong to another training") as error:
            sharded.opened(system, found, "train", p)
        return str(error.value)

    tokenizer = type("Tokenizer", (), {"digest": "another"})
    said = refused(Other(system, tokenizer=tokenizer))
    assert f"tokenizer: theirs {system.tokenizer.digest}, here another" in said and "clips" not in said
    assert "system: theirs acoustic, here vits" in refused(Other(system, p=small("system=vits")))
    said = refused(Other(system, codec_state={"name": "mel", "hash": "ab", "rate": 1}))
    assert "codec: theirs None, here {'name': 'mel', 'hash': 'ab'}" in said
    assert f"features: theirs {system.feature_key}, here other" in refused(Other(system, feature_key="other"))
    at = next(i for i, row in enumerate(rows) if row.split == "train")
    gone, changed = rows[at].id, replace(rows[at], text="bado.")
    said = refused(found=replace(spoken, rows=tuple(rows[:at] + rows[at + 1 :])))
    assert f"clips only in the shards: 1 ({gone})" in said and "manifest: theirs" in said
    assert f"clips changed: 1 ({gone})" in refused(found=replace(spoken, rows=(*rows[:at], changed, *rows[at + 1 :])))
    new = replace(rows[at], id="new")
    assert "clips only here: 1 (new)" in refused(found=replace(spoken, rows=(*rows, new)))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["data.workers=2"], r"data.workers=2: a thread reads shards ahead; set data.workers=0"),
        (["data.ram_gb=1.0e-4"], r"data.window=2: .* take up to .* GB, data.ram_gb is 0.0001; lower data.window"),
        (["data.shards=nonesuch://a/b"], r"nonesuch://a/b: Protocol not known: nonesuch; install what reads it"),
        (["data.shards=memory://nothing"], r"memory://nothing/index.safetensors: no such file"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_said_at_once(settings, said, packed, clips, spoken):
    with pytest.raises(ShardError, match=said):
        opened(clips, spoken, packed, "train", *settings)


def test_what_is_missing_to_read_an_address_is_named(monkeypatch):
    def missing(url):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(shards.fsspec.core, "url_to_fs", missing)
    with pytest.raises(ShardError, match=r"s3://a/b: Install s3fs to access S3; install what reads it \(s3://.* s3fs"):
        Place("s3://a/b")


@pytest.mark.parametrize("harm", ["cut", "other bytes", "empty", "newer"])
def test_an_index_that_cannot_be_read_is_one_error(harm, copy, clips, spoken):
    file = copy / shards.INDEX
    content = file.read_bytes()
    newer = content.replace(b'\\"version\\": 1', b'\\"version\\": 9')
    file.write_bytes({"cut": content[:-9], "other bytes": b"\0" * 99, "empty": b"", "newer": newer}[harm])
    with pytest.raises(ShardError, match="version 9" if harm == "newer" else r"index.safetensors: damaged"):
        opened(clips, spoken, copy)


@pytest.mark.parametrize("harm", ["gone", "cut", "a bit"])
def test_a_shard_that_is_lost_is_named_read_whole_or_in_part(harm, copy, clips, spoken):
    found = opened(clips, spoken, copy)
    at = next(i for i, file in enumerate(found.files) if file.shard == 1)
    file, begin = copy / "train-00001.tar", int(found.files[at].shards.columns.offset[at])
    content = bytearray(file.read_bytes())
    if harm == "gone":
        file.unlink()
    elif harm == "cut":
        file.write_bytes(content[: begin + 100])
    else:
        content[begin + int(found.files[at].shards.columns.size[at]) - 1] ^= 1
        file.write_bytes(content)
    said = rf"{file}: " + ("no such file" if harm == "gone" else "damaged")
    with pytest.raises(ShardError, match=said):
        found[at]
    with pytest.raises(ShardError, match=said):
        list(found)
    with pytest.raises(ShardError, match=said):
        list(islice(dataset.loader(found, stream(found), 0, pin=False), 40))


@pytest.mark.parametrize(
    ("error", "seen"), [(OSError("the line is dead"), ShardError), (RuntimeError("403"), RuntimeError)]
)
def test_a_network_that_fails_is_not_silent(error, seen, packed, clips, spoken, monkeypatch):
    found = opened(clips, spoken, packed)

    def fails(*args, **named):
        raise error

    monkeypatch.setattr(found.files[0].shards.place.fs, "cat_file", fails)
    for read in (lambda: found[0], lambda: next(dataset.loader(found, stream(found), 0, pin=False))):
        with pytest.raises(seen, match=str(error)):
            read()


# --- the order --------------------------------------------------------------------------------------------------------


def stream(found: Features, start: Position = Position(), **named) -> Stream:  # noqa: B008
    return Stream(found.lengths, 400, 3, start, shards=found.shards, window=2, **named)


SHARDS = st.lists(st.tuples(st.integers(1, 900), st.integers(0, 6)), min_size=1, max_size=60)


@settings(max_examples=100, deadline=None)
@given(SHARDS, st.integers(1, 4), st.integers(0, 99), st.integers(0, 5), st.integers(100, 2000))
def test_an_epoch_takes_every_clip_once_window_after_window(clips, window, seed, epoch, budget):
    of, numbers = [length for length, _ in clips], [shard for _, shard in clips]
    made = Stream(of, budget, seed, shards=numbers, window=window)
    batches, windows = made.epoch(epoch), made.windows(epoch)
    assert sorted(i for batch in batches for i in batch) == [*range(len(clips))]
    assert sorted(shard for some in windows for shard in some) == sorted({*numbers})
    assert all(len(some) == window for some in windows[:-1]) and 1 <= len(windows[-1]) <= window
    place = {shard: n for n, some in enumerate(windows) for shard in some}
    visited = [{place[numbers[i]] for i in batch} for batch in batches]
    assert all(len(some) == 1 for some in visited), "a batch is of one window"
    assert [*map(min, visited)] == sorted(map(min, visited)), "windows follow one another"
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(of[i] for i in batch) <= budget
    assert batches == Stream(of, budget, seed, shards=[*numbers], window=window).epoch(epoch)


def test_epochs_and_seeds_order_shards_and_clips_anew():
    of, numbers = [100 + n % 7 for n in range(60)], [n % 6 for n in range(60)]
    made = [Stream(of, 500, seed, shards=numbers, window=2) for seed in (1, 2)]
    assert len({str(one.windows(epoch)) for one in made for epoch in range(3)}) == 6
    assert len({str(one.epoch(epoch)) for one in made for epoch in range(3)}) == 6
    both = Stream([50] * 40, 200, 1, shards=[0] * 20 + [1] * 20, window=1).epoch(0)
    one, other = ([[i % 20 for i in batch] for batch in both[at : at + 5]] for at in (0, 5))
    assert one != other, "windows of one epoch draw different numbers"


@pytest.mark.parametrize("ratio", [0.3, 0.5])
def test_clips_in_no_shard_are_dealt_out_to_all_windows(ratio):
    """Of the replayed language, in files beside the shards: their share of every epoch is exact."""
    numbers = [n // 10 for n in range(60)] + [-1] * 40
    made = Stream([100] * 100, 500, 1, replayed=40, ratio=ratio, shards=numbers, window=2)
    for epoch in range(3):
        taken = [i for batch in made.epoch(epoch) for i in batch]
        assert sorted(i for i in taken if i < 60) == [*range(60)]
        assert abs(sum(i >= 60 for i in taken) - 60 * ratio / (1 - ratio)) < 1
        assert {*taken} == {*dataset.chosen(60, 40, ratio, 1, epoch)}
    first = [
        sum(i >= 60 for batch in part for i in batch) for part in np.array_split(np.array(made.epoch(0), object), 3)
    ]
    assert min(first) > 0


@pytest.mark.parametrize("processes", [1, 2])
def test_a_stream_goes_on_from_any_position(processes, packed, clips, spoken):
    found = opened(clips, spoken, packed)
    for rank in range(processes):
        whole = [*islice(stream(found, rank=rank, processes=processes), 12)]
        for k in (1, 4, 9):
            rest = islice(stream(found, whole[k - 1][0], rank=rank, processes=processes), 12 - k)
            assert [*rest] == whole[k:]
    alone = [indices for _, indices in islice(stream(found), 24)]
    ranks = [[indices for _, indices in islice(stream(found, rank=r, processes=2), 12)] for r in (0, 1)]
    assert [some for turn in zip(*ranks, strict=True) for some in turn] == alone


# --- reading ahead ----------------------------------------------------------------------------------------------------


@pytest.fixture
def watched(packed, clips, spoken, monkeypatch):
    """The features, and what is read of the shards: `(number, whole)`; at most two windows are held or on their way."""
    found, log, held = opened(clips, spoken, packed), [], []
    of, lock = found.files[0].shards, threading.Lock()

    def whole(number, real=of.whole):
        with lock:
            log.append(number)
            held.append(len(of.held))
        return real(number)

    def read(name, *part, real=of.place.read):
        log.extend([name] * bool(part))
        return real(name, *part)

    monkeypatch.setattr(of, "whole", whole)
    monkeypatch.setattr(of.place, "read", read)
    return found, log, held


def test_batches_are_those_of_the_stream_out_of_whole_shards_read_once_a_window(watched):
    found, log, _ = watched
    asked = stream(found)
    count = len(asked.epoch(0))
    expected = [*islice(stream(found), count)]
    of, most = found.files[0].shards, 0
    for (position, indices), (at, taken, batch) in zip(
        expected, dataset.loader(found, asked, 0, pin=False), strict=False
    ):
        assert (position, indices) == (at, taken)
        most = max(most, len(of.held))
        assert batch["mel_len"].tolist() == [found.lengths[i] for i in indices]
    order = [shard for window in asked.windows(0) for shard in window]
    assert sorted(log[: len(order)]) == sorted(order) and len(order) > 3, "each shard once, none in parts"
    assert {*log[:2]} == {*asked.windows(0)[0]}
    assert most == 2, "one window is held"
    batch = dataset.collate([found[i] for i in indices])
    assert same(batch, dataset.collate([found[i] for i in taken]))


def test_a_resumed_run_reads_its_window_and_the_next_alone(watched):
    found, log, _ = watched
    asked = stream(found)
    windows = asked.windows(0)
    last = {*windows[-1]}
    at = next(n for n, batch in enumerate(asked.epoch(0)) if {found.shards[i] for i in batch} <= last)
    batches = dataset.loader(found, stream(found, Position(0, at)), 0, pin=False)
    next(batches)
    of = found.files[0].shards
    assert {*of.held} == last
    following = {*asked.windows(1)[0]}
    deadline = threading.Event()
    while len(log) < len(last) + len(following) and not deadline.wait(0.01):
        pass
    assert {*log[: len(last)]} == last and {*log[len(last) :]} == following
    batches.close()
    assert of.held == {}, "nothing is held when training is over"


# --- training ---------------------------------------------------------------------------------------------------------

EVERY = [
    "train.steps=24",
    "train.evaluate_every=12",
    "train.checkpoint_every=5",
    "train.log_every=1",
    "data.frames=300",
]


@pytest.fixture(scope="module")
def place(stocked):
    """Settings of a training from shards, which are written by the command line."""
    url = f"file://{stocked}/shards"
    life = training.command(stocked, "shard", "qaa", *training.QUIET, f"data.shard_mb={SIZE}", "--out", url)
    assert life.finish() == 0, life.words()
    (line,) = [line for line in life.words().splitlines() if line.startswith("{")]
    assert json.loads(line)["clips"] == 21 and json.loads(line)["count"] == len([*stocked.glob("shards/*.tar")])
    return stocked, [*EVERY, f"data.shards={url}", "data.window=2"]


@pytest.fixture(scope="module")
def whole(place):
    return training.train(place[0], "run=whole", *place[1])


def test_killed_and_resumed_in_a_new_process_is_the_same(place, whole):
    """Without one feature file: what is trained on comes out of the shards."""
    outputs, settings = place
    for file in outputs.glob("qaa/data/*/features/*/*"):
        file.unlink()
    life = training.start(outputs, "run=parts", *settings)
    life.wait_for("step 14 ")
    life.kill()
    assert life.finish() == 128 + signal.SIGKILL
    training.train(outputs, "run=parts", *settings, "resume=true")
    assert_same(whole, whole.with_name("parts"))
    assert not [*outputs.glob("qaa/data/*/features/*/*.safetensors")]


def test_two_processes_take_turns_and_resume(place):
    outputs, settings = place
    lives = pair(outputs, "train", "qaa", "run=two", *settings)
    assert [life.finish() for life in lives] == [0, 0], told(lives)
    lives = pair(outputs, "train", "qaa", "run=two-parts", *settings)
    lives[0].wait_for("step 12 ")
    for life in lives:
        life.kill()
    lives = pair(outputs, "train", "qaa", "run=two-parts", *settings, "resume=true")
    assert [life.finish() for life in lives] == [0, 0], told(lives)
    assert_same(outputs / "qaa/acoustic/two", outputs / "qaa/acoustic/two-parts")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["data.window=3"], "shards: data.window: the checkpoint has 2, this run 3"),
        (["data.shards=null"], r"shards: the checkpoint has \{\"index\": .*\}, this run null"),
    ],
)
def test_another_order_is_not_resumed(change, said, place, whole):
    outputs, settings = place
    life = training.start(outputs, "run=whole", *settings, *change, "resume=true")
    assert life.finish() == 1
    assert re.search(said, life.words()), life.words()


def test_a_shard_lost_in_training_is_one_error_and_the_run_goes_on_when_it_is_back(place, whole):
    outputs, settings = place
    life = training.start(outputs, "run=lost", *settings)
    life.wait_for("step 7 ")
    file = outputs / "shards/train-00000.tar"
    content = file.read_bytes()
    file.unlink()
    assert life.finish() == 1
    (line,) = [line for line in life.words().splitlines() if line.startswith("error: ")]
    latest = (whole.with_name("lost") / "checkpoints/latest").resolve()
    assert line == (
        f"error: file://{file}: no such file; `python -m ttslib shard` writes it; {latest} is whole: go on with resume=true"
    )
    assert "Traceback" not in life.words()
    file.write_bytes(content)
    training.train(outputs, "run=lost", *settings, "resume=true")
    assert_same(whole, whole.with_name("lost"))


def test_two_processes_write_the_shards_that_one_writes(place):
    outputs, _ = place
    lives = pair(outputs, "shard", "qaa", f"data.shard_mb={SIZE}", "--out", f"{outputs}/again")
    assert [life.finish() for life in lives] == [0, 0], told(lives)
    names = [{file.name: file.read_bytes() for file in (outputs / name).iterdir()} for name in ("shards", "again")]
    assert names[0] == names[1]
