"""The scorecard measures what it names: nothing between equals, a known pitch, a known duration, and NaN left out."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from ttslib import audio, evaluate, params, pipeline

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
    assert evaluate.compare(speech, speech) == {
        "mcd_db": 0.0,
        "duration_error": 0.0,
        "length_ratio": 1.0,
        "f0_cents": 0.0,
    }


@pytest.mark.parametrize("cents", [-300, 200])
def test_a_known_pitch_is_measured_and_the_vowel_stays_near(cents):
    scores = evaluate.compare(vowel(1.5, 140.0), vowel(1.5, 140.0 * 2 ** (cents / 1200)))
    assert scores["f0_cents"] == pytest.approx(abs(cents), abs=25)
    assert scores["duration_error"] == 0.0
    other = evaluate.compare(vowel(1.5, 140.0), vowel(1.5, 140.0, formants=(300.0, 2300.0, 3000.0)))
    assert other["mcd_db"] > scores["mcd_db"] > 0
    assert other["f0_cents"] < 25


@pytest.mark.parametrize(("seconds", "error"), [(2.0, 1 / 3), (1.0, 1 / 3), (1.5, 0.0)])
def test_a_known_duration_is_measured_and_warped_away(seconds, error):
    scores = evaluate.compare(vowel(1.5, 140.0), vowel(seconds, 140.0))
    assert scores["duration_error"] == pytest.approx(error, abs=1e-3)
    assert scores["f0_cents"] < 25


def test_pitch_is_in_hertz_and_nan_in_silence():
    f0 = evaluate.pitch(torch.cat([torch.zeros(RATE), vowel(1.0, 200.0)]))
    assert np.isnan(f0[:50]).all()
    assert np.nanmedian(f0) == pytest.approx(200, rel=0.01)


def test_without_common_voiced_frames_the_pitch_error_is_nan():
    noise = 0.1 * torch.randn(RATE, generator=torch.Generator().manual_seed(0))
    scores = evaluate.compare(vowel(1.0, 140.0), noise)
    assert math.isnan(scores["f0_cents"])
    assert scores["mcd_db"] > 5


def test_distortion_is_the_formula():
    a, b = np.zeros((2, 13)), np.zeros((2, 13))
    b[1, 3] = 0.5
    path = np.array([[0, 0], [1, 1]])
    assert evaluate.mcd(a, b, path) == pytest.approx(10 / math.log(10) * math.sqrt(2 * 0.25) / 2)


def test_warping_walks_both_from_end_to_end_in_single_steps(speech):
    a, b = evaluate.cepstra(speech), evaluate.cepstra(speech[: len(speech) * 2 // 3])
    path = evaluate.warp(a, b)
    assert path[0].tolist() == [0, 0]
    assert path[-1].tolist() == [len(a) - 1, len(b) - 1]
    steps = np.diff(path, axis=0)
    assert set(map(tuple, steps.tolist())) <= {(0, 1), (1, 0), (1, 1)}


def test_cepstra_do_not_hear_loudness(speech):
    loud = speech + 0.01 * torch.randn(len(speech), generator=torch.Generator().manual_seed(0))
    assert evaluate.cepstra(loud).shape == (len(speech) // 256 + 1, 13)
    assert evaluate.cepstra(loud * 0.5) == pytest.approx(evaluate.cepstra(loud), abs=1e-2)


def test_medians_leave_nan_out_and_count_no_text():
    sentences = [
        {"id": "a", "text": "x", "seconds": 1.0, "mcd_db": 4.0, "f0_cents": math.nan, "rtf": math.nan},
        {"id": "b", "text": "y", "seconds": 2.0, "mcd_db": 6.0, "f0_cents": 80.0, "rtf": math.nan},
        {"id": "c", "text": "z", "seconds": 3.0, "mcd_db": 9.0, "f0_cents": 120.0, "rtf": math.nan},
    ]
    found = evaluate.medians(sentences)
    assert found.keys() == {"mcd_db", "f0_cents", "rtf"}
    assert (found["mcd_db"], found["f0_cents"]) == (6.0, 100.0)
    assert math.isnan(found["rtf"])


@dataclass
class Parrot:
    """Says every sentence as it was recorded, a sixth longer for its silence at the end."""

    read: object
    rows: dict
    rate: int = RATE

    def synthesize(self, text, voice, lang):
        wav = self.read(self.rows[text])
        return torch.cat([wav, torch.zeros(len(wav) // 6)])


def test_a_scorecard_has_every_sentence_its_floor_and_how_many_were_left(spoken):
    def read(row):
        return torch.from_numpy(audio.load(spoken.audio(row), RATE)[0])

    rows = spoken.rows[:5]
    card = evaluate.scorecard(Parrot(read, {row.raw: row for row in rows}), rows, read, limit=3)
    assert (card["scored"], card["held_out"], len(card["sentences"])) == (3, 5, 3)
    chosen = [s["id"] for s in card["sentences"]]
    by_length = sorted(rows, key=lambda row: row.seconds)
    assert chosen == [by_length[i].id for i in (0, 2, 4)]
    assert card["median"]["duration_error"] == pytest.approx(1 / 6, abs=1e-3)
    assert card["median"]["f0_cents"] < 10
    assert 0 < card["median"]["floor_mcd_db"] < 8
    assert 0 < card["median"]["rtf"] < 1


def test_fixed_sentences_have_no_letter_that_the_training_lacks(spoken):
    """A voice of sixteen clips has not met every letter; where no held-out sentence is left, it speaks its own."""
    p = params.load("qaa")
    plain = pipeline.fixed_sentences(p, spoken)
    first = plain[0][3]
    strange = [replace(r, text=r.text + "\u1230") if r.id == first.id else r for r in spoken.rows]
    chosen = pipeline.fixed_sentences(p, replace(spoken, rows=tuple(strange)))
    assert first.id not in [row.id for *_, row in chosen] and chosen[0] == plain[1]
    all_strange = [r if r.split == "train" else replace(r, text=r.text + "\u1230") for r in spoken.rows]
    chosen = pipeline.fixed_sentences(p, replace(spoken, rows=tuple(all_strange)))
    assert len(chosen) == 3 and {row.split for *_, row in chosen} == {"train"}
