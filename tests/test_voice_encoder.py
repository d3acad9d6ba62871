"""The voice of T3: Chatterbox's encoder computes what the published package does; the statistics tell voices apart."""

import json

import official
import pytest
import torch
from safetensors.torch import save_file

from ttslib import audio, espeak, speech, voice_encoder
from ttslib.checkpoint import CheckpointError
from ttslib.dataset import BadClip
from ttslib.voice_encoder import MelStatistics, VoiceEncoder


@pytest.fixture(scope="module")
def clips(spoken):
    """Eight clips of real speech, about a second each, at 16 kHz."""
    return [speech.recording(spoken, row, 16000) for row in spoken.rows[:8]]


@pytest.fixture(scope="module")
def wavs(clips):
    silence = torch.zeros(9000)
    return {
        "below a frame of the trim": clips[0][3000:4500],
        "below a partial (1.6 s)": clips[1],
        "one partial and a bit": torch.cat(clips)[: int(1.6 * 16000) + 4000],
        "two partials": torch.cat(clips)[: int(1.6 * 16000) + 2 * 77 * 160 - 900],
        "long": torch.cat(clips * 4),
        "silence around": torch.cat([silence, 1e-4 * torch.sin(torch.arange(5000) * 0.3), clips[2], silence]),
    }


@pytest.fixture(scope="module")
def weights():
    """Of a random network whose embeddings are no constant: gates are wide open, half of the ReLUs too."""
    torch.manual_seed(3)
    made = VoiceEncoder()
    return {k: v * 3 if k.startswith("lstm.weight") else v for k, v in made.state_dict().items()}


@pytest.fixture(scope="module")
def ours(weights):
    return VoiceEncoder.of(weights, "the test's")


@pytest.fixture(scope="module")
def theirs(weights):
    official.chatterbox()
    from chatterbox.models.voice_encoder import VoiceEncoder as Official

    made = Official()
    made.load_state_dict(weights)
    return made.eval()


KINDS = (
    "below a frame of the trim", "below a partial (1.6 s)", "one partial and a bit", "two partials", "long",
    "silence around",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_are_those_of_the_published_package(ours, theirs, wavs, kind):
    wav = wavs[kind]
    expected = torch.from_numpy(theirs.embeds_from_wavs([wav.numpy()], 16000))[0]
    found = ours.embed(wav)
    assert found.shape == (256,) and found.dtype == torch.float32
    assert (found > 0).sum() > 20
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_the_parity_would_see_a_wrong_step(ours, wavs, monkeypatch):
    """Embeddings of this network do depend on what is compared above."""
    right = ours.embed(wavs["long"])
    for name, value in (("STEP", 80), ("TRIM_DB", 60.0), ("PARTIAL", 150)):
        wav = wavs["silence around" if name == "TRIM_DB" else "long"]
        before = right if name != "TRIM_DB" else ours.embed(wav)
        with monkeypatch.context() as patch:
            patch.setattr(voice_encoder, name, value)
            assert (ours.embed(wav) - before).abs().max() > 1e-4, name


def test_mels_and_trim_are_librosas(wavs):
    librosa = pytest.importorskip("librosa")
    for wav in wavs.values():
        cut, _ = librosa.effects.trim(wav.numpy(), top_db=20)
        assert torch.equal(voice_encoder.trimmed(wav), torch.from_numpy(cut))
        power = librosa.stft(wav.numpy(), n_fft=400, hop_length=160, pad_mode="reflect").__abs__() ** 2
        expected = librosa.filters.mel(sr=16000, n_fft=400, n_mels=40) @ power
        torch.testing.assert_close(voice_encoder.mel(wav).T, torch.from_numpy(expected), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_both_published_forms_load(weights, wavs, ours, tmp_path, suffix):
    file = tmp_path / f"ve{suffix}"
    save_file(weights, file) if suffix == ".safetensors" else torch.save(weights, file)
    loaded = VoiceEncoder.load(file)
    assert torch.equal(loaded.embed(wavs["two partials"]), ours.embed(wavs["two partials"]))
    assert loaded.hash == ours.hash != VoiceEncoder().hash
    assert not any(q.requires_grad for q in loaded.parameters())


def test_weights_that_do_not_fit_are_named(weights, tmp_path):
    others = {k: v for k, v in weights.items() if k != "proj.bias"} | {"lstm.odd": torch.ones(1)}
    others["proj.weight"] = torch.ones(192, 256)
    save_file(others, tmp_path / "ve.safetensors")
    with pytest.raises(CheckpointError, match=r"missing proj\.bias, unknown lstm\.odd, proj\.weight is \(192, 256\)"):
        VoiceEncoder.load(tmp_path / "ve.safetensors")
    for name, content in (("a.safetensors", b"\0" * 99), ("a.pt", b"\0" * 99), ("b.pt", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=name):
            VoiceEncoder.load(tmp_path / name)
    torch.save([torch.ones(2)], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="holds a list"):
        VoiceEncoder.load(tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="no such file"):
        VoiceEncoder.load(tmp_path / "gone.pt")


@pytest.mark.parametrize("kind", ["chatterbox-ve", "mel-statistics-256"])
def test_an_encoder_travels_as_json(ours, wavs, kind):
    made = ours if kind == "chatterbox-ve" else MelStatistics()
    again = voice_encoder.restore(json.loads(json.dumps(made.state())))
    assert (again.name, again.width, again.hash) == (kind, 256, made.hash)
    assert torch.equal(again.embed(wavs["long"]), made.embed(wavs["long"]))


def test_unknown_and_damaged_encoders_are_refused(ours):
    with pytest.raises(CheckpointError, match="is damaged"):
        voice_encoder.restore({"name": "chatterbox-ve", "weights": ours.state()["weights"][:-1000]})
    for state in ({"name": "x"}, MelStatistics().state() | {"hash": "older"}):
        with pytest.raises(CheckpointError, match="there are chatterbox-ve and"):
            voice_encoder.restore(state)


def test_what_has_no_voice_is_a_bad_clip(ours, weights, wavs):
    for encoder, least in ((ours, 200), (MelStatistics(), 512)):
        with pytest.raises(BadClip, match=f"needs more than {least}"):
            encoder.embed(torch.ones(least))
        with pytest.raises(BadClip, match="a voice"):
            encoder.embed(torch.ones(2, 8000))
        with pytest.raises(BadClip, match="not finite"):
            encoder.embed(torch.full((16000,), torch.nan))
    with pytest.raises(BadClip, match="no voice in it"):
        MelStatistics().embed(torch.zeros(16000))
    mute = {key: value - 99 if key == "proj.bias" else value for key, value in weights.items()}
    with pytest.raises(BadClip, match="makes nothing of it"):
        VoiceEncoder.of(mute, "no ReLU of it opens").embed(wavs["long"])


def test_statistics_tell_voices_apart_whatever_is_said_and_however_loud():
    """Two of espeak's voices, two sentences each: the same voice is nearer than the other, and loudness is nothing."""
    pytest.importorskip("espeakng_loader")
    said = {}
    for voice in ("en+m3", "en+f2"):
        for text in ("The river is wide and slow.", "My brother has bought seven goats."):
            samples, rate = espeak.speak(text, voice)
            said[voice, text] = torch.from_numpy(audio.resample(samples, rate, 16000))
    found = {key: MelStatistics().embed(wav) for key, wav in said.items()}
    for (voice, text), vector in found.items():
        assert vector.norm().item() == pytest.approx(1)
        torch.testing.assert_close(MelStatistics().embed(said[voice, text] * 0.25), vector, atol=1e-4, rtol=0)
        same = max(float(vector @ v) for (who, what), v in found.items() if who == voice and what != text)
        other = max(float(vector @ v) for (who, _), v in found.items() if who != voice)
        assert same > other + 0.01, (voice, text, same, other)
