"""Audio in, audio out: files of every kind, mels as librosa computes them, Griffin-Lim that can be repeated."""

import errno
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from ttslib import audio
from ttslib.audio import AudioError


def tone(seconds: float, rate: int, hz: float = 440.0, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.fixture(scope="module")
def speech(spoken) -> torch.Tensor:
    """One recorded sentence at 16 kHz."""
    wav, _ = audio.load(spoken.audio(max(spoken.rows, key=lambda row: row.seconds)), 16000)
    return torch.from_numpy(wav)


def test_stereo_is_averaged_and_the_rate_is_the_files_own(tmp_path):
    left, right = tone(0.2, 44100), tone(0.2, 44100, level=0.1)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], 1), 44100, subtype="FLOAT")
    wav, rate = audio.load(tmp_path / "a.wav")
    assert (rate, wav.dtype, wav.flags.c_contiguous) == (44100, np.float32, True)
    assert wav == pytest.approx((left + right) / 2, abs=1e-7)


@pytest.mark.parametrize(("source", "target"), [(8000, 16000), (22050, 16000), (48000, 16000), (16000, 22050)])
def test_another_rate_is_resampled_without_changing_the_sound(tmp_path, source, target):
    soundfile.write(tmp_path / "a.wav", tone(1, source), source, subtype="FLOAT")
    wav, rate = audio.load(tmp_path / "a.wav", target)
    assert (rate, wav.ndim) == (target, 1)
    assert len(wav) == pytest.approx(target, abs=1)
    middle = slice(target // 10, -target // 10)
    assert wav[middle] == pytest.approx(tone(1, target)[: len(wav)][middle], abs=5e-3)


def test_frequencies_above_half_the_new_rate_are_removed_not_folded():
    assert np.abs(audio.resample(tone(1, 48000, hz=11000), 48000, 16000)[800:-800]).max() < 0.01


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [("none.wav", None, "no such file"), ("empty.wav", b"", "is empty"), ("text.wav", b"hello" * 99, "soundfile: ")],
)
def test_what_cannot_be_decoded_is_named(tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(AudioError, match=f"{name}: .*{said}"):
        audio.load(tmp_path / name)


@pytest.mark.parametrize(("suffix", "error_db"), [(".wav", -70), (".flac", -70), (".mp3", -20), (".ogg", -12)])
def test_what_is_saved_is_what_is_loaded(tmp_path, speech, suffix, error_db):
    path = audio.save(tmp_path / "deep" / f"a{suffix}", speech, 16000)
    wav, rate = audio.load(path)
    assert rate == 16000
    assert len(wav) >= len(speech)  # MP3 ends in whole frames
    wrong = wav[: len(speech)] - speech.numpy()
    assert 10 * np.log10(np.square(wrong).mean() / np.square(speech.numpy()).mean()) < error_db


def test_too_loud_is_scaled_down_not_clipped(tmp_path):
    loud = tone(0.1, 16000, level=4.0)
    wav, _ = audio.load(audio.save(tmp_path / "a.wav", loud, 16000))
    assert wav == pytest.approx(loud / np.abs(loud).max(), abs=1e-4)


@pytest.mark.parametrize("wav", [np.zeros((2, 100)), np.array([0.0, np.nan]), np.array([np.inf])])
def test_only_finite_mono_is_saved(tmp_path, wav):
    with pytest.raises(AudioError, match="expected finite mono samples"):
        audio.save(tmp_path / "a.wav", wav, 16000)
    assert not (tmp_path / "a.wav").exists()


def test_embedded_bytes_are_a_playable_file(speech):
    data = audio.encoded(speech, 16000)
    wav, rate = soundfile.read(io.BytesIO(data))
    assert rate == 16000
    assert len(data) < len(speech)  # less than half of 16 bits a sample
    assert np.corrcoef(wav[: len(speech)], speech)[0, 1] > 0.99


def test_speech_span_keeps_the_sound_and_its_margin():
    rate = 16000
    noise = 1e-4 * np.random.default_rng(0).normal(size=2 * rate).astype(np.float32)
    noise[8000:24000] += tone(1, rate)
    start, end = audio.speech_span(noise, rate, below=40, keep=0.1)
    assert start == pytest.approx(0.4, abs=0.011)
    assert end == pytest.approx(1.6, abs=0.011)
    assert audio.speech_span(noise, rate, below=40, keep=10) == (0.0, 2.0)


@pytest.mark.parametrize("wav", [np.zeros(1000, np.float32), np.zeros(0, np.float32)])
def test_silence_has_no_span(wav):
    assert audio.speech_span(wav, 16000, 40, 0.1) == (0.0, 0.0)


@pytest.mark.parametrize(("rate", "window", "hop", "mels"), [(16000, 1024, 256, 80), (22050, 512, 128, 40)])
def test_log_mel_is_librosas(speech, rate, window, hop, mels):
    import librosa

    found = audio.log_mel(speech, rate, window, hop, mels)
    assert found.shape == (len(speech) // hop + 1, mels)
    theirs = librosa.feature.melspectrogram(
        y=speech.numpy(), sr=rate, n_fft=window, hop_length=hop, n_mels=mels, power=1.0, pad_mode="reflect"
    )
    assert found.T.numpy() == pytest.approx(np.log(np.maximum(theirs, 1e-5)), abs=2e-3)
    assert audio.log_mel(torch.zeros(4096), rate).unique().item() == pytest.approx(np.log(1e-5))


def test_griffin_lim_repeats_for_a_seed_and_leaves_the_random_state_alone(speech):
    mel = audio.log_mel(speech[:16000], 16000)
    before = torch.get_rng_state()
    first, second, other = (audio.griffin_lim(mel, 16000, iterations=3, seed=s) for s in (1, 1, 2))
    assert torch.get_rng_state().equal(before)
    assert first.equal(second)
    assert not first.equal(other)
    assert (first.ndim, len(first)) == (1, (len(mel) - 1) * 256)
    assert first.isfinite().all()
    assert first.abs().max() <= 1


@pytest.mark.parametrize("frames", range(1, 8))
@pytest.mark.parametrize(("window", "hop"), [(1024, 256), (512, 128), (1024, 100)])
def test_a_few_frames_are_a_few_samples(frames, window, hop):
    mel = torch.full((frames, 80), -2.0)
    wav = audio.griffin_lim(mel, 16000, window, hop, iterations=2)
    assert len(wav) == (frames - 1) * hop
    assert wav.isfinite().all()


def test_griffin_lim_brings_the_mel_back(speech):
    mel = audio.log_mel(speech, 16000)
    loud = mel > mel.max() - 7  # 60 dB

    def error(iterations: int) -> float:
        again = audio.log_mel(audio.griffin_lim(mel, 16000, iterations=iterations), 16000)
        return (again - mel)[loud].abs().mean().item()

    assert error(30) < 0.15
    assert error(30) < 0.6 * error(1)


@pytest.mark.parametrize("name", ["a.xyz", "a"])
def test_a_format_nobody_writes_is_refused_before_anything_is_written(tmp_path, name):
    with pytest.raises(audio.AudioError, match=r"call it \.wav or \.flac"):
        audio.save(tmp_path / name, np.zeros(10, np.float32), 16000)
    assert not [*tmp_path.iterdir()]


def test_a_recording_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    path = audio.save(tmp_path / "a.wav", np.zeros(1000, np.float32), 16000)
    before, whole = path.read_bytes(), Path.write_bytes

    def half(file, content):
        whole(file, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="No space left"):
        audio.save(path, np.ones(2000, np.float32), 16000)
    assert path.read_bytes() == before
    assert [*tmp_path.iterdir()] == [path]
