"""Voice styles: strict files, exact copies, scores that a constant output does not win."""

import json

import numpy as np
import pytest

from ttslib import styles
from ttslib.pairs.parametric import NUMBERS, Parametric
from ttslib.styles import Style, StyleError

RUNTIME = Parametric(count=6)


@pytest.fixture
def some() -> list[Style]:
    return list(RUNTIME.presets().values())


def test_a_file_gives_back_every_bit(some, tmp_path):
    file = styles.write(tmp_path / "deep" / "voice.json", some[0], source_file="me.wav")
    again = styles.read(file, RUNTIME.model)
    assert again.ttl.tobytes() == some[0].ttl.tobytes()
    assert again.dp.tobytes() == some[0].dp.tobytes()
    content = json.loads(file.read_text())
    assert (content["style_ttl"]["dims"], content["style_dp"]["dims"]) == ([1, 50, 256], [1, 8, 16])
    assert content["metadata"] == {"model": RUNTIME.model, "source_file": "me.wav"}
    assert [f.name for f in file.parent.iterdir()] == ["voice.json"]


def test_styles_of_another_model_are_refused(some, tmp_path):
    file = styles.write(tmp_path / "voice.json", some[0])
    with pytest.raises(StyleError, match="a style of parametric-1; supertonic-3 has another space"):
        styles.read(file, "supertonic-3")
    with pytest.raises(StyleError, match="cannot be mixed"):
        styles.mixed([some[0], Style.of(some[1].ttl, some[1].dp, "supertonic-2")], [0.5, 0.5])


def test_a_vendors_file_names_no_model_and_is_taken_at_the_callers_word(some, tmp_path):
    file = styles.write(tmp_path / "voice.json", Style.of(some[0].ttl, some[0].dp))
    assert styles.read(file, "supertonic-3").model == "supertonic-3"
    assert styles.read(file).model == ""


def damaged(content: dict, kind: str) -> str:
    if kind == "nan":
        content["style_dp"]["data"][0][0][0] = float("nan")
    elif kind == "long row":
        content["style_ttl"]["data"][0][7] = [2 * v for v in content["style_ttl"]["data"][0][7]]
    elif kind == "short":
        content["style_ttl"]["data"][0].pop()
    elif kind == "ragged":
        content["style_ttl"]["data"][0][3].pop()
    elif kind == "missing":
        del content["style_dp"]
    elif kind == "list":
        return "[]"
    elif kind == "text":
        return "{"
    return json.dumps(content)


@pytest.mark.parametrize(
    ("kind", "told"),
    [("nan", "style_dp has 1 values that are not finite"), ("long row", "row 7 of style_ttl has the length 2"),
     ("short", r"shape \(1, 49, 256\), not \(50, 256\)"), ("ragged", "style_ttl is no array of numbers"),
     ("missing", "style_dp with its data is missing"), ("list", "style_ttl with its data is missing"),
     ("text", "no style can be read")],
)  # fmt: skip
def test_each_fault_of_a_file_is_named(some, tmp_path, kind, told):
    file = styles.write(tmp_path / "voice.json", some[0])
    file.write_text(damaged(json.loads(file.read_text()), kind))
    with pytest.raises(StyleError, match=told) as caught:
        styles.read(file)
    assert str(file) in str(caught.value)


def test_mixtures_have_rows_of_length_one(some):
    made = styles.mixed(some[:3], [0.7, 0.5, -0.2])
    assert np.abs(np.linalg.norm(made.ttl, axis=1) - 1).max() < 1e-6
    assert made.model == RUNTIME.model


def test_a_constant_scores_nothing_however_large_its_raw_cosine(some):
    ttl = np.stack([s.ttl for s in some])
    mean = ttl.astype(np.float64).mean(0)
    raw = (styles.unit(mean)[None] * ttl).sum(-1).mean()
    assert raw > 0.95
    constant = np.broadcast_to(mean, ttl.shape)
    assert styles.centred_cosine(constant, ttl, mean).tolist() == [0] * 6
    assert styles.explained(constant, ttl, mean) == 0
    assert styles.centred_cosine(ttl, ttl, mean) == pytest.approx(np.ones(6))
    assert styles.explained(ttl, ttl, mean) == 1
    half = mean + (ttl - mean) / 2
    assert styles.explained(half, ttl, mean) == pytest.approx(0.75)


def test_ranks_count_ties_against_the_voice(some):
    voices = {name: np.stack([getattr(s, name) for s in some]).astype(np.float64) for name in ("ttl", "dp")}
    mean = {name: value.mean(0) for name, value in voices.items()}
    own = np.arange(6)
    assert styles.ranks(voices, own, voices, mean).tolist() == [1] * 6
    constant = {name: np.broadcast_to(mean[name], value.shape) for name, value in voices.items()}
    assert styles.ranks(constant, own, voices, mean).tolist() == [6] * 6
    assert styles.ranks(voices, (own + 1) % 6, voices, mean).min() > 1


def test_a_parametric_style_gives_its_numbers_back_also_of_a_mixture(some):
    numbers = np.array([0.5, -1.2, 2.0, -0.3])
    assert RUNTIME.numbers_of(RUNTIME.style_of(numbers)) == pytest.approx(numbers, abs=1e-5)
    one, other = (RUNTIME.numbers_of(s) for s in some[:2])
    between = RUNTIME.numbers_of(styles.mixed(some[:2], [0.5, 0.5]))
    assert between == pytest.approx((one + other) / 2, abs=0.05)
    with pytest.raises(StyleError, match="a style of supertonic-3, these voices are of parametric-1"):
        RUNTIME.numbers_of(Style.of(some[0].ttl, some[0].dp, "supertonic-3"))


def spectrum(numbers, seed=1) -> tuple[float, float, float]:
    """Pitch (Hz), balance of high to low (dB), seconds of a sentence."""
    wav = RUNTIME.speak("a long house on a river", RUNTIME.style_of(np.array(numbers)), "en", seed, 1.05)
    power = np.abs(np.fft.rfft(wav)) ** 2
    at = np.fft.rfftfreq(len(wav), 1 / RUNTIME.rate)
    lags = np.fft.irfft(power)[RUNTIME.rate // 400 : RUNTIME.rate // 60]
    pitch = RUNTIME.rate / (lags.argmax() + RUNTIME.rate // 400)
    balance = 10 * np.log10(power[(at > 1500) & (at < 5000)].sum() / power[at < 1000].sum())
    return pitch, balance, len(wav) / RUNTIME.rate


@pytest.mark.parametrize(("number", "heard", "factor"), [("pitch", 0, 1.3), ("tilt", 1, None), ("tempo", 2, 1 / 1.35)])
def test_each_number_is_heard(number, heard, factor):
    up = [float(name == number) for name in NUMBERS]
    low, high = spectrum([0.0] * 4)[heard], spectrum(up)[heard]
    if factor is None:
        assert high < low - 2
    else:
        assert high / low == pytest.approx(factor, rel=0.12)


def test_speech_is_the_same_for_the_same_arguments_only(some):
    one, same, other = (RUNTIME.speak("bado kemi", some[0], "en", seed, 1.05) for seed in (1, 1, 2))
    assert one.tobytes() == same.tobytes()
    assert one.shape != other.shape or not np.array_equal(one, other)
    assert one.dtype == np.float32
    assert np.abs(one).max() <= 1
