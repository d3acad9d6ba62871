"""Texts are compared as `jiwer` compares them, and a text that lost its end, loops, or is another one is told apart."""

import json
from pathlib import Path

import numpy as np
import pytest

from ttslib import transcripts
from ttslib.corpora.espeak import sentences

TABLE = json.loads((Path(__file__).parent / "data" / "jiwer.json").read_text(encoding="utf-8"))["rows"]
AM = "ዘንባባው ከሐይቁ ዳርቻ ቆሟል።"
KU = "xwişka min odeya xwe paqij dike."
SPEECH = np.sin(np.arange(3 * 16000) * 0.05).astype(np.float32) * 0.1


@pytest.mark.parametrize(("reference", "hypothesis", "edits", "characters", "word_edits", "words"), TABLE)
def test_errors_are_jiwers(reference, hypothesis, edits, characters, word_edits, words):
    assert transcripts.cer(reference, hypothesis) == (edits, characters)
    assert transcripts.wer(reference, hypothesis) == (word_edits, words)


def test_the_table_has_every_kind_of_error():
    assert len(TABLE) >= 30 and {row[1] for row in TABLE} >= {"", "ba"}
    assert any(row[2] == 0 for row in TABLE[:20]) or min(row[2] / row[3] for row in TABLE) < 0.1
    assert max(row[2] / row[3] for row in TABLE) > 0.7


def test_the_steps_are_as_many_as_the_edits():
    for reference, hypothesis, edits, *_ in TABLE:
        steps = transcripts.steps(reference, hypothesis)
        assert sum(kind != "hit" for kind, _, _ in steps) == edits
        assert all(reference[i] == hypothesis[j] for kind, i, j in steps if kind == "hit")


@pytest.mark.parametrize(
    ("line", "lang", "expected"),
    [
        (AM, "am", "ዘንባባው ከሐይቁ ዳርቻ ቆሟል"),
        ("L’eau, c'est  la vie!", "fr", "leau cest la vie"),
        ("Peut-être 3.", "fr", "peut être trois"),
        ("हिन्दी में", "hi", "हिन्दी में"),  # vowel signs are no letters by category, and belong to the word
        ("می\u200cروم", "fa", "میروم"),
    ],
)
def test_bare_text_keeps_words_and_loses_marks(line, lang, expected):
    assert transcripts.bare(line, lang) == expected
    assert transcripts.bare(expected, lang) == expected


def test_homophones_are_one_letter_where_no_ear_tells_them_apart():
    assert transcripts.compare("ፀሐይ", "ጸሀይ", "am")["cer"].edits == 2
    assert transcripts.compare("ፀሐይ", "ጸሀይ", "am", homophones=True)["cer"].edits == 0


def test_a_lost_end_is_missing_and_a_misheard_one_is_not():
    said = transcripts.bare(AM, "am")
    assert transcripts.completion(said, said) == 1
    assert transcripts.completion(said, said[:-4]) == pytest.approx(1 - 4 / len(said))
    assert transcripts.completion(said, said[:-2] + "ዳገ") == 1
    assert transcripts.completion(said, "ዘንደባው ከይቁ") == pytest.approx(1 - 8 / len(said))
    assert transcripts.completion(said, "") == 0
    twice = "ba ba ba ba"  # an end that is like the beginning
    assert transcripts.completion(twice, "ba ba") == pytest.approx(1 - 6 / 11)


def test_what_is_said_again_is_counted_against_what_is_written():
    said = transcripts.bare(KU, "ku")
    words = said.split()
    assert transcripts.repetition(said, said) == 0
    assert transcripts.repetition(said, f"{said} {said}") == pytest.approx(1, abs=0.1)
    assert transcripts.repetition(said, " ".join([*words[:2], *words])) > 0.3
    assert transcripts.repetition("na na na na hey", "na na na na hey") == 0
    assert transcripts.repetition(said, said + " la la la la la la") > 0.3  # a loop of what is not written
    assert transcripts.repetition(said, said.replace("odeya", "odara")) < 0.05


def test_letters_of_another_script_are_strange():
    assert transcripts.script_fidelity("", "ዘንባባው", "am") == 1
    assert transcripts.script_fidelity("", "hello ዘንባባው", "am") == pytest.approx(0.5)
    assert transcripts.script_fidelity("", "привет", "ku") == 0
    assert transcripts.script_fidelity("", "çawa", "ku") == 1
    assert transcripts.script_fidelity("سلام", "hello", "fa") == 0  # no character set: the reference has the script
    assert transcripts.script_fidelity("x", "", "am") is None


def test_faults_have_names():
    def of(line, heard, lang, wav=SPEECH, **known):
        return transcripts.faults(line, heard, wav, 16000, lang, **known)

    assert of(AM, AM, "am") == of(KU, KU, "ku") == []
    assert of(AM, "ዘንባባው ከሀይቁ ዳርቻ ቆሞል", "am") == []
    assert of(AM, AM, "am", np.zeros(32000, np.float32)) == ["silence"]
    assert of(AM, "", "am") == ["silence"]
    assert of(AM, AM, "am", np.concatenate([SPEECH, 0 * SPEECH[:26000], SPEECH])) == ["long pause"]
    assert of(AM, AM, "am", np.concatenate([SPEECH, 1e-4 * SPEECH[:26000]])) == ["long pause"]
    assert of(AM, AM, "am", np.concatenate([SPEECH, 0 * SPEECH[:20000], SPEECH])) == []
    assert of(AM, AM, "am", np.tile(SPEECH, 8)) == ["no stop"]
    assert of(AM, AM, "am", np.tile(SPEECH, 3), expected=3.0) == ["no stop"]
    assert of(AM, AM, "am", np.tile(SPEECH, 2)[: 5 * 16000], expected=3.0) == []
    assert of(AM, "hello how are you", "am") == ["wrong script"]
    assert of(AM, "ጎረቤታችን ሁልጊዜ ሳቂታና ተጫዋች ነው", "am") == ["wrong text"]
    assert of(KU, "hemşîreyê birîna wî bi baldarî pêça", "ku") == ["wrong text"]
    assert of(AM, "ዘንባባው ከሐይቁ ዘንባባው ከሐይቁ ዳርቻ ቆሟል", "am") == ["repeats"]
    assert of(AM, "ዘንባባው ከሐይቁ መጣ ሄደች ዳርቻ ቆሟል", "am") == ["extra speech"]
    assert of(AM, "ዘንባባው ከሐይቁ", "am") == ["cut ending"]
    assert of("ጭሱ አፈነን።", "ጭሱ አፈ", "am") == ["cut ending"]
    assert of("ጭሱ አፈነን።", "ጭሱ አፈነ", "am") == []
    assert of(KU, "xwişka min odeya xwe paqi", "ku") == ["cut ending"]


@pytest.mark.parametrize("lang", ["am", "ku", "en"])
def test_no_shipped_sentence_is_taken_for_another_or_raises_a_fault_itself(lang):
    lines = [line for line in sentences(lang) if not any(map(str.isdigit, line))][
        ::7
    ]  # years are mostly the same words
    for line, other in zip(lines, [*lines[1:], lines[0]], strict=True):
        assert transcripts.faults(line, line, SPEECH, 16000, lang, expected=3.0) == []
        assert transcripts.faults(line, other, SPEECH, 16000, lang, expected=3.0), (line, other)


def test_nothing_to_say_has_no_score():
    for call in (
        lambda: transcripts.cer("", "a"),
        lambda: transcripts.wer(" ", "a"),
        lambda: transcripts.compare("...", "a", "en"),
        lambda: transcripts.faults("?", "a", SPEECH, 16000, "en"),
    ):
        with pytest.raises(ValueError, match="empty reference"):
            call()
