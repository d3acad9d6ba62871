"""Tokenizer files: every kind reads, encodes strictly, travels whole and says how it differs from another."""

import json

import huggingface_hub.constants
import pytest
import tokenizers
from tokenizers import models, pre_tokenizers

from ttslib import text, vocab
from ttslib.corpora import espeak
from ttslib.units import Units, UnitsError
from ttslib.vocab import VocabError
from ttslib.vocab.bpe import Bpe

KINDS = ["bpe", "sentencepiece-bpe", "sentencepiece-unigram", "characters"]


def sentences(lang: str, every: int = 1) -> list[str]:
    lines = (espeak.SENTENCES / f"{lang}.txt").read_text(encoding="utf-8").splitlines()
    return [text.normalise(line, lang) for line in lines[::every] if line and not line.startswith("#")]


EN = sentences("en")


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def trained(kind):
    return vocab.train(EN, "en", kind, 300)


def test_text_comes_back_and_every_name_sits_at_its_id(trained):
    for line in EN:
        ids = trained.encode(line, "en")
        assert trained.decode(ids) == trained.spelt(line, "en") == line
        assert [trained.names[i] for i in ids] == trained.pieces(line, "en")
    assert len(trained) == len(trained.names) == len(set(trained.names)) <= 300
    assert trained.symbols == trained.names
    assert trained.encode("", "en") == []
    assert set(trained.roles.values()) <= set(trained.names)
    assert trained.versions == {"en": text.version("en")}


def test_training_is_deterministic_and_different_lines_give_different_files(kind, trained):
    assert vocab.train(EN, "en", kind, 300) == trained
    assert vocab.train(EN, "en", kind, 300).digest == trained.digest
    assert vocab.train(["abc ab"], "en", kind, 30).digest != trained.digest


def test_unknown_characters_are_named_by_the_strict_way_and_kept_by_the_other(trained):
    line = "the ሰላም and ñ"
    with pytest.raises(VocabError, match=r"'ñ' \(U\+00F1\), 'ላ' \(U\+120B\), 'ም'.*, in 'the ሰላም and ñ'"):
        trained.encode(line, "en")
    assert issubclass(VocabError, UnitsError)
    assert trained.unknown(line, "en") == ["ñ", "ላ", "ም", "ሰ"]
    assert trained.names.index(trained.roles["unk"]) in trained.ids(line, "en")
    assert trained.unknown("the and", "en") == []


def test_state_is_plain_json_and_restores_all_that_changes_ids(trained):
    again = vocab.restore(json.loads(json.dumps(trained.state())))
    assert again == trained and again.digest == trained.digest
    assert again.encode(EN[0], "en") == trained.encode(EN[0], "en")
    others = [
        vocab.restore(trained.state() | change)
        for change in ({"front": "indextts"}, {"versions": {"en": "en-99"}}, {"homophones": True})
    ]
    assert len({trained.digest, *(other.digest for other in others)}) == 4


def test_the_official_file_is_written_and_read_back(trained, tmp_path):
    path = trained.save(tmp_path / "new")
    assert path.name in ("tokenizer.json", "tokenizer.model", "vocab.json") and path.read_bytes() == trained.data
    for where in (path, path.parent):
        again = vocab.read(where)
        assert again.names == trained.names and again.front == trained.front
        assert again.encode(EN[3], "en") == trained.encode(EN[3], "en")
    assert vocab.read(f"indextts={path}").front == "indextts"
    assert vocab.read(path, front="plain").front == "plain"


def test_a_state_or_front_of_no_kind_is_refused(trained):
    with pytest.raises(VocabError, match=r"kind 'wordpiece'.*bpe, sentencepiece, characters"):
        vocab.restore(trained.state() | {"kind": "wordpiece"})
    with pytest.raises(VocabError, match="no text front named 'loud'"):
        vocab.restore(trained.state() | {"front": "loud"})


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("tokenizer.json", b"{", "not JSON"),
        ("tokenizer.json", b'{"model": {"type": "Magic"}}', "the library cannot read it"),
        ("tokenizer.model", b"no protobuf at all", "not a SentencePiece model"),
        ("tokenizer.model", b"", "without pieces"),
        ("vocab.json", b'{"a": 1, "b": 1}', "an id with two names: a"),
        ("vocab.json", b'{"a": "1"}', "not a table of names and ids"),
        ("vocab.txt", b"a\nb\na\n", "stands on two lines"),
        ("vocab.csv", b"a,b", "not a tokenizer file"),
    ],
)
def test_broken_files_are_refused_by_name(tmp_path, name, data, said):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(VocabError, match=rf"{name}: .*{said}"):
        vocab.read(tmp_path / name)


def test_what_is_not_there_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(VocabError, match=r"no tokenizer in this folder; looked for .*bpe.model"):
        vocab.read(tmp_path)
    with pytest.raises(VocabError, match="no such file or folder, and no hub id"):
        vocab.read("/no/such/file/anywhere.json")
    with pytest.raises(VocabError, match="nobody/nothing: neither a local file nor in the hub cache"):
        vocab.read("t3=nobody/nothing")


def test_a_hub_id_is_read_from_the_cache_without_a_network(tmp_path, monkeypatch, trained):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    path = trained.save(tmp_path)
    asked = []
    monkeypatch.setattr(
        huggingface_hub, "try_to_load_from_cache",
        lambda repo, name, revision: asked.append((repo, name, revision)) or (str(path) if name == path.name else None),
    )  # fmt: skip
    assert vocab.read(f"some/where/{path.name}@abc123").data == trained.data
    assert asked == [("some/where", path.name, "abc123")]
    assert vocab.read("some/where").data == trained.data


def test_fronts_are_guessed_from_special_tokens(tmp_path):
    def t3(*tags):
        engine = tokenizers.Tokenizer(models.BPE({"a": 0, "b": 1}, [], unk_token="[UNK]"))
        engine.pre_tokenizer = pre_tokenizers.Whitespace()
        engine.add_special_tokens(["[UNK]", "[SPACE]", "[START]", "[STOP]", *tags])
        return Bpe(engine.to_str().encode())

    assert vocab.read(t3().save(tmp_path / "1")).front == "t3-english"
    multilingual = vocab.read(t3("[en]", "[fr]").save(tmp_path / "2"))
    assert multilingual.front == "t3"
    assert multilingual.pieces("AB a", "fr") == ["[fr]", "a", "b", "[SPACE]", "a"]
    assert multilingual.decode(multilingual.encode("AB a", "fr")) == "[fr]ab a" == multilingual.spelt("AB a", "fr")
    assert multilingual.pieces("b", "am") == ["b"]  # no tag, no prefix


def test_no_text_reaches_reserved_ids():
    bpe = vocab.train(EN, "en", "bpe", 200)
    with pytest.raises(VocabError, match=r"\[STOP\] is reserved"):
        bpe.encode("the [STOP] end", "en")
    with pytest.raises(VocabError, match="'<'"):
        vocab.train(EN, "en", "characters").encode("<pad>", "en")


def test_holes_have_names_and_a_model_without_unknown_token_says_what_it_drops():
    engine = json.loads(tokenizers.Tokenizer(models.BPE({"a": 0, "b": 1, "c": 4}, [])).to_str())
    hollow = Bpe(json.dumps(engine).encode())
    assert hollow.names == ("a", "b", "<hole 2>", "<hole 3>", "c")
    assert hollow.unknown("abx", "en") == ["x"]
    for way in (hollow.encode, hollow.ids):
        with pytest.raises(VocabError, match=r"no row for 'x' \(U\+0078\)"):
            way("abx", "en")


def test_a_file_that_cuts_and_pads_text_does_neither_here():
    bpe = vocab.train(EN, "en", "bpe", 200)
    found = json.loads(bpe.data)
    found["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    assert Bpe(json.dumps(found).encode(), bpe.front).encode(EN[9], "en") == bpe.encode(EN[9], "en")


def test_mms_files_tell_padding_from_letters(tmp_path):
    (tmp_path / "vocab.json").write_text('{"k": 0, "a": 1, " ": 2, "<unk>": 3}')
    (tmp_path / "tokenizer_config.json").write_text('{"pad_token": "k", "unk_token": {"content": "<unk>"}}')
    mms = vocab.read(tmp_path)
    assert mms.roles == {"pad": "k", "unk": "<unk>"} and mms.front == "vits"
    assert mms.encode("KA a", "en") == [0, 1, 2, 1]
    mms.save(tmp_path / "again")
    assert vocab.read(tmp_path / "again") == mms == vocab.restore(mms.state())


def test_sentencepiece_options_do_what_they_say():
    with pytest.raises(VocabError, match="cannot train 5000 pieces"):
        vocab.train(EN, "en", "sentencepiece-unigram", 5000, hard_limit=True)
    small = vocab.train(["a"], "en", "sentencepiece-unigram", 5000)
    assert len(small) == small.proto.trainer_spec.vocab_size == 5
    assert vocab.train(EN, "en", "sentencepiece-bpe", 600, byte_fallback=True).unknown("ሰ", "am") == []
    lines = ["so 1234 and 1234", "1234"] * 5
    together, apart = (vocab.train(lines, "en", "sentencepiece-bpe", 60, split_digits=d) for d in (False, True))
    assert any("12" in name for name in together.names) and not any("12" in name for name in apart.names)


def test_nothing_to_train_on_and_too_little_room_are_refused():
    for kind in KINDS:
        with pytest.raises(VocabError, match="no text to train"):
            vocab.train(["", " "], "en", kind)
    with pytest.raises(VocabError, match="5 names are too few"):
        vocab.train(EN, "en", "bpe", 5)
    with pytest.raises(VocabError, match="no kind of tokenizer named 'word'"):
        vocab.train(EN, "en", "word")


def test_the_difference_is_readable(trained):
    assert vocab.difference(trained, trained) == ""
    other = vocab.train(sentences("ru", 4), "ru", "bpe", 200, front="indextts")
    said = vocab.difference(trained, other)
    for part in ("size: ", "names gone: ", "names new: ", "normaliser of ru: none → ru-", "text front: "):
        assert part in said


def test_moved_ids_are_shown_for_units_too():
    one = Units.fit([("ab", "qaa")], "characters")
    two = Units(one.kind, (*one.symbols[:3], "b", "a"), one.homophones, {"qaa": "qaa-0"})
    assert (
        vocab.difference(one, two)
        == f"ids moved: 2, 'a' 3 → 4, 'b' 4 → 3\nnormaliser of qaa: {text.version('qaa')} → qaa-0"
    )
    assert vocab.difference(one, one) == ""
    longer = Units.fit([("abc", "qaa")], "characters")
    assert vocab.difference(one, longer) == "size: 5 → 6\nnames new: 1, 'c'"


def test_the_same_names_with_other_merges_are_told_apart():
    one = vocab.train(EN, "en", "bpe", 200)
    found = json.loads(one.data)
    found["model"]["merges"].reverse()
    assert "other merges" in vocab.difference(one, Bpe(json.dumps(found).encode(), one.front, one.versions))
