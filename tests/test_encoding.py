"""Encoding over cores gives what one process gives, bit for bit; what a folder holds is known without opening its files."""

import multiprocessing
import os
import pickle
import signal
import time
from dataclasses import dataclass, replace

import pytest

from ttslib import adapt, encoders, encoding, lengths, manifest, params, speech
from ttslib.codecs import kept
from ttslib.features import BadClip, DatasetError, row_key
from ttslib.systems import system_class

HERE = 1 + encoders.FEW  # clips that the first process encodes: a probe and some to judge how long the rest will take
QUIET = {"tracking": "disabled", "device": "cpu", "threads": 1}


def contents(folder) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def at_once(monkeypatch):
    """Processes take over after the first clips, however short the rest."""
    monkeypatch.setattr(encoders, "WORTH", 0.0)
    monkeypatch.setattr(encoding, "PROBES", 1)


@pytest.mark.parametrize("name", ["acoustic", "t3"])
def test_processes_give_what_one_gives_bit_for_bit(name, spoken, tmp_path, at_once, monkeypatch):
    """The same files, order, quarantine, digest and table; networks go without weights, codes with their row."""
    p = params.load("qaa", QUIET, system=name, device="cpu")
    rows = spoken.split("train")
    system = system_class(name).fresh(p, rows[:12])
    rows[10] = replace(rows[10], text="ሰ")
    if name == "t3":
        system.kept = kept.keep(system.codec, tmp_path / "codes", rows, speech.reader(system.codec, spoken))
    read = speech.Reader(replace(spoken, rows=(), dropped=()), system.rate, {rows[13].id: "no codes"})
    alone = encoding.encode_all(system, rows, read, tmp_path / "alone", 1.0)
    pools = []
    monkeypatch.setattr(encoders, "pooled", lambda *a, real=encoders.pooled: pools.append(a[-1]) or real(*a))
    here = []
    monkeypatch.setattr(encoding, "keep", lambda *a, real=encoding.keep: here.append(a) or real(*a))
    shared = encoding.encode_all(system, rows, read, tmp_path / "shared", 1.0, cores=2)
    assert pools == [2] and len(here) == HERE, "the others were encoded in two processes"
    assert shared.ids == alone.ids and shared.lengths == alone.lengths and shared.digest == alone.digest
    assert shared.quarantined == alone.quarantined and {rows[10].id, rows[13].id} <= {
        b["id"] for b in alone.quarantined
    }
    assert contents(tmp_path / "shared") == contents(tmp_path / "alone")


def test_a_process_that_dies_is_one_error(spoken, clips, tmp_path, at_once):
    rows, parent = spoken.split("train"), os.getpid()
    read = Killing(speech.Reader(spoken, 16000, {}), parent)
    with pytest.raises(DatasetError, match=f"died .* at or after clip {rows[HERE].id}; what is encoded is kept"):
        encoding.encode_all(clips[0], rows, read, tmp_path, 1.0, cores=2)
    assert len([*tmp_path.glob("*/*.safetensors")]) == HERE


def test_a_process_that_dies_before_more_is_handed_over_is_the_same_error(spoken, clips, tmp_path, monkeypatch):
    rows = spoken.split("train")
    monkeypatch.setattr(encoders, "CHUNK", 1)
    work = encoding.Work(clips[0], speech.reader(clips[0], spoken), tmp_path)
    told = encoders.pooled(work, encoders.sent(work), rows, 2)
    next(told)
    for one in multiprocessing.active_children():
        one.kill()
        one.join()
    time.sleep(0.5)  # the pool learns of it in a thread
    with pytest.raises(DatasetError, match=r"died .*; what is encoded is kept"):
        list(told)


@dataclass(frozen=True)
class Killing:
    """Reads in the process that started it, and kills any other."""

    read: speech.Reader
    parent: int

    def __call__(self, row):
        if os.getpid() != self.parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.read(row)


@pytest.mark.parametrize(("cores", "ram_gb", "listens"), [(1, 1.0, False), (2, 1e-9, False), (2, 1.0, True)])
def test_one_process_is_left_alone(cores, ram_gb, listens, spoken, clips, tmp_path, at_once, monkeypatch):
    """With one core, where the system is too large to be held twice, and where it listens on a device."""
    monkeypatch.setattr(encoders, "pooled", lambda *a: pytest.fail("processes were started"))
    if listens:
        monkeypatch.setattr(type(clips[0]), "listen_on", lambda self, device: None, raising=False)
    read = speech.Reader(spoken, 16000, {})
    assert len(encoding.encode_all(clips[0], spoken.split("train"), read, tmp_path, ram_gb, cores=cores)) == 19


def test_a_short_rest_starts_no_process(spoken, clips, tmp_path, monkeypatch):
    monkeypatch.setattr(encoders, "pooled", lambda *a: pytest.fail("processes were started"))
    encoding.encode_all(clips[0], spoken.split("train"), speech.Reader(spoken, 16000, {}), tmp_path, 1.0, cores=2)


@pytest.mark.parametrize("extended", [False, True], ids=["fresh", "extended"])
@pytest.mark.parametrize("name", ["acoustic", "vits", "t3", "indextts", "pocket"])
def test_a_system_on_its_way_to_a_process_encodes_alike_and_has_no_weights(name, extended, spoken, tmp_path):
    p = params.load("qaa", QUIET, system=name)
    rows = spoken.split("train")[:4]
    system = system_class(name).fresh(p, rows)
    if extended:
        system = adapt.extend(system, p, [replace(row, text="ሰላም") for row in rows])
        adapt.freeze(system, p.adapt)
    work = encoding.Work(system, speech.reader(system, spoken), tmp_path)
    sent = replace(work, read=speech.Reader(spoken, system.rate, {}))
    arrived = pickle.loads(pickle.dumps(encoders.sent(sent)))
    for row in rows:
        one, two = (some.system.encode(row, some.read(row)) for some in (work, arrived))
        assert one.keys() == two.keys() and all(one[name].equal(two[name]) for name in one)
    assert all(not [*net.parameters()] for net in arrived.system.nets.values())
    assert all([*net.parameters()] for net in system.nets.values()), "the sender keeps its own"


# --- the table of lengths ---------------------------------------------------------------------------------------------


@pytest.fixture
def opened(monkeypatch):
    """Names of the feature files that are opened."""
    names = []
    monkeypatch.setattr(
        encoding, "load_file", lambda file, real=encoding.load_file: names.append(file.stem) or real(file)
    )
    return names


class Start:
    """The acoustic system's features of some clips in a folder, next to nothing of them in RAM."""

    def __init__(self, clips, spoken, folder):
        self.system, self.rows, self.folder = clips[0], spoken.split("train")[:6], folder
        self.read = speech.Reader(spoken, 16000, {})

    def __call__(self, rows=None, ram_gb=1e-9):
        return encoding.encode_all(self.system, rows or self.rows, self.read, self.folder, ram_gb, self.read.stamp)

    @property
    def table(self):
        (file,) = self.folder.glob("*.lengths")
        return file


@pytest.fixture
def start(clips, spoken, tmp_path):
    return Start(clips, spoken, tmp_path)


def test_a_later_start_opens_no_feature_to_learn_lengths(start, opened):
    first = start()
    assert opened == [], "they were computed just now"
    again = start()
    assert opened == []
    assert (again.ids, again.lengths, again.digest) == (first.ids, first.lengths, first.digest)
    assert again.lengths == [again[i]["mel"].shape[1] for i in range(6)]
    more = start([*start.rows[3:], replace(start.rows[0], end=1.0)])
    assert more.lengths[:3] == first.lengths[3:] and opened == []
    assert start().lengths == first.lengths, "the table holds the clips of all that start here"
    start(ram_gb=1.0)
    assert opened == [file.stem for file in first.files], "what goes into RAM is read once"


@pytest.mark.parametrize("harm", ["damaged", "cut", "of other features", "gone", "older"])
def test_a_table_that_cannot_be_used_is_made_anew(start, opened, harm, capsys):
    first, file = start(), start.table
    content = file.read_bytes()
    if harm == "damaged":
        file.write_bytes(b"half")
    elif harm == "cut":
        file.write_bytes(content[:-10])
    elif harm == "of other features":
        lengths.write(file.with_suffix(""), "another key", lengths.Lengths({row_key(start.rows[0]): (1, 1)}))
    elif harm == "older":
        file.write_bytes(content.replace(b'\\"version\\": 1', b'\\"version\\": 0'))
        assert file.read_bytes() != content
    else:
        file.unlink()
    again = start()
    assert again.lengths == first.lengths
    assert opened == [feature.stem for feature in first.files], "each was opened once"
    assert file.read_bytes() == content
    said = "damaged" if harm in ("damaged", "cut") else "a table of other features"
    assert (f"{said}" in capsys.readouterr().err) == (harm != "gone")


def test_a_feature_that_is_gone_is_found_missing_without_opening_the_others(start, opened, monkeypatch):
    first = start()
    content = first.files[2].read_bytes()
    first.files[2].unlink()
    made = []
    monkeypatch.setattr(encoding, "keep", lambda file, *a, real=encoding.keep: made.append(file) or real(file, *a))
    assert start().lengths == first.lengths
    assert made == [first.files[2]] and opened == [] and first.files[2].read_bytes() == content


def test_a_damaged_feature_has_the_next_start_open_all(start, opened):
    first = start()
    whole = first[4]["mel"].clone()  # a loaded one is a view of the file
    for index in (2, 4):
        first.files[index].write_bytes(b"half")
    with pytest.raises(DatasetError, match=first.ids[4]):
        first[4]
    again = start()
    assert set(opened) == {file.stem for file in first.files}
    assert again[4]["mel"].equal(whole) and len(again[2]["mel"]) == len(whole), "all that were damaged are mended"
    opened.clear()
    assert start().lengths == first.lengths and opened == []


def test_a_refused_clip_is_tried_again_when_its_recording_has_changed(start, monkeypatch):
    tried, encode = [], type(start.system).encode

    def refusing(self, row, wav):
        tried.append(row.id)
        if row == start.rows[1] and refused:
            raise BadClip("no good")
        return encode(self, row, wav)

    monkeypatch.setattr(type(start.system), "encode", refusing)
    refused, stamps = True, {}
    monkeypatch.setattr(start.read.__class__, "stamp", lambda self, row: stamps.get(row.id, [1, 2]))
    first = start()
    tried.clear()
    again = start()
    assert tried == [] and again.quarantined == first.quarantined == [{"id": start.rows[1].id, "reason": "no good"}]
    stamps[start.rows[1].id] = None  # nobody knows
    start()
    assert tried == [start.rows[1].id]
    stamps[start.rows[1].id], refused = [3, 2], False
    mended = start()
    assert tried == 2 * [start.rows[1].id] and mended.quarantined == [] and len(mended) == 6
    assert start().ids == mended.ids and len(tried) == 2


def test_a_recording_has_the_stamp_of_its_file(prepared, spoken):
    found = manifest.prepare(params.load("qaa"))
    row, read = found.rows[0], speech.Reader(found, 16000, {})
    before = read.stamp(row)
    os.utime(found.audio(row), (1, 1))
    assert read.stamp(row) != before and read.stamp(row)[1] == before[1]
    assert replace(read, without={row.id: "no codes"}).stamp(row) is None
    found.audio(row).unlink()
    assert read.stamp(row) is None


def test_a_folder_without_a_feature_has_a_table_too(tmp_path):
    lengths.write(tmp_path / "none", "key", lengths.Lengths({}, {"0" * 24: ("bad", None)}))
    assert lengths.read(tmp_path / "none", "key") == lengths.Lengths({}, {"0" * 24: ("bad", None)})
