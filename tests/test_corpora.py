"""Every reader on small real files: what becomes a clip, and that what does not is said, with its place and reason."""

import gzip
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ttslib import audio
from ttslib.corpora import READERS, Clip, CorpusError, Dropped, asterisk, files, read
from ttslib.corpora.asterisk_mends import mend
from ttslib.corpora.languages import language_of
from ttslib.sections import Corpus


def tone(path: Path, rate: int = 16000, channels: int = 1, seconds: float = 0.25) -> Path:
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.4 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)
    kind = {".opus": ("OGG", "OPUS")}.get(path.suffix, (None, None))
    soundfile.write(
        path, np.repeat(wave[:, None], channels, 1).astype(np.float32), rate, format=kind[0], subtype=kind[1]
    )
    return path


def split(source: str, lang: str, folder: Path, path: Path | str | None, **more) -> tuple[list[Clip], list[Dropped]]:
    found = list(read(Corpus(source=source, path=path and str(path), **more), lang, folder / "made"))
    clips = [item for item in found if isinstance(item, Clip)]
    assert len({clip.id for clip in clips}) == len(clips), "ids are unique"
    assert all(clip.id.startswith(f"{lang}/") and clip.lang == lang for clip in clips)
    assert all(audio.load(clip.audio)[0].size for clip in clips), "every clip's audio decodes"
    return clips, [item for item in found if isinstance(item, Dropped)]


def reasons(drops: list[Dropped]) -> Counter[str]:
    return Counter(drop.reason for drop in drops)


def the(drops: list[Dropped], reason: str) -> Dropped:
    (found,) = [drop for drop in drops if drop.reason == reason]
    return found


# --- what all readers share -------------------------------------------------------------------------------------------


def test_every_source_of_the_params_has_a_reader():
    assert set(READERS) == set(Corpus.model_fields["source"].annotation.__args__)


@pytest.mark.parametrize("source", ["ljspeech", "common_voice", "custom", "hub"])
def test_a_corpus_that_is_not_there_is_one_clear_error(source, tmp_path):
    with pytest.raises(CorpusError, match="path"):
        list(read(Corpus(source=source), "am", tmp_path))
    with pytest.raises(CorpusError, match="nowhere/am"):
        list(read(Corpus(source=source, path=str(tmp_path / "nowhere" / "{lang}")), "am", tmp_path))


def test_relative_paths_start_at_the_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert files.place(Corpus(path="ttslib/{lang}"), "corpora") == Path(files.__file__).parent


def test_lines_keep_line_numbers_and_unicode_line_separators(tmp_path):
    table = tmp_path / "t.txt"
    table.write_bytes("﻿one\r\nt\u2028wo\n".encode() + b"caf\xe9\n" + "ñ\n".encode())
    first, second, bad, last = files.lines(table)
    assert (first, second, last) == ((1, "one"), (2, "t\u2028wo"), (4, "ñ"))
    assert (bad.where, bad.reason) == (f"{table}:3", "not utf-8")
    assert bad.detail.startswith(f"byte {table.read_bytes().index(0xE9)}:")


def test_utf16_is_refused_with_the_way_out(tmp_path):
    (tmp_path / "t.csv").write_text("a|b\n", encoding="utf-16")
    with pytest.raises(CorpusError, match="iconv -f UTF-16"):
        list(files.lines(tmp_path / "t.csv"))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("am_et", "am"),
        ("amh", "am"),
        ("Amharic", "am"),
        ("kmr", "ku"),
        ("es-MX", "es"),
        ("sw", "sw"),
        ("Swahili", "swahili"),
    ],
)
def test_language_names(theirs, ours):
    assert language_of(theirs) == ours


# --- ljspeech ---------------------------------------------------------------------------------------------------------


def test_ljspeech_reads_all_formats_columns_and_names(tmp_path):
    formats = ["wav", "flac", "mp3", "ogg", "opus"]
    for number, suffix in enumerate(formats):
        tone(
            tmp_path / "wavs" / f"clip{number}.{suffix}",
            rate=[8000, 22050, 44100, 48000, 48000][number],
            channels=1 + number % 2,
        )
    tone(tmp_path / "wavs" / "sub" / "ሰላም.wav")
    tone(tmp_path / "wavs" / "e\u0301te\u0301.wav")  # decomposed, as macOS writes it
    rows = [f'clip{n}.{s}|He said "no"\tand|left {n}' for n, s in enumerate(formats)]
    rows += ["sub/ሰላም|ሰላም ነው።", "été|Raw|", ""]
    (tmp_path / "metadata.csv").write_bytes("\r\n".join(rows).encode("utf-8-sig"))
    clips, drops = split("ljspeech", "am", tmp_path, tmp_path, licence="CC0-1.0")
    assert drops == []
    assert [clip.text for clip in clips] == [f"left {n}" for n in range(5)] + ["ሰላም ነው።", "Raw"]
    assert clips[5].id == "am/sub/ሰላም"
    assert {(clip.speaker, clip.source, clip.licence) for clip in clips} == {("ljspeech-am", "ljspeech", "CC0-1.0")}


def test_ljspeech_two_columns_keep_quotes_and_tabs(tmp_path):
    tone(tmp_path / "wavs" / "a.wav")
    (tmp_path / "metadata.csv").write_text('a|"Tab\there", he "said\n', encoding="utf-8")
    clips, drops = split("ljspeech", "en", tmp_path, tmp_path / "metadata.csv", speaker="Anna")
    assert ([clip.text for clip in clips], drops) == (['"Tab\there", he "said'], [])
    assert (clips[0].speaker, clips[0].licence) == ("Anna", "unknown (set corpus.licence)")


def test_ljspeech_says_why_each_line_and_recording_is_dropped(tmp_path):
    for name in ["good.wav", "empty.wav", "both.wav", "both.flac", "orphan.wav", "latin.wav", "four.wav"]:
        tone(tmp_path / "wavs" / name)
    tone(tmp_path / "outside.wav")
    lines = [b"good|fine", b"missing|text", b"empty| ", b"good|again", b"both|which", b"latin|caf\xe9", b"four|a|b|c"]
    lines += [b"../outside|escapes", b"alone"]
    (tmp_path / "metadata.csv").write_bytes(b"\n".join(lines))
    clips, drops = split("ljspeech", "fr", tmp_path, tmp_path)
    assert [clip.id for clip in clips] == ["fr/good"]
    assert reasons(drops) == {
        "no audio": 2,  # missing, and ../outside, which is not looked for outside wavs/
        "empty text": 1,
        "duplicate id": 1,
        "several recordings": 1,
        "not utf-8": 1,
        "columns": 2,
        "no transcript": 5,  # orphan, latin, four, both.wav and both.flac: no clip was made of them
    }
    assert "line 1" in the(drops, "duplicate id").detail
    assert "line 4" in the(drops, "duplicate id").detail


def test_ljspeech_takes_the_format_the_id_names(tmp_path):
    tone(tmp_path / "wavs" / "a.wav")
    tone(tmp_path / "wavs" / "a.flac")
    (tmp_path / "metadata.csv").write_text("a.flac|x\n", encoding="utf-8")
    clips, drops = split("ljspeech", "en", tmp_path, tmp_path)
    assert [clip.audio.name for clip in clips] == ["a.flac"]
    assert the(drops, "no transcript").where.endswith("a.wav")


# --- common voice -----------------------------------------------------------------------------------------------------

OLD = ["client_id", "path", "sentence", "up_votes", "down_votes", "age", "gender", "accent"]
NEW = [
    "client_id",
    "path",
    "sentence_id",
    "sentence",
    "sentence_domain",
    *OLD[3:7],
    "accents",
    "variant",
    "locale",
    "segment",
]


def release(folder: Path, columns: list[str], *rows: dict[str, str]) -> None:
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    for row in rows:
        if "missing" not in row["path"]:
            tone((folder / "clips" / row["path"]).with_suffix(".mp3"), rate=32000)
    cells = ["\t".join(columns)] + ["\t".join(row.get(name, "") for name in columns) for row in rows]
    (folder / "validated.tsv").write_text("\n".join(cells) + "\n", encoding="utf-8")


def row(path: str, **more: str) -> dict[str, str]:
    return {"client_id": "c" * 128, "path": path, "sentence": f"Roj {path}", "up_votes": "2", "down_votes": "0", **more}


def test_common_voice_kurmanji_is_found_under_its_own_name(tmp_path):
    release(tmp_path / "kmr", NEW, row("a.mp3", locale="kmr", sentence='"Silav" got'), row("b.mp3", locale="ckb"))
    tone(tmp_path / "kmr" / "clips" / "other.mp3")
    clips, drops = split("common_voice", "ku", tmp_path, tmp_path)
    assert [(clip.text, clip.licence, clip.audio.name) for clip in clips] == [('"Silav" got', "CC0-1.0", "a.mp3")]
    assert reasons(drops) == {"locale": 1, "no transcript": 1}
    assert "1 recordings" in the(drops, "no transcript").detail
    by_template, _ = split("common_voice", "ku", tmp_path, tmp_path / "{lang}")
    assert by_template == clips


def test_common_voice_old_release_votes_and_speakers(tmp_path):
    rows = [
        row("a"),
        row("b", client_id="d" * 128),
        row("c", up_votes="1"),
        row("d", down_votes="2"),
        row("e", up_votes="many"),
    ]
    release(tmp_path, OLD, *rows, row("f", sentence=""), row("missing"), row("a"))
    with (tmp_path / "validated.tsv").open("ab") as table:
        table.write(b"short\trow\n" + b"x\tcaf\xe9.mp3\n")
    clips, drops = split("common_voice", "am", tmp_path, tmp_path, min_up_votes=2, max_down_votes=1)
    assert [clip.id for clip in clips] == ["am/a", "am/b"]
    assert len({clip.speaker for clip in clips}) == 2
    assert all(len(clip.speaker) == 8 and int(clip.speaker, 16) >= 0 for clip in clips)
    expected = ["up-votes", "down-votes", "votes", "empty text", "no audio", "duplicate id", "columns", "not utf-8"]
    assert reasons(drops) == dict.fromkeys(expected, 1)
    unfiltered, _ = split("common_voice", "am", tmp_path, tmp_path)
    assert [clip.id for clip in unfiltered] == ["am/a", "am/b", "am/c", "am/d"]
    assert unfiltered[0].speaker == clips[0].speaker, "a speaker's name does not depend on the filters"


def test_common_voice_without_its_columns_is_an_error(tmp_path):
    release(tmp_path, ["client_id", "path"], row("a.mp3"))
    with pytest.raises(CorpusError, match="no column sentence"):
        split("common_voice", "am", tmp_path, tmp_path)


# --- custom -----------------------------------------------------------------------------------------------------------


def test_custom_text_beside_audio(tmp_path):
    for name in ["a.wav", "sub/b.mp3", "silent.ogg", "broken.wav", "twice.wav", "twice.flac"]:
        tone(tmp_path / name, rate=44100, channels=2)
    texts = {
        "a": b"\xef\xbb\xbfone\r\ntwo\r\n",
        "sub/b": "ሰላም".encode(),
        "lonely": b"x",
        "broken": b"ok\ncaf\xe9",
        "twice": b"x",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_bytes(text)
    clips, drops = split("custom", "am", tmp_path, tmp_path)
    assert [(clip.id, clip.text) for clip in clips] == [("am/a", "one two"), ("am/sub/b", "ሰላም")]
    assert reasons(drops) == dict.fromkeys(["no transcript", "no audio", "not utf-8", "several recordings"], 1)


def test_custom_json_list_of_several_languages(tmp_path):
    rows = [
        {"audio_path": f"audio/{n}.wav", "text": f"t{n}", "language": lang, "duration": 0.25}
        for n, lang in enumerate(["am", "am-ET", "fr", "fr"])
    ]
    rows += [
        {"audio_path": "audio/0.wav", "text": "again", "language": "am"},
        {"audio_path": "audio/9.wav", "text": "x"},
        "no",
    ]
    for n in range(4):
        tone(tmp_path / "audio" / f"{n}.wav")
    (tmp_path / "data.json").write_text(json.dumps(rows), encoding="utf-8")
    clips, drops = split("custom", "am", tmp_path, tmp_path / "data.json")
    assert [clip.text for clip in clips] == ["t0", "t1"]
    assert reasons(drops) == dict.fromkeys(["other language", "duplicate id", "no language", "not an object"], 1)
    assert "2 rows of language fr" in the(drops, "other language").detail


@pytest.mark.parametrize(("delimiter", "suffix"), [(",", "csv"), (";", "csv"), ("\t", "tsv"), ("|", "csv")])
def test_custom_csv_quoting_and_broken_lines(tmp_path, delimiter, suffix):
    for name in ["a.wav", "b c.flac", "ñ.wav"]:
        tone(tmp_path / name)
    lines = [
        "file_name,speaker_id,transcription",
        '"a.wav",s1,"He said ""no"", twice\nand left"',
        "b c.flac,s2",
        "b c.flac,s2,yes",
        "ñ.wav,,sí",
    ]
    lines += ["gone.wav,s1,x", "a.wav,s1,again", "b c.flac,s2,", "", '"a.wav"x,s1,bad quote', "ñ.wav,s3,after"]
    content = (
        "\n".join(lines).replace(",", delimiter).encode()
        + b"\n"
        + f"caf\xe9.wav{delimiter}s{delimiter}x\n".encode("latin-1")
    )
    (tmp_path / f"metadata.{suffix}").write_bytes(content)
    clips, drops = split("custom", "es", tmp_path, tmp_path)
    assert [(clip.text, clip.speaker) for clip in clips] == [
        (f'He said "no"{delimiter} twice\nand left', "s1"),
        ("yes", "s2"),
        ("sí", "custom-es"),
    ]
    assert reasons(drops) == {"columns": 1, "no audio": 1, "duplicate id": 3, "quotes": 1, "not utf-8": 1}
    assert the(drops, "columns").where.endswith(":4"), "the quoted cell above spans lines 2 and 3"
    assert the(drops, "quotes").where.endswith(":11")


def test_custom_open_quote_costs_its_own_line_alone(tmp_path):
    for name in "abcd":
        tone(tmp_path / f"{name}.wav")
    lines = ["path,text", "a.wav,fine", 'b.wav,"open', "c.wav,kept", 'd.wav,"two', 'lines"']
    (tmp_path / "m.csv").write_text("\n".join(lines), encoding="utf-8")
    clips, drops = split("custom", "en", tmp_path, tmp_path)
    assert [clip.text for clip in clips] == ["fine", "kept", "two\nlines"]
    assert [(drop.reason, drop.where) for drop in drops] == [("quotes", f"{tmp_path / 'm.csv'}:3")]


def test_custom_jsonl_and_asked_columns(tmp_path):
    tone(tmp_path / "a.wav")
    tone(tmp_path / "b.wav")
    lines = ['{"Clip": "a.wav", "said": "hello", "text": "not this"}', "{broken", '{"Clip": "b.wav", "said": 7}', ""]
    (tmp_path / "m.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(CorpusError, match=r"no audio column.*corpus\.audio_column"):
        split("custom", "en", tmp_path, tmp_path)
    clips, drops = split("custom", "en", tmp_path, tmp_path, audio_column="Clip", text_column="said")
    assert [clip.text for clip in clips] == ["hello"]
    assert reasons(drops) == {"not json": 1, "empty text": 1}
    assert the(drops, "not json").where.endswith(":2")


def test_custom_relative_paths_stay_inside_and_absolute_ones_are_taken(tmp_path):
    inside, outside = tmp_path / "corpus", tone(tmp_path / "outside.wav")
    tone(inside / "a.wav")
    os.symlink(outside, inside / "link.wav")
    rows = ["path,text", "../outside.wav,dots", "link.wav,link", f"{outside},absolute", "sub/../a.wav,harmless"]
    (inside / "sub").mkdir()
    (inside / "t.csv").write_text("\n".join(rows), encoding="utf-8")
    clips, drops = split("custom", "en", tmp_path, inside)
    assert [clip.text for clip in clips] == ["absolute", "harmless"]
    assert [drop.reason for drop in drops] == ["outside the corpus"] * 2


def test_custom_several_tables_ask_which(tmp_path):
    for name in ["train.csv", "test.csv"]:
        (tmp_path / name).write_text("path,text\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"test\.csv, train\.csv"):
        split("custom", "en", tmp_path, tmp_path)


# --- hub --------------------------------------------------------------------------------------------------------------


def hub_rows(folder: Path, embedded: bool) -> dict[str, list]:
    paths = [tone(folder / "src" / f"{n}.{kind}", rate=24000) for n, kind in enumerate(["wav", "flac", "mp3", "ogg"])]
    cells = [
        {"bytes": path.read_bytes() if embedded else None, "path": path.name if embedded else str(path)}
        for path in paths
    ]
    texts = ["zero", "one", " ", "three"]
    return {
        "id": [7, 7, 8, 9],
        "audio": cells,
        "transcription": texts,
        "raw_transcription": [t.title() for t in texts],
        "gender": [0, 1, 0, 1],
    }


def as_dataset(rows: dict[str, list]):
    import datasets

    made = datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio())
    return made.cast_column("gender", datasets.ClassLabel(names=["male", "female"]))


def test_hub_saved_to_disk(tmp_path):
    import datasets

    datasets.DatasetDict({"train": as_dataset(hub_rows(tmp_path, embedded=True))}).save_to_disk(tmp_path / "saved")
    clips, drops = split("hub", "am", tmp_path, tmp_path / "saved", hub_id="google/fleurs")
    assert [clip.text for clip in clips] == ["Zero", "One", "Three"]
    assert [clip.speaker for clip in clips] == ["hub-am-male", "hub-am-female", "hub-am-female"]
    assert {(clip.source, clip.licence) for clip in clips} == {("hub:google/fleurs", "unknown (see google/fleurs)")}
    assert [
        clip.audio.read_bytes() == (tmp_path / "src" / f"{n}").read_bytes()
        for clip, n in zip(clips, ["0.wav", "1.flac", "3.ogg"], strict=True)
    ] == [True] * 3
    assert reasons(drops) == {"empty text": 1}
    again, _ = split("hub", "am", tmp_path, tmp_path / "saved", hub_id="google/fleurs", text_column="transcription")
    assert [clip.audio for clip in again] == [clip.audio for clip in clips], "the same bytes are written once"
    assert again[0].text == "zero"
    with pytest.raises(CorpusError, match="no split test, but train"):
        split("hub", "am", tmp_path, tmp_path / "saved", hub_split="test")


def test_hub_parquet_folder_with_languages_and_speakers(tmp_path):
    rows = hub_rows(tmp_path, embedded=True)
    rows |= {"locale": ["am", "fr", "am", "am"], "client_id": ["x", "y", "x", "z"]}
    rows["audio"][3]["bytes"] = b"not audio at all"
    rows["audio"][3]["path"] = None
    (tmp_path / "pq").mkdir()
    as_dataset(rows).to_parquet(tmp_path / "pq" / "train-00000-of-00001.parquet")
    clips, drops = split("hub", "am", tmp_path, tmp_path / "pq", licence="CC-BY-4.0", speaker="ignored")
    assert [(clip.id, clip.speaker, clip.licence) for clip in clips] == [("am/train/000000", "x", "CC-BY-4.0")]
    assert reasons(drops) == dict.fromkeys(["other language", "empty text", "unknown format"], 1)


def test_hub_audio_folder_uses_files_in_place(tmp_path):
    tone(tmp_path / "af" / "train" / "é.wav")
    (tmp_path / "af" / "train" / "metadata.csv").write_text("file_name,text\né.wav,salut\n", encoding="utf-8")
    clips, drops = split("hub", "fr", tmp_path, tmp_path / "af")
    assert ([clip.text for clip in clips], drops) == (["salut"], [])
    assert clips[0].audio == tmp_path / "af" / "train" / "é.wav"
    assert not (tmp_path / "made").exists()


def test_hub_errors_name_the_data_set_and_the_way_out(tmp_path, monkeypatch):
    import datasets

    def unreachable(*args, **kwargs):
        raise ConnectionError("Couldn't reach 'google/fleurs' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(CorpusError, match=r"google/fleurs, am_et, train, newest revision.*corpus\.path"):
        split("hub", "am", tmp_path, None, hub_id="google/fleurs", hub_config="am_et")
    monkeypatch.undo()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "train.parquet").write_bytes(b"nope")
    with pytest.raises(CorpusError, match="save_to_disk"):
        split("hub", "am", tmp_path, tmp_path / "bad")


# --- asterisk ---------------------------------------------------------------------------------------------------------

ITALIAN = """﻿; comment
hello: Ciao.
letters/at: a [@]
spy-mgcp: MGCP (in inglese)
vm-msgsaved: Il [suo] messaggio
letters/O: O
conf-full: La conferenza ? piena.
beep: un suono beep
confbridge-join: (beep)
dir-welcome:
gone: perso
vm-tempremoved: eliminato vm-then-pound: poi premere
vm-then-pound: quindi premere
vm-one: Uno. vm-two: Due.
silence/1: (1 secondo di silenzio)
"""


def prompts(root: Path, lang: str, transcript: str, names: list[str]) -> None:
    """A tree as the Debian packages have it: raw G.722 at 16 kHz and the gzipped transcript."""
    import av

    for name in names:
        path = root / "usr/share/asterisk/sounds" / asterisk.LANGUAGES[lang][0] / f"{name}.g722"
        path.parent.mkdir(parents=True, exist_ok=True)
        wave = (8000 * np.sin(np.arange(6400) / 8)).astype(np.int16)
        with av.open(str(path), "w", format="g722") as container:
            stream = container.add_stream("g722", rate=16000, layout="mono")
            frame = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
            frame.sample_rate = 16000
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                container.mux(packet)
    document = root / f"usr/share/doc/asterisk-core-sounds-{lang}/core-sounds-{lang}.txt.gz"
    document.parent.mkdir(parents=True)
    document.write_bytes(gzip.compress(transcript.encode()))


def test_asterisk_reads_the_oddities_of_the_real_transcripts(tmp_path):
    names = [
        "hello",
        "letters/at",
        "spy-mgcp",
        "vm-msgsaved",
        "letters/o",
        "conf-full",
        "beep",
        "confbridge-join",
        "dir-welcome",
    ]
    names += ["vm-tempremoved", "vm-then-pound", "vm-one", "vm-two", "silence/1", "silence/2", "unknown"]
    prompts(tmp_path, "it", ITALIAN, names)
    clips, drops = split("asterisk", "it", tmp_path, tmp_path)
    assert {clip.id: clip.text for clip in clips} == {
        "it/hello": "Ciao.",
        "it/letters/at": "a",
        "it/spy-mgcp": "MGCP",
        "it/letters/o": "O",
        "it/conf-full": "La conferenza è piena.",
        "it/vm-tempremoved": "eliminato",
        "it/vm-one": "Uno.",
        "it/vm-two": "Due.",
    }
    assert {(clip.speaker, clip.licence, clip.source) for clip in clips} == {("carlo", "CC-BY-3.0", "asterisk")}
    assert audio.load(clips[0].audio)[1] == 16000
    assert reasons(drops) == {
        "not speech": 4,  # beep, confbridge-join, silence/1, and silence/2, which has no line
        "empty text": 1,
        "no audio": 1,
        "contradiction": 1,
        "doubtful transcript": 2,  # vm-msgsaved, and vm-then-pound with its two transcripts
        "no transcript": 1,
    }


def test_asterisk_mends_spanish_and_its_misnamed_line(tmp_path):
    transcript = (
        "digits/0: cero\ndigits/0: diez\nvm-newpassword: Numero y contrasena. Esta en esta linea, no se quien.\n"
    )
    prompts(tmp_path, "es", transcript, ["digits/0", "digits/10", "vm-newpassword"])
    clips, drops = split("asterisk", "es", tmp_path, tmp_path, speaker="voz")
    assert {clip.id: clip.text for clip in clips} == {
        "es/digits/0": "cero",
        "es/digits/10": "diez",
        "es/vm-newpassword": "Número y contraseña. Está en esta línea, no sé quién.",
    }
    assert (drops, {clip.speaker for clip in clips}) == ([], {"voz"})


def test_asterisk_mends_leave_other_languages_and_words_alone():
    assert mend("en", "Numero Esta linea") == "Numero Esta linea"
    assert mend("ru", "первoe") == "первое"
    assert mend("it", "Non pu? essere. E' qui? Quale?") == "Non può essere. È qui? Quale?"
    assert mend("es", "La otra linea. Si esta es la persona") == "La otra línea. Si esta es la persona"


def test_asterisk_takes_packages_from_a_folder(tmp_path, monkeypatch):
    prompts(tmp_path / "source", "ru", "hello: Здравствуйте!\n", ["hello"])
    (tmp_path / "debs").mkdir()
    for name in asterisk.package_names("ru"):
        (tmp_path / "debs" / f"{name}_1.6.1-1_all.deb").write_bytes(b"")
    asked = []

    def dpkg(command, folder, lang):  # stands for dpkg -x, which needs real packages
        asked.append(command[:2])
        os.system(f"cp -r {tmp_path / 'source'}/. {command[3]}")

    monkeypatch.setattr(asterisk, "run", dpkg)
    clips, _ = split("asterisk", "ru", tmp_path, tmp_path / "debs")
    assert ([clip.text for clip in clips], asked) == (["Здравствуйте!"], [["dpkg", "-x"]] * 2)


def test_asterisk_errors_say_what_to_run(tmp_path, monkeypatch):
    with pytest.raises(CorpusError, match="no prompts for am"):
        split("asterisk", "am", tmp_path, tmp_path)
    with pytest.raises(CorpusError, match=r"apt-get download asterisk-core-sounds-fr-g722 asterisk-core-sounds-fr"):
        split("asterisk", "fr", tmp_path, tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CorpusError, match="apt-get is not on this machine"):
        split("asterisk", "fr", tmp_path, None)
    fake = tmp_path / "apt-get"
    fake.write_text("#!/bin/sh\necho 'E: no such package' >&2\nexit 100\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(CorpusError, match=r"exit 100\): E: no such package"):
        split("asterisk", "fr", tmp_path, None)
