"""Properties that must hold for any input: tables, normalisers, merges, manifests and samplers."""

import csv
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_vocab_files import EN, KINDS

from ttslib import manifest, text, vocab
from ttslib.corpora import read, tables
from ttslib.dataset import Position, Stream, chosen, plan
from ttslib.manifest import ManifestError
from ttslib.sections import Corpus
from ttslib.vocab import VocabError

# By code point: st.characters() would first spend seconds on Unicode's categories. No surrogates: no file holds them.
CHARACTERS = st.one_of(*[st.integers(*r).map(chr) for r in [(0, 0xFF), (0x100, 0xD7FF), (0xE000, 0x10FFFF)]])
QUOTING = st.sampled_from(
    ["\r", "\n", "\r\n", '"', '""', "'", ",", ";", "\t", "|", "\\", "{", "\ufeff", "\u2028", "\0", " "]
)
TEXTS = st.lists(CHARACTERS | QUOTING, max_size=20).map("".join)


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def made_of(rows: list, path: Path) -> list[dict]:
    found = list(tables.rows(path))
    assert [where.startswith(f"{path}:") for where, _ in found] == [True] * len(rows)
    return [cells for _, cells in found]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS).filter(lambda row: any(map(str.strip, row))), max_size=4), st.booleans())
def test_any_cells_come_back_from_a_csv(folder, delimiter, rows, bom):
    path = folder / "t.csv"
    with path.open("w", encoding="utf-8-sig" if bom else "utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([("audio", "text"), *rows])
    # Line ends inside a cell are LF, whoever wrote the file.
    expected = [{"audio": a.replace("\r\n", "\n"), "text": t.replace("\r\n", "\n")} for a, t in rows]
    assert made_of(rows, path) == expected


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
@settings(max_examples=60, deadline=None)
@given(st.lists(st.fixed_dictionaries({"audio": TEXTS, "text": TEXTS}), max_size=4), st.booleans())
def test_any_cells_come_back_from_json(folder, suffix, rows, ascii_only):
    path = folder / f"t.{suffix}"
    one = [json.dumps(row, ensure_ascii=ascii_only) for row in rows]
    path.write_bytes(("\n".join(one) if suffix == "jsonl" else f"[{','.join(one)}]").encode())
    assert made_of(rows, path) == rows


@pytest.mark.parametrize("source", ["ljspeech", "common_voice"])
@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_any_line_comes_back_from_a_layout(folder, source, said):
    said = said.replace("\n", " ").replace("|" if source == "ljspeech" else "\t", " ").strip()
    place = folder / source
    (place / {"ljspeech": "wavs", "common_voice": "clips"}[source]).mkdir(parents=True, exist_ok=True)
    (place / "wavs" if source == "ljspeech" else place / "clips").joinpath("a.wav").touch()
    line, name = {
        "ljspeech": (f"a|{said}", "metadata.csv"),
        "common_voice": (f"client_id\tpath\tsentence\nc\ta.wav\t{said}", "validated.tsv"),
    }[source]
    (place / name).write_bytes(f"{line}\n".encode())
    first = next(iter(read(Corpus(source=source, path=str(place)), "fr", place)))
    assert first.text == said if said else first.reason == "empty text"


# --- normalisers ------------------------------------------------------------------------------------------------------

NUMBERS = "0 1 12 733 2024 1.2 3,4 12:30 1/2 ½ . , - : / % € $ £ ° ' \" ( ) a x th er -й º ٣ ② ፩ Ⅳ XIV г. см. Dr. ' - '"
PARTS = [*NUMBERS.split(" "), " ", " - ", "\u00a0", "\u202f", "\u0301", "\0", "\ud800", "\u200f"]


@pytest.mark.parametrize("lang", [*text.LANGS, "sw"])
@settings(max_examples=120, deadline=None)
@given(st.lists(st.sampled_from(PARTS) | CHARACTERS, max_size=14).map("".join))
def test_any_text_has_one_spoken_form(lang, written):
    spoken = text.normalise(written, lang)
    assert text.normalise(spoken, lang) == spoken == text.normalise(written, lang)
    assert spoken == " ".join(spoken.split())


@pytest.mark.parametrize("lang", text.LANGS)
@pytest.mark.parametrize("written", ["733,41.2 - 1.2", "1,2.3,4-5", "1.2,3.4-5", "5-1,2.3,4"])
def test_ranges_of_what_is_no_number_are_read_too(lang, written):
    assert text.normalise(text.normalise(written, lang), lang)


def test_a_long_list_of_numbers_is_read_in_seconds():
    begun = time.process_time()
    text.normalise("1," * 5000, "ru")  # took more than 6 s
    assert time.process_time() - begun < 3


def test_the_spoken_form_does_not_depend_on_the_process():
    program = (
        "import hashlib; from ttslib import text; "
        "said = [text.normalise(f'Dr. {n}x ½ 12:30 «a» {chr(n)}', l) for l in text.LANGS for n in range(60, 900, 7)]; "
        "print(hashlib.sha256(repr(said).encode()).hexdigest())"
    )
    outs = [
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert outs[0] == outs[1] and len(outs[0].strip()) == hashlib.sha256().digest_size * 2


# --- merges -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=KINDS)
def base(request):
    return vocab.train(EN, "en", request.param, 200)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.lists(CHARACTERS | st.sampled_from("ሰላም ñçы"), min_size=1, max_size=12).map("".join), min_size=1, max_size=4
    )
)
def test_no_text_in_the_world_moves_an_id_of_the_base(base, written):
    lines = [line for line in (text.normalise(line, "sw") for line in written) if line]
    before = [base.ids(line, "en") for line in EN[:20]]
    try:
        merged = vocab.merge(base, lines, "sw", EN[:20], "en", 50, tag="[sw]").tokenizer
    except VocabError:
        return  # a promise that cannot be kept is refused, not broken
    assert merged.names[: len(base)] == base.names
    assert [merged.ids(line, "en") for line in EN[:20]] == before
    assert [line for line in lines if merged.unknown(line, "sw")] == []


# --- manifests --------------------------------------------------------------------------------------------------------

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.just(10**400),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=3,
)
ROW = manifest.as_json(manifest.Row("a", "a.wav", "t", "t", "fr", "s", "custom", "CC0", 0.0, 1.0, 16000, "0"))


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from([*ROW, "else"]), ANY, max_size=2))
def test_a_manifest_row_of_anything_is_a_row_or_a_named_refusal(folder, changes):
    (folder / "dropped.jsonl").touch()
    (folder / "manifest.jsonl").write_text(json.dumps({**ROW, **changes}) + "\n")
    said = ""
    try:
        made = manifest.read(folder)
    except ManifestError as error:
        said = str(error)
    if said:
        assert said.startswith(f"{folder / 'manifest.jsonl'}:1: ")
        return
    assert manifest.as_json(made.rows[0]) == {**ROW, **changes}
    assert not {"..", "else"} & {*made.rows[0].audio.split("/"), *changes}


@settings(max_examples=50, deadline=None)
@given(TEXTS, TEXTS, st.sampled_from(["", "\ud800", "caf\udce9"]))
def test_any_text_and_speaker_come_back_from_a_manifest(folder, said, speaker, half):
    row = manifest.Row(
        "a" + half, "/a.wav", "t" + said + half, said, "fr", speaker + half, "custom", "", 0.0, 1.0, 8000, "0"
    )
    made = manifest.write(folder / "m", [row], [])
    assert made.rows == (row,)
    assert manifest.read(folder / "m") == made


# --- samplers ---------------------------------------------------------------------------------------------------------

LENGTHS = st.lists(st.integers(0, 10**6), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(1, 10**6), st.integers(0, 9), st.integers(0, 5))
def test_a_plan_of_any_lengths_holds_every_index_once_and_no_empty_batch(lengths, budget, seed, epoch):
    batches = plan(lengths, budget, seed, epoch)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(batches)


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(1, 3000), st.data(), st.integers(1, 5), st.floats(0, 0.8))
def test_a_stream_from_any_position_is_the_plans_one_after_another(lengths, budget, data, processes, ratio):
    replayed = data.draw(st.integers(0, len(lengths) - 1))
    own = len(lengths) - replayed
    told = []  # every batch of some epochs, with its place, from `plan` and `chosen` alone
    for epoch in range(6):
        taken = chosen(own, replayed, ratio, 3, epoch)
        batches = plan([lengths[i] for i in taken], budget, 3, epoch)
        told += [(epoch, n, [taken[i] for i in batch]) for n, batch in enumerate(batches)]
    begin = data.draw(st.integers(0, len(told) - 1))
    start = Position(*told[begin][:2])
    turns = min(8, (len(told) - begin) // processes)
    streams = [Stream(lengths, budget, 3, start, rank, processes, replayed, ratio) for rank in range(processes)]
    dealt = [[indices for _, indices in itertools.islice(stream, turns)] for stream in streams]
    together = [dealt[rank][turn] for turn in range(turns) for rank in range(processes)]
    assert together == [batch for *_, batch in told[begin : begin + turns * processes]]
