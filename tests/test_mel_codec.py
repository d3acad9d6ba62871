"""Our own codecs: their id space, purity, lengths, files, refusals, and that they learn once per corpus."""

import json
import math

import numpy as np
import pytest
import torch

from ttslib import checkpoint, codecs, params, resuming, speech
from ttslib.codecs import CodecError, training
from ttslib.codecs.fsq import FSQ
from ttslib.codecs.mel import MelCodec
from ttslib.codecs.mel_net import KINDS
from ttslib.codecs.trainee import Trainee
from ttslib.dataset import collate
from ttslib.sections import MelCodec as Settings

QUIET = {"tracking": "disabled", "device": "cpu", "threads": 1}
NAMES, IDS = tuple(KINDS), ("mel-6561", "mel-8192")


def small(name: str, seed: int = 0) -> MelCodec:
    torch.manual_seed(seed)
    made = MelCodec.fresh(name, Settings(width=24, depth=2, griffin_lim=2))
    made.net.mean.fill_(-6.0)
    made.net.std.fill_(2.0)
    return made


def noise(samples: int, seed: int = 0) -> torch.Tensor:
    swell = torch.linspace(0, 30, samples).sin() if samples else torch.zeros(0)
    return 0.3 * swell * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def toy(**overrides) -> params.Params:
    return params.load("qaa", {k.replace("__", "."): v for k, v in overrides.items() if k != "codec"}, **QUIET,
                       codec=overrides.get("codec", "mel-6561"))  # fmt: skip


def test_ids_of_6561_are_those_of_s3tokenizer():
    """S3Tokenizer v2's FSQCodebook.encode, digit by digit in numpy."""
    z = torch.randn(500, 8, generator=torch.Generator().manual_seed(1)) * 2
    h = np.round(np.tanh(z.numpy()) * np.float32(0.9990000128746033)) + 1
    expected = (h * np.array([3**i for i in range(8)])).sum(1).astype(np.int64)
    assert FSQ([3] * 8).ids(z).tolist() == expected.tolist()
    assert len(set(expected)) > 300


@pytest.mark.parametrize("name", IDS)
def test_every_code_is_reached_and_means_one_point(name):
    fsq = FSQ(KINDS[name].levels)
    ids = torch.arange(fsq.vocab)
    sweep = torch.linspace(-8, 8, 4001)[:, None].expand(-1, len(fsq.levels))
    digits = fsq.bounded(sweep).round() + fsq.centre
    for channel, levels in enumerate(fsq.levels):
        assert digits[:, channel].unique().tolist() == list(range(levels))
    wanted = [[(i // math.prod(fsq.levels[:c])) % n for c, n in enumerate(fsq.levels)] for i in range(fsq.vocab)]
    first = torch.stack([torch.searchsorted(digits[:, c].contiguous(), torch.tensor(wanted).float()[:, c].contiguous())
                         for c in range(len(fsq.levels))], 1)  # fmt: skip
    z = torch.linspace(-8, 8, 4001)[first]
    assert torch.equal(fsq.ids(z), ids)
    assert torch.allclose(fsq(z), fsq.values(ids), atol=1e-6)
    assert len(fsq.values(ids).unique(dim=0)) == fsq.vocab
    assert fsq.values(ids).abs().max() <= 1


def test_gradients_pass_the_rounding():
    fsq, z = FSQ([8, 3]), torch.tensor([[0.3, -0.2]], requires_grad=True)
    fsq(z).sum().backward()
    twin = z.detach().requires_grad_()
    (fsq.bounded(twin) / fsq.centre).sum().backward()
    assert torch.equal(z.grad, twin.grad) and (z.grad > 0).all()


def test_what_each_codec_says_of_itself():
    told = {n: (c.frame_rate, c.vocab, c.dim, dict(c.special)) for n, c in ((n, small(n)) for n in NAMES)}
    assert told == {
        "mel-6561": (25.0, 6561, None, {"start": 6561, "stop": 6562}),
        "mel-8192": (50.0, 8192, None, {"start": 8192, "stop": 8193}),
        "mel-vae": (12.5, None, 32, {}),
    }
    assert all(isinstance(small(n), codecs.Codec) for n in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_lengths(name):
    codec = small(name)
    each = codec.samples_per_code
    for samples in (0, 1, each - 1, each, each + 1, 5 * each + 7):
        codes = codec.encode(noise(samples))
        assert len(codes) == math.ceil(samples / each)
        assert codec.decode(codes).shape == (len(codes) * each,)


@pytest.mark.parametrize("name", NAMES)
def test_codes_do_not_depend_on_company(name):
    codec, wavs = small(name), [noise(n, n) for n in (9000, 16000, 700, 24001)]
    together = codec.encode_batch(wavs)
    assert all(torch.equal(a, codec.encode(w)) for a, w in zip(together, wavs, strict=True))
    assert not torch.equal(together[1][:5], together[3][:5])


@pytest.mark.parametrize("name", NAMES)
def test_padding_is_silent_in_training(name):
    """A clip's mels come out of a padded batch as they do alone."""
    codec = small(name)
    codec.net.eval()
    mels = [codec.mel(noise(n, n)).T for n in (9000, 24001)]
    batch = collate([{"mel": mel} for mel in mels])
    inside = torch.arange(batch["mel"].shape[2])[None] < batch["mel_len"][:, None]
    codes = inside[:, :: codec.kind.frames, None].float()
    with torch.no_grad():
        together, _ = codec.net(batch["mel"].transpose(1, 2), codes)
        alone, _ = codec.net(mels[0].T[None], codes[:1, : mels[0].shape[1] // codec.kind.frames])
    assert torch.allclose(together[0, : alone.shape[1]], alone[0], atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_files_and_states_give_the_same_codec(name, tmp_path):
    codec, wav = small(name), noise(20000)
    codec.about = {"mel_l1": 0.5}
    codes, state = codec.encode(wav), json.loads(json.dumps(codec.state()))
    assert state["name"] == name and state["hash"] == codec.hash
    for again in (codecs.load(str(codec.save(tmp_path / "codec"))), codecs.restore(state)):
        assert (again.name, again.hash, again.about) == (codec.name, codec.hash, codec.about)
        assert torch.equal(again.encode(wav), codes)
        assert torch.equal(again.decode(codes, seed=3), codec.decode(codes, seed=3))
    assert not torch.equal(codec.decode(codes, seed=3), codec.decode(codes, seed=4))
    other = small(name, seed=1)
    assert other.hash != codec.hash
    with pytest.raises(CodecError, match="do not mix"):
        codecs.require(other, state, "there")


def test_the_hash_covers_every_weight():
    codec = small("mel-vae")
    before = codec.hash
    codec.net.latent_std[0] += 0.5
    assert codec.hash != before


def test_damage_is_found(tmp_path):
    codec = small("mel-6561")
    folder, state = codec.save(tmp_path / "codec"), codec.state()
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-3] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(CodecError, match="damaged"):
        MelCodec.load(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CodecError, match="not a whole codec"):
        MelCodec.load(folder)
    with pytest.raises(CodecError, match="damaged"):
        codecs.restore(state | {"weights": state["weights"][:1000]})


def test_refusals():
    codec, vae = small("mel-6561"), small("mel-vae")
    for wrong in (torch.tensor([0, 6561]), torch.tensor([-1]), torch.zeros(3), torch.zeros(2, 2, dtype=torch.long)):
        with pytest.raises(CodecError, match="mel-6561"):
            codec.decode(wrong)
    for wrong in (torch.zeros(3, 31), torch.zeros(3, dtype=torch.long), torch.full((2, 32), math.nan)):
        with pytest.raises(CodecError, match="mel-vae"):
            vae.decode(wrong)
    with pytest.raises(CodecError, match="carry the voice"):
        codec.decode(torch.tensor([1]), voice={"speaker": torch.zeros(3)})
    assert codec.voice(noise(1000)) == {}
    for wrong in (torch.zeros(2, 100), torch.tensor([0.0, math.nan]), torch.zeros(9, dtype=torch.int16)):
        with pytest.raises(CodecError, match="mono"):
            codec.encode(wrong)
    with pytest.raises(CodecError, match="mel-9"):
        MelCodec.fresh("mel-9", Settings())
    with pytest.raises(CodecError, match=r"mel_codec\.rate"):
        MelCodec.fresh("mel-vae", Settings(rate=22050 + 1))


def test_trained_once_then_found(prepared, capsys):
    torch.manual_seed(5)
    codec, drawn = codecs.of(toy()), torch.rand(3)
    said = capsys.readouterr().err
    assert "training one on" in said and "mel_l1" in said and "perplexity" in said
    (folder,) = (prepared / "qaa" / "codecs").iterdir()
    assert MelCodec.load(folder).hash == codec.hash and codec.about["steps"] == toy().mel_codec.steps
    torch.manual_seed(5)
    assert codecs.of(toy()).hash == codec.hash and torch.equal(torch.rand(3), drawn)
    assert "training" not in capsys.readouterr().err
    assert codecs.of(toy(codec=str(folder))).hash == codec.hash
    others = [codecs.of(toy(**change)).hash for change in ({"seed": 2}, {"corpus__sentences": 20})]
    assert len({codec.hash, *others}) == 3 and len([*(prepared / "qaa" / "codecs").iterdir()]) == 3


def test_a_killed_training_goes_on_and_leaves_no_half_codec(prepared, monkeypatch, capsys):
    p, kept = toy(), training.publish
    whole = codecs.of(p)
    (folder,) = (prepared / "qaa" / "codecs").iterdir()
    (prepared / "qaa" / "codecs").rename(prepared / "before")
    (prepared / "qaa" / "mel_codec").rename(prepared / "before" / "run")

    def stopped_early(name, *more):
        raise KeyboardInterrupt

    saves = []

    def killed(self, now, schedule, save=resuming.Files.save):
        save(self, now, schedule)
        saves.append(now.step)
        if now.step >= 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(resuming.Files, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            codecs.of(p)
    assert 4 <= saves[-1] < p.mel_codec.steps and not (prepared / "qaa" / "codecs").exists()
    with monkeypatch.context() as patch:
        patch.setattr(MelCodec, "save", stopped_early)
        with pytest.raises(KeyboardInterrupt):
            codecs.of(p)
    assert training.publish is kept and not folder.exists()
    assert codecs.of(p).hash == whole.hash
    assert not [f for f in (prepared / "qaa" / "codecs").iterdir() if f.name.startswith(".")]

    (prepared / "qaa" / "codecs").rename(prepared / "again")
    capsys.readouterr()
    codecs.of(p.model_copy(update={"precision": "bf16"}))
    assert "starting over" in capsys.readouterr().err


def test_training_lowers_the_held_out_error(prepared, spoken):
    p = toy(mel_codec__steps=60, mel_codec__lr=4.0e-3)
    untrained = Trainee(training.settings(p, "none"))
    val = speech.features(untrained, spoken, "val", p)
    untrained.measure(train := speech.features(untrained, spoken, "train", p))
    before, after = training.about(untrained.codec, train, val)["mel_l1"], codecs.of(p).about["mel_l1"]
    assert after < 0.9 * before


def test_latents_have_unit_variance(prepared, spoken):
    codec = codecs.of(toy(codec="mel-vae"))
    rows = spoken.split("train")
    latents = torch.cat([codec.encode(speech.recording(spoken, row, codec.rate)) for row in rows])
    assert latents.shape[1] == 32
    assert latents.mean(0).abs().max() < 0.01 and (latents.std(0) - 1).abs().max() < 0.01
    assert checkpoint.read_json(prepared / "qaa" / "codecs" / f"{codecs_folder(prepared)}" / "codec.json")["about"]


def codecs_folder(prepared) -> str:
    (folder,) = (prepared / "qaa" / "codecs").iterdir()
    return folder.name
