"""Speaker similarity computes what Resemblyzer does, and says where its floor and its ceiling are."""

import math

import numpy as np
import pytest
import torch
from official import needs

from ttslib import espeak, similarity
from ttslib.dataset import BadClip
from ttslib.similarity import SimilarityError
from ttslib.voice_encoder import VoiceEncoder

RATE = 16000
# resemblyzer 0.1.4: VoiceEncoder("cpu").embed_utterance(siren(samples)), places 5, 7, 20, 40, 90, 133, 200, 251, and the sum
PLACES = [5, 7, 20, 40, 90, 133, 200, 251]
KNOWN = {
    9000: ([0.00562, 0.0, 0.36881, 0.0, 0.0, 0.0, 0.0, 0.00579], 8.00280),
    40000: ([0.00892, 0.00209, 0.12458, 0.0, 0.0, 0.0798, 0.0, 0.03763], 9.17551),
}


def siren(samples: int) -> torch.Tensor:
    time = np.arange(samples) / RATE
    wave = np.sin(2 * np.pi * (150 + 40 * np.sin(3 * time)) * time) * (1 + np.sin(20 * time)) / 2
    return torch.from_numpy((0.3 * wave).astype(np.float32))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file in the layout of `pretrained.pt`: a random network with its gates wide open."""
    torch.manual_seed(3)
    state = {key.replace("proj.", "linear."): value * 3 for key, value in VoiceEncoder().state_dict().items()}
    path = tmp_path_factory.mktemp("resemblyzer") / "pretrained.pt"
    torch.save({"step": 1, "model_state": state, "optimizer_state": {}}, path)
    return path


@needs("resemblyzer")
@pytest.mark.parametrize("samples", KNOWN)
def test_vectors_are_the_packages(samples):
    numbers, total = KNOWN[samples]
    vector = similarity.encoder().of(siren(samples))
    assert vector[PLACES].tolist() == pytest.approx(numbers, abs=2e-5)
    assert float(vector.sum()) == pytest.approx(total, abs=1e-3)


@needs("resemblyzer")
def test_voices_of_espeak_are_told_apart():
    pytest.importorskip("espeakng_loader")
    lines = ["ጎረቤታችን ሁልጊዜ ሳቂታና ተጫዋች ነው።", "ዘንባባው ከሐይቁ ዳርቻ ቆሟል።", "እናቴ ጨጨብሳ ከማር ጋር አቀረበችልን።"]

    def clips(name, variant):
        return {
            f"{name}{i}": (name, torch.from_numpy(espeak.speak(t, f"am+{variant}")[0])) for i, t in enumerate(lines)
        }

    recordings = clips("man", "m3") | clips("woman", "f2")
    card = similarity.scores(similarity.encoder(), clips("man", "m3"), recordings, 22050)
    assert card["encoder"] == "resemblyzer 0.1.4" and "English" in card["trained_on"]
    assert card["floor"] < card["ceiling"] - 0.1
    assert card["median"] > card["floor"] + 0.1
    swapped = {key: ("man", wav) for key, (_, wav) in clips("woman", "f2").items()}
    assert similarity.scores(similarity.encoder(), swapped, recordings, 22050)["median"] < card["median"] - 0.1


def noises(seed: int, count: int, slope: float) -> list[torch.Tensor]:
    """Noise whose spectrum falls by `slope`: two slopes are two speakers."""
    draw = torch.Generator().manual_seed(seed)
    spectra = [torch.fft.rfft(torch.randn(RATE, generator=draw)) for _ in range(count)]
    falls = torch.arange(1, RATE // 2 + 2) ** -slope
    made = [torch.fft.irfft(spectrum * falls) for spectrum in spectra]
    return [0.3 * wav / wav.abs().max() for wav in made]


def test_floor_and_ceiling_surround_a_voice(weights):
    encoder = similarity.encoder(weights)
    recordings = {f"a{i}": ("a", wav) for i, wav in enumerate(noises(0, 4, 0.0))}
    recordings |= {f"b{i}": ("b", wav) for i, wav in enumerate(noises(1, 4, 1.5))}
    spoken = {f"a{i}": ("a", wav) for i, wav in enumerate(noises(2, 4, 0.0))}
    card = similarity.scores(encoder, spoken, recordings, RATE)
    assert card["sentences"].keys() == spoken.keys() and not card["failed"]
    assert card["floor"] < card["median"] <= card["ceiling"] + 0.01
    mean = torch.stack([encoder.embed(recordings[f"a{i}"][1], RATE) for i in (1, 2, 3)]).mean(0)
    expected = float(encoder.embed(spoken["a0"][1], RATE) @ (mean / mean.norm()))  # a0's own recording is left out
    assert card["sentences"]["a0"] == pytest.approx(expected, abs=1e-6)


def test_what_cannot_be_compared_is_said(weights):
    encoder = similarity.encoder(weights)
    voice, silence = noises(0, 1, 0.0)[0], torch.zeros(RATE)
    card = similarity.scores(
        encoder, {"x": ("a", voice), "y": ("a", silence)}, {"x": ("a", voice), "z": ("a", voice)}, RATE
    )
    assert card["failed"] == {"speech y": "silence has no voice"}
    assert card["floor"] is None and math.isclose(card["ceiling"], 1, abs_tol=1e-5)
    alone = similarity.scores(encoder, {"x": ("a", voice)}, {"x": ("a", voice)}, RATE)
    assert alone["median"] is None and "no other recording of a" in alone["failed"]["speech x"]
    with pytest.raises(SimilarityError, match="no recording"):
        similarity.scores(encoder, {"x": ("a", voice)}, {}, RATE)


def test_loudness_and_rate_are_not_the_voice(weights):
    encoder = similarity.encoder(weights)
    voice = noises(0, 1, 1.0)[0]
    assert torch.allclose(encoder.embed(voice * 1e-3, RATE), encoder.embed(voice * 1e-2, RATE), atol=1e-5)
    with pytest.raises(BadClip, match="finite"):
        encoder.embed(torch.full((RATE,), float("nan")), RATE)
    with pytest.raises(BadClip, match="needs more"):
        encoder.embed(voice[:100], RATE)


def test_a_file_that_is_not_the_network_is_refused(tmp_path, weights):
    with pytest.raises(SimilarityError, match=r"no such file.*pip install"):
        similarity.encoder(tmp_path / "pretrained.pt")
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(SimilarityError, match="not Resemblyzer's weights"):
        similarity.encoder(tmp_path / "text.pt")
    held = torch.load(weights, weights_only=True)
    del held["model_state"]["linear.bias"]
    torch.save(held, tmp_path / "less.pt")
    with pytest.raises(SimilarityError, match=r"missing proj\.bias"):
        similarity.encoder(tmp_path / "less.pt")


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(similarity.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SimilarityError, match=r"pip install --no-deps resemblyzer==0\.1\.4"):
        similarity.encoder()
