"""Small corpora with planted faults, decided by a seed: which clips are good, which are not and what must become of each.

Not a test: `plant` makes the folder, `test_fuzz.py` judges what the library does with it.
"""

import csv
import io
import json
import os
import random
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from ttslib.sections import Corpus

LAYOUTS = ("csv", "tsv", "jsonl", "json", "beside", "ljspeech", "common_voice")
TABLES = ("csv", "tsv", "jsonl", "json")
RATES = (7999, 8000, 11025, 16000, 44100, 96000)
WORDS = "rivière pierre jardin hiver marché fenêtre argent matin forêt lettre été noël".split()  # noqa: SIM905
LOOKS = ("{}", "« {} »", '"{}"', "\u200f{}\u200e", " {} !", "l’{}", "{}\u2028oui")
FORBIDDEN = "interdit"  # what lies outside the corpus says so


@dataclass
class Entry:
    """One line or recording: `fate` is row, drop, or either where both would be right; `places` are what a record of its
    drop may name instead of its audio."""

    fault: str
    fate: str
    audio: Path
    text: str
    places: list[str] = field(default_factory=list)


@dataclass
class Planted:
    """`refused`: what the `CorpusError` must say about the table as a whole; "" where it must be read."""

    corpus: Corpus
    entries: list[Entry]
    refused: str
    root: Path
    outside: Path


def wave(rng: random.Random, rate: int, seconds: float) -> np.ndarray:
    noise = np.random.default_rng(rng.randrange(2**32)).normal(size=round(rate * seconds))
    return (0.1 * noise).astype(np.float32)


def write(path: Path, wav: np.ndarray, rate: int = 16000, kind: str = "WAV", subtype: str | None = None) -> None:
    soundfile.write(os.fsencode(path), wav, rate, format=kind, subtype=subtype)


def changed(path: Path, rng: random.Random, change: Callable[[bytes], bytes], kind: str = "WAV") -> None:
    write(path, wave(rng, 16000, 0.6), kind=kind)
    path.write_bytes(change(path.read_bytes()))


def spoilt(path: Path, rng: random.Random, value: float, part: float = 0.01) -> None:
    wav = wave(rng, 16000, 0.6)
    wav[: round(len(wav) * part)] = value
    write(path, wav, subtype="FLOAT")


def linked(path: Path, rng: random.Random) -> None:
    write(path.with_suffix(".data"), wave(rng, 16000, 0.6))
    path.symlink_to(f"{path.stem}.data")


# fault: (fate, how its recording is made)
SOUNDS: dict[str, tuple[str, Callable[[Path, random.Random, Path], object]]] = {
    "empty file": ("drop", lambda p, r, o: p.write_bytes(b"")),
    "no samples": ("drop", lambda p, r, o: write(p, np.zeros(0, np.float32))),
    "one sample": ("drop", lambda p, r, o: write(p, np.full(1, 0.5, np.float32))),
    "cut": ("drop", lambda p, r, o: changed(p, r, lambda b: b[: len(b) // 2])),
    "huge header": ("drop", lambda p, r, o: changed(p, r, lambda b: b[:40] + b"\xff\xff\xff\x70" + b[44:])),
    "years": ("drop", lambda p, r, o: changed(p, r, lambda b: b[:21] + bytes([b[21] | 15]) + b"\xff" * 4 + b[26:], "FLAC")),
    "no rate": ("drop", lambda p, r, o: changed(p, r, lambda b: b[:24] + bytes(4) + b[28:])),
    "garbage": ("drop", lambda p, r, o: p.write_bytes(r.randbytes(900))),
    "nan": ("drop", lambda p, r, o: spoilt(p, r, np.nan)),
    "inf": ("drop", lambda p, r, o: spoilt(p, r, -np.inf)),
    "overflow": ("drop", lambda p, r, o: spoilt(p, r, 1e30)),
    "silence": ("drop", lambda p, r, o: spoilt(p, r, 0.0, 1.0)),
    "ten hertz": ("either", lambda p, r, o: write(p, wave(r, 16000, 0.01), 10)),
    "clipped": ("row", lambda p, r, o: spoilt(p, r, 1.0, 0.1)),
    "many channels": ("row", lambda p, r, o: write(p, np.repeat(wave(r, 16000, 0.6)[:, None], 6, 1))),
    "no file": ("drop", lambda p, r, o: None),
    "folder": ("drop", lambda p, r, o: p.mkdir()),
    "dangling link": ("drop", lambda p, r, o: p.symlink_to("nowhere.wav")),
    "link in a circle": ("drop", lambda p, r, o: p.symlink_to(p.name)),
    "link outside": ("drop", lambda p, r, o: p.symlink_to(o)),
    "link inside": ("row", lambda p, r, o: linked(p, r)),
}  # fmt: skip
TEXTS = {
    "no text": "  ",
    "unknown letters": "ሰላም",
    "bell": "a\x07b",
    "NUL": "a\0b",
    "book": "oui non " * 30000,
    "symbols": "?!…",
}
# Lines of tables, `{}` being the clip's name. One that ends in a quote lacks its second one.
BROKEN = {
    "csv": ["{}", "{},oui,x,y", '{},"oui', '{},"oui"x', '"{}"x,oui', "{},o\rui", b"{},caf\xe9"],
    "tsv": ["{}", "{}\toui\tx\ty", '{}\t"oui', b"{}\tcaf\xe9"],
    "jsonl": [
        *("{", '["{}"]', "7", '{"audio":"{}","text":7}', '{"audio":"{}","text":"\\ud800"}', "[" * 5000, "1" * 5000),
        *(b'{"audio":"{}","text":"caf\xe9"}', '{"audio":"{}"}', '{"audio":["{}"],"text":"oui"}'),
    ],
    "json": ["7", '["{}"]', '{"audio":"{}","text":null}', '{"audio":"{}","text":"\\udfff"}', '{"text":"oui"}'],
    "ljspeech": ["{}", "{}|a|b|c", b"{}|caf\xe9", "|oui", "a\0b|oui"],
    "common_voice": ["c\t{}", "c\t{}\toui\t1\t1\t1", "c\t{}\toui\t" + "9" * 5000, "\t{}\toui\t1", b"c\t{}\tcaf\xe9\t1"],
}
CELLS = ("../outside.wav", "sub/../../outside.wav", "a\0b.wav", "a" * 5000 + ".wav", "/nowhere/x.wav", ".", "*.wav")


def plant(root: Path, seed: int) -> Planted:
    """A corpus of 6 to 10 clips below `root`, the same one for the same seed."""
    rng = random.Random(seed)
    layout = LAYOUTS[seed % len(LAYOUTS)]
    folder, outside = root / "corpus", root / "outside.wav"
    sounds = folder / {"ljspeech": "wavs", "common_voice": "clips"}.get(layout, "")
    (sounds / "sub").mkdir(parents=True)
    write(outside, wave(rng, 16000, 0.6))
    outside.with_suffix(".txt").write_text(FORBIDDEN, encoding="utf-8")
    made: list[tuple[Entry, str, bytes | None]] = []  # what the table calls it, its line where that is no plain one
    for n in range(rng.randint(3, 5)):
        made.append(good(rng, layout, sounds, n))
    for n in range(rng.randint(3, 5)):
        made.append(faulty(rng, layout, sounds, outside, 10 + n, made[0]))
    rng.shuffle(made)
    made.sort(key=lambda planted: planted[0].fault == "twice")  # the first line of a name is the good one
    entries = [entry for entry, _, _ in made]
    if layout == "beside":
        refused, path = "", folder
        for n, (entry, _, _) in enumerate(made):
            beside(rng, entry, outside.with_suffix(".txt"), n)
    else:
        refused, path = table(rng, layout, folder, made)
    source = layout if layout in ("ljspeech", "common_voice") else "custom"
    return Planted(Corpus(source=source, path=str(path), licence="CC0-1.0"), entries, refused, folder, outside)


def good(rng: random.Random, layout: str, sounds: Path, n: int) -> tuple[Entry, str, None]:
    names = [f"clip{n}", f"CLIP{n}", f"clip {n}", f"été{n}"]
    names += [f"sub/clip{n}", f"sub/Clip{n}", f"./clip{n}"] * (layout not in ("common_voice", "beside"))
    name = rng.choice(names) + "." + rng.choice(["wav", "flac", "WAV"])
    form = rng.choice(["NFC", "NFD"])
    audio = sounds / unicodedata.normalize(form, name)
    rate, kind = rng.choice(RATES), audio.suffix[1:].upper()
    wav = wave(rng, rate, rng.uniform(0.4, 0.8))
    write(audio, np.repeat(wav[:, None], rng.choice([1, 1, 2]), 1), rate, kind, rng.choice(["PCM_16", "PCM_24"]))
    text = rng.choice(LOOKS).format(" ".join(rng.sample(WORDS, 3)))
    if layout == "csv" or layout.startswith("json"):
        text = rng.choice([text, f'{text}, "{text}"\t\nnon'])
    text = unicodedata.normalize(rng.choice(["NFC", "NFD"]), text)
    cell = unicodedata.normalize(form if layout == "common_voice" else rng.choice(["NFC", "NFD"]), name)
    if layout in TABLES:
        cell = rng.choice([cell, cell.replace("/", "\\"), str(audio)])
    return Entry("", "row", audio, text), cell, None


def faulty(rng: random.Random, layout: str, sounds: Path, outside: Path, n: int, first: tuple) -> tuple:
    name = f"clip{n}.wav"
    entry, line, kinds = (
        Entry("", "row", sounds / name, " ".join(rng.sample(WORDS, 3))),
        None,
        ["sound", "sound", "text"],
    )
    kind = rng.choice(kinds if layout == "beside" else [*kinds, "line", "line", "cell", "twice"])
    if kind != "sound":
        write(entry.audio, wave(rng, 16000, 0.6))
    if kind == "sound":
        entry.fault = rng.choice(sorted(SOUNDS))
        entry.fate, make = SOUNDS[entry.fault]
        make(entry.audio, rng, outside)
    elif kind == "text":
        entry.fault = rng.choice(sorted(TEXTS))
        entry.fate, entry.text = "drop", TEXTS[entry.fault]
    elif kind == "line":
        broken = rng.choice(BROKEN[layout])
        entry.fault, entry.fate = f"line {broken[:40]!r}", "drop"
        line = (
            broken.replace(b"{}", name.encode()) if isinstance(broken, bytes) else broken.replace("{}", name).encode()
        )
    elif kind == "cell":
        entry.fault, entry.fate, name = "cell", "drop", rng.choice(CELLS)
        if layout in ("ljspeech", "common_voice"):
            name = rng.choice([name, str(outside)])  # in these layouts an absolute path is no name of a recording
    else:  # the same name again, with another text
        entry.fault, entry.fate, name = "twice", "drop", first[1]
    return entry, name, line


def beside(rng: random.Random, entry: Entry, outside: Path, n: int) -> None:
    path = entry.audio.with_suffix(".txt")
    ways = ["utf-8", "utf-8-sig", "crlf"]
    if entry.fault and entry.fate == "row":  # the recording is benign: its transcript need not be
        ways = ["utf-16", "latin-1", "folder", "link outside", "none"]
    way = rng.choice(ways)
    entry.places += [str(path), f"{path}:1"]
    if ways[0] == "utf-16":
        entry.fault, entry.fate = f"{entry.fault}, transcript: {way}", "drop"
        entry.text = "café"
    if way == "folder":
        path.mkdir()
    elif way == "link outside":
        path.symlink_to(outside)
    elif way == "crlf":
        path.write_bytes(f"\r\n{entry.text}\r\n\r\n".encode())
    elif way != "none":
        path.write_text(entry.text, encoding=way)


def row(rng: random.Random, layout: str, cell: str, text: str) -> str:
    if layout in ("csv", "tsv"):
        out = io.StringIO()
        csv.writer(out, delimiter="\t" if layout == "tsv" else ",", lineterminator="").writerow([cell, text])
        return out.getvalue()
    if layout.startswith("json"):
        return json.dumps({"audio": cell, "text": text}, ensure_ascii=rng.random() < 0.5)
    return f"{cell}|{text}" if layout == "ljspeech" else f"c\t{cell}\t{text}\t1"


def table(rng: random.Random, layout: str, folder: Path, made: list) -> tuple[str, Path]:
    """Write the table; what the `CorpusError` must say, and the corpus' path."""
    heads = {"csv": "audio,text", "tsv": "audio\ttext", "common_voice": "client_id\tpath\tsentence\tup_votes"}
    path = folder / {"ljspeech": "metadata.csv", "common_voice": "validated.tsv"}.get(layout, f"table.{layout}")
    head = heads.get(layout, "").encode()
    end = rng.choice([b"\n", b"\r\n"])
    lines = [head] if head else []
    for number, (entry, cell, raw) in enumerate(made, 1):
        if layout != "json" and rng.random() < 0.2:
            lines.append(rng.choice([b"", b"  "]))
        content = raw if raw is not None else row(rng, layout, cell, entry.text).encode()
        start = sum(line.count(b"\n") + 1 for line in lines) + 1
        span = range(start, start + content.count(b"\n") + 1)
        entry.places += [f"{path}: item {number}"] if layout == "json" else [f"{path}:{n}" for n in span]
        lines.append(content)
    data = b"[" + b",".join(lines) + b"]" if layout == "json" else end.join(lines) + rng.choice([b"", end])
    if rng.random() < 0.3:
        data = b"\xef\xbb\xbf" + data
    fault, refused = rng.random(), ""
    if fault < 0.05:
        data, refused = b"\xff\xfe" + data.decode("latin-1").encode("utf-16-le"), "UTF-16"
    elif fault < 0.1 and head:
        data, refused = data.replace(head, head + b"\xe9", 1), "not utf-8"
    elif fault < 0.15 and head:
        data, refused = data.replace(head, head.replace(b"text", b"said").replace(b"sentence", b"said"), 1), "column"
    elif fault < 0.1 and layout == "json":
        data, refused = data[:-1], "not readable as JSON"
    path.write_bytes(data)
    if layout in TABLES and rng.random() < 0.3:
        (folder / "zz.csv").mkdir()  # a folder is no second table
    return refused, rng.choice([folder, path]) if layout != "common_voice" else folder
