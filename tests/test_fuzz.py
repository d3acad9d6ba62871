"""Corpora with planted faults: nothing but our own errors, no good clip lost, each other one a row or explained."""

import gzip
import json
import os
import random
import re
from pathlib import Path

import fuzzed
import pytest

from ttslib import audio, doctor, feedback, manifest, measuring, text
from ttslib.corpora import Clip, CorpusError, Dropped, files, hub, read
from ttslib.params import Params
from ttslib.sections import Corpus, Doctor

SEEDS = 200


def prepared(planted: fuzzed.Planted, root: Path, monkeypatch) -> manifest.Manifest:
    monkeypatch.setenv("TTSLIB_OUTPUTS", str(root / "outputs"))
    limits = Doctor(max_chars_per_second=300, max_seconds=5)
    return manifest.prepare(Params(lang="fr", threads=1, corpus=planted.corpus, doctor=limits))


def lines(where: str) -> set[str]:
    """`file:3-5` → file:3, file:4, file:5; anything else as it is."""
    span = re.fullmatch(r"(?s)(.*):(\d+)-(\d+)", where)
    return {where} if span is None else {f"{span[1]}:{n}" for n in range(int(span[2]), int(span[3]) + 1)}


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_good_clip_is_lost_and_every_other_one_is_explained(seed, tmp_path, monkeypatch):
    planted = fuzzed.plant(tmp_path, seed)
    if planted.refused:
        with pytest.raises(CorpusError, match=planted.refused) as caught:
            prepared(planted, tmp_path, monkeypatch)
        assert str(planted.root) in str(caught.value), "names the table"
        return
    made = prepared(planted, tmp_path, monkeypatch)
    assert manifest.read(made.folder) == made
    rows = {str(made.audio(row)): row for row in made.rows}
    dropped = {place for record in made.dropped for place in lines(record["where"])}
    assert all(record["reason"] and record["detail"] for record in made.dropped)
    for entry in planted.entries:
        kept, explained = str(entry.audio) in rows, dropped & {str(entry.audio), *entry.places}
        assert kept or explained, f"{entry.fault} vanished"
        assert entry.fate == "either" or kept == (entry.fate == "row"), entry
        if not entry.fault:
            assert text.normalise(entry.text, "fr") == rows[str(entry.audio)].text
    listed = {str(entry.audio) for entry in planted.entries}
    assert rows.keys() <= listed, "no row that was not planted"
    for row in made.rows:
        assert Path(os.path.realpath(made.audio(row))).is_relative_to(os.path.realpath(planted.root))
        assert fuzzed.FORBIDDEN not in row.text
    assert not any(fuzzed.FORBIDDEN in str(record) for record in made.dropped), "nothing outside is quoted"


# --- one fault each ---------------------------------------------------------------------------------------------------


def corpus(folder: Path, *rows: dict, names: tuple[str, ...] = ("a.wav",)) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        fuzzed.write(folder / name, fuzzed.wave(random.Random(name), 16000, 0.6))
    if rows:
        (folder / "t.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return folder


def found(folder: Path, source: str = "custom", **more) -> tuple[list[str], list[Dropped]]:
    """Names of the clips' recordings, and the drops."""
    items = list(read(Corpus(source=source, path=str(folder), **more), "fr", folder))
    return [i.audio.name for i in items if isinstance(i, Clip)], [i for i in items if isinstance(i, Dropped)]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("a\0.wav", "null byte"),
        ("x" * 5000 + ".wav", "too long"),
        ("\ud800.wav", "without its pair"),
        ("loop.wav", "no file"),
    ],
)
def test_a_cell_that_names_no_file_costs_its_row_alone(tmp_path, cell, said):
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    folder = corpus(tmp_path, {"audio": cell, "text": "oui"}, {"audio": "a.wav", "text": "non"})
    names, (drop,) = found(folder)
    assert names == ["a.wav"]
    assert said in drop.detail and len(drop.detail) < 500


@pytest.mark.parametrize("line", ["[" * 100000, '{"audio":' + "1" * 5000 + "}"])
def test_json_that_the_parser_gives_up_on_is_not_json(tmp_path, line):
    folder = corpus(tmp_path, {"audio": "a.wav", "text": "oui"})
    with (folder / "t.jsonl").open("a") as table:
        table.write(f"\n{line}\n")
    names, (drop,) = found(folder)
    assert (names, drop.reason) == (["a.wav"], "not json")
    (folder / "t.jsonl").unlink()
    (folder / "t.json").write_text(f"[{line}]")
    with pytest.raises(CorpusError, match=r"t\.json: not readable as JSON"):
        found(folder)
    (fault,) = feedback.parsed(line, folder, ("fr",))
    assert fault.startswith("not a line of JSON")


def test_a_table_of_carriage_returns_is_read_and_one_alone_in_a_row_is_not(tmp_path):
    corpus(tmp_path, names=("a.wav", "b.wav"))
    (tmp_path / "t.csv").write_bytes(b"audio,text\ra.wav,oui\rb.wav,non\r")
    assert found(tmp_path) == (["a.wav", "b.wav"], [])
    (tmp_path / "t.csv").write_bytes(b"audio,text\na.wav,o\rui\n")
    names, (drop,) = found(tmp_path)
    assert (names, drop.reason, drop.where) == ([], "not csv", f"{tmp_path / 't.csv'}:2")


@pytest.mark.parametrize("source", ["custom", "common_voice"])
def test_a_first_line_that_is_not_utf8_is_named_and_not_replaced_by_the_second(tmp_path, source):
    (tmp_path / "clips").mkdir()
    name = "t.csv" if source == "custom" else "validated.tsv"
    (tmp_path / name).write_bytes(b"\naudio,text,gr\xf6\xdfe\na.wav,oui,1\n")
    with pytest.raises(CorpusError, match=rf"{name}:2: the line that names the columns is not utf-8"):
        found(tmp_path, source)


def test_one_transcript_that_cannot_be_read_costs_its_own_clip(tmp_path):
    corpus(tmp_path, names=("a.wav", "b.wav", "c.wav", "d.wav", "e.wav", "out/f.wav"))
    (tmp_path / "a.txt").write_text("oui")
    (tmp_path / "b.txt").write_text("non", encoding="utf-16")
    (tmp_path / "c.txt").mkdir()
    (tmp_path / "d.txt").symlink_to("nowhere")
    (tmp_path / "e.txt").write_text("un")
    (tmp_path / "e.wav.txt").write_text("deux")
    (tmp_path / "linked").symlink_to("out")
    names, drops = found(tmp_path)
    assert names == ["a.wav"]
    assert {Path(drop.where).name: drop.reason for drop in drops} == {
        "b.txt": "unreadable text",
        "c.txt": "not a file",
        "d.txt": "not a file",
        "e": "several transcripts",
        "f.wav": "no transcript",
        "linked": "linked folder",
    }


@pytest.mark.parametrize(
    ("source", "table", "sounds"), [("ljspeech", "metadata.csv", "wavs"), ("common_voice", "validated.tsv", "clips")]
)
def test_a_table_or_folder_linked_from_outside_is_refused(tmp_path, source, table, sounds):
    corpus(tmp_path / "outside" / sounds)
    (tmp_path / "outside" / table).write_text("client_id\tpath\tsentence\nc\ta.wav\toui\n")
    whole = tmp_path / "whole"
    whole.symlink_to("outside")
    assert not any("outside" in drop.reason for drop in found(whole, source)[1]), "the path itself may be a link"
    for linked, own in ((table, sounds), (sounds, table)):
        folder = tmp_path / linked.replace(".", "-")
        folder.mkdir()
        (folder / linked).symlink_to(tmp_path / "outside" / linked)
        if own == sounds:
            corpus(folder / own)
        else:
            (folder / own).write_text("client_id\tpath\tsentence\n")
        with pytest.raises(CorpusError, match=rf"{linked}: a link out of .* set corpus\.path"):
            found(folder, source)


def test_a_parquet_folder_reaches_no_further_than_a_table(tmp_path):
    cells = [
        {"path": name, "bytes": None} for name in ("a.wav", "../b.wav", "link.wav", "x" * 5000, str(tmp_path / "b.wav"))
    ]
    corpus(tmp_path, names=("c/a.wav", "b.wav"))
    (tmp_path / "c/link.wav").symlink_to("../b.wav")
    named = [hub.recording(cell, tmp_path / "c", tmp_path, "row") for cell in cells]
    assert [item.reason if isinstance(item, Dropped) else item.name for item in named] == [
        "a.wav", "outside the corpus", "outside the corpus", "no audio", "b.wav"
    ]  # fmt: skip


def test_common_voice_formats_of_one_name_are_one_id_and_votes_without_end_are_no_number(tmp_path):
    corpus(tmp_path / "clips", names=("a.wav", "a.flac", "b.wav"))
    rows = [
        "client_id\tpath\tsentence\tup_votes",
        "c\ta.wav\toui\t1",
        "c\ta.flac\tnon\t1",
        "c\tb.wav\tun\t" + "9" * 5000,
    ]
    (tmp_path / "validated.tsv").write_text("\n".join(rows))
    names, drops = found(tmp_path, "common_voice")
    assert (names, [drop.reason for drop in drops]) == (["a.wav"], ["duplicate id", "votes"])


def test_a_damaged_gzip_and_a_table_without_rows_are_said(tmp_path):
    content = gzip.compress(b"a|oui\n" * 1000)
    (tmp_path / "t.gz").write_bytes(content[:20] + b"\xff" * 20 + content[40:])
    with pytest.raises(CorpusError, match="damaged gzip"):
        list(files.lines(tmp_path / "t.gz"))
    (tmp_path / "t.csv").write_text("audio,text\nonly\n")
    assert [drop.reason for drop in found(tmp_path)[1]] == ["columns"]


def test_a_file_name_that_is_not_utf8_is_read(tmp_path, monkeypatch):
    path = Path(os.fsdecode(os.fsencode(tmp_path / "c") + b"/caf\xe9.wav"))
    corpus(tmp_path / "c", names=("a.wav",)).joinpath("a.wav").rename(path)
    broken = Path(str(path)[:-3] + "m4a")
    broken.write_bytes(b"no audio")
    path.with_suffix(".txt").write_text("oui")
    with pytest.raises(audio.AudioError, match="FFmpeg"):
        audio.decode(broken)
    assert audio.load(path)[0].size
    broken.unlink()
    planted = fuzzed.Planted(Corpus(source="custom", path=str(tmp_path / "c")), [], "", tmp_path, tmp_path)
    assert [row.raw for row in prepared(planted, tmp_path, monkeypatch).rows] == ["oui"]


@pytest.mark.parametrize(("wav", "rate", "fate"), [(1e30, 16000, "out of range"), (0.3, 10, None), (0.3, 28, None)])
def test_samples_beyond_any_scale_and_rates_of_a_few_hertz_are_measured(tmp_path, wav, rate, fate):
    path = tmp_path / "a.wav"
    fuzzed.write(path, wav * fuzzed.wave(random.Random(0), 16000, 0.1), rate, subtype="FLOAT")
    measured = measuring.measure((str(path), Doctor()))
    assert measured[0] == fate if fate else measured.cutoff is None


def test_a_book_in_a_cell_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor.texts, "normalise", lambda *_, **__: pytest.fail("normalised"))
    clip = Clip("fr/a", corpus(tmp_path) / "a.wav", "1," * 10**6, "fr", "s", "custom", "CC0")
    rows, (drop,) = doctor.examine([clip], Params(lang="fr", threads=1))
    assert (rows, drop["reason"]) == ([], "rate")
    assert "2000000 characters" in drop["detail"]


@pytest.mark.parametrize("audio", ["linked/../x.wav", "..", "..\\x.wav", "a/../b.wav"])
def test_a_manifest_that_travels_names_nothing_by_way_of_a_parent(audio):
    assert manifest.escapes(audio)
    assert not manifest.escapes("a/..b/c..wav") and not manifest.escapes("/a/../b.wav")


def test_reading_a_manifest_refuses_numbers_and_brackets_without_end(tmp_path):
    (tmp_path / "dropped.jsonl").touch()
    row = manifest.Row("a", "a.wav", "t", "t", "fr", "s", "custom", "CC0", 0.0, 1.0, 16000, "0")
    huge = json.dumps({**manifest.as_json(row), "end": 10**400})
    for line, said in ((huge, "end must be seconds"), ("[" * 100000, "not a line of JSON")):
        (tmp_path / "manifest.jsonl").write_text(line + "\n")
        with pytest.raises(manifest.ManifestError, match=rf"manifest\.jsonl:1: {said}"):
            manifest.read(tmp_path)
