"""espeak-ng: the same call, the same speech; IPA keeps its punctuation; the synthetic corpus is spoken once."""

import re

import numpy as np
import pytest

from ttslib import audio, espeak
from ttslib.corpora import Clip, CorpusError, Dropped, read
from ttslib.corpora import espeak as reader
from ttslib.sections import Corpus

pytest.importorskip("espeakng_loader")


def test_speech_is_mono_and_reproducible_whatever_came_before():
    first, rate = espeak.speak("Hello world, how are you?", "en-us")
    espeak.speak("Something else. And more!", "en-us+f2")
    espeak.phonemes("Bonjour", "fr")
    second, _ = espeak.speak("Hello world, how are you?", "en-us")
    assert (rate, first.ndim, first.dtype) == (22050, 1, np.float32)
    assert 1 < len(first) / rate < 3
    assert 0.05 < np.abs(first).max() <= 1
    assert np.array_equal(first, second)


def test_rate_and_variant_change_the_speech():
    slow, _ = espeak.speak("Ez diçim malê.", "ku", 100)
    fast, _ = espeak.speak("Ez diçim malê.", "ku", 250)
    other, _ = espeak.speak("Ez diçim malê.", "ku+f2", 250)
    assert len(slow) > 1.5 * len(fast)
    assert len(other) != len(fast) or not np.array_equal(other, fast)


@pytest.mark.parametrize(
    ("lang", "text"), [("am", "ሰላም ነው"), ("ku", "roj baş"), ("qaa", "bado kemi"), ("de", "guten Tag")]
)
def test_every_language_has_a_voice_and_plain_ipa(lang, text):
    ipa = espeak.phonemes(text, espeak.voice_of(lang))
    assert len(ipa.split()) == 2
    assert re.search("[ˈˌ]", ipa)
    assert not re.search(r"[()\"`^\d]", ipa)


def test_ipa_keeps_clause_marks_and_only_those():
    assert re.sub(r"[^.,?!;:]", "", espeak.phonemes("Hello, world! It is 3.5: yes; no?", "en-us")) == ",!:;?"
    assert re.sub(r"[^.,?!;:]", "", espeak.phonemes("ሰላም፣ ደህና ነህ፧ ነኝ፤ ጣለ።", "am")) == ",?;."
    assert espeak.phonemes("", "en-us") == ""


def test_ipa_reads_every_clause():
    many = espeak.phonemes("one - two - three. four\nfive " * 20, "en-us")
    assert many.count("fˈaɪv") == 20


def test_ipa_has_no_language_flags_and_no_espeak_notation():
    assert "(" not in espeak.phonemes("ኮምፒዩተር computer ነው", "am")
    assert espeak.phonemes("ጣለ", "am").startswith("tʼ")
    assert "ʉ" in espeak.phonemes("люблю", "ru")


@pytest.mark.parametrize(
    ("text", "voice", "wpm", "said"),
    [
        ("a", "xx-none", 150, "no voice 'xx-none'"),
        ("a", "en-us+zz", 150, "no voice variant 'zz'"),
        (" ", "en-us", 150, "nothing to speak"),
        ("a\0b", "en-us", 150, "zero byte"),
        ("a", "en-us", 20, "80 to 450"),
    ],
)
def test_what_cannot_be_spoken_is_an_error(text, voice, wpm, said):
    with pytest.raises(espeak.EspeakError, match=said):
        espeak.speak(text, voice, wpm)


def test_speech_without_an_end_is_cut_and_reported(monkeypatch):
    monkeypatch.setattr(espeak, "LEAD_SECONDS", 0)
    monkeypatch.setattr(espeak, "CHARACTER_SECONDS", 0.01)
    with pytest.raises(espeak.EspeakError, match="does not stop"):
        espeak.speak("Hello world, how are you?", "en-us")


def test_missing_library_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(espeak.Engine, "current", None)
    monkeypatch.setitem(__import__("sys").modules, "espeakng_loader", None)
    with pytest.raises(espeak.EspeakError, match=r"pip install 'ttslib\[espeak\]'"):
        espeak.version()


def test_voices_and_version():
    assert espeak.voices()["am"] == "Amharic"
    assert set(espeak.VOICES.values()) <= set(espeak.voices())
    assert re.fullmatch(r"1\.\d+.*", espeak.version())


# --- the corpus -------------------------------------------------------------------------------------------------------


def spoken(folder, lang, **more):
    found = list(read(Corpus(source="espeak", **more), lang, folder))
    return [item for item in found if isinstance(item, Clip)], [item for item in found if isinstance(item, Dropped)]


def test_corpus_is_labelled_synthetic_and_written_once(tmp_path):
    clips, drops = spoken(tmp_path, "am", sentences=4)
    assert (len(clips), drops) == (4, [])
    assert {(c.source, c.speaker, c.licence) for c in clips} == {
        ("espeak (synthetic)", "espeak", "synthetic, sentences CC0-1.0")
    }
    assert all(clip.text and not clip.text.startswith("#") for clip in clips)
    assert audio.load(clips[0].audio)[1] == 22050
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.wav")}
    assert len(written) == 4
    assert spoken(tmp_path, "am", sentences=4)[0] == clips
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.wav")} == written
    faster, _ = spoken(tmp_path, "am", sentences=4, words_per_minute=250)
    assert not {clip.audio for clip in faster} & set(written), "another rate is another recording"


def test_corpus_deals_sentences_to_voices_in_turn(tmp_path):
    clips, _ = spoken(tmp_path, "qaa", sentences=5, voices=["f2", "m3"])
    assert [clip.speaker for clip in clips] == ["f2", "m3", "f2", "m3", "f2"]


def test_corpus_speaks_the_normalised_text_and_drops_with_reasons(tmp_path, monkeypatch):
    (tmp_path / "en.txt").write_text("# comment\nI have 3 cats.\n\nI have 3 cats.\n…\n", encoding="utf-8")
    monkeypatch.setattr(reader, "SENTENCES", tmp_path)
    said = []
    speak = espeak.speak
    monkeypatch.setattr(espeak, "speak", lambda text, *rest: said.append(text) or speak(text, *rest))
    monkeypatch.setattr("ttslib.text.normalise", lambda text, lang: text.replace("3", "three").strip("…"))
    clips, drops = spoken(tmp_path / "made", "en")
    assert (said, [clip.text for clip in clips]) == (["I have three cats."], ["I have 3 cats."])
    assert [(drop.reason, drop.where.rsplit(":", 1)[1]) for drop in drops] == [
        ("duplicate id", "4"),
        ("empty text", "5"),
    ]


def test_corpus_errors(tmp_path):
    with pytest.raises(CorpusError, match=r"no sentences for sw.*am"):
        spoken(tmp_path, "sw")
    with pytest.raises(CorpusError, match="variant 'nobody'"):
        spoken(tmp_path, "am", voices=["nobody"])
