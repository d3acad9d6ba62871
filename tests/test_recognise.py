"""A recogniser of ours learns the toy language in seconds from voices it is not judged on, hears the corpus's, and names
every planted fault; those of Transformers are called as Transformers calls them, on small random checkpoints."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from ttslib import espeak, intervals, manifest, params, recognise, transcripts
from ttslib.evaluate.understood import understood
from ttslib.recognise import RATE, RecogniserError, ctc, synthetic, training
from ttslib.speech import recording, vocoded


def brief(steps: int) -> list[str]:
    return [f"evaluate.recogniser_steps={steps}", "evaluate.recogniser_minutes=0.05"]


QUIET = {"tracking": "disabled", "device": "cpu", "threads": 1}


@pytest.fixture(scope="module")
def toy():
    pytest.importorskip("espeakng_loader")
    return params.load("qaa", **QUIET)


@pytest.fixture(scope="module")
def small():
    """A network of a third of the size: 20 s of training instead of a minute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "WIDTH", 96)
        patch.setattr(training, "DEPTH", 4)
        yield


@pytest.fixture(scope="module")
def pairs(toy, spoken):
    return list(synthetic.pairs(toy, spoken, "qaa", 150, seed=0))


@pytest.fixture(scope="module")
def trained(small, pairs):
    return training.train(pairs, "qaa", steps=250)


@pytest.fixture(scope="module")
def clips(spoken):
    """`(text, (samples,) at 16 kHz)` of the corpus, whose voice taught the recogniser nothing."""
    return [(row.raw, recording(spoken, row, RATE)) for row in spoken.rows]


# --- Sentences and voices ---------------------------------------------------------------------------------------------


def test_the_teacher_is_no_copy_of_what_is_judged(toy, spoken, pairs):
    held = {transcripts.bare(row.text, "qaa") for row in spoken.rows if row.split != "train"}
    said = [line for _, line in pairs]
    assert len(held) == len(spoken.split("val")) + len(spoken.split("test")) and not held & set(said)
    assert len(set(said)) > 140
    voices = synthetic.others("qaa", ["f1"])
    assert "eo" not in voices and "eo+f1" not in voices and "eo+f4" in voices


def test_a_held_out_sentence_is_never_said(toy, spoken, monkeypatch):
    """The writer is made to say a held-out sentence every other time."""
    held = spoken.split("test")[0].text
    written = synthetic.Sentences.sentence
    turns = iter(range(1000))
    monkeypatch.setattr(synthetic.Sentences, "sentence", lambda self: held if next(turns) % 2 else written(self))
    assert transcripts.bare(held, "qaa") not in {line for _, line in synthetic.pairs(toy, spoken, "qaa", 6, seed=1)}
    monkeypatch.setattr(synthetic, "pairs", lambda *_: [(torch.randn(16000), transcripts.bare(held, "qaa"))] * 3)
    with pytest.raises(RecogniserError, match="1 held-out sentences are among those to learn from"):
        training.for_language(toy, spoken, "qaa")


def test_made_sentences_follow_the_seed_and_speak_other_letters_too(toy, spoken):
    def lines(seed):
        return [line for _, line in synthetic.pairs(toy, spoken, "qaa", 8, seed)]

    assert lines(3) == lines(3) != lines(4)
    words = {word for row in spoken.split("train") for word in transcripts.bare(row.text, "qaa").split()}
    writer = synthetic.Sentences([row.text for row in spoken.split("train")], "qaa", synthetic.random.Random(0))
    made = {writer.made_up() for _ in range(50)}
    assert len(made - words) > 40 and all(2 <= len(word) <= 12 for word in made)


def test_every_process_hears_the_same_voices(spoken):
    """Variants with breath speak with other noise in every process: none of them may teach."""
    script = (
        "import hashlib, sys; from ttslib import espeak; told = hashlib.sha256()\n"
        "for variant in sys.argv[1:]: told.update(espeak.speak('mita loke dubi', f'eo+{variant}')[0].tobytes())\n"
        "print(told.hexdigest())"
    )

    def told(*variants):
        run = subprocess.run([sys.executable, "-c", script, *variants], capture_output=True, text=True, check=True)
        return run.stdout

    assert told(*synthetic.VARIANTS) == told(*synthetic.VARIANTS)


def test_without_words_or_voices_there_is_nothing_to_say():
    with pytest.raises(RecogniserError, match="nothing to make new ones of"):
        synthetic.Sentences(["bado bado."], "qaa", synthetic.random.Random(0))
    with pytest.raises(RecogniserError, match="no variant is left"):
        synthetic.others("qaa", synthetic.VARIANTS)


# --- The network ------------------------------------------------------------------------------------------------------


def test_it_understands_a_voice_that_it_never_heard(trained, clips):
    speech = {str(i): clip for i, clip in enumerate(clips)}
    copies = {key: (line, vocoded(wav, RATE)) for key, (line, wav) in list(speech.items())[:8]}
    card = understood(trained, {"recordings": speech, "vocoder": copies}, RATE, "qaa")
    heard, copy = card["recordings"], card["vocoder"]
    assert heard["cer"]["value"] < 0.08 and heard["cer"]["high"] < 0.15 and heard["cer"]["count"] == len(clips)
    assert sum(heard["faults"].values()) <= 1 and "cer_minus_floor" not in heard
    errors = [s["cer"] for s in heard["sentences"]]
    assert heard["cer"] == intervals.rate(*zip(*errors, strict=True))._asdict()
    same = intervals.rate(*zip(*errors[:8], strict=True)).value  # the floor of those eight sentences
    assert copy["cer"]["value"] < 0.25 and copy["cer_minus_floor"] == copy["cer"]["value"] - same


def test_every_planted_fault_is_named(trained, clips):
    """Of eight good clips: silence, a beginning said thrice, a lost end, another text, another language, no end."""
    whole = [clip for clip in clips if len(clip[0].split()) >= 3][:8]
    russian, rate = espeak.speak("Вчера вечером шёл сильный дождь.", "ru")
    other = espeak_at(russian, rate)

    def of(line, wav, lasts):
        heard = trained.transcribe(wav, RATE, "qaa")
        return transcripts.faults(line, heard, np.asarray(wav), RATE, "qaa", lasts)

    for (line, wav), (another, _) in zip(whole, [*whole[1:], whole[0]], strict=True):
        lasts, part = len(wav) / RATE, wav[: round(0.45 * len(wav))]
        assert of(line, wav, lasts) == []
        assert of(line, torch.zeros_like(wav), lasts) == ["silence"]
        assert of(line, 1e-4 * torch.randn_like(wav), lasts) == ["silence"]
        assert "repeats" in of(line, torch.cat([part, part, wav]), lasts), line
        assert of(line, wav[: round(0.6 * len(wav))], lasts) == ["cut ending"], line
        assert of(another, wav, lasts) == ["wrong text"], line
        assert "wrong text" in of(line, other, lasts), line
        assert "no stop" in of(line, torch.cat([wav, *[wav[-3000:]] * 30]), lasts), line


def espeak_at(wav: np.ndarray, rate: int) -> torch.Tensor:
    from ttslib import audio

    return torch.from_numpy(audio.resample(wav, rate, RATE))


def test_steps_and_seed_decide_the_weights(small, pairs):
    few = pairs[:12]
    first, same, other = (training.train(few, "qaa", steps=3, seed=seed) for seed in (1, 1, 2))
    assert first.hash == same.hash != other.hash and first.about["data"] == other.about["data"]
    before = torch.get_rng_state()
    training.train(few, "qaa", steps=1)
    assert torch.equal(before, torch.get_rng_state())


def test_a_time_budget_is_kept(small, pairs):
    made = training.train(pairs[:40], "qaa", minutes=0.03)
    assert 0.02 < made.about["minutes"] < 0.2 and made.about["steps"] > 1
    with pytest.raises(RecogniserError, match=r"not one step in 0\.0 minutes"):
        training.train(pairs[:2], "qaa", minutes=0.0)


def test_a_corpus_teaches_by_its_own_recordings(small, spoken, outputs):
    """Of any corpus but espeak's; here the toy's own clips as if they were recorded."""
    p = params.load("qaa", ["corpus.source=custom", "corpus.path=/nowhere", *brief(2)], **QUIET)
    made = training.for_language(p, spoken, "qaa")
    count = len(spoken.split("train"))
    assert f"{count} training recordings of this corpus" in made.trained_on
    seconds = sum(row.seconds for row in spoken.split("train"))
    assert made.about["speech_minutes"] == pytest.approx(seconds / 60, abs=0.02)


def test_padding_changes_nothing(trained, clips):
    mels = [ctc.features(wav) for _, wav in clips[:3]]
    lengths = torch.tensor([len(one) for one in mels])
    with torch.no_grad():
        batch, frames = trained.net(torch.nn.utils.rnn.pad_sequence(mels, batch_first=True), lengths)
        for i, one in enumerate(mels):
            alone, count = trained.net(one[None], lengths[i : i + 1])
            assert count == frames[i] == -(-len(one) // trained.net.stride)
            torch.testing.assert_close(batch[i, : int(count)], alone[0], rtol=1e-4, atol=1e-4)


def test_a_syllable_is_its_consonant_and_its_vowel():
    assert ctc.parts("ሚ") == ("M", "-I") and ctc.parts("ቋ") == ("QW", "-AA") and ctc.parts("m") == ctc.parts(" ") == ()
    net = ctc.Net([" ", "ማ", "ሚ", "ሲ", "m"], 8, 1, 2)
    assert net.shared.shape == (4, 8) and net.belongs.sum(1).tolist() == [0, 0, 2, 2, 2, 0]


def test_clips_too_short_for_their_texts_are_set_aside_or_refused(small, pairs):
    silent = (torch.randn(1600), "bado kemi talu sone riku gila mobe natu rosi tuka deno")
    made = training.train([*pairs[:60], silent], "qaa", steps=1)
    assert made.about["set_aside"] == 1
    with pytest.raises(RecogniserError, match="too short for their texts"):
        training.train([silent] * 3, "qaa", steps=1)
    with pytest.raises(RecogniserError, match="no clips with letters"):
        training.train([(torch.randn(16000), "...")], "qaa", steps=1)
    with pytest.raises(RecogniserError, match="minutes or steps"):
        training.train(pairs[:2], "qaa")
    slow, fast = (torch.zeros(200, 80), torch.arange(40)), (torch.zeros(200, 80), torch.arange(75))
    assert training.stride_of([slow], "qaa") == 3 and training.stride_of([fast], "qaa") == 2


# --- Files ------------------------------------------------------------------------------------------------------------


def test_a_language_is_trained_once_and_found_again(small, outputs, spoken):
    toy = params.load("qaa", brief(2), **QUIET)
    made = training.for_language(toy, spoken, "qaa")
    found = manifest.prepare(toy)
    assert made.about["corpus"] == found.digest and "25 made sentences by 18 variants" in made.trained_on
    where = next((outputs / "qaa" / "recognisers").iterdir())
    again = training.for_language(toy, found, "qaa")
    assert again.hash == made.hash and again.about == made.about and len(list(where.parent.iterdir())) == 1
    assert recognise.of(f"ctc={where}").hash == made.hash
    assert training.for_language(params.load("qaa", brief(3), **QUIET), found, "qaa").hash != made.hash
    two = replace(found, rows=(*found.rows, replace(found.rows[0], id="other", lang="am")))
    assert training.for_language(toy, two, "qaa").hash == made.hash, "clips of other languages teach nothing"


def test_a_saved_recogniser_hears_the_same(trained, clips, tmp_path):
    read = recognise.of(f"ctc={trained.save(tmp_path / 'toy')}")
    assert isinstance(read, recognise.Recogniser) and recognise.identity(read) == recognise.identity(trained)
    for _, wav in clips[:3]:
        assert read.transcribe(wav, RATE, "qaa") == trained.transcribe(wav.numpy(), RATE, "qaa") != ""
    assert read.transcribe(torch.zeros(0), RATE, "qaa") == ""
    with pytest.raises(RecogniserError, match="does not know am; it knows qaa"):
        read.transcribe(clips[0][1], RATE, "am")
    with pytest.raises(RecogniserError, match="finite mono samples"):
        read.transcribe(torch.zeros(2, 100), RATE, "qaa")


def test_damaged_files_are_refused(trained, tmp_path):
    folder = trained.save(tmp_path / "toy")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-4] + b"\1\1\1\1")
    with pytest.raises(RecogniserError, match=r"not those that recogniser\.json was written with"):
        recognise.of(f"ctc={folder}")
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RecogniserError, match="damaged or incomplete"):
        recognise.of(f"ctc={folder}")
    told = json.loads((folder / "recogniser.json").read_text())
    (folder / "recogniser.json").write_text(json.dumps(told | {"format": 99}))
    with pytest.raises(RecogniserError, match="format 99"):
        recognise.of(f"ctc={folder}")


@pytest.mark.parametrize("spec", ["", "ctc", "ctc=", "whisper=tiny", "openai/whisper-tiny"])
def test_a_recogniser_must_be_named(spec):
    with pytest.raises(RecogniserError, match="names no recogniser"):
        recognise.of(spec)


def test_a_folder_without_a_recogniser_is_refused(tmp_path):
    with pytest.raises(RecogniserError, match=r"no recogniser\.json"):
        recognise.of(f"ctc={tmp_path}")
    with pytest.raises(RecogniserError, match=r"no config\.json with weights"):
        recognise.of(f"transformers={tmp_path}")
    with pytest.raises(RecogniserError, match="no hub id"):
        recognise.of("transformers=./nowhere at all")
