"""Predicted opinion scores are the package's, fall with noise, and never go without their label."""

import numpy as np
import pytest
import torch
from official import needs

from ttslib import espeak, quality
from ttslib.quality import QualityError

RATE = 16000
# speechmos 0.0.1.1: dnsmos.run(siren, sr=16000)
KNOWN = {"ovrl_mos": 2.0784749, "sig_mos": 2.6996078, "bak_mos": 3.1955683, "p808_mos": 2.2612420}


@pytest.fixture(scope="module")
def siren() -> np.ndarray:
    time = np.arange(3 * RATE) / RATE
    wave = np.sin(2 * np.pi * (150 + 40 * np.sin(3 * time)) * time) * (1 + np.sin(20 * time)) / 2
    return (0.3 * wave).astype(np.float32)


@needs("speechmos")
def test_scores_are_the_packages(siren):
    told = quality.dnsmos(siren, RATE, "en")
    assert {name: told[name] for name in quality.SCORES} == pytest.approx(KNOWN, abs=2e-3)
    assert told["predictor"].endswith("English-trained")


@needs("speechmos")
def test_noise_and_rate_are_heard():
    pytest.importorskip("espeakng_loader")
    wav, rate = espeak.speak("ዘንባባው ከሐይቁ ዳርቻ ቆሟል።", "am")
    noise = np.random.default_rng(0).standard_normal(len(wav)).astype(np.float32)
    clean, noisy = (quality.dnsmos(torch.from_numpy(w), rate, "am") for w in (wav, wav + 0.05 * noise))
    assert noisy["bak_mos"] < clean["bak_mos"] - 1 and noisy["ovrl_mos"] < clean["ovrl_mos"]
    assert "not calibrated for am" in clean["predictor"]


@pytest.mark.parametrize(
    "wav", [torch.zeros(RATE), torch.zeros(0), torch.zeros(2, RATE), torch.full((9,), float("nan"))]
)
def test_what_has_no_sound_has_no_score(wav):
    with pytest.raises(QualityError, match="finite mono samples"):
        quality.dnsmos(wav, RATE, "am")


def test_without_the_package_it_says_what_to_install(monkeypatch, siren):
    monkeypatch.setattr(quality.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(QualityError, match=r"pip install --no-deps speechmos==0\.0\.1\.1"):
        quality.dnsmos(siren, RATE, "am")


class Loud(torch.nn.Module):
    def forward(self, wav: torch.Tensor) -> torch.Tensor:
        return wav.abs().mean(dim=1) + 0.0001 * wav.shape[1]


def test_a_predictor_is_named_and_hears_16_khz(tmp_path, siren):
    torch.jit.script(Loud()).save(tmp_path / "utmos.pt")
    predict, label = quality.predictor(f"utmos={tmp_path / 'utmos.pt'}")
    assert "English-trained" in label and "utmos.pt" in label
    wav = torch.from_numpy(siren)
    assert predict(wav, RATE, "am") == pytest.approx(float(wav.abs().mean()) + 4.8, abs=1e-4)
    assert predict(wav, 2 * RATE, "am") == pytest.approx(float(wav.abs().mean()) + 2.4, abs=0.05)
    assert quality.predictor(None) == (None, None)
    with pytest.raises(QualityError, match="not a TorchScript file"):
        quality.predictor(f"utmos={tmp_path / 'none.pt'}")
    with pytest.raises(QualityError, match="predicts no opinion"):
        quality.predictor("mosnet")
    with pytest.raises(QualityError, match="finite mono"):
        predict(torch.zeros(RATE), RATE, "am")


@needs("speechmos")
def test_dnsmos_by_name_is_its_overall_score(siren):
    predict, label = quality.predictor("dnsmos")
    assert predict(torch.from_numpy(siren), RATE, "am") == pytest.approx(KNOWN["ovrl_mos"], abs=2e-3)
    assert "not calibrated for other languages" in label
