"""What is done to a text before Pocket's tokenizer, against pocket-tts itself; and where ours departs from it on purpose."""

import itertools
import re

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from official import needs

from ttslib import text
from ttslib.codecs import pocket, published
from ttslib.corpora import espeak
from ttslib.systems.pocket.wording import (
    SCRIPT,
    Flags,
    chunks,
    frames_after_end,
    most_frames,
    prepared,
    replacing,
)
from ttslib.units import UnitsError
from ttslib.vocab import pieces

FRENCH = {'"': "", "“": "", "”": "", "«": "", "»": "", "’": "'", ":": ",", "(": "", ")": "", "–": ","}
CASES = [
    "hello world", "Hello, world!", '"Hi?", she said', "He said “go.”", "wait…", "and then...", "so what -", "Eh bien :",
    "one two three four;", "(in brackets)", "a\nb\r\nc   d", "  «Où ça ?»  ", "ßharp", "ǆ", '"', "'tis", "3.5", "!", "?,",
    "۔", "ሰላም ነው።", "چۆنی؟", "yes — ", "a , b", "it's: ", "« – »", "one two three four five", "a b c d –",
]  # fmt: skip

AMHARIC = (
    "ዛሬ ጠዋት ወደ ገበያ ሄድኩ። ብዙ ሰዎች ነበሩ፣ ሆኖም ሁሉንም ገዛሁ፤ ከዚያ ወደ ቤት ተመለስኩ። አንተስ ምን አደረግክ፧ "
    "ነገ ዝናብ ይዘንባል፦ ጃንጥላ ያዝ። ልጆቹ በትምህርት ቤት ውስጥ እየተጫወቱ ነው።"
)
SORANI = (
    "ئەمڕۆ بەیانی چووم بۆ بازاڕ۔ خەڵکێکی زۆر لەوێ بوون، بەڵام هەموو شتێکم کڕی؛ دواتر گەڕامەوە ماڵەوە۔ تۆ چیت کرد؟ "
    "سبەی باران دەبارێت، چەترەکەت لەگەڵ خۆت ببە۔ منداڵەکان لە قوتابخانە یاری دەکەن۔"
)
ENGLISH = [
    "The last train leaves from platform nine. Our ferry was delayed by rough seas! They crossed the desert in a rusty van, "
    "singing old songs; nobody minded. Did you pack too many shoes, as usual? Prices rose by 2.8% last year. The end.",
    "Short. Very short. Tiny! Is it? Yes... it is. And then, after a while, the wind changed direction, the sky turned a "
    "strange colour, the snow muffled every sound: we went home; the hens lay fewer eggs in winter, as they always do.",
    "We need 6 chairs, 2 folding tables, 94 plates, a dozen candles and every spoon you own. Thank you",
]


def official():
    return published.imported("pocket_tts.models.text_chunking", pocket.INSTALL)


def arguments(flags: Flags) -> dict:
    return {
        "pad_with_spaces_for_short_inputs": flags.spaces, "remove_semicolons": flags.semicolons,
        "append_terminal_punctuation": flags.terminal, "capitalize_first_letter": flags.capital,
        "replace_characters": dict(flags.replace),
    }  # fmt: skip


def agree(given: str, flags: Flags):
    try:
        expected, frames = official().prepare_text_prompt(given, **arguments(flags))
    except ValueError:
        with pytest.raises(UnitsError, match="no text to speak"):
            prepared(given, flags)
        return
    assert prepared(given, flags) == expected
    if not flags.replace:  # of a chunk, in which characters have been replaced
        assert frames_after_end(given) == frames + 2


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A small SentencePiece file of the released spec (`scripts/train_tokenizer.py` of pocket-tts), and its processor."""
    lines = [
        line
        for lang in ("en", "am")
        for line in (espeak.SENTENCES / f"{lang}.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    model = pieces.trained(
        [*lines, *re.split(r"(?<=[۔؟])\s", SORANI), "a: b", "a; b..."], "unigram", 700, normalization_rule_name="identity",
        remove_extra_whitespaces=False, max_sentencepiece_length=6, allow_whitespace_only_pieces=True, split_digits=True,
        byte_fallback=True,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("pieces") / "tokenizer.model"
    model.trainer_spec.vocab_size = len(model.pieces)
    path.write_bytes(model.SerializeToString())
    return path, sentencepiece.SentencePieceProcessor(str(path))


@needs("pocket_tts")
@pytest.mark.parametrize("switches", itertools.product([False, True], repeat=4))
@pytest.mark.parametrize("replace", [{}, FRENCH, FRENCH | SCRIPT], ids=["kept", "french", "scripts"])
def test_a_text_is_prepared_as_the_package_does(switches, replace):
    for line in CASES:
        agree(line, Flags(replace, *switches))


@needs("pocket_tts")
@settings(max_examples=400, deadline=None)
@given(
    st.text("aBß ,;:.!?…\"'”’)]»«–—-\n\r\t5።፣؟،", max_size=24), st.tuples(*[st.booleans()] * 4),
    st.sampled_from([{}, FRENCH, FRENCH | SCRIPT]),
)  # fmt: skip
def test_so_is_any_text(given, switches, replace):
    agree(given, Flags(replace, *switches))


@pytest.mark.parametrize(("given", "flags"), [("", Flags()), (" \n", Flags()), ("«»", Flags(FRENCH))])
def test_a_text_of_which_nothing_is_left_is_refused(given, flags):
    for call in (lambda: prepared(given, flags), lambda: chunks(given, flags, list)):
        with pytest.raises(UnitsError, match="no text to speak"):
            call()


def test_a_map_replaces_single_characters():
    with pytest.raises(UnitsError, match="replace_characters: '፡፡': a key is one character"):
        Flags({"፡፡": ".", "a": ""})


def test_marks_of_other_scripts_end_a_text_once_they_are_replaced():
    flags = Flags(replacing([AMHARIC, SORANI]))
    assert prepared("ሰላም ነው።", flags) == "ሰላም ነው." and prepared("ሰላም ነው።", Flags()) == "ሰላም ነው።."
    assert prepared("አንተስ፣ ደህና ነህ፧", flags) == "አንተስ, ደህና ነህ?"
    assert prepared("چۆنی؟", flags) == "چۆنی?" and prepared("باشم،", flags) == "باشم."
    assert all(len(mark) == 1 and plain in set(".,;:?! ") for mark, plain in SCRIPT.items())
    assert not any(mark.isalnum() or mark.isascii() for mark in SCRIPT)


def test_the_exported_map_has_what_can_occur_and_what_the_base_had():
    amharic = replacing(["ሰላም"], FRENCH)
    assert amharic.items() >= FRENCH.items() and amharic["።"] == "." and "؟" not in amharic
    assert amharic["፥"] == "," and replacing(["ሰላም"])["፥"] == ":"  # French reads no colon
    assert replacing([text.charset("am")]) == replacing(["ሰላም"])
    assert replacing(["hello, world"], FRENCH) == FRENCH and replacing([]) == {}
    assert replacing(["hello؟"]) == {"؟": "?"}  # one that occurs, without its script
    assert replacing(["ሰላም"], {"።": "!"})["።"] == "!"
    assert replacing(["नमस्ते"]) == {"।": ".", "॥": "."}


@needs("pocket_tts")
@pytest.mark.parametrize("most", [40, 50, 60, 80])
def test_english_is_cut_as_the_package_cuts_it(tokenizer, most):
    path, engine = tokenizer
    module = published.imported("pocket_tts.modules.text_conditioner", pocket.INSTALL)
    theirs = module.SentencePieceTokenizer(engine.vocab_size(), str(path))
    for line, flags in itertools.product([*ENGLISH, " ".join(ENGLISH)], [Flags(), Flags(semicolons=True, spaces=True)]):
        clauses = re.split(r"(?<=[.,;:!?])\s", prepared(line, flags).strip())
        assert max(len(engine.encode(clause)) for clause in clauses) <= most  # longer ones the package leaves whole
        expected = official().split_into_best_sentences(theirs, line, most, **arguments(flags))
        assert chunks(line, flags, engine.encode, most) == expected
    assert len(chunks(" ".join(ENGLISH), Flags(), engine.encode, most)) > 3


@needs("pocket_tts")
@pytest.mark.parametrize("given", [AMHARIC, SORANI], ids=["amharic", "sorani"])
def test_amharic_and_sorani_are_cut_where_the_package_does_not(tokenizer, given):
    path, engine = tokenizer
    module = published.imported("pocket_tts.modules.text_conditioner", pocket.INSTALL)
    theirs = module.SentencePieceTokenizer(engine.vocab_size(), str(path))
    assert len(official().split_into_best_sentences(theirs, given, 50, **arguments(Flags()))) == 1
    plain, replaced = Flags(terminal=False), Flags(replacing([given]))
    for flags in (plain, replaced):
        found = chunks(given, flags, engine.encode)
        assert len(found) > 2 and all(len(engine.encode(piece)) <= 50 for piece in found)
        assert " ".join(found) == prepared(given, flags)
        assert all(piece[-1] in ".?!,;:።፣፤፧؟۔،؛" for piece in found)
    # With the exported map the package cuts them too, and as we do.
    assert official().split_into_best_sentences(theirs, given, 50, **arguments(replaced)) == found


@settings(max_examples=300, deadline=None)
@given(st.text("ab  5.,;:!?…\"'።፣؟،", max_size=60), st.integers(1, 12))
def test_pieces_are_the_text_again_and_none_is_too_long(given, most):
    if not given.strip():
        return
    found = chunks(given, Flags(), list, most)  # a token a character
    whole = prepared(given, Flags())
    assert "".join("".join(found).split()) == "".join(whole.split())
    assert all(len(piece) <= most or not re.search(r"\S\s+(?=\S*\w)", piece) for piece in found)


def test_a_long_clause_is_cut_at_spaces_into_even_pieces():
    words = " ".join(["word"] * 30)
    found = chunks(words, Flags(), str.split, 12)
    assert [len(piece.split()) for piece in found] == [10, 10, 10] and " ".join(found) == prepared(words, Flags())
    one = "a" * 100
    assert chunks(f"{one} b", Flags(), list, 50) == ["A" + one[1:], "b."]  # a word is never cut


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Yes. It rose by 2.5 a year.", ["Yes.", "It rose by 2.5 a year."]),
        ("Yes. See example.com for it.", ["Yes.", "See example.com for it."]),
        ("Is it?Never mind.", ["Is it?", "Never mind."]),
        ('He said "go." She went.', ['He said "go."', "She went."]),
        ("Is it 1984. 5 did.", ["Is it 1984.", "5 did."]),
        ("What?! No... yes . . . no.", ["What?!", "No...", "yes . . .", "no."]),
        ("... and so on. Eh.", ["... and so on.", "Eh."]),
        ("你好.再见", ["你好.", "再见."]),
        ("ሰላም።ደህና", ["ሰላም።", "ደህና."]),
        ("१,००० वह। हाँ", ["१,००० वह।", "हाँ."]),
    ],
)  # fmt: skip
def test_sentences_end_behind_their_marks_and_numbers_stay_whole(given, expected):
    longest = max(map(len, expected))
    shortest = min(len(a) + len(b) for a, b in itertools.pairwise(expected))
    assert longest < shortest  # so that no two go together
    assert chunks(given, Flags(), list, longest) == expected


def test_an_over_long_sentence_is_not_cut_inside_its_numbers():
    found = chunks("So, there were 1,250,000 of them, at 10:30", Flags(), list, 30)
    assert found == ["So,", "there were 1,250,000 of them,", "at 10:30."]


def test_frames_are_counted_as_the_package_counts_them():
    assert [frames_after_end(given) for given in ("a", "a b c d", "a b c d e")] == [5, 5, 3]
    assert [most_frames(tokens, 12.5) for tokens in (0, 1, 3, 50)] == [25, 30, 38, 234]
