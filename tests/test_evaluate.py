"""Distances measure what they name: nothing between equals, a known pitch, a known duration."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ttslib import audio, params, rehearsal
from ttslib.evaluate import distances
from ttslib.evaluate.distances import compare, sound

RATE = 16000


def vowel(seconds: float, f0: float, formants=(700.0, 1200.0, 2600.0)) -> torch.Tensor:
    """Harmonics of `f0` (Hz) under formant-shaped levels, with a slow swell: voiced throughout."""
    time = np.arange(round(seconds * RATE)) / RATE
    wav = np.zeros_like(time)
    for k in range(1, int(7000 / f0)):
        level = sum(1 / (1 + ((k * f0 - f) / 120) ** 2) for f in formants) + 0.003
        wav += level * np.sin(2 * np.pi * k * f0 * time + k)
    wav *= 0.6 + 0.4 * np.sin(2 * np.pi * 1.5 * time)
    return torch.from_numpy((0.5 * wav / np.abs(wav).max()).astype(np.float32))


@pytest.fixture(scope="module")
def speech(spoken) -> torch.Tensor:
    wav, _ = audio.load(spoken.audio(spoken.rows[0]), RATE)
    return torch.from_numpy(wav)


def test_equal_recordings_have_no_distance(speech):
    equal = {"mcd_db": 0.0, "duration_error": 0.0, "length_ratio": 1.0, "f0_cents": 0.0, "voicing_error": 0.0}
    assert compare(sound(speech), sound(speech)) == equal


@pytest.mark.parametrize("cents", [-300, 200])
def test_a_known_pitch_is_measured_and_the_vowel_stays_near(cents):
    scores = compare(sound(vowel(1.5, 140.0)), sound(vowel(1.5, 140.0 * 2 ** (cents / 1200))))
    assert scores["f0_cents"] == pytest.approx(abs(cents), abs=25)
    assert scores["duration_error"] == 0.0
    other = compare(sound(vowel(1.5, 140.0)), sound(vowel(1.5, 140.0, formants=(300.0, 2300.0, 3000.0))))
    assert other["mcd_db"] > scores["mcd_db"] > 0
    assert other["f0_cents"] < 25


@pytest.mark.parametrize(("seconds", "error"), [(2.0, 1 / 3), (1.0, 1 / 3), (1.5, 0.0)])
def test_a_known_duration_is_measured_and_warped_away(seconds, error):
    scores = compare(sound(vowel(1.5, 140.0)), sound(vowel(seconds, 140.0)))
    assert scores["duration_error"] == pytest.approx(error, abs=1e-3)
    assert scores["f0_cents"] < 25


def test_pitch_is_in_hertz_and_nan_in_silence():
    f0 = distances.pitch(torch.cat([torch.zeros(RATE), vowel(1.0, 200.0)]))
    assert np.isnan(f0[:50]).all()
    assert np.nanmedian(f0) == pytest.approx(200, rel=0.01)


def test_without_common_voiced_frames_there_is_no_pitch_error():
    noise = 0.1 * torch.randn(RATE, generator=torch.Generator().manual_seed(0))
    scores = compare(sound(vowel(1.0, 140.0)), sound(noise))
    assert scores["f0_cents"] is None
    assert scores["mcd_db"] > 5
    assert scores["voicing_error"] > 0.8


def test_half_a_voice_is_half_a_voicing_error():
    whole = vowel(1.0, 140.0)
    half = torch.cat([whole[: RATE // 2], 0.02 * torch.randn(RATE // 2, generator=torch.Generator().manual_seed(0))])
    one, other = sound(whole), sound(half)
    straight = float((np.isfinite(one.f0) != np.isfinite(other.f0)).mean())
    assert straight == pytest.approx(0.5, abs=0.1), "pYIN parts the two halves"
    assert 0.2 < compare(one, other)["voicing_error"] < 0.7


def test_any_rate_is_heard_at_16_khz():
    wav = vowel(1.0, 140.0)
    at = torch.from_numpy(audio.resample(wav.numpy(), RATE, 24000))
    told = compare(sound(wav), sound(at, 24000))
    assert told["length_ratio"] == pytest.approx(1, abs=1e-3) and told["f0_cents"] < 5 and told["mcd_db"] < 1


def test_distortion_is_the_formula():
    a, b = np.zeros((2, 13)), np.zeros((2, 13))
    b[1, 3] = 0.5
    path = np.array([[0, 0], [1, 1]])
    assert distances.mcd(a, b, path) == pytest.approx(10 / math.log(10) * math.sqrt(2 * 0.25) / 2)


def test_warping_walks_both_from_end_to_end_in_single_steps(speech):
    a, b = distances.cepstra(speech), distances.cepstra(speech[: len(speech) * 2 // 3])
    path = distances.warp(a, b)
    assert path[0].tolist() == [0, 0]
    assert path[-1].tolist() == [len(a) - 1, len(b) - 1]
    steps = np.diff(path, axis=0)
    assert set(map(tuple, steps.tolist())) <= {(0, 1), (1, 0), (1, 1)}


def test_cepstra_do_not_hear_loudness(speech):
    loud = speech + 0.01 * torch.randn(len(speech), generator=torch.Generator().manual_seed(0))
    assert distances.cepstra(loud).shape == (len(speech) // 256 + 1, 13)
    assert distances.cepstra(loud * 0.5) == pytest.approx(distances.cepstra(loud), abs=1e-2)


def test_fixed_sentences_have_no_letter_that_the_training_lacks(spoken):
    """A voice of sixteen clips has not met every letter; where no validation sentence is left, it speaks its own."""
    p = params.load("qaa", {"evaluate.small": 2})
    plain = rehearsal.fixed_sentences(p, spoken)
    assert {one.row.split for one in plain} == {"val"}, "the test split chooses nothing"
    first = plain[0].row
    strange = [replace(r, text=r.text + "\u1230") if r.id == first.id else r for r in spoken.rows]
    chosen = rehearsal.fixed_sentences(p, replace(spoken, rows=tuple(strange)))
    assert first.id not in [one.id for one in chosen] and chosen[0] == plain[1]
    all_strange = [r if r.split == "train" else replace(r, text=r.text + "\u1230") for r in spoken.rows]
    chosen = rehearsal.fixed_sentences(p, replace(spoken, rows=tuple(all_strange)))
    assert len(chosen) == 2 and {one.row.split for one in chosen} == {"train"}
    own = rehearsal.fixed_sentences(params.load("qaa", {"synthesis.sentences": ["bado."]}), spoken)[-1]
    assert (own.text, own.row, own.voice) == ("bado.", None, plain[0].voice)
