"""The preflight: what each tokenizer would lose of a language, counted, shown in sentences and said in words."""

import huggingface_hub.constants
import pytest
from test_vocab_files import EN, sentences

from ttslib import vocab
from ttslib.vocab import VocabError, preflight

AM = sentences("am", 5)


@pytest.fixture(scope="module")
def base():
    return vocab.train(EN, "en", "bpe", 300)


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def test_counts_by_class_and_an_example_for_each_unseen_character(base):
    (row,) = preflight(["the ሰላም 12።", "ሰ ñ", "e\u0301?"], "am", [base])
    assert row["counts"] == {
        "letters": [5, 9],
        "marks": [1, 1],
        "digits": [2, 2],
        "punctuation": [1, 2],
        "other": [0, 3],
    }
    assert row["unknown"]["letters"] == pytest.approx(5 / 9) and row["unknown"]["other"] == 0
    assert row["unseen"]["ሰ"] == "the ሰላም 12።" and row["unseen"]["ñ"] == "ሰ ñ"
    assert list(row["unseen"]) == sorted("ሰላም12።ñ\u0301")


def test_the_verdict_says_what_to_do(base):
    before, after = preflight(AM, "am", [base, vocab.merge(base, AM, "am", EN, "en", 300, tag="[am]").tokenizer])
    letters = {c for line in AM for c in line if c.isalpha()}
    assert before["verdict"].startswith(f"merge: {len(letters)} Ethiopic letters have no row; merge or respell: '።'")
    assert before["verdict"].endswith("add the tag [am]") and before["tag"] is False
    assert after["verdict"] == "ready" and after["tag"] is True and not after["unseen"]
    assert after["tokens_per_character"] < before["tokens_per_character"]
    assert preflight(["ሰ"], "am", [base])[0]["verdict"] == "merge: 1 Ethiopic letter has no row; add the tag [am]"


def test_lines_longer_than_the_model_are_counted(base):
    lines = ["a", "a a", "a a a a a a"]
    (row,) = preflight(lines, "en", [base], limits={"t3": 4})
    assert (row["median"], row["longest"], row["over"], row["limit"]) == (3, 11, 1, 4)
    assert "too long: 1 line has more than 4 tokens (longest 11); split them" in row["verdict"]
    assert preflight(lines, "en", [base])[0]["limit"] == 2048
    assert preflight([f"{'a ' * n}" for n in range(1, 21)], "en", [base])[0]["p95"] == 2 * 19


def test_the_system_decides_limit_front_and_tag_and_what_nobody_told_is_said(tmp_path):
    path = vocab.train([x.upper() for x in EN], "en", "sentencepiece-unigram", 300).save(tmp_path)
    index, pocket, unnamed = preflight(EN, "en", [f"indextts={path}", f"pocket={path}", str(path)])
    assert (index["limit"], index["front"], index["tag"], index["verdict"]) == (600, "indextts", None, "ready")
    assert (pocket["limit"], pocket["front"]) == (50, "plain") and "Latin letters have no row" in pocket["verdict"]
    assert unnamed["limit"] is None and unnamed["notes"] == [
        "limit unknown: the file does not tell its system; write <system>=<tokenizer>"
    ]
    letters = vocab.train(EN, "en", "characters")
    assert preflight(EN, "en", [letters])[0]["notes"] == []  # VITS has no limit, and that is known


def test_a_file_for_romanised_text_says_so(tmp_path):
    vocab.train(EN, "en", "characters").save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"is_uroman": true}')
    (row,) = preflight(AM, "am", [f"vits={tmp_path}"])
    assert "romanised by uroman" in row["notes"][0]


def test_a_candidate_that_is_not_there_is_a_row_not_a_crash(base):
    missing, there = preflight(EN, "en", ["t3=nobody/nothing", base])
    assert missing["verdict"] == "not at hand" and "nobody/nothing" in missing["notes"][0]
    assert there["verdict"] == "add the tag [en]"
    with pytest.raises(VocabError, match="not at hand"):
        vocab.gate(missing, 1.0)
    with pytest.raises(VocabError, match="no lines of en"):
        preflight([""], "en", [base])


def test_the_gate_names_the_letters(base):
    (row,) = preflight(["the ሰላም", "ñ is"], "am", [base])
    with pytest.raises(VocabError, match=r"44\.4% of letters \(4 of 9\).*'ñ' \(U\+00F1\), 'ላ'.*e\.g\. in 'ñ is'"):
        vocab.gate(row, 0.4)
    vocab.gate(row, 4 / 9)  # at the limit is within it
    with pytest.raises(VocabError, match="of letters"):
        vocab.gate(row["counts"], 0.0)
    (many,) = preflight(AM, "am", [base])
    with pytest.raises(VocabError, match=r"100\.0% of letters") as refused:
        vocab.gate(many, 0.99)
    assert all(letter in str(refused.value) for line in AM for letter in line if letter.isalpha())
    vocab.gate(preflight(["12 ።"], "am", [base])[0], 0.0)  # no letters, none unknown


def test_published_tokenizers_are_listed_with_the_reason_why_not(tmp_path, base, monkeypatch):
    rows = {row["system"]: row for row in vocab.at_hand("am")}
    assert set(rows) == {"t3", "indextts", "vits", "pocket", "supertonic", "acoustic"}
    assert all(row["tokenizer"] is None and row["reason"] for row in rows.values())
    assert rows["vits"]["where"] == "vits=facebook/mms-tts-amh/vocab.json"
    path = str(base.save(tmp_path))
    monkeypatch.setattr(
        huggingface_hub, "try_to_load_from_cache",
        lambda repo, name, revision: path if name.startswith("grapheme") else None,
    )  # fmt: skip
    rows = {row["system"]: row for row in vocab.at_hand("xx")}
    assert rows["t3"]["tokenizer"].data == base.data and rows["t3"]["reason"] == ""
    assert rows["vits"]["reason"] == "no published repository known for 'xx'"
