"""The promise of a merge: not one base id changes, nothing of the new language is lost, its letters split as by their
own tokenizer; and a merge that would break it is refused, with the lines."""

import json
import unicodedata
from dataclasses import replace
from itertools import pairwise

import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_vocab_files import EN, KINDS, sentences
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from ttslib import vocab
from ttslib.units import Units
from ttslib.vocab import VocabError, pieces, promise
from ttslib.vocab.bpe import Bpe
from ttslib.vocab.merge import run_of
from ttslib.vocab.tokenizer import Own

LINES = {"am": sentences("am"), "ku": sentences("ku", 2), "ru": sentences("ru", 2)}
AM, SOME = LINES["am"][::5], EN[::4]
FOREIGN = {"am": "new", "ku": "old", "ru": "new"}


@pytest.fixture(scope="module", params=KINDS)
def base(request):
    return vocab.train(EN, "en", request.param, 300)


def hugging(engine, lines, front="plain", **options) -> Bpe:
    """A tokenizer.json of any make, trained on `lines`."""
    engine.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=400, show_progress=False, **options))
    return Bpe(engine.to_str().encode(), front)


def holds(base, merged, lines, lang, base_lines, base_lang="en"):
    """The promise, told anew: without a line of `ttslib.vocab.promise`."""
    assert merged.names[: len(base)] == base.names
    assert [merged.ids(x, base_lang) for x in base_lines] == [base.ids(x, base_lang) for x in base_lines]
    assert [x for x in lines if merged.unknown(x, lang)] == []
    assert [x for x in lines if merged.decode(merged.encode(x, lang)) != merged.spelt(x, lang)] == []


@pytest.mark.parametrize("lang", FOREIGN)
def test_shipped_sentences_keep_the_promise(base, lang):
    merged, report = (m := vocab.merge(base, LINES[lang], lang, EN, "en", 300, tag=f"[{lang}]")).tokenizer, m.report
    holds(base, merged, LINES[lang], lang, EN)
    assert (report.script, report.changed, report.base_lines, report.unknown_after) == (FOREIGN[lang], 0, len(EN), 0)
    assert report.unknown_before > 0.1
    assert report.added == list(merged.names[len(base) :]) and report.size == len(merged)
    assert merged.names[report.tag_id] == f"[{lang}]"
    assert merged.ids(EN[0], "en") == base.ids(EN[0], "en") and merged.tag(lang) == f"[{lang}]"
    assert json.loads(report.to_json())["lang"] == lang
    assert vocab.restore(merged.state()) == merged
    if merged.kind == "sentencepiece":
        scores = [p.score for p in merged.proto.pieces if p.type == pieces.Kind.NORMAL]
        known = len([p for p in base.proto.pieces if p.type == pieces.Kind.NORMAL])
        assert max(scores[known:]) < min(scores[:known])
        assert merged.proto.trainer_spec.vocab_size == len(merged)
    if FOREIGN[lang] == "old":  # ç ê î ş û and what English lines never had; whole words would touch English
        assert {name for name in report.added if len(name) > 1} == {f"[{lang}]"}
    elif merged.kind != "characters":
        assert report.tokens_per_character_after < 1
        assert all(len(name) == 1 or set(name) - {"▁"} <= set("".join(LINES[lang])) for name in report.added[:-1])


def test_merging_is_deterministic(base):
    one, two = (vocab.merge(base, AM, "am", SOME, "en", 300, tag="[am]") for _ in range(2))
    assert one == two and one.tokenizer.digest == two.tokenizer.digest


def test_new_letters_split_exactly_as_by_a_tokenizer_trained_apart(base):
    words = [" ".join(run_of(set("".join(AM)) - set(" ።፣?!-"), False).findall(line)) for line in AM]
    words = [line for line in words if line]
    merged = vocab.merge(base, words, "am", SOME, "en", 600).tokenizer
    letters = len(set("".join(words)) - {" "})
    if base.kind == "bpe":
        apart = vocab.train(words, "am", "bpe", 600 + 4)  # four special tokens
    elif base.kind == "sentencepiece":
        kind = {1: "sentencepiece-unigram", 2: "sentencepiece-bpe"}[base.proto.trainer_spec.model_type]
        apart = vocab.train([word for line in words for word in line.split()], "am", kind, 600)
    else:
        apart = vocab.train(words, "am", "characters")
    assert [merged.pieces(x, "am") for x in words] == [apart.pieces(x, "am") for x in words]
    assert any(len(name) > 2 for name in merged.names[len(base) :]) or base.kind == "characters"
    assert letters > 100


def test_nothing_missing_changes_nothing_but_the_tag(base):
    same = vocab.merge(base, EN[:50], "en", SOME, "en").tokenizer
    assert same.data == base.data and same.names == base.names
    tagged = vocab.merge(base, EN[:50], "en", EN[:50], "xx", tag="[qaa]")
    assert tagged.report.added == ["[qaa]"] and tagged.report.script == "none"
    again = vocab.merge(tagged.tokenizer, EN[:50], "en", EN[:50], "xx", tag="[qaa]")
    assert again.tokenizer.data == tagged.tokenizer.data and again.report.tag_id == tagged.report.tag_id


MIXED = ["ሰላም 12 abc።", "(ሰላም) x-ሰላም?", "ሰ", "a", "ቤትhouseቤት", "3", "", " ", "ሰላም ሰላም", "።", "ab ሰላምን ab"]


def test_digits_punctuation_mixed_words_single_characters_and_empty_lines(base):
    merged = vocab.merge(base, MIXED, "am", ["", *SOME, "a"], "en", 60, tag="[am]").tokenizer
    holds(base, merged, MIXED, "am", ["", *SOME])
    assert merged.unknown("ሰላም 3", "am") == [] and merged.unknown("ጸ", "am") == ["ጸ"]


def test_vowel_signs_belong_to_their_script_and_loose_marks_stand_alone():
    base = vocab.train(EN, "en", "bpe", 300, front="t3")
    marked = ["roja şîn û çêtir", "ş"]
    merged = vocab.merge(base, marked, "ku", SOME, "en").tokenizer
    assert merged.names[len(base) :] == ("\u0302", "\u0327")  # NFKD: s + cedilla
    holds(base, merged, marked, "ku", SOME)
    hindi = ["नमस्ते दुनिया", "दुनिया नमस्ते", "कि"]
    merged = vocab.merge(base, hindi, "hi", SOME, "en", 60).tokenizer
    holds(base, merged, hindi, "hi", SOME)
    assert len(merged.encode(hindi[0], "hi")) == 3 and "दुनिया" in merged.names


def test_a_letter_of_a_script_the_base_has_comes_alone_beside_pieces_of_a_new_one(base):
    merged = vocab.merge(base, [*AM, "çê"], "am", SOME, "en", 400)
    assert merged.report.script == "both" and {"ç", "ê"} <= set(merged.report.added)
    assert not any(len(name) > 1 and set(name) & set("çê") for name in merged.report.added)


def test_characters_that_never_had_a_space_get_one():
    merged = vocab.merge(vocab.train(["ab"], "qaa", "characters"), ["a ሰ"], "am", ["ab", "b"], "qaa").tokenizer
    assert merged.decode(merged.encode("a ሰ", "am")) == "a ሰ" and merged.names[-2:] == (" ", "ሰ")


def test_an_own_front_is_followed():
    loud = vocab.restore(
        vocab.train([x.upper() for x in EN], "en", "sentencepiece-bpe", 300).state() | {"front": "indextts"}
    )
    merged = vocab.merge(loud, LINES["ku"][::3], "ku", SOME, "en").tokenizer
    assert {"Ş", "Ê"} <= set(merged.names) and not {"ş", "ê"} & set(merged.names)
    holds(loud, merged, LINES["ku"][::3], "ku", SOME)


# Files of other makes


def test_a_base_without_a_space_token_still_merges():
    engine = tokenizers.Tokenizer(models.BPE(unk_token="[UNK]"))
    engine.pre_tokenizer = pre_tokenizers.Whitespace()
    base = hugging(engine, EN, special_tokens=["[UNK]"])
    assert "space" not in base.roles
    merged = vocab.merge(base, AM, "am", SOME, "en", 300)
    assert merged.report.round_trip is False and merged.report.changed == merged.report.unknown_after == 0
    assert merged.tokenizer.decode(merged.tokenizer.encode("ሰላም ነው", "am")) == "ሰላምነው"


@pytest.mark.parametrize("way", ["pre-tokenizer", "normaliser", "byte fallback"])
def test_files_that_write_spaces_into_words_merge(way):
    engine = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=way == "byte fallback"))
    if way == "normaliser":
        engine.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        engine.pre_tokenizer = pre_tokenizers.Metaspace()
    engine.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Fuse(), decoders.Replace("▁", " "), decoders.Strip(" ", 1, 0)]
    )
    extra = [f"<0x{i:02X}>" for i in range(256)] if way == "byte fallback" else []
    base = hugging(engine, EN, special_tokens=["<unk>", *extra])
    merged = vocab.merge(base, AM, "am", SOME, "en", 300)
    assert merged.report.round_trip and merged.report.changed == 0
    assert any(name.startswith("▁") and len(name) > 2 for name in merged.report.added)
    assert merged.report.tokens_per_character_after < 1


def test_a_byte_level_base_needs_no_letters():
    engine = tokenizers.Tokenizer(models.BPE())
    engine.pre_tokenizer, engine.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    base = hugging(engine, EN, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    merged = vocab.merge(base, AM, "am", SOME, "en", tag="[am]")
    assert merged.report.added == ["[am]"] and merged.report.unknown_before == 0 and merged.report.round_trip
    assert merged.tokenizer.ids("[am]ሰላም", "am")[0] == merged.report.tag_id


def test_a_byte_level_base_without_all_bytes_gets_those_it_lacks():
    engine = tokenizers.Tokenizer(models.BPE(unk_token="[UNK]"))
    engine.pre_tokenizer, engine.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    base = hugging(engine, EN, special_tokens=["[UNK]"])
    assert base.unknown(AM[0], "am")
    merged = vocab.merge(base, AM, "am", EN, "en")
    holds(base, merged.tokenizer, AM, "am", EN)
    assert all(len(name) == 1 for name in merged.report.added) and merged.report.unknown_after == 0


@pytest.mark.parametrize("kind", ["sentencepiece-bpe", "sentencepiece-unigram"])
def test_byte_fallback_gains_pieces_for_a_new_script_only(kind):
    base = vocab.train(EN, "en", kind, 600, byte_fallback=True)
    new = vocab.merge(base, AM, "am", SOME, "en", 300).report
    assert new.unknown_before == 0 and new.tokens_per_character_after < new.tokens_per_character_before / 2
    assert vocab.merge(base, LINES["ku"][::3], "ku", SOME, "en").report.added == []


def test_a_normaliser_inside_the_file_decides_what_is_missing():
    engine = tokenizers.Tokenizer(models.BPE(unk_token="[UNK]"))
    engine.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase()])
    engine.pre_tokenizer = pre_tokenizers.Whitespace()
    base = hugging(engine, EN, special_tokens=["[UNK]"])
    added = vocab.merge(base, ["Şev Ê"], "ku", SOME, "en").report.added
    assert added == ["\u0302", "\u0327"]


def test_holes_are_not_filled_and_added_tokens_keep_their_ids():
    engine = tokenizers.Tokenizer(models.BPE({"[UNK]": 0, "a": 1, "b": 5}, [], unk_token="[UNK]"))
    engine.pre_tokenizer = pre_tokenizers.Whitespace()
    found = json.loads(engine.to_str())
    found["added_tokens"] = [
        {"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for i, t in ((0, "[UNK]"), (3, "[en]"))
    ]  # fmt: skip
    base = Bpe(json.dumps(found).encode())
    merged = vocab.merge(base, ["ሰ"], "am", ["ab", "[en]b"], "en", tag="[am]").tokenizer
    assert merged.names == ("[UNK]", "a", "<hole 2>", "[en]", "<hole 4>", "b", "ሰ", "[am]")


def test_runs_of_new_letters_leave_out_tags_and_spaces_that_belong_to_more_spaces():
    segment = run_of(set("amሰ"), True)
    assert list(promise.splits(["[am]", "▁", "ሰሰ", "x", "ሰ"], segment, frozenset(["[am]"]))) == [
        ("▁ሰሰ", ["▁", "ሰሰ"]), ("ሰ", ["ሰ"]),
    ]  # fmt: skip
    assert list(promise.splits(["▁▁", "ሰ"], segment, frozenset())) == [("ሰ", ["ሰ"])]


# What is refused


def test_base_lines_that_the_merge_would_read_differently_are_shown(base):
    with pytest.raises(VocabError, match=r"en would be read differently in 7 of 8 lines") as refused:
        vocab.merge(base, AM, "am", ["a", *["the ሰላም house"] * 7], "en", 300)
    assert str(refused.value).count("the ሰላም house") == promise.SHOWN
    assert "before [" in str(refused.value) and "after  [" in str(refused.value)


def test_base_lines_that_spell_the_tag_are_refused_and_lookalikes_are_not(base):
    clean = [*SOME, "a b", "am", "ame"]
    vocab.merge(base, AM, "am", clean, "en", tag="[am]")
    with pytest.raises(VocabError, match="read differently"):
        vocab.merge(base, AM, "am", [*clean, "say [am] now"], "en", tag="[am]")


def test_a_plain_name_that_looks_like_the_tag_becomes_the_tag_with_its_id():
    base = vocab.train(EN, "en", "bpe", 200)
    found = json.loads(base.data)
    found["model"]["vocab"]["[am]"] = len(base)
    base = replace(base, data=json.dumps(found).encode())
    assert base.tag("am") == ""
    merged = vocab.merge(base, AM, "am", SOME, "en", tag="[am]")
    assert merged.report.tag_id == len(base) - 1 and merged.tokenizer.pieces("ሰ", "am") == ["[am]", "ሰ"]

    piece = vocab.train(EN, "en", "sentencepiece-bpe", 300)
    piece.proto.pieces.add(piece="[am]", score=-1.0)
    piece = replace(piece, data=piece.proto.SerializeToString())
    assert piece.names[-1] == "[am]" and "[am]" not in piece.special
    merged = vocab.merge(piece, AM, "am", SOME, "en", tag="[am]")
    assert merged.report.tag_id == piece.names.index("[am]") and merged.tokenizer.tag("am") == "[am]"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "characters"])  # which have no pieces
def test_pieces_of_old_letters_are_refused(kind, monkeypatch):
    """What others did: append the pieces and merges of a whole second tokenizer."""
    base = vocab.train(EN, "en", kind, 300)
    extended = type(base).extended
    pair = next(
        (a, b) for line in SOME for word in promise.words(base.tokens(base.fronted(line, "en"))) for a, b in pairwise(word)
        if a + b not in base.names and "[" not in a + b
    )  # fmt: skip

    def whole(self, singles, own, tag):
        found = extended(self, singles, own, tag)
        if self.kind == "bpe":
            return extended(found, (), Own(([], [pair]), list), None)
        found.proto.pieces.add(piece="".join(pair), score=0.0)
        return replace(found, data=found.proto.SerializeToString())

    monkeypatch.setattr(type(base), "extended", whole)
    with pytest.raises(VocabError, match="en would be read differently"):
        vocab.merge(base, AM, "am", SOME, "en", 300)


def test_names_without_their_merges_are_refused(monkeypatch):
    learn = Bpe.learn

    def names_only(self, segments, size):
        (alphabet, merges), split = learn(self, segments, size)
        return Own(([*alphabet, *map("".join, merges)], []), split)

    monkeypatch.setattr(Bpe, "learn", names_only)
    with pytest.raises(VocabError, match="letters would not be split as by their own tokenizer"):
        vocab.merge(vocab.train(EN, "en", "bpe", 200), AM, "am", SOME, "en", 300)


def test_scores_moved_by_a_constant_a_piece_are_refused(monkeypatch):
    learn = pieces.Pieces.learn

    def moved(self, segments, size):
        entries, split = learn(self, segments, size)
        return Own(tuple((p, s - 9.0 * (len(p) > 1)) for p, s in entries), split)

    monkeypatch.setattr(pieces.Pieces, "learn", moved)
    with pytest.raises(VocabError, match="letters would not be split as by their own tokenizer"):
        vocab.merge(vocab.train(EN, "en", "sentencepiece-unigram", 200), AM, "am", SOME, "en", 600)


def test_letters_left_out_and_moved_names_are_refused(base, monkeypatch):
    merged = vocab.merge(base, AM, "am", SOME, "en").tokenizer
    with pytest.raises(VocabError, match="names changed at ids"):
        promise.kept_names(base, vocab.train(LINES["ru"], "ru", "characters"), None)
    with pytest.raises(VocabError, match="names became"):
        promise.kept_names(merged, base, None)
    monkeypatch.setattr(type(base), "extended", lambda self, singles, own, tag: self)
    with pytest.raises(VocabError, match="characters would still be lost"):
        vocab.merge(base, AM, "am", SOME, "en")


def test_what_cannot_be_merged_says_so(base):
    with pytest.raises(VocabError, match="no lines of am"):
        vocab.merge(base, ["", " "], "am", SOME, "en")
    with pytest.raises(VocabError, match="no lines of en"):
        vocab.merge(base, AM, "am", [], "en")
    with pytest.raises(VocabError, match="cannot be a language tag"):
        vocab.merge(base, AM, "am", SOME, "en", tag="a b")
    with pytest.raises(VocabError, match="a Units cannot be merged"):
        vocab.merge(Units.fit([("a", "qaa")], "characters"), ["b"], "am", ["a"], "qaa")
    words = tokenizers.Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    with pytest.raises(VocabError, match="a WordLevel model cannot be merged"):
        vocab.merge(Bpe(words.to_str().encode()), ["ሰ"], "am", ["a"], "en")
    prefixed = tokenizers.Tokenizer(
        models.BPE({"a": 0, "[UNK]": 1}, [], unk_token="[UNK]", continuing_subword_prefix="##")
    )
    with pytest.raises(VocabError, match="continuing_subword_prefix cannot be merged"):
        vocab.merge(Bpe(prefixed.to_str().encode()), ["ሰ"], "am", ["a"], "en")


# Any alphabets

ALPHABETS = ["abcde", "ሀለሐመሠ", "абвгд", "αβγδε", "אבגדה", "çşêîû", "कखगिी"]


@st.composite
def merges(draw):
    """(kind, base lines, new lines): words of one or two small alphabets each, disjoint between the languages."""
    order = draw(st.permutations(ALPHABETS))
    old, new = order[:2], order[2:4]

    def lines(alphabets, least):
        letters = st.text(st.sampled_from("".join(alphabets)), min_size=1, max_size=5)
        words = st.lists(letters, min_size=1, max_size=6)
        return draw(st.lists(words.map(" ".join), min_size=least, max_size=8))

    base_lines = lines(old, 2)
    base_lines += draw(st.lists(st.sampled_from(["12 .", "?", "a-b", "."]), max_size=2))
    new_lines = lines([*new, "".join(base_lines).replace(" ", "") or "a"], 1)
    return draw(st.sampled_from(KINDS)), base_lines, new_lines


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(merges(), st.integers(1, 60))
def test_any_merge_keeps_every_base_id_and_loses_nothing(some, size):
    kind, old, new = some
    old, new = ([unicodedata.normalize("NFC", line) for line in lines] for lines in (old, new))
    base = vocab.train(old, "qaa", kind, 80, front="plain" if kind != "bpe" else None)
    merged = vocab.merge(base, new, "qab", old, "qaa", size, tag="[qab]").tokenizer
    holds(base, merged, new, "qab", old, "qaa")
    assert len(set(merged.names)) == len(merged) and merged.names[-1] == "[qab]"
