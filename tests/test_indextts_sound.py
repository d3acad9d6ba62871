"""The way from IndexTTS2's codes to sound against the package's own, on small checkpoints in the published layout.

The reference is what `infer_v2.py` does, step by step, with the package's modules and its own way to load them. Weights
are random: sound is noise, and nothing here has seen a published checkpoint.
"""

import os
import shutil
import sys
import warnings
from types import SimpleNamespace

import pytest
import torch
import torchaudio
import yaml
from official import index_codec, needs
from safetensors.torch import load_file, save_file
from torch import nn
from torchaudio.compliance import kaldi
from transformers import SeamlessM4TFeatureExtractor

from ttslib import codecs
from ttslib.codecs import CodecError, indextts_sound
from ttslib.codecs.indextts_sound import Sound
from ttslib.vocab import source

pytestmark = [needs("indextts"), pytest.mark.filterwarnings("ignore::FutureWarning")]  # torch's, in the package's code

DIM = 24  # of the language model's states
CONFIG = {
    "s2mel": {
        "preprocess_params": {
            "sr": 22050,
            "spect_params": {
                "n_fft": 1024, "win_length": 1024, "hop_length": 256, "n_mels": 80, "fmin": 0, "fmax": "None",
            },
        },
        "dit_type": "DiT",
        "reg_loss_type": "l1",
        "style_encoder": {"dim": 192},
        "length_regulator": {
            "channels": 12, "is_discrete": False, "in_channels": 16, "content_codebook_size": 8,
            "sampling_ratios": [1, 1], "vector_quantize": False, "n_codebooks": 1, "quantizer_dropout": 0.0,
            "f0_condition": False, "n_f0_bins": 512,
        },
        "DiT": {
            "hidden_dim": 32, "num_heads": 2, "depth": 3, "class_dropout_prob": 0.1, "block_size": 8192,
            "in_channels": 80, "style_condition": True, "final_layer_type": "wavenet", "target": "mel",
            "content_dim": 12, "content_codebook_size": 8, "content_type": "discrete", "f0_condition": False,
            "n_f0_bins": 512, "content_codebooks": 1, "is_causal": False, "long_skip_connection": True,
            "zero_prompt_speech_token": False, "time_as_token": False, "style_as_token": False,
            "uvit_skip_connection": True, "add_resblock_in_transformer": False,
        },
        "wavenet": {
            "hidden_dim": 32, "num_layers": 2, "kernel_size": 5, "dilation_rate": 1, "p_dropout": 0.2,
            "style_condition": True,
        },
    },
    "s2mel_checkpoint": "s2mel.pth",
    "vocoder": {"type": "bigvgan", "name": "nvidia/bigvgan_v2_22khz_80band_256x"},
}  # fmt: skip
VOCODER = {
    "resblock": "1", "num_mels": 80, "upsample_rates": [8, 8, 4], "upsample_kernel_sizes": [16, 16, 8],
    "upsample_initial_channel": 16, "resblock_kernel_sizes": [3, 5], "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5]],
    "activation": "snakebeta", "snake_logscale": True, "use_tanh_at_final": False, "use_bias_at_final": False,
}  # fmt: skip
FILES = ["config.yaml", "s2mel.pth", "campplus_cn_common.bin", "bigvgan/config.json", "bigvgan/bigvgan_generator.pt"]


def small(config) -> nn.Module:
    """The package's s2mel, its layer for 1280 latents made smaller."""
    made = indextts_sound.package("commons").MyModel(config, use_gpt_latent=True)
    made.models["gpt_layer"] = nn.Sequential(nn.Linear(DIM, 8), nn.Linear(8, 8), nn.Linear(8, 16))
    return made


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The folder and, loaded from it as `_load_semantic`, `_load_s2mel` and `_load_vocoder` of infer_v2.py do, the
    package's networks."""
    omegaconf = pytest.importorskip("omegaconf")
    folder = tmp_path_factory.mktemp("indextts")
    repcodec, w2v, stats = index_codec(folder)
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    config = omegaconf.OmegaConf.load(folder / "config.yaml")
    package = indextts_sound.package
    package("flow_matching"), package("length_regulator")
    campplus, vocoder = package("campplus.DTDNN"), package("bigvgan.bigvgan")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        state = {key: module.state_dict() for key, module in small(config.s2mel).models.items()}
        torch.save({"net": state}, folder / "s2mel.pth")
        speaker = campplus.CAMPPlus(feat_dim=80, embedding_size=192)
        nn.init.constant_(speaker.xvector.dense.nonlinear.batchnorm.running_var, 1e-5)  # else all are nearly zero
        torch.save(speaker.state_dict(), folder / "campplus_cn_common.bin")
        made = vocoder.BigVGAN(vocoder.AttrDict(VOCODER))
        nn.init.normal_(made.conv_post.weight_g, std=1.0)  # else it whispers
        (folder / "bigvgan").mkdir()
        made._save_pretrained(folder / "bigvgan")
        s2mel, *_ = package("commons").load_checkpoint2(small(config.s2mel), None, str(folder / "s2mel.pth"))
        speaker = campplus.CAMPPlus(feat_dim=80, embedding_size=192)
        speaker.load_state_dict(torch.load(folder / "campplus_cn_common.bin"))
        bigvgan = vocoder.BigVGAN.from_pretrained(str(folder / "bigvgan"))
    s2mel.models["cfm"].estimator.setup_caches(max_batch_size=1, max_seq_length=8192)
    bigvgan.remove_weight_norm()
    return SimpleNamespace(
        folder=folder, repcodec=repcodec, w2v=w2v, stats=stats, config=config, mel=package("audio").mel_spectrogram,
        s2mel=s2mel.eval(), campplus=speaker.eval(), bigvgan=bigvgan.eval(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def codec(parts):
    return codecs.load(f"indextts={parts.folder}")


@torch.no_grad()
def conditioning(parts, audio, sr):
    """`_get_speaker_conditioning`, after the file has been read and cut at 15 s: `audio` (1, samples)."""
    audio_22k = torchaudio.transforms.Resample(sr, 22050)(audio)
    audio_16k = torchaudio.transforms.Resample(sr, 16000)(audio)
    inputs = SeamlessM4TFeatureExtractor()(audio_16k, sampling_rate=16000, return_tensors="pt")
    hidden = parts.w2v(**inputs, output_hidden_states=True).hidden_states[17]
    _, s_ref = parts.repcodec.quantize((hidden - parts.stats["mean"]) / torch.sqrt(parts.stats["var"]))
    spectrum = parts.config.s2mel["preprocess_params"]["spect_params"]
    ref_mel = parts.mel(
        audio_22k.float(), n_fft=spectrum["n_fft"], win_size=spectrum["win_length"], hop_size=spectrum["hop_length"],
        num_mels=spectrum["n_mels"], sampling_rate=parts.config.s2mel["preprocess_params"]["sr"], fmin=0, fmax=None,
        center=False,
    )  # fmt: skip
    feat = kaldi.fbank(audio_16k, num_mel_bins=80, dither=0, sample_frequency=16000)
    style = parts.campplus((feat - feat.mean(dim=0, keepdim=True)).unsqueeze(0))
    regulate = parts.s2mel.models["length_regulator"]
    prompt = regulate(s_ref, ylens=torch.LongTensor([ref_mel.size(2)]), n_quantizers=3, f0=None)[0]
    return style, prompt, ref_mel


@torch.no_grad()
def speech(parts, codes, latent, style, prompt_condition, ref_mel, seed):
    """`infer_generator` after `latent = self.gpt(...)`: `codes` (1, n), `latent` (1, n, DIM)."""
    code_lens = torch.LongTensor([codes.shape[1]])
    latent = parts.s2mel.models["gpt_layer"](latent)
    s_infer = parts.repcodec.quantizer.vq2emb(codes.unsqueeze(1)).transpose(1, 2) + latent
    lengths = (code_lens * 1.72).long()
    cond = parts.s2mel.models["length_regulator"](s_infer, ylens=lengths, n_quantizers=3, f0=None)[0]
    cat = torch.cat([prompt_condition, cond], dim=1)
    torch.manual_seed(seed)
    target = parts.s2mel.models["cfm"].inference(
        cat, torch.LongTensor([cat.size(1)]), ref_mel, style, None, 25, inference_cfg_rate=0.7
    )
    wav = parts.bigvgan(target[:, :, ref_mel.size(-1) :].float()).squeeze().unsqueeze(0)
    return torch.clamp(wav, -1.0, 1.0)[0].clone()


def noise(seconds: float, rate: int = 16000, seed: int = 0) -> torch.Tensor:
    return torch.randn(int(seconds * rate), generator=torch.Generator().manual_seed(seed)) * 0.1


def lines(count: int, seed: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes and latents."""
    chance = torch.Generator().manual_seed(seed)
    return torch.randint(64, (count,), generator=chance), torch.randn(count, DIM, generator=chance)


@pytest.mark.parametrize("rate", [16000, 22050])
def test_speech_is_that_of_the_runtime(parts, codec, rate, tmp_path):
    assert codec.speaks and isinstance(codec, codecs.Codec)
    wav, (codes, latents) = noise(1.0, rate), lines(29)
    with torch.random.fork_rng():
        style, prompt, ref_mel = conditioning(parts, wav[None], rate)
        expected = speech(parts, codes[None], latents[None], style, prompt, ref_mel, seed=5)
    voice = codec.voice(wav, rate)
    assert torch.equal(voice["mel"], ref_mel[0]) and torch.equal(voice["style"], style[0])
    save_file(voice, tmp_path / "voice.safetensors")  # it is enough
    fresh = codecs.load(f"indextts={parts.folder}")
    voice = load_file(tmp_path / "voice.safetensors")
    spoken = fresh.decode(codes, voice | {"latents": latents}, seed=5)
    assert spoken.shape == (49 * 256,) and spoken.std() > 0.01  # 29 * 1.72 = 49.88
    assert torch.equal(spoken, expected) and not spoken.is_inference()
    if rate == 16000:
        assert all(torch.equal(value, voice[name]) for name, value in codec.voice(wav).items())
    assert torch.equal(fresh.to("cpu").decode(codes, voice | {"latents": latents}, seed=5), spoken)


def test_everything_decides_what_is_heard(codec):
    codes, latents = lines(4)
    voice = codec.voice(noise(0.2)) | {"latents": latents}
    wav = codec.decode(codes, voice, seed=1)
    assert wav.shape == (6 * 256,) and not torch.allclose(codec.decode(codes, voice, seed=2), wav, atol=1e-3)
    for name, value in voice.items():
        assert not torch.equal(codec.decode(codes, voice | {name: value + 0.5}, seed=1), wav), name
    assert not torch.equal(codec.decode(63 - codes, voice, seed=1), wav)
    half = latents[:1].bfloat16()  # of a model in half precision
    wav = codec.decode(codes[:1], voice | {"latents": half})
    assert wav.shape == (256,) and torch.equal(wav, codec.decode(codes[:1], voice | {"latents": half.float()}))


def test_long_prompts_are_cut_as_the_runtime_cuts_them(parts, codec):
    wav = noise(15.5, 22050)
    voice = codec.voice(wav, 22050)
    style, _, ref_mel = conditioning(parts, wav[None, : 15 * 22050], 22050)
    assert torch.equal(voice["mel"], ref_mel[0]) and torch.equal(voice["style"], style[0])
    for found in (voice, codec.voice(noise(15.5))):
        shapes = {name: tuple(value.shape) for name, value in found.items()}
        assert shapes == {"mel": (80, 15 * 22050 // 256), "style": (192,), "prompt": (749, 4)}  # 8 in the published one
        assert all(value.is_contiguous() and value.dtype == torch.float32 for value in found.values())
    assert codec.voice(noise(0.045))["style"].isfinite().all()
    with pytest.raises(CodecError, match="720 or more"):
        codec.voice(noise(0.0449))


@pytest.mark.parametrize("file", FILES)
def test_a_part_that_is_missing_is_named_and_encoding_does_without(parts, codec, file, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "reachable", lambda: False)
    linked(parts.folder, tmp_path / "parts")
    (tmp_path / "parts" / file).unlink()
    less = codecs.load(f"indextts={tmp_path / 'parts'}")
    assert less.hash == codec.hash and torch.equal(less.encode(noise(0.2)), codec.encode(noise(0.2)))
    assert not less.speaks and less.voice(noise(0.3)) == {}
    hub = {"camp": "funasr/campplus", "bigv": "nvidia/bigvgan_v2_22khz_80band_256x"}
    codes, latents = lines(4)
    with pytest.raises(
        CodecError, match=f"own runtime .* no {file} in this folder, and {hub.get(file[:4], 'IndexTeam/IndexTTS-2')}"
    ):
        less.decode(codes, {"latents": latents})


def test_what_decoding_lacks_is_said(codec):
    codes, latents = lines(4)
    voice = codec.voice(noise(0.3))
    for given in (None, {}, voice):
        with pytest.raises(CodecError, match=r"own runtime turns codes into speech .* of which latents.* is missing"):
            codec.decode(codes, given)
    with pytest.raises(CodecError, match=r"of which mel, style, prompt is missing.*codec\.voice\(reference\)"):
        codec.decode(codes, {"latents": latents})
    for wrong in (latents[:3], latents[:, 1:], latents[0], latents * torch.inf):
        with pytest.raises(CodecError, match="s2mel takes 24 finite numbers for each of 4 codes"):
            codec.decode(codes, voice | {"latents": wrong})
    with pytest.raises(CodecError, match="start and stop are to be taken off"):
        codec.decode(torch.tensor([1, 65]), voice | {"latents": latents[:2]})


def linked(old, new):
    shutil.copytree(old, new, copy_function=lambda file, link: os.symlink(file, link))


def rewritten(parts, folder, file, change) -> Sound:
    """The decoder of the same parts but for one file, whose content `change` takes and gives."""
    linked(parts.folder, folder)
    content = change(torch.load(folder / file))
    (folder / file).unlink()
    torch.save(content, folder / file)
    return Sound(str(folder))


def same(one: nn.Module, other: nn.Module, but=frozenset()) -> bool:
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one.keys() - but)


def test_weights_are_taken_in_the_forms_in_which_they_come(parts, codec, tmp_path):
    def parallel(state):
        for key, group in state["net"].items():
            state["net"][key] = {f"module.{name}": value for name, value in group.items()}
        del state["net"]["length_regulator"]["module.mask_token"]
        state["net"]["cfm"]["module.estimator.input_pos"] = torch.arange(8192)
        return state | {"optimizer": {}, "epoch": 3}

    def plain(state):
        made = indextts_sound.package("bigvgan.bigvgan").BigVGAN.from_pretrained(str(parts.folder / "bigvgan"))
        made.remove_weight_norm()
        return {"generator": made.state_dict()}

    def uncounted(state):
        return {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}

    made = rewritten(parts, tmp_path / "speaker", "campplus_cn_common.bin", uncounted)
    assert same(made.campplus, codec.sound.campplus)
    made = rewritten(parts, tmp_path / "parallel", "s2mel.pth", parallel)
    assert same(made.s2mel, codec.sound.s2mel, but={"length_regulator.mask_token"})
    made = rewritten(parts, tmp_path / "plain", "bigvgan/bigvgan_generator.pt", plain)
    assert same(made.bigvgan, codec.sound.bigvgan) and "conv_pre.weight" in made.bigvgan.state_dict()


def test_weights_that_do_not_fit_are_refused(parts, tmp_path):
    def without(group, name):
        return lambda state: {
            "net": state["net"] | {group: {k: v for k, v in state["net"][group].items() if k != name}}
        }

    vocoder, speaker = "bigvgan/bigvgan_generator.pt", "campplus_cn_common.bin"
    for i, (network, file, change, says) in enumerate([
        ("s2mel", "s2mel.pth", without("cfm", "estimator.conv1.weight"), r"s2mel\.pth: cfm: 1 weights missing.*conv1"),
        ("s2mel", "s2mel.pth", without("gpt_layer", "0.weight"), "no s2mel of IndexTTS2: KeyError.*0.weight"),
        ("s2mel", "s2mel.pth", lambda state: state["net"], "no weights under 'net'"),
        ("bigvgan", vocoder, lambda s: {"generator": s["generator"] | {"x": torch.ones(1)}}, 'Unexpected key.*"x"'),
        ("campplus", speaker, lambda state: dict(list(state.items())[1:]), r"common\.bin: .* Missing key"),
    ]):  # fmt: skip
        sound = rewritten(parts, tmp_path / str(i), file, change)
        with pytest.raises(CodecError, match=says):
            getattr(sound, network)
    for file, content, says in [
        ("s2mel.pth", "cut short", r"s2mel\.pth: no weights"),
        ("bigvgan/config.json", "{}", r"config\.json: no configuration of BigVGAN"),
        ("config.yaml", "s2mel: 3", r"config\.yaml: no configuration of IndexTTS2"),
    ]:
        (tmp_path / "0" / file).unlink()
        (tmp_path / "0" / file).write_text(content)
        with pytest.raises(CodecError, match=says):
            getattr(Sound(str(tmp_path / "0")), {"s": "s2mel", "b": "bigvgan", "c": ""}[file[0]])


def test_nothing_is_left_behind(parts, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith("indextts.s2mel")]:
        monkeypatch.delitem(sys.modules, name)  # imported anew
    codec = codecs.load(f"indextts={parts.folder}")
    codes, latents = lines(4)
    torch.manual_seed(3)
    before = torch.get_rng_state(), list(warnings.filters), torch.get_num_threads(), torch.is_grad_enabled()
    capsys.readouterr()
    had = "munch" in sys.modules, "indextts" in sys.modules
    voice = codec.voice(noise(0.3))
    assert {"s2mel", "bigvgan"}.isdisjoint(vars(codec.sound))  # made when they are needed
    codec.decode(codes, voice | {"latents": latents})
    after = torch.get_rng_state(), list(warnings.filters), torch.get_num_threads(), torch.is_grad_enabled()
    assert torch.equal(before[0], after[0]) and before[1:] == after[1:]
    assert ("munch" in sys.modules, "indextts" in sys.modules) == had
    assert capsys.readouterr() == ("", "")  # the package's flow draws a bar of progress
