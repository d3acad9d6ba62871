"""Units: text becomes ids and says what it cannot become; the vocabulary travels whole."""

import json

import pytest

from ttslib.units import END, PAD, START, Units, UnitsError

LINES = [("bado kemi.", "qaa"), ("talu?", "qaa")]


@pytest.fixture
def units() -> Units:
    return Units.fit(LINES, "characters")


def test_the_vocabulary_is_what_the_lines_have_in_code_point_order(units):
    assert units.symbols[:3] == (PAD, START, END)
    assert units.symbols[3:] == tuple(sorted(set("bado kemi.talu?")))
    assert len(units) == len(units.symbols)
    assert units.versions == {"qaa": "qaa-1"}
    assert Units.fit(reversed(LINES), "characters") == units


def test_ids_stand_between_start_and_end_and_read_back(units):
    ids = units.encode("talu kemi", "qaa")
    assert [units.symbols[i] for i in ids] == [START, *"talu kemi", END]
    assert units.encode("", "qaa") == [1, 2]
    assert 0 not in ids


def test_unknown_units_are_named_each_once(units):
    with pytest.raises(UnitsError, match=r"'x' \(U\+0078\), 'ሰ' \(U\+1230\), in 'xxሰa'"):
        units.encode("xxሰa", "qaa")


def test_no_text_can_reach_the_reserved_ids(units):
    with pytest.raises(UnitsError, match="'<'"):
        units.encode("<pad>", "qaa")


def test_the_stored_state_is_plain_json_and_restores_the_same_units(units):
    again = Units.restore(json.loads(json.dumps(units.state())))
    assert again == units
    assert again.encode("bado", "qaa") == units.encode("bado", "qaa")
    assert again.digest == units.digest


def test_the_digest_changes_with_all_that_changes_ids(units):
    others = [
        Units.fit([*LINES, ("z", "qaa")], "characters"),
        Units(units.kind, units.symbols, True, units.versions),
        Units("phonemes", units.symbols, False, units.versions),
        Units(units.kind, units.symbols, False, {"qaa": "qaa-2"}),
    ]
    assert len({units.digest, *(other.digest for other in others)}) == 5


def test_raw_text_is_normalised_as_in_training():
    plain, folded = (Units.fit([("ሰላም", "am")], "characters", homophones=h) for h in (False, True))
    assert plain.normalise("ሠላም", "am") == "ሠላም"
    assert folded.normalise("ሠላም", "am") == "ሰላም"
    assert folded.encode(folded.normalise("ሠላም", "am"), "am")
    assert Units.fit(LINES, "characters").normalise("BADO  2!", "qaa") == "bado gi."


def test_phonemes_are_the_units_when_asked():
    pytest.importorskip("espeakng_loader")
    units = Units.fit([("hello there", "en")], "phonemes")
    assert {"h", "ə", "ˈ"} <= set(units.symbols)
    assert [units.symbols[i] for i in units.encode("hello", "en")] == [START, *"həlˈoʊ", END]
    with pytest.raises(UnitsError, match="phonemes never seen in training"):
        units.encode("fish", "en")
