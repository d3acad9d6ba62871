"""The shipped test sentences can be spoken, are no training sentences, and minimal pairs are scored as a listener would."""

import tomllib
from collections import Counter

import pytest

from ttslib import testsets, text
from ttslib.corpora.espeak import sentences
from ttslib.edits import edits
from ttslib.paths import ROOT
from ttslib.testsets import FOLDER, SETS, Sentence, known, of, told_apart
from ttslib.transcripts import bare

LANGS = sorted(path.stem for path in FOLDER.glob("*.tsv"))
HEADER = "set\tpair\ttext\tnote\n"
by_language = pytest.mark.parametrize("lang", LANGS)


def test_the_languages_are_those_with_a_normaliser():
    assert set(LANGS) == {"am", "ku", "fr", "es", "de", "it", "en", "ru", "qaa"}
    assert all(known(lang) for lang in [*LANGS, "en-US", "kmr", "de_AT"])
    assert not known("sw") and not known("ku-Arab")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "testsets/*.tsv" in project["tool"]["setuptools"]["package-data"]["ttslib"]
    assert [s[:3] for s in of("kmr")] == [s[:3] for s in of("ku")] and of("kmr")[0].lang == "kmr"


@by_language
def test_files_say_whose_they_are(lang):
    head = (FOLDER / f"{lang}.tsv").read_text(encoding="utf-8").partition("set\t")[0]
    assert "CC0 1.0" in head and "Written for this project" in head
    assert ("No native speaker has reviewed" in head) == (lang in ("am", "ku"))


@by_language
def test_every_set_has_its_size_and_ids_are_file_names(lang):
    found = of(lang)
    least, most = {"am": (6, 9), "ku": (6, 9), "qaa": (2, 2)}.get(lang, (6, 6))
    sizes = Counter(s.set for s in found)
    assert tuple(sizes) == SETS
    assert all(least <= sizes[name] <= most for name in SETS[:-1])
    assert (2 if lang == "qaa" else 8) <= sizes["minimal_pairs"] <= 18
    assert found[0].id == "out_of_domain-01" and found[-1].id == f"minimal_pairs-{sizes['minimal_pairs']:02d}"
    assert len({s.id for s in found}) == len(found) and all(s.id.isascii() and "/" not in s.id for s in found)
    assert of(lang, ["long"]) == [s for s in found if s.set == "long"]


@by_language
def test_every_sentence_is_spoken_letter_by_letter(lang):
    for s in of(lang):
        said = text.normalise(s.text, lang)
        assert text.unknown(said, lang) == [] and text.normalise(said, lang) == said, s


@by_language
def test_no_sentence_is_met_twice_or_in_training(lang):
    lines = [bare(s.text, lang) for s in of(lang)]
    assert len(set(lines)) == len(lines)
    assert not set(lines) & {bare(line, lang) for line in sentences(lang)}


@by_language
def test_sets_hold_what_they_are_called(lang):
    def words(s):
        return len(bare(s.text, lang).split())

    for s in of(lang, ["numerals"]):
        assert any(map(str.isnumeric, s.text)) and not any(map(str.isnumeric, bare(s.text, lang))), s
    assert all(s.text.endswith("?") for s in of(lang, ["questions"]))
    assert all(words(s) == 1 for s in of(lang, ["one_word"]))
    assert all({"am": 14, "qaa": 12}.get(lang, 20) <= words(s) <= 40 for s in of(lang, ["long"]))
    assert not any(any(map(str.isnumeric, s.text)) for s in of(lang) if s.set != "numerals")


@by_language
def test_minimal_pairs_differ_in_little(lang):
    pairs: dict = {}
    for s in of(lang, ["minimal_pairs"]):
        assert s.note, s
        pairs.setdefault(s.pair, []).append(bare(s.text, lang, homophones=True))
    for pair, (one, other) in pairs.items():
        assert 1 <= edits(one, other) <= 3, pair
        if pair.startswith("u"):
            assert set(one.split()) & set(other.split()), pair  # the word that has two readings
    assert ("u1" in pairs) == (lang in ("am", "ru"))


@pytest.mark.parametrize(
    ("rows", "line", "expected"),
    [
        ("", 1, "no header"),
        ("# a comment\n", 1, "no header"),
        ("set\ttext\n", 1, "the header is"),
        ("numerals\t\t3 men.\t\n", 1, "the header is"),
        (HEADER + "numerals\t3 men.\n", 2, "2 columns, not 4"),
        (HEADER + "numerals\t\t3 men.\t\t\n", 2, "5 columns, not 4"),
        (HEADER + "\n", 2, "1 columns, not 4"),
        ("# a comment\n" + HEADER + "numbers\t\t3 men.\t\n", 3, "no set is called 'numbers'; write one of out_of"),
        (HEADER + "numerals\t\t \t\n", 2, "the text is empty"),
        (HEADER + "numerals\tp1\t3 men.\t\n", 2, "nothing in other sets"),
        (HEADER + "minimal_pairs\t\tShip.\t\n", 2, "pair is ''"),
        (HEADER + "minimal_pairs\tone\tShip.\t\n", 2, "pair is 'one'"),
        (HEADER + "long\t\tA.\t\nminimal_pairs\tp1\tShip.\t\n", 3, "p1 is on 1 rows; give it to exactly two"),
        (HEADER + "minimal_pairs\tp1\tShip.\t\n" * 3, 2, "p1 is on 3 rows; give it to exactly two"),
        (HEADER.encode() + b"long\t\t\xff\t\n", 2, "not utf-8"),
    ],
)
def test_a_wrong_file_is_refused_by_its_line(tmp_path, rows, line, expected):
    (tmp_path / "en.tsv").write_bytes(rows if isinstance(rows, bytes) else rows.encode())
    with pytest.raises(testsets.TestsetError) as error:
        of("en", ["questions"], folder=tmp_path)
    assert f"{tmp_path / 'en.tsv'}:{line}: " in str(error.value) and expected in str(error.value)


def test_what_is_not_there_is_named_with_what_is(tmp_path):
    with pytest.raises(testsets.TestsetError, match=f"no test sentences for sw .* some for {', '.join(LANGS)}"):
        of("sw")
    with pytest.raises(testsets.TestsetError, match="some for none"):
        of("en", folder=tmp_path)
    with pytest.raises(testsets.TestsetError, match="no set is called 'short'; choose from out_of_domain"):
        of("en", ["long", "short"])
    (tmp_path / "sw.tsv").write_bytes("\ufeff# mine\r\nset\tpair\ttext\tnote\r\nlong\t\t Habari. \t\r\n".encode())
    assert of("sw", folder=tmp_path) == [Sentence("long-01", "long", "Habari.", "sw", None, "")]
    assert known("sw", tmp_path)


def test_told_apart_is_nearer_to_its_own_sentence():
    ship, sheep, pan, pen = of("en", ["minimal_pairs"])[:4]
    four = [ship, sheep, pan, pen]
    nothing = {"told_apart": 0, "judged": 0, "for_listeners": 0, "confused": []}
    assert told_apart(four, {s.id: s.text for s in four}) == nothing | {"told_apart": 4, "judged": 4}
    heard = {
        ship.id: "wot a big sheep",  # the other one
        sheep.id: "WHAT A BIG SHEEP!",
        pan.id: "pass me the pin",  # between the two
        "long-01": "pass me the pen",
    }
    assert told_apart(four, heard) == {"told_apart": 1, "judged": 3, "for_listeners": 0, "confused": [ship.id, pan.id]}
    assert told_apart(four, {}) == nothing and told_apart(of("en", ["long"]), heard) == nothing
    assert told_apart(four, {ship.id: "...", pen.id: ""})["confused"] == [ship.id, pen.id]  # silence tells nothing


def test_what_is_not_written_is_left_to_listeners():
    found = of("am")
    score = told_apart(found, {s.id: s.text for s in found})
    assert score == {"told_apart": 12, "judged": 12, "for_listeners": 6, "confused": []}
    built = next(s for s in found if s.text == "አነጸ")
    assert told_apart(found, {built.id: "አነፀ"})["told_apart"] == 1  # written with the other ṣ
    alike = [s._replace(pair="p1", text="አለ") for s in found[:2]]
    assert told_apart(alike, {s.id: s.text for s in alike})["for_listeners"] == 2


def test_half_a_pair_is_refused():
    one, two = of("en", ["minimal_pairs"])[:2]
    for wrong in ([one], [one, two, one], [one, two._replace(lang="de")], [*of("en"), *of("de")]):
        with pytest.raises(testsets.TestsetError, match="both sentences of a pair, and one language at a time"):
            told_apart(wrong, {})
