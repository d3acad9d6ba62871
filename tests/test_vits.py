"""VITS: each piece of the training forward against its formula, and the files against stock Transformers."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from transformers import VitsModel, VitsTokenizer
from transformers.models.vits import tokenization_vits

from ttslib import adapt, dataset, losses, params, pipeline, session
from ttslib.checkpoint import CheckpointError
from ttslib.dataset import BadClip
from ttslib.params import ParamsError
from ttslib.systems.vits import System, configs, features, letters, net, pieces
from ttslib.systems.vits.discriminator import Conv, Discriminator, load_original
from ttslib.text.romanise import romanizer
from ttslib.units import UnitsError

TEXT = "bado kemi talu"


def row(text: str = TEXT, speaker: str = "a", lang: str = "qaa") -> SimpleNamespace:
    return SimpleNamespace(text=text, speaker=speaker, lang=lang)


def settings(**overrides) -> params.Params:
    vits = {f"vits.{name}": value for name, value in overrides.items()}
    return params.load("qaa", {"system": "vits", **vits}, tracking="disabled", device="cpu", threads=1)


def wave(frames: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(frames * 256 + 17, generator=torch.Generator().manual_seed(seed))


def made(rows=None, **overrides) -> System:
    return System.fresh(settings(**overrides), rows or [row(), row("nu.")])


def batch(system: System, speakers=("a", "a", "a")) -> dict:
    texts = (TEXT, "bado", "talu bado")
    clips = [
        system.encode(row(t, s), wave(40 + 9 * i, i)) for i, (t, s) in enumerate(zip(texts, speakers, strict=True))
    ]
    return dataset.collate(clips)


@pytest.fixture(scope="module")
def vits() -> System:
    """Read it, do not train it."""
    return made()


@pytest.fixture(scope="module")
def mms(tmp_path_factory):
    """A folder as facebook/mms-tts-kmr-script_latin has it, in small: the blank is a letter, no full stop."""
    folder = tmp_path_factory.mktemp("mms")
    vocab = {c: i for i, c in enumerate("kabdeilmtou nû'-")}
    torch.manual_seed(0)
    VitsModel(configs.config("unit", 16000, len(vocab), 1)).save_pretrained(folder)
    says = {"pad_token": "k", "unk_token": "<unk>", "add_blank": True, "normalize": True, "phonemize": False}
    says |= {"is_uroman": False, "language": "kmr-script_latin", "tokenizer_class": "VitsTokenizer"}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "tokenizer_config.json").write_text(json.dumps(says))
    return folder


# The forward, piece by piece


@pytest.mark.parametrize(
    ("discriminator", "speakers", "stochastic"),
    [(True, "aaa", True), (False, "aab", True), (True, "aaa", False)],
    ids=["whole", "two speakers, no discriminator", "deterministic durations"],
)
def test_every_parameter_has_a_gradient_in_the_second_step(discriminator, speakers, stochastic):
    system = made([row(), *(row("nu.", s) for s in sorted(set(speakers)))], discriminator=discriminator)
    if not stochastic:
        config = system.config
        config.use_stochastic_duration_prediction = False
        system = System(system.p, net.fresh(config), system.tokenizer, system.speakers, system.languages)
    examples = batch(system, speakers)
    optimizers = {part: torch.optim.AdamW(ps, lr=1e-3) for part, ps in system.parts().items()}
    assert list(optimizers) == (["discriminator", "generator"] if discriminator else ["generator"])
    assert sum(map(len, system.parts().values())) == sum(len([*n.parameters()]) for n in system.nets.values())
    for step in range(2):
        for (part, parameters), terms in zip(system.parts().items(), system.losses(examples), strict=True):
            for p in parameters:
                p.grad = None
            losses.total(terms).backward()
            if step:
                of = dict(system.nets[part].named_parameters())
                without = [n for n, p in of.items() if p.grad is None or not p.grad.abs().sum() > 0]
                assert not without, f"{part}: {len(without)} of {len(of)}"
            optimizers[part].step()


def test_the_likelihood_is_the_gaussians(vits):
    z, m, s = torch.randn(2, 5, 7), torch.randn(2, 5, 3), 0.3 * torch.randn(2, 5, 3)
    each = torch.distributions.Normal(m[:, :, None], s.exp()[:, :, None]).log_prob(z[..., None]).sum(1)
    assert torch.allclose(net.likelihood(z, m, s), each, atol=1e-4)


def test_kl_is_the_written_out_sum_over_what_is_not_padding():
    torch.manual_seed(0)
    z, s_q, m, s_p = torch.randn(4, 2, 3, 6).unbind()
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0]], dtype=torch.bool)
    by_hand = 0.0
    for b, frames in enumerate((6, 2)):
        for t in range(frames):
            for c in range(3):
                q, p = s_q[b, c, t].item(), s_p[b, c, t].item()
                by_hand += p - q - 0.5 + 0.5 * (z - m)[b, c, t].item() ** 2 * math.exp(-2 * p)
    assert losses.kl(z, s_q, m, s_p, mask).item() == pytest.approx(by_hand / 8, rel=1e-5)
    # in expectation over its sample it is the KL divergence of two Gaussians
    q, p = torch.distributions.Normal(0.3, 0.7), torch.distributions.Normal(0.1, 0.9)
    many = q.sample((200_000,))[None, None]
    filled = [torch.full_like(many, x) for x in (math.log(0.7), 0.1, math.log(0.9))]
    found = losses.kl(many, *filled, torch.ones(1, many.shape[2], dtype=torch.bool))
    assert found.item() == pytest.approx(torch.distributions.kl_divergence(q, p).item(), abs=0.01)


@torch.no_grad()
def test_the_duration_predictors_training_undoes_what_it_speaks_by():
    """Noise to log durations by stock Transformers, back to noise by our flows; the flow that inference leaves out moves the
    other half alone."""
    torch.manual_seed(0)
    sdp = made().generator.vits.duration_predictor.eval()
    for q in sdp.parameters():
        q.add_(0.1 * torch.randn_like(q))  # no layer may hide behind its zeros
    hidden, mask = torch.randn(2, 32, 5), torch.tensor([[1.0] * 5, [1.0] * 3 + [0.0] * 2])[:, None]
    torch.manual_seed(3)
    spoken = sdp(hidden, mask, reverse=True, noise_scale=1.0)
    torch.manual_seed(3)
    noise = torch.randn(2, 2, 5)
    condition = sdp.conv_proj(sdp.conv_dds(sdp.conv_pre(hidden), mask)) * mask
    latents = noise
    for flow in reversed(sdp.flows[1:]):
        latents, _ = flow(latents.flip(1), mask, global_conditioning=condition, reverse=True)
    latents, _ = sdp.flows[0](latents, mask, global_conditioning=condition, reverse=True)
    assert torch.allclose(latents[:, :1] * mask, spoken * mask, atol=1e-5)
    again, grown = pieces.flowed(sdp.flows, latents, mask, condition)
    assert torch.allclose(again * mask, noise * mask, atol=1e-4)

    def density(x):
        return pieces.flowed(sdp.flows, x.view(1, 2, 5), mask[:1], condition[:1])[0].flatten()

    exact = torch.autograd.functional.jacobian(density, latents[0].flatten()).slogdet()[1]
    assert grown[0].item() == pytest.approx(exact.item(), abs=1e-3)


def test_the_durations_that_are_taught_are_the_durations_that_are_spoken():
    torch.manual_seed(0)
    sdp = made().generator.vits.duration_predictor.train()
    hidden, mask = torch.randn(1, 32, 6).expand(8, -1, -1), torch.ones(8, 1, 6)
    taught = torch.tensor([1.0, 3.0, 9.0, 2.0, 14.0, 5.0]).expand(8, 1, 6)
    optimizer = torch.optim.AdamW(sdp.parameters(), lr=5e-3)
    for _ in range(120):
        noise = torch.randn(8, 2, 6)
        loss = net.duration_bound(sdp, hidden, taught, mask, noise, None).sum() / mask.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        spoken = sdp.eval()(hidden, mask, reverse=True, noise_scale=0.3).exp().ceil()
    assert (spoken - taught).abs().mean() < 1.0


def test_the_duration_bound_is_one():
    """Over many draws of its noise the bound lies above -log p, which the last coupling's zeros leave a plain Gaussian's."""
    torch.manual_seed(0)
    sdp, draws = made().generator.vits.duration_predictor.eval(), 4000
    hidden, mask = torch.randn(1, 32, 1).expand(draws, -1, -1), torch.ones(draws, 1, 1)
    w = torch.full((draws, 1, 1), 3.0)
    with torch.no_grad():
        bound = net.duration_bound(sdp, hidden, w, mask, torch.randn(draws, 2, 1), None)
        uniform = torch.rand(200_000).double()
    log_w = (3 - uniform).log()  # log p(w) = log of the integral of p(log(w - u)) / (w - u) over u
    exact = -(torch.distributions.Normal(0.0, 1.0).log_prob(log_w) - log_w).exp().mean().log()
    assert exact.item() < bound.mean().item() < exact.item() + 0.7


def test_the_spectrogram_is_a_fourier_sum_and_the_mel_slaneys():
    wav = wave(6)[: 6 * 256]
    spec = features.spectrogram(wav[None], 1024, 256)
    assert spec.shape == (1, 513, 6)
    padded = torch.cat([wav[1:385].flip(0), wav, wav[-385:-1].flip(0)]).double()
    k, t = torch.arange(513, dtype=torch.double)[:, None], torch.arange(1024, dtype=torch.double)
    hann = 0.5 - 0.5 * torch.cos(2 * math.pi * t / 1024)
    for frame in (0, 3, 5):
        x = padded[256 * frame : 256 * frame + 1024] * hann
        angle = 2 * math.pi * k * t / 1024
        by_hand = ((x * angle.cos()).sum(1).square() + (x * angle.sin()).sum(1).square() + 1e-6).sqrt()
        assert torch.allclose(spec[0, :, frame].double(), by_hand, atol=1e-4)
    bank = features.bank(16000, 513, torch.device("cpu"))
    centres = (bank.argmax(1) * 8000 / 512).tolist()
    low = [m * 200 / 3 for m in torch.linspace(0, 15 + 27 * math.log(8) / math.log(6.4), 82)[1:13].tolist()]
    assert centres[:12] == pytest.approx(low, abs=16)  # linear below 1 kHz, 200/3 Hz a mel
    assert (bank.sum(1) * 8000 / 512).tolist() == pytest.approx([1.0] * 80, abs=0.2)  # unit area
    assert features.log_mel(torch.zeros(1, 513, 2), 16000).max().item() == pytest.approx(math.log(1e-5))


def test_segments_are_cut_at_the_same_place_in_wave_and_spectrum(vits):
    examples, g = batch(vits), vits.generator
    g.train()
    torch.manual_seed(1)
    starts = {tuple(g.start(examples["wav_len"]).tolist()) for _ in range(300)}
    firsts = [s[0] for s in starts]
    assert (min(firsts), max(firsts)) == (0, 40 - 32), "every start there is, no later one"
    start = torch.tensor([0, 3, 26])
    found = g.latents(examples)
    wav = net.cut(found.wav[:, None], start * g.hop, g.segment * g.hop)
    for b, s in enumerate((0, 3, 26)):
        clip = wave(40 + 9 * b, b)[256 * s : 256 * (s + 32)]
        assert (wav[b, 0] - clip).abs().max() <= 0.5 / 32767 + 1e-7, "kept in 16 bits"
    inner = features.spectrogram(wav[:, 0], 1024, 256)[..., 2:-2]  # the outer two frames see the reflection
    assert torch.allclose(inner, net.cut(found.spec, start, 32)[..., 2:-2], atol=1e-4)


def test_a_clips_spectrum_does_not_depend_on_the_batch(vits):
    examples = batch(vits)
    whole = vits.generator.latents(examples).spec
    for b, frames in enumerate(examples["wav_len"].tolist()):
        alone = features.spectrogram(features.restored(examples["wav"][b : b + 1, :, :frames]), 1024, 256)
        assert torch.allclose(whole[b, :, :frames], alone[0], atol=1e-5)
        assert not whole[b, :, frames:].any()


def test_durations_sum_to_the_frames_and_terms_are_named(vits):
    examples = batch(vits)
    terms, seen = vits.generator(examples)
    assert seen["durations"].sum(1).equal(examples["wav_len"])
    assert seen["real"].shape == seen["fake"].shape == (3, 1, 32 * 256)
    names = [list(t) for t in vits.losses(examples)]
    assert names == [["discriminator"], ["mel", "kl", "duration", "adversarial", "feature_matching"]]
    assert set(terms) == {"mel", "kl", "duration"}
    vits.generator.eval()
    assert [*vits.losses(examples)][-1].keys() == {*names[1], "prior_mel"}, "what cannot speak must not look good"


@torch.no_grad()
def test_the_prior_path_is_text_flow_and_decoder_at_the_recordings_timing(vits):
    model, examples = vits.generator.vits.eval(), dataset.collate([vits.encode(row(), wave(44))])
    vits.generator.eval()
    seen = vits.align(examples)
    told = model.text_encoder(examples["text"], torch.ones(1, examples["text"].shape[1], 1))
    means = told.prior_means[0].repeat_interleave(seen["durations"][0], 0).T[None]
    wav = model.decoder(model.flow(means, torch.ones(1, 1, 44), reverse=True))
    by_hand = features.log_mel(features.spectrogram(wav[:, 0], 1024, 256), 16000)
    assert torch.allclose(seen["mel"], by_hand, atol=1e-3)
    recorded = features.spectrogram(features.restored(examples["wav"]), 1024, 256)
    assert torch.allclose(seen["recording"], features.log_mel(recorded, 16000), atol=1e-5)


def test_a_weight_scales_its_term():
    one, two = made(mel=45.0), made(mel=90.0)
    for system in (one, two):
        system.generator.eval()
    a, b = ([*s.losses(batch(s))][-1] for s in (one, two))
    assert b["mel"].item() == pytest.approx(2 * a["mel"].item())
    assert b["kl"].item() == pytest.approx(a["kl"].item())


def test_the_discriminators_opinion_reaches_the_generator_as_if_it_were_asked_directly():
    """Its slope is taken beforehand and handed on; each part's turn leaves the other's gradients alone."""
    system = made(ramp=0, adversarial=0.7, feature_matching=1.3)
    examples, hears = batch(system), system.discriminator
    torch.manual_seed(0)
    terms, seen = system.generator(examples)
    (_, wanted), (scores, found) = hears(seen["real"]), hears(seen["fake"])
    said = 0.7 * losses.least_squares_generator(scores), 1.3 * losses.feature_matching(wanted, found)
    weighted = 45 * terms["mel"] + terms["kl"] + terms["duration"]
    direct = torch.autograd.grad(weighted + said[0] + said[1], [*system.generator.parameters()], allow_unused=True)
    torch.manual_seed(0)
    turns = system.losses(examples)
    losses.total(next(turns)).backward()
    assert all(q.grad is None for q in system.generator.parameters())
    own = [q.grad.clone() for q in hears.parameters()]
    terms = next(turns)
    losses.total(terms).backward()
    assert all(q.grad.equal(g) for q, g in zip(hears.parameters(), own, strict=True))
    assert [terms["adversarial"].item(), terms["feature_matching"].item()] == pytest.approx([s.item() for s in said])
    for (name, q), wanted in zip(system.generator.named_parameters(), direct, strict=True):
        if wanted is not None:
            assert torch.allclose(q.grad, wanted, rtol=1e-3, atol=1e-4 * wanted.abs().max().item() + 1e-7), name


def test_in_half_precision_the_terms_agree_and_are_whole_floats():
    """Mel, KL, alignment and durations stay in fp32 inside; the slope that travels to the generator survives."""
    system = made(ramp=0)
    system.generator.eval()  # the same noise both times
    examples, found = batch(system), {}
    for name in ("whole", "half"):
        for q in (q for part in system.nets.values() for q in part.parameters()):
            q.grad = None
        with torch.autocast("cpu", torch.bfloat16, enabled=name == "half"):
            turns = [terms for terms in system.losses(examples)]
        assert all(value.dtype == torch.float32 for terms in turns for value in terms.values())
        for terms in turns:
            losses.total(terms).backward()
        slopes = torch.cat([q.grad.flatten() for q in system.generator.vits.decoder.parameters()])
        found[name] = {n: v.item() for terms in turns for n, v in terms.items()}, slopes
    assert found["half"][0] == pytest.approx(found["whole"][0], rel=0.05)
    assert torch.nn.functional.cosine_similarity(found["half"][1], found["whole"][1], dim=0) > 0.9


def test_a_held_layer_of_the_discriminator_stays_held():
    system = made()
    bias = system.discriminator.discriminators[0].conv_post.bias.requires_grad_(False)
    for terms in system.losses(batch(system)):
        losses.total(terms).backward()
    assert bias.grad is None and not bias.requires_grad
    assert system.discriminator.discriminators[0].conv_post.weight_v.grad is not None


def test_adversarial_losses_are_least_squares():
    real, fake = (
        [torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0]])],
        [torch.tensor([[0.5, 0.5]]), torch.tensor([[-1.0]])],
    )
    assert losses.least_squares_discriminator(real, fake).item() == pytest.approx(0.5 + 0.25 + 1 + 1)
    assert losses.least_squares_generator(fake).item() == pytest.approx(0.25 + 4)
    wanted, found = torch.ones(2, requires_grad=True), torch.tensor([2.0, 4.0], requires_grad=True)
    matching = losses.feature_matching([[wanted]], [[found]])
    matching.backward()
    assert (matching.item(), wanted.grad, found.grad.tolist()) == (2.0, None, [0.5, 0.5])


# The discriminator


def test_its_weights_are_named_and_shaped_as_the_originals():
    with torch.device("meta"):
        state = dict(Discriminator(1.0).named_parameters())
    assert len(state) == 111
    assert sum(v.numel() for v in state.values()) == 46_747_132
    assert state["discriminators.0.convs.4.weight_v"].shape == (1024, 4, 41)
    assert state["discriminators.5.convs.2.weight_g"].shape == (512, 1, 1, 1)
    assert state["discriminators.3.conv_post.weight_v"].shape == (1, 1024, 3, 1)


def test_a_convolution_is_torchs_weight_normed_one():
    ours, theirs = Conv(1, 8, 16, 5, 2, 4), torch.nn.Conv1d(8, 16, 5, 2, 2, groups=4)
    theirs = torch.nn.utils.parametrizations.weight_norm(theirs)
    g, v, bias = (torch.randn_like(x) for x in (ours.weight_g, ours.weight_v, ours.bias))
    ours.load_state_dict({"weight_g": g, "weight_v": v, "bias": bias})
    names = ("parametrizations.weight.original0", "parametrizations.weight.original1", "bias")
    theirs.load_state_dict(dict(zip(names, (g, v, bias), strict=True)))
    x = torch.randn(2, 8, 33)
    assert torch.allclose(ours(x), theirs(x), atol=1e-5)


def test_an_original_checkpoint_begins_it_and_another_file_is_refused(tmp_path):
    with torch.no_grad():
        trained = Discriminator(1 / 32)
    theirs = dict(trained.named_parameters())
    torch.save({"model": theirs, "iteration": 7}, tmp_path / "D_100000.pth")
    system = made(discriminator_from=str(tmp_path / "D_100000.pth"))
    assert all(v.equal(theirs[k]) for k, v in system.discriminator.named_parameters())
    assert system.discriminator.taught(100, training=False) == 1, "it knows already"
    torch.save({"model": dict(Discriminator(1 / 16).named_parameters())}, tmp_path / "wide.pth")
    (tmp_path / "text.pth").write_text("no weights")
    for name in ("wide.pth", "text.pth", "none.pth"):
        with pytest.raises(CheckpointError, match=name):
            load_original(Discriminator(1 / 32), tmp_path / name)
    with pytest.raises(ParamsError, match="discriminator"):
        made(discriminator=False, discriminator_from=str(tmp_path / "D_100000.pth"))


def test_a_fresh_one_counts_more_and_more_with_what_it_has_learnt():
    """Its own loss counts from the first batch on; what it says of the generator grows to its full weight."""
    system, examples, said = made(ramp=4), batch(made()), []
    for _ in range(6):
        *_, terms = system.losses(examples)
        said.append(terms["adversarial"].item() / losses.least_squares_generator(heard(system, examples)).item())
    assert said == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1], abs=0.02)
    before = system.discriminator.lessons.item()
    system.generator.eval()
    [*system.losses(examples)]
    assert system.discriminator.lessons.item() == before == 6, "validation teaches nothing"
    assert "discriminator.lessons" in {f"discriminator.{n}" for n in adapt.weights(system.discriminator)}, (
        "resumed with it"
    )


def heard(system: System, examples: dict) -> list:
    """What the discriminator says of some speech of the generator."""
    system.generator.eval()
    scores, _ = system.discriminator(system.generator(examples)[1]["fake"])
    system.generator.train()
    return scores


# Learning rates, and what is judged


def test_modules_learn_at_their_own_rates_and_held_ones_not_at_all():
    system = made(lr={"decoder": 0.1, "flow": 0.0, "discriminator": 0.5})
    factors = system.factors()
    vits = system.generator.vits
    assert {factors[q] for q in vits.decoder.parameters()} == {0.1}
    assert {factors[q] for q in system.discriminator.parameters()} == {0.5}
    assert not any(q in factors for q in vits.text_encoder.parameters())
    learning = {id(q) for q in system.parts()["generator"]}
    assert not any(id(q) in learning for q in vits.flow.parameters())
    optimizer = session.adamw(system.parts()["generator"], system.p, torch.device("cpu"), (), factors)
    session.set_rates({"generator": optimizer}, 1e-3, 0)
    rates = {id(q): group["lr"] for group in optimizer.param_groups for q in group["params"]}
    assert {rates[id(q)] for q in vits.decoder.parameters()} == {1e-4}
    assert {rates[id(q)] for q in vits.text_encoder.parameters()} == {1e-3}
    with pytest.raises(ParamsError, match=r"vits\.lr"):
        settings(lr={"decodre": 0.1})


def test_best_is_judged_by_what_the_text_speaks(vits):
    """A low kl can mean that posterior and prior both say nothing."""
    terms = {"prior_mel": 0.5, "duration": 1.25, "kl": 1.0, "mel": 20.0, "discriminator": 6.0}
    assert vits.verdict(terms) == 0.5


# Text


def test_letters_without_a_row_are_refused_and_blanks_stand_between(vits):
    a, b = (vits.tokenizer.table[c] for c in "ab")
    assert letters.ids("ba", "qaa", vits.tokenizer, blanks=True) == [0, b, 0, a, 0]
    assert letters.ids("ba", "qaa", vits.tokenizer, blanks=False) == [b, a]
    with pytest.raises(UnitsError, match="U\\+1230"):
        vits.synthesize("bado ሰ")
    with pytest.raises(BadClip, match="U\\+1230"):
        vits.encode(row("bado ሰ"), wave(40))
    with pytest.raises(BadClip, match="31 frames, shorter than the segment of 32"):
        vits.encode(row(), wave(31))
    with pytest.raises(BadClip, match="32 frames for 33 ids"):
        vits.encode(row("bado bado bado b"), wave(32))
    assert vits.encode(row("bado bado bado b"), wave(33))["wav"].shape == (256, 33)
    with pytest.raises(BadClip, match="not finite"):
        vits.encode(row(), wave(40) * float("nan"))


@pytest.mark.parametrize("text", ["bad ku'tim", "bad, û - mel.", "BADÛ", "bad?"])
def test_a_published_vocabulary_reads_as_stock_transformers_does(mms, text):
    system, stock = System.load(mms), VitsTokenizer.from_pretrained(mms)
    spoken = system.tokenizer.normalise(text, "ku")
    ours = letters.ids(spoken, "ku", system.tokenizer, system.blanks)
    assert ours == stock(spoken)["input_ids"]
    with pytest.raises(UnitsError, match="'x'"):  # stock drops it and speaks the rest
        letters.ids(text + " x", "ku", system.tokenizer, system.blanks)
    with pytest.raises(UnitsError, match="nothing to speak"):
        letters.ids(".", "ku", system.tokenizer, system.blanks)


def test_a_model_that_reads_romanised_text_is_given_it(mms, tmp_path, monkeypatch):
    one = romanizer()
    monkeypatch.setattr(tokenization_vits.ur, "Uroman", lambda: one)  # stock makes one a call: seconds each
    says = json.loads((mms / "tokenizer_config.json").read_text()) | {"is_uroman": True, "language": "tir"}
    for name in ("config.json", "model.safetensors", "vocab.json"):
        (tmp_path / name).write_bytes((mms / name).read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(says))
    system, stock = System.load(tmp_path), VitsTokenizer.from_pretrained(tmp_path)
    assert system.languages == ["ti"]
    text = "табак дом"
    assert letters.ids(text, "ti", system.tokenizer, True) == stock(text)["input_ids"]
    assert len(stock(text)["input_ids"]) == 2 * len("tabak dom") + 1


# Files


def quiet(model: VitsModel) -> VitsModel:
    model.noise_scale = model.noise_scale_duration = 0.0
    return model.eval()


def test_stock_transformers_speaks_the_export_as_we_do(tmp_path):
    system = made(noise=0.0, noise_duration=0.0)
    optimizers = {part: torch.optim.AdamW(ps, lr=1e-3) for part, ps in system.parts().items()}
    for optimizer, terms in zip(optimizers.values(), system.losses(batch(system)), strict=True):
        losses.total(terms).backward()  # a step away from the start, so that no zero hides a difference
        optimizer.step()
    folder = system.export(tmp_path / "voice")
    model, info = VitsModel.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    tokenizer = VitsTokenizer.from_pretrained(folder)
    ids = tokenizer(TEXT + ".", return_tensors="pt")
    assert ids["input_ids"].tolist() == [letters.ids(TEXT + ".", "qaa", system.tokenizer, True)]
    with torch.no_grad():
        stock = model.eval()(**ids).waveform[0]  # config.json carries the noise scales
    ours = system.synthesize(TEXT + ".", seed=9)
    assert ours.shape == stock.shape
    assert (ours - stock).abs().max() <= 1e-4
    assert stock.abs().max() > 1e-3
    assert System.load(folder).synthesize(TEXT + ".").equal(ours)


def test_a_published_folder_loads_speaks_as_stock_and_grows(mms):
    system, stock = System.load(mms), quiet(VitsModel.from_pretrained(mms))
    assert (system.languages, system.rate, system.discriminator) == (["ku"], 16000, None)
    system.p = system.p.model_copy(
        update={"vits": system.p.vits.model_copy(update={"noise": 0.0, "noise_duration": 0.0})}
    )
    ids = torch.tensor([letters.ids("bad ku tim", "ku", system.tokenizer, True)])
    with torch.no_grad():
        assert (system.synthesize("bad ku tim") - stock(ids).waveform[0]).abs().max() <= 1e-4
    grown = adapt.extend(system, settings(noise=0.0, noise_duration=0.0), [row("şev.", "new", "ku")])
    assert grown.tokenizer.symbols == (*system.tokenizer.symbols, ".", "v", "ş")
    old = system.generator.vits.text_encoder.embed_tokens.weight
    new = grown.generator.vits.text_encoder.embed_tokens.weight
    assert new[: len(old)].equal(old)
    assert new[len(old) :].std() > 0
    grown.generator.eval()
    assert grown.synthesize("bad ku tim").equal(system.synthesize("bad ku tim"))
    assert grown.discriminator is not None, "it starts fresh beside a published voice"
    adapt.freeze(grown, settings().adapt)
    assert [*grown.parts()] == ["discriminator", "generator"]


def test_files_that_are_no_whole_model_are_refused(mms, tmp_path):
    for name in ("config.json", "vocab.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((mms / name).read_bytes())
    with pytest.raises(CheckpointError, match="no VITS model"):
        System.load(tmp_path)
    state = VitsModel.from_pretrained(mms).state_dict()
    VitsModel.from_pretrained(mms).save_pretrained(
        tmp_path, state_dict={k: v for k, v in state.items() if not k.startswith("posterior_encoder")}
    )
    with pytest.raises(CheckpointError, match="posterior_encoder"):
        System.load(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    with pytest.raises(CheckpointError, match="phonem"):
        System.load(tmp_path)
    with pytest.raises(UnitsError, match="nowhere"):
        System.load(tmp_path / "nowhere")


def test_an_export_of_two_speakers_keeps_both(tmp_path):
    system = made([row(), row("nu.", "b")], discriminator=False)
    again = System.load(system.export(tmp_path / "two"))
    one, two = (again.synthesize(TEXT, voice=v) for v in "ab")
    assert not one.equal(two)
    assert system.synthesize(TEXT, voice="b").equal(two)
    assert not (tmp_path / "two" / "discriminator.safetensors").exists()


def test_an_export_without_its_discriminator_says_so(tmp_path):
    folder = made().export(tmp_path / "voice")
    (folder / "discriminator.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"discriminator\.safetensors"):
        System.load(folder)


# The one loop


def test_a_published_voice_is_adapted_by_the_same_loop(mms, prepared):
    """All of it learns, or with `adapt.body=lora` a few updates and the new rows; the discriminator starts fresh."""
    few = {"system": "vits", "train.steps": 1, "data.frames": 200, "adapt.base": str(mms), "adapt.init": "mean"}
    quiet = {"tracking": "disabled", "device": "cpu", "threads": 1}
    for name, more in (("all", {}), ("lora", {"adapt.body": "lora", "vits.discriminator": False})):
        done = pipeline.train(params.load("qaa", few | more, run=name, **quiet))
        assert done.system.tokenizer.names[0] == "k"
        assert (done.system.discriminator is None) is (name == "lora")
        assert done.system.synthesize("bado kemi talu.", lang="qaa").isfinite().all()
