"""Speech as it comes: the first chunk is there before the rest is computed, and what is said is what is said at once."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from ttslib import audio, params, streaming
from ttslib.__main__ import main
from ttslib.systems import system_class
from ttslib.systems.pocket.wording import sentences

TEXT = "bado kemi. talu bado? kemi talu."


@pytest.fixture(scope="module")
def system(spoken):
    p = params.load("qaa", tracking="disabled", device="cpu", threads=1)
    made = system_class("acoustic").fresh(p, spoken.split("train"))
    made.net.mel_mean.fill_(-3.0)  # loud enough to be heard, and too loud here and there
    return made


@pytest.fixture
def asked(system, monkeypatch):
    """The texts that it was made to speak, as they are asked for."""
    found, speak = [], system.synthesize
    monkeypatch.setattr(system, "synthesize", lambda text, **how: found.append(text) or speak(text, **how))
    return found


def test_what_cannot_stream_comes_sentence_by_sentence(system, asked):
    assert not streaming.streams(system)
    chunks = streaming.stream(system, TEXT, seed=3)
    first = next(chunks)
    assert asked == ["bado kemi."], "nothing else is computed yet"
    rest = list(chunks)
    assert asked == ["bado kemi.", "talu bado?", "kemi talu."] and len(rest) == 2
    assert first.equal(system.synthesize("bado kemi.", seed=3)) and rest[1].equal(
        system.synthesize("kemi talu.", seed=3)
    )
    (one,) = streaming.stream(system, "bado kemi", seed=3, speaking_rate=2.0)
    assert one.equal(system.synthesize("bado kemi", seed=3, speaking_rate=2.0))
    asked.clear()
    assert streaming.first_audio(system, TEXT) > 0 and asked == ["bado kemi."]


def test_sentences_end_at_the_marks_of_every_script():
    assert sentences("ሰላም ነው። እንዴት ነህ? «Xêr e!» 1.5 tiştek.") == ["ሰላም ነው።", "እንዴት ነህ?", "«Xêr e!»", "1.5 tiştek."]
    assert sentences("Baş e") == ["Baş e"] and sentences(" ... ") == []


def test_a_file_grows_while_it_is_spoken(system, tmp_path, capsys):
    file = tmp_path / "new" / "a.wav"
    with streaming.sink(file, system.rate) as write:
        for number, chunk in enumerate(streaming.stream(system, TEXT), 1):
            write(streaming.pcm(chunk))
            if number == 2:
                half = soundfile.info(file).frames
    whole, rate = soundfile.read(file, dtype="int16")
    assert rate == system.rate and 0 < half < len(whole)
    assert np.array_equal(whole, streaming.pcm(torch.cat(list(streaming.stream(system, TEXT)))))
    assert capsys.readouterr().out.strip() == str(file)
    with pytest.raises(audio.AudioError, match=r"call it \.wav"), streaming.sink(tmp_path / "a.flac", 16000):
        pass


def test_louder_samples_are_clipped_not_wrapped():
    assert streaming.pcm(torch.tensor([0.0, 1.0, 2.5, -3.0, 0.5])).tolist() == [0, 32767, 32767, -32767, 16384]


def test_the_verb_streams_to_a_file_and_to_stdout(system, tmp_path, capsys, monkeypatch):
    voice = str(system.export(tmp_path / "voice"))
    assert main(["speak", voice, "--text", TEXT, "--stream", "--out", str(tmp_path / "a.wav")]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(tmp_path / "a.wav")
    assert "sentence by sentence: first audio after" in said.err and "speech in" in said.err
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", SimpleNamespace(buffer=raw))
    assert main(["speak", voice, "--text", TEXT, "--stream", "--out", "-"]) == 0
    monkeypatch.undo()
    samples = np.frombuffer(raw.getvalue(), dtype="<i2")
    assert len(samples) > 1000 and np.array_equal(samples, soundfile.read(tmp_path / "a.wav", dtype="int16")[0])


def test_a_stream_is_of_one_text(system, tmp_path, capsys):
    voice = str(system.export(tmp_path / "voice"))
    (tmp_path / "texts.txt").write_text(TEXT)
    given = ["speak", voice, "--file", str(tmp_path / "texts.txt"), "--stream", "--out", str(tmp_path / "out")]
    assert main(given) == 1
    assert "give it as --text" in capsys.readouterr().err and not (tmp_path / "out").exists()
