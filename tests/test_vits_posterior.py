"""A posterior encoder learnt from the model's own speech: only it changes, it predicts, and it is kept."""

import pytest
import torch

from ttslib.systems.vits import configs, net, posterior
from ttslib.systems.vits.resblocks import with_blocks

LINES = [[0, 1 + i % 7, 0, 3, 0, 1 + i % 5, 0] * 3 for i in range(8)]


@pytest.fixture(scope="module")
def voice():
    """A very small model that speaks nothing, but what it speaks depends on its latents."""
    torch.manual_seed(0)
    config = configs.config("unit", 16000, vocabulary=8, speakers=1)
    config.update({"resblock": "2", "upsample_rates": [8, 8, 4], "upsample_kernel_sizes": [16, 16, 8]})
    model = with_blocks(net.fresh(config)).eval()
    with torch.no_grad():
        model.decoder.conv_post.weight.mul_(30)
        for part in model.duration_predictor.flows[:1]:
            part.translate.fill_(-1.5)  # several frames a token
    return model


@pytest.fixture(scope="module")
def recovered(voice):
    return posterior.recover(voice, LINES, steps=200, seed=3, held=2)


def test_speech_comes_with_the_durations_and_latents_behind_it(voice):
    torch.manual_seed(0)
    said = posterior.speak(voice, LINES[0])
    frames = int(said.durations.sum())
    assert said.z.shape == (voice.config.flow_size, frames)
    assert said.spec.shape == (513, frames)
    assert len(said.wav) == 256 * frames
    assert said.durations.shape == said.ids.shape
    torch.testing.assert_close(voice.decoder(said.z[None])[0, 0], said.wav)


def test_it_learns_to_predict_held_out_latents_and_touches_nothing_else(voice, recovered):
    model, numbers = recovered
    assert numbers["r2"] > 0.03  # 0.09 here; without learning it is below zero
    assert numbers["mel_l1"] < numbers["before"]["mel_l1"] - 0.2
    assert numbers["before"]["accuracy"] < 0.2 < 0.4 < numbers["accuracy"]
    assert (numbers["steps"], numbers["sentences"]) == (200, 8)
    assert not model.training
    changed = {n.split(".")[0] for n, x in model.state_dict().items() if not x.equal(voice.state_dict()[n])}
    assert changed == {"posterior_encoder"}


def test_the_seed_decides_and_the_global_generator_is_left_alone(voice):
    before = torch.random.get_rng_state()
    first, again, other = (posterior.recover(voice, LINES, 2, seed, held=2)[0].state_dict() for seed in (3, 3, 4))
    assert torch.random.get_rng_state().equal(before)
    assert all(first[name].equal(again[name]) for name in first)
    assert not first["posterior_encoder.conv_pre.weight"].equal(other["posterior_encoder.conv_pre.weight"])


def test_a_perfect_encoder_measures_as_one(voice):
    """With the true latents as its mean, everything that is measured is perfect but the alignment, which searches."""
    torch.manual_seed(1)
    clip = posterior.speak(voice, LINES[1])

    class Perfect(torch.nn.Module):
        def forward(self, spec, mask, voice):
            return clip.z[None], clip.z[None], torch.zeros_like(clip.z[None])

    kept, voice.posterior_encoder = voice.posterior_encoder, Perfect()
    try:
        numbers = posterior.measure(voice, [(clip, None)])
    finally:
        voice.posterior_encoder = kept
    assert numbers["r2"] == 1
    assert numbers["mel_l1"] == pytest.approx(0, abs=1e-3)
    assert 0 <= numbers["accuracy"] <= 1


def test_what_was_recovered_once_is_read_from_its_folder(voice, tmp_path, monkeypatch):
    first, numbers = posterior.cached(tmp_path, voice, LINES, steps=2)
    monkeypatch.setattr(posterior, "recover", None)  # a second recovery would fail
    again, same = posterior.cached(tmp_path, voice, LINES, steps=2)
    assert same == numbers
    assert again.config.resblock == "2"
    assert all(x.equal(again.state_dict()[n]) for n, x in first.state_dict().items())
    with pytest.raises(TypeError):
        posterior.cached(tmp_path, voice, LINES, steps=3)


@pytest.mark.parametrize(("lines", "steps", "held"), [(LINES[:1], 1, None), (LINES, 0, None), (LINES, 1, 8)])
def test_nothing_to_learn_from_or_to_measure_is_refused(voice, lines, steps, held):
    with pytest.raises(ValueError, match="expected at least one of each"):
        posterior.recover(voice, lines, steps=steps, held=held)


def test_a_lost_loss_stops_it(voice, monkeypatch):
    monkeypatch.setattr(posterior, "PEAK", 1e30)
    with pytest.raises(ValueError, match=r"loss of the posterior encoder is (nan|inf) at step [12]"):
        posterior.recover(voice, LINES, steps=3)
