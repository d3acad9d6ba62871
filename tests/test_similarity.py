"""Speaker similarity computes what Resemblyzer does, and says where its floor and its ceiling are."""

import numpy as np
import pytest
import torch
from official import needs
from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMForXVector

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

    recordings = {key: (*clip, 22050) for key, clip in (clips("man", "m3") | clips("woman", "f2")).items()}
    encoder = similarity.of("resemblyzer")
    assert similarity.identity(encoder)["encoder"] == "resemblyzer 0.1.4" and "English" in encoder.trained_on
    speakers = similarity.Speakers(encoder, recordings)
    for key, (who, wav, rate) in recordings.items():
        told = speakers.compare(wav, rate, who, key)
        assert told["similarity"] > told["stranger"] + 0.1
        swapped = speakers.compare(wav, rate, {"man": "woman", "woman": "man"}[who], key)
        assert swapped["stranger"] == pytest.approx(told["similarity"], abs=1e-6)


def noises(seed: int, count: int, slope: float) -> list[torch.Tensor]:
    """Noise whose spectrum falls by `slope`: two slopes are two speakers."""
    draw = torch.Generator().manual_seed(seed)
    spectra = [torch.fft.rfft(torch.randn(RATE, generator=draw)) for _ in range(count)]
    falls = torch.arange(1, RATE // 2 + 2) ** -slope
    made = [torch.fft.irfft(spectrum * falls) for spectrum in spectra]
    return [0.3 * wav / wav.abs().max() for wav in made]


def test_a_speaker_is_the_mean_of_his_other_sentences(weights):
    encoder = similarity.encoder(weights)
    recordings = {f"a{i}": ("a", wav, RATE) for i, wav in enumerate(noises(0, 4, 0.0))}
    recordings |= {f"b{i}": ("b", wav, RATE) for i, wav in enumerate(noises(1, 4, 1.5))}
    speakers = similarity.Speakers(encoder, recordings)
    spoken = noises(2, 1, 0.0)[0]
    told = speakers.compare(spoken, RATE, "a", "a0")
    vector = encoder.embed(spoken, RATE)
    for name, who, places in (("similarity", "a", (1, 2, 3)), ("stranger", "b", (0, 1, 2, 3))):
        mean = torch.stack([encoder.embed(recordings[f"{who}{i}"][1], RATE) for i in places]).mean(0)
        assert told[name] == pytest.approx(float(vector @ (mean / mean.norm())), abs=1e-6)
    assert told["stranger"] < told["similarity"]


def test_what_cannot_be_compared_has_no_score(weights):
    encoder = similarity.encoder(weights)
    voice, silence = noises(0, 1, 0.0)[0], torch.zeros(RATE)
    speakers = similarity.Speakers(encoder, {"x": ("a", voice, RATE), "y": ("a", silence, RATE)})
    assert speakers.failed == {"y": "silence has no voice"}
    assert speakers.compare(voice, RATE, "a", "x") == {}, "there is no other recording"
    assert speakers.compare(voice, RATE, "a", "z") == {"similarity": pytest.approx(1, abs=1e-5)}
    with pytest.raises(BadClip, match="silence"):
        speakers.compare(silence, RATE, "a", "z")


def test_x_vectors_of_transformers_are_the_models_own(tmp_path):
    config = WavLMConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(8, 8),
        conv_stride=(5, 64), conv_kernel=(10, 64), num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
        tdnn_dim=(8, 8, 8, 8, 8), xvector_output_dim=12,
    )  # fmt: skip
    torch.manual_seed(0)
    model = WavLMForXVector(config).eval()
    model.save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(tmp_path)
    encoder = similarity.of(f"transformers={tmp_path}")
    wav = siren(20000)
    inputs = Wav2Vec2FeatureExtractor(do_normalize=True)(wav.numpy(), sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        expected = model(**inputs).embeddings[0]
    assert torch.allclose(encoder.embed(wav, RATE), expected / expected.norm(), atol=1e-6)
    assert encoder.name == str(tmp_path) and encoder.hash == similarity.of(f"transformers={tmp_path}").hash
    with pytest.raises(SimilarityError, match="names no speaker encoder"):
        similarity.of("wavlm")
    with pytest.raises(SimilarityError, match="not a speaker encoder"):
        similarity.of(f"transformers={tmp_path}/none")


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
