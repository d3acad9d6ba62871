"""The style encoder keeps what every system promises, begins at the mean voice, and gives files that the runtime loads."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from ttslib import audio, dataset, encoding, losses, manifest, pairs, params, pipeline, speech, step, styles
from ttslib.__main__ import main
from ttslib.dataset import BadClip
from ttslib.params import ParamsError
from ttslib.styles import StyleError
from ttslib.systems.style import System
from ttslib.systems.style.augmenting import LEVEL, Augmenter, coloured, mp3, parts
from ttslib.systems.style.voices import spoken_with

SMALL = {"style.preset": "unit", "pairs.voices": 10, "pairs.texts": 2, "style.shortest": 0.5, "style.longest": 2.0}


def asked(**more) -> params.Params:
    return params.load("style_fast", SMALL | more, device="cpu", threads=1, tracking="disabled")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TTSLIB_OUTPUTS", str(tmp_path_factory.mktemp("style")))
        yield manifest.prepare(asked())


@pytest.fixture(scope="module")
def encoded(found, tmp_path_factory):
    rows, fresh = found.split("train"), System.fresh(asked(), found.split("train"))
    return encoding.encode_all(fresh, rows, speech.reader(fresh, found), tmp_path_factory.mktemp("features"), 1.0)


@pytest.fixture
def system(found):
    return System.fresh(asked(), found.split("train"))


@pytest.fixture
def batch(encoded):
    return dataset.collate([encoded[i] for i in range(6)])


def stepped(system, batch, count: int = 3, rate: float = 1e-2):
    optimizer = torch.optim.AdamW(system.parts()["encoder"], lr=rate)
    for _ in range(count):
        optimizer.zero_grad()
        losses.total(next(system.losses(batch))).backward()
        optimizer.step()
    return system


def test_it_begins_as_the_mean_voice_of_the_training_each_counted_once(system, found):
    known = spoken_with(found.split("train"))
    mean = np.mean([s.ttl.astype(np.float64) for s in known.values()], 0)
    assert system.net.mean_ttl.numpy() == pytest.approx(mean, abs=1e-6)
    assert system.net.spread_ttl.item() == pytest.approx(
        np.stack([s.ttl for s in known.values()]).std(0).mean(), rel=1e-4
    )
    wav = speech.recording(found, found.rows[0], system.rate)
    assert system.clone(wav).ttl == pytest.approx(styles.unit(mean), abs=1e-6)
    assert system.mean.ttl == pytest.approx(styles.unit(mean), abs=1e-6)


def test_encoding_is_pure_and_carries_the_style_it_was_spoken_with(system, found):
    row = found.split("val")[0]
    one, two = (system.encode(row, speech.recording(found, row, system.rate)) for _ in range(2))
    assert all(one[k].equal(two[k]) for k in one)
    assert one["style_ttl"].numpy() == pytest.approx(pairs.read(row.audio).style.ttl)
    wav = speech.recording(found, row, system.rate)
    assert (one["wav"].T.flatten()[: len(wav)].float() / 32768 - wav).abs().max() <= 0.5 / 32768
    assert system.feature_key == System.fresh(asked(), found.split("train")).feature_key


def test_rows_of_other_corpora_are_refused(spoken):
    with pytest.raises(dataset.DatasetError, match=r"no style in it.*corpus\.source=style_npz"):
        System.fresh(asked(), spoken.split("train"))


def test_styles_of_another_model_are_no_examples(system, found):
    system.model = "supertonic-3"
    row = found.rows[0]
    with pytest.raises(BadClip, match="a style of parametric-1, not of supertonic-3"):
        system.encode(row, torch.zeros(16000))


def test_pairs_that_name_no_model_are_of_the_one_that_is_asked_for(found, tmp_path, capsys):
    rows = []
    for row in found.split("train")[:4]:
        pair = pairs.read(row.audio)
        bare = replace(pair, style=styles.Style(pair.style.ttl, pair.style.dp))
        rows.append(replace(row, audio=str(pairs.write(tmp_path / f"{row.speaker}.npz", bare))))
    assert System.fresh(asked(**{"style.model": "supertonic-2"}), rows).model == "supertonic-2"
    assert System.fresh(asked(), rows).model == ""
    assert "which model's styles" in capsys.readouterr().err
    with pytest.raises(ParamsError, match=r"styles of 'parametric-1', style\.model=supertonic-2 was asked for"):
        System.fresh(asked(**{"style.model": "supertonic-2"}), found.split("train"))


def test_losses_are_finite_and_reach_every_parameter(system, batch):
    stepped(system, batch, 2)
    terms = next(system.losses(batch))
    assert {*terms} == {"ttl", "dp", "cosine"}
    losses.total(terms).backward()
    unreached = [n for n, q in system.net.named_parameters() if q.grad is None or not q.grad.abs().sum() > 0]
    assert not unreached
    assert {id(q) for q in system.net.parameters()} == {id(q) for q in system.parts()["encoder"]}


def test_validation_tells_what_the_mean_voice_would_have(system, batch):
    system.net.eval()
    with torch.no_grad():
        terms = next(system.losses(batch))
    own = torch.stack([((x - system.net.mean_ttl) ** 2).mean() for x in batch["style_ttl"]]).mean()
    assert terms["ttl_mse_mean"].item() == pytest.approx(own.item(), rel=1e-4)
    assert terms["ttl_mse"].item() == pytest.approx(own.item(), rel=0.05)
    assert abs(terms["ttl_cosine"].item()) < 0.2
    assert terms["ttl"].item() == pytest.approx(256 * terms["ttl_mse"].item(), rel=1e-4)
    assert system.verdict({k: v.item() for k, v in terms.items()}) == pytest.approx(
        sum(terms[k].item() for k in ("ttl", "dp", "cosine"))
    )


def test_padding_a_batch_changes_no_loss(system, encoded):
    stepped(system, dataset.collate([encoded[i] for i in range(4)]))
    system.net.eval()
    short = dataset.collate([encoded[i] for i in range(3)])
    longer = short | {"wav": torch.nn.functional.pad(short["wav"], (0, 40))}
    with torch.no_grad():
        one, two = next(system.losses(short)), next(system.losses(longer))
        alone = [next(system.losses(dataset.collate([encoded[i]])))["ttl_mse"].item() for i in range(3)]
    assert all(two[k].item() == pytest.approx(one[k].item(), rel=1e-4) for k in one)
    assert sum(alone) / 3 == pytest.approx(one["ttl_mse"].item(), rel=1e-4)


def test_checkpointing_computes_the_same(found, batch):
    terms = []
    for on in (False, True):
        torch.manual_seed(0)
        net = System.fresh(asked(**{"style.checkpointing": on, "style.dropout": 0.0}), found.split("train")).net
        with torch.no_grad():
            net.ttl.last.normal_(std=0.1)
        torch.manual_seed(1)
        losses.total(net(batch)).backward()
        terms.append(net.front.weight.grad)
    assert terms[0].equal(terms[1])
    assert terms[0].any()


def test_a_raw_cosine_hides_what_a_centred_one_shows(found, batch):
    values = {}
    for kind in ("raw", "centred"):
        system = System.fresh(asked(**{"style.cosine": kind}), found.split("train"))
        system.net.eval()
        values[kind] = next(system.losses(batch))["cosine"].item()
    assert values["raw"] < 0.06 < 0.8 < values["centred"]


def test_an_export_loads_back_and_hears_the_same(system, found, batch, tmp_path):
    stepped(system, batch)
    again = pipeline.load(system.export(tmp_path / "exported"))
    wav = speech.recording(found, found.rows[0], system.rate)
    assert again.clone(wav).digest == system.clone(wav).digest
    assert (again.model, again.feature_key, again.voices) == (system.model, system.feature_key, system.voices)
    assert "consent" in (tmp_path / "exported" / "README.md").read_text()


def test_hearing_leaves_the_mode_and_the_random_state(system, found):
    wav = speech.recording(found, found.rows[0], system.rate)
    system.net.train()
    before = torch.get_rng_state()
    assert system.clone(wav).digest == system.clone(wav).digest
    assert system.net.training
    assert torch.get_rng_state().equal(before)


def test_long_recordings_are_heard_in_parts_and_averaged(system, found, batch):
    stepped(system, batch)
    wav = speech.recording(found, found.rows[0], system.rate)[:24000]
    twice = system.clone(wav.repeat(2))  # 3 s of which 2 are heard at once
    assert np.abs(twice.ttl - system.clone(wav).ttl).max() < 1e-6
    for bad in (torch.zeros(16000), wav[:800]):
        with pytest.raises(ParamsError, match="has no voice in it"):
            system.clone(bad)


def test_the_verb_voice_writes_a_file_for_the_runtime(system, found, batch, tmp_path, capsys):
    stepped(system, batch)
    wav = audio.save(tmp_path / "me.wav", speech.recording(found, found.rows[0], 16000), 16000)
    folder, file = system.export(tmp_path / "exported"), tmp_path / "me.json"
    assert main(["voice", str(folder), "--voice", str(wav), "--out", str(file)]) == 0
    assert capsys.readouterr().out.strip() == str(file)
    assert styles.read(file, "parametric-1").digest == system.voice(str(wav)).digest
    told = json.loads(file.read_text())["metadata"]
    assert (told["model"], told["source_file"], told["encoder"]) == ("parametric-1", "me.wav", system.digest)
    assert "consent" in told["consent"]
    assert main(["voice", str(folder), "--voice", "nobody.wav", "--out", str(file)]) == 1


def test_silence_around_a_recording_changes_nothing(system, found, batch, tmp_path):
    stepped(system, batch)
    wav = speech.recording(found, found.rows[0], 16000)
    some = [
        audio.save(tmp_path / f"{n}.wav", torch.cat([torch.zeros(n), wav, torch.zeros(n)]), 16000)
        for n in (8000, 40000)
    ]
    one, other = (system.voice(str(file)) for file in some)
    assert np.abs(one.ttl - other.ttl).max() < 1e-6
    assert one.digest != system.mean.digest


def test_the_vendors_package_loads_the_file(system, found, batch, tmp_path):
    loader = pytest.importorskip("supertonic.loader")
    stepped(system, batch)
    wav = audio.save(tmp_path / "me.wav", speech.recording(found, found.rows[0], 16000), 16000)
    style = loader.load_voice_style_from_json_file(system.export_voice(str(wav), tmp_path / "me.json"))
    meant = system.voice(str(wav))
    assert style.ttl.tobytes() == meant.ttl[None].tobytes()
    assert style.dp.tobytes() == meant.dp[None].tobytes()


def test_without_a_runtime_it_is_mute_and_says_why(system):
    assert "set style.runtime" in system.mute
    with pytest.raises(ParamsError, match=r"a style is no speech; set style\.runtime to the folder of parametric-1"):
        system.synthesize("bado kemi", voice=system.voices[0])


def test_with_a_runtime_it_speaks_in_the_cloned_voice(found, batch, tmp_path):
    pytest.importorskip("supertonic")
    pytest.importorskip("onnx")
    import standin

    system = System.fresh(asked(**{"style.runtime": str(standin.write(tmp_path / "model"))}), found.split("train"))
    system.model = "supertonic-3"
    assert not system.mute
    wav = audio.save(tmp_path / "me.wav", speech.recording(found, found.rows[0], 16000), 16000)
    one, same, other = (system.synthesize("Hello there.", str(wav), seed, "en") for seed in (1, 1, 2))
    assert one.equal(same) and not one.equal(other)
    clone = system.voice(str(wav))
    assert len(one) / system.rate == pytest.approx(standin.seconds("Hello there.", clone), abs=0.01)
    foreign = styles.write(tmp_path / "other.json", styles.Style(clone.ttl, clone.dp, "supertonic-2"))
    with pytest.raises(StyleError, match="a style of supertonic-2; supertonic-3 has another space"):
        system.synthesize("Hello there.", str(foreign), lang="en")


# --- what is done to recordings --------------------------------------------------------------------------------------


def changed(**settings) -> Augmenter:
    quiet = {"style.noise": None, "style.room": None, "style.band": None, "style.mp3": None, "style.gain": 0.0}
    return Augmenter(asked(**(quiet | {"style.augment": 1.0} | settings)).style, 16000)


@pytest.fixture
def wavs(found):
    some = [speech.recording(found, row, 16000) for row in found.rows[:4]]
    lengths = torch.tensor([len(w) for w in some])
    return torch.nn.utils.rnn.pad_sequence(some, batch_first=True), lengths


def test_noise_has_the_ratio_that_is_asked_for(wavs):
    wav, lengths = wavs
    torch.manual_seed(0)
    heard = changed(**{"style.noise": [10.0, 10.0]}).noisy(wav, lengths)
    for row, clean, n in zip(heard, wav, lengths, strict=True):
        noise = (row - clean)[:n]
        assert 10 * (clean[:n].square().sum() / noise.square().sum()).log10().item() == pytest.approx(10, abs=0.01)


def test_noises_come_from_a_folder_where_one_is_named(wavs, tmp_path):
    wav, lengths = wavs
    tone = 0.1 * torch.sin(torch.arange(4000) * 2 * torch.pi * 1000 / 16000)
    audio.save(tmp_path / "tone.wav", tone, 16000)
    noise = changed(**{"style.noise": [0.0, 0.0], "style.noises": str(tmp_path)}).noisy(wav, lengths) - wav
    spectrum = torch.fft.rfft(noise[0]).abs()
    assert spectrum.argmax().item() / len(noise[0]) * 16000 == pytest.approx(1000, abs=5)
    with pytest.raises(ParamsError, match="no recording below"):
        changed(**{"style.noises": str(tmp_path / "none")})


def test_a_room_rings_on_and_a_telephone_has_no_treble(wavs):
    wav, lengths = wavs
    click = torch.zeros(2, 16000)
    click[:, 100] = 1.0
    rung = changed(**{"style.room": [0.3, 0.3]}).in_a_room(click, torch.tensor([16000, 16000]))
    assert rung[:, 100].tolist() == pytest.approx([1.0, 1.0], abs=0.2)
    early, late = rung[:, 101:1700].square().sum(1), rung[:, 1700:3300].square().sum(1)
    assert (early > 10 * late).all() and (late > 0).all()
    thin = changed(**{"style.band": 2000.0}).banded(wav, lengths)
    high = [torch.fft.rfft(x[0]).abs()[len(x[0]) // 4 :].square().sum() for x in (thin, wav)]  # above 4 kHz
    assert high[0] < 0.02 * high[1]


def test_mp3_keeps_the_length_and_loses_the_treble():
    wav = 0.1 * torch.randn(16000, generator=torch.Generator().manual_seed(0))
    heard = mp3(wav, 16000, 16)
    assert heard.shape == wav.shape
    powers = [torch.fft.rfft(x).abs()[7000:].square().sum() for x in (heard, wav)]
    assert powers[0] < 0.1 * powers[1]


def test_the_level_is_one_but_for_the_gain_and_padding_stays_silent(wavs):
    wav, lengths = wavs
    torch.manual_seed(0)
    everything = {"style.noise": [5.0, 30.0], "style.room": [0.1, 0.6], "style.band": 3400.0}
    heard = changed(**everything)(wav * 0.01, lengths)
    for row, n in zip(heard, lengths, strict=True):
        assert row[:n].square().mean().sqrt().item() == pytest.approx(LEVEL, rel=1e-3)
        assert not row[n:].any()
    louder = changed(**{"style.gain": 6.0})(wav, lengths).square().sum(1) / lengths
    assert louder.std() > 0
    assert (10 * (louder / LEVEL**2).log10()).abs().max() <= 6.001


def test_masks_blank_stretches_of_time_and_bands_in_their_share():
    mels, inside = torch.randn(40, 80, 200), torch.ones(40, 200, dtype=torch.bool)
    torch.manual_seed(0)
    hidden = changed(**{"style.augment": 0.5}).masked(mels, inside) != mels
    touched = hidden.flatten(1).any(1)
    assert 10 <= touched.sum() <= 30
    assert hidden[touched].float().mean() < 0.4
    assert not (changed(**{"style.augment": 0.0}).masked(mels, inside) != mels).any()


def test_parts_are_of_the_asked_lengths_and_really_parts():
    wav = torch.arange(1, 3001).repeat(50, 1).float()
    lengths = torch.full((50,), 3000)
    lengths[0] = 500
    torch.manual_seed(0)
    cut, taken = parts(wav, lengths, 1000, 2000)
    assert taken[0] == 500
    assert (taken[1:] >= 1000).all() and (taken[1:] <= 2000).all() and taken[1:].unique().numel() > 20
    for row, n in zip(cut, taken.tolist(), strict=True):
        assert row[:n].diff().eq(1).all() and not row[n:].any()
    assert cut[1:, 0].unique().numel() > 20


def test_coloured_noise_falls_by_up_to_six_decibels_an_octave():
    torch.manual_seed(0)
    power = torch.fft.rfft(coloured((64, 16000))).abs().square()
    slopes = 10 * (power[:, 4000:8000].mean(1) / power[:, 500:1000].mean(1)).log10() / 3
    assert slopes.max() < 0.5 and slopes.min() > -6.5 and slopes.min() < -4


def test_a_gpu_without_memory_is_told_which_parameters_to_change(system, batch, monkeypatch):
    def full(batch):
        raise torch.OutOfMemoryError("CUDA out of memory")
        yield

    system.losses = full
    p = asked(**{"data.frames": 4000})
    from ttslib import session
    from ttslib.progress import Progress

    engine = session.engine(p)
    with pytest.raises(step.TrainError, match=r"data.frames=2000 and data.accumulate=2.*style.checkpointing=true"):
        step.step(system, {"encoder": []}, {}, [batch], p, engine, Progress())
