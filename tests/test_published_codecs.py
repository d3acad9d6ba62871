"""Codecs of others against their own packages, on small checkpoints in the layout they are published in.

Weights are random, so speech is noise: what is compared is that ours and the package's own way of calling it give the
same codes, latents and samples. Nothing here has seen a published checkpoint.
"""

import importlib.util
import sys

import pytest
import torch
import yaml
from official import index_codec, needs
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    DacConfig,
    DacModel,
    MimiConfig,
    MimiModel,
    SeamlessM4TFeatureExtractor,
)

from ttslib import codecs
from ttslib.codecs import CodecError, indextts, pocket, published, s3
from ttslib.vocab import source

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # of diffusers and torch, in the packages' own code


def noise(samples: int, seed: int = 0) -> torch.Tensor:
    """Noise whose loudness and colour move, so that codes do."""
    made = torch.randn(samples, generator=torch.Generator().manual_seed(seed)) * 0.1
    time = torch.arange(samples) / 16000
    return made * (time * 9).sin() + 0.3 * (time * (600 + 2000 * (time * 3).sin()) * 6.28).sin()


# --- S3Tokenizer and S3Gen --------------------------------------------------------------------------------------------

SMALL = {  # S3Gen has no sizes to choose; those of its parts, where it makes them
    "UpsampleConformerEncoder": {"num_blocks": 1, "linear_units": 64},
    "ConditionalDecoder": {
        "channels": [32],
        "n_blocks": 1,
        "num_mid_blocks": 1,
        "num_heads": 2,
        "attention_head_dim": 16,
    },
    "HiFTGenerator": {"base_channels": 64},
    "ConvRNNF0Predictor": {"cond_channels": 32},
    "CAMPPlus": {"growth_rate": 4, "init_channels": 16},
}


@pytest.fixture(scope="module")
def s3gen(tmp_path_factory):
    """`(folder, official S3Gen)`: the official class, its parts made smaller and its tokenizer of 1 layer of 64."""
    package = published.imported("chatterbox.models.s3gen.s3gen", s3.INSTALL)

    def smaller(made, options):
        return lambda *args, **given: made(*args, **given | options)

    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(0)
        for name, options in SMALL.items():
            patch.setattr(package, name, smaller(getattr(package, name), options))
        with s3.sizes(64, 1):
            official = package.S3Token2Wav().eval()
        nn.init.normal_(official.tokenizer.quantizer._codebook.project_down.weight, std=3.0)  # else one code for all
        folder = tmp_path_factory.mktemp("chatterbox")
        weights = {name: value.contiguous() for name, value in official.state_dict().items()}
        computed = {f"tokenizer.{name}" for name in s3.COMPUTED}  # the English file comes without
        save_file(
            {name: value for name, value in weights.items() if name not in computed}, folder / "s3gen.safetensors"
        )
        yield folder, official


@needs("chatterbox")
def test_s3_codes_are_those_of_the_stock_runtime(s3gen):
    folder, official = s3gen
    codec = codecs.load(f"s3={folder}")
    assert isinstance(codec, codecs.Codec) and (codec.vocab, codec.special) == (6561, {"start": 6561, "stop": 6562})
    for samples in (640, 640 * 7, 16000, 96000, 16000 * 33):  # the last one in windows
        wav = noise(samples)
        codes, count = official.tokenizer(wav[None])
        assert torch.equal(codec.encode(wav), codes[0, : count[0]]) and count[0] == samples // 640
    prompt, _ = official.tokenizer.forward([wav[:96000].numpy()], max_len=150)  # prepare_conditionals
    assert torch.equal(codec.encode(wav[:96000]), prompt[0]) and len(prompt[0].unique()) > 20
    assert codec.speaker is None  # encoding does not make S3Gen


@needs("chatterbox")
def test_s3_counts_codes_and_loses_none_at_the_end_of_long_recordings(s3gen):
    folder, official = s3gen
    codec = codecs.load(f"s3={folder}")
    assert [len(codec.encode(noise(n))) for n in (1, 639, 641, 640 * 7, 16001)] == [1, 1, 2, 7, 26]
    wav = noise(16000 * 53)
    codes, stock = codec.encode(wav), official.tokenizer(wav[None])[0][0]
    assert len(codes) == 53 * 25 and len(stock) == 51 * 25  # s3tokenizer drops 2 s here
    assert torch.equal(codes[: len(stock)], stock)
    assert not codes.is_inference()


def test_s3_windows_cover_every_frame():
    for frames in range(2900, 16000, 37):
        spans = s3.windows(frames)
        tokens = [-(-(end - start) // 4) for start, end in spans]
        kept = sum(tokens) - 100 * (len(spans) - 1)  # 2 s at either side of a seam
        assert spans[-1][1] == frames and kept == -(-frames // 4) and min(tokens) >= 100


@needs("chatterbox")
def test_s3_encodes_a_batch_as_one_by_one(s3gen):
    codec = codecs.load(f"s3={s3gen[0]}")
    wavs = [noise(n, seed=n) for n in (5000, 48000, 16000, 16000)]
    assert all(map(torch.equal, codec.encode_batch(wavs), map(codec.encode, wavs)))


@needs("chatterbox")
def test_s3_speaks_as_the_stock_runtime(s3gen):
    folder, official = s3gen
    codec = codecs.load(f"s3={folder}")
    codes, reference = codec.encode(noise(640 * 5)), noise(16000 * 2, seed=1)
    voice = codec.voice(reference)
    with torch.no_grad():
        told = official.embed_ref(reference, 16000)
    assert sorted(voice) == ["embedding", "prompt_feat", "prompt_token", "prompt_token_len"]
    assert all(torch.equal(voice[name], told[name]) for name in voice)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    wav = codec.decode(codes, voice, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(5)
    expected, _ = official.inference(speech_tokens=codes, ref_dict=dict(told))
    assert wav.shape == (5 * 960,) and torch.equal(wav, expected[0]) and wav.abs().max() > 0
    assert torch.equal(codec.decode(codes, voice, seed=5), wav)
    assert not torch.equal(codec.decode(codes, voice, seed=6), wav)
    with pytest.raises(CodecError, match=r"carry no voice.*codec\.voice\(reference\)"):
        codec.decode(codes)
    with pytest.raises(CodecError, match="id 6562 at position 1 is not a code"):
        codec.decode(torch.tensor([4, 6562]), voice)
    long = codec.voice(noise(16000 * 11))
    assert long["prompt_token"].shape == (1, 250) and long["prompt_feat"].shape == (1, 500, 80)


@needs("chatterbox")
def test_s3_is_known_by_its_weights(s3gen, tmp_path):
    folder, official = s3gen
    codec = codecs.load(f"s3={folder}")
    state = {f"tokenizer.{name}": value.clone() for name, value in official.tokenizer.state_dict().items()}
    torch.save(state, tmp_path / "s3gen.pt")  # the layout of the multilingual file, as much of it as makes codes
    other = codecs.load(f"s3={tmp_path}")
    wav = noise(6400)
    assert torch.equal(other.encode(wav), codec.encode(wav)) and other.hash != codec.hash  # another file
    assert codecs.restore(other.state()).hash == other.hash
    with pytest.raises(CodecError, match=r"weights missing or unknown, as .*decoder"):
        other.generator()
    state["tokenizer.encoder.conv1.bias"] += 1
    torch.save(state, tmp_path / "s3gen.pt")
    with pytest.raises(CodecError, match="codes of two codecs do not mix"):
        codecs.restore(other.state())
    del state["tokenizer.encoder.conv1.bias"]
    torch.save(state, tmp_path / "s3gen.pt")
    with pytest.raises(CodecError, match=r"1 weights missing or unknown, as .*conv1\.bias"):
        codecs.load(f"s3={tmp_path}")
    torch.save({"flow.weight": torch.zeros(1)}, tmp_path / "s3gen.pt")
    with pytest.raises(CodecError, match=r"no weights tokenizer\.\*"):
        codecs.load(f"s3={tmp_path}")
    (tmp_path / "s3gen.pt").write_bytes(b"cut short")
    with pytest.raises(CodecError, match="cannot be read as weights of S3Gen"):
        codecs.load(f"s3={tmp_path}")


# --- Mimi and DAC through Transformers --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mimi(tmp_path_factory):
    """`(folder, network)`: hidden 32, 12 codebooks of 64."""
    config = MimiConfig(
        hidden_size=32, num_filters=4, num_hidden_layers=1, intermediate_size=32, num_attention_heads=2, head_dim=16,
        num_key_value_heads=2, codebook_size=64, codebook_dim=16, vector_quantization_hidden_dimension=16,
        num_quantizers=12, upsample_groups=32,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = MimiModel(config).eval()
        for module in made.modules():
            if hasattr(module, "embed_sum"):
                module.embed_sum.normal_()
    made.save_pretrained(folder := tmp_path_factory.mktemp("mimi"))
    return folder, made


@pytest.fixture(scope="module")
def dac(tmp_path_factory):
    """`(folder, network)`: 12 codebooks of 32, 24 kHz with the ratios of the published 24 kHz model."""
    config = DacConfig(
        encoder_hidden_size=4, decoder_hidden_size=32, downsampling_ratios=[2, 4, 5, 8], codebook_size=32,
        codebook_dim=4, n_codebooks=12, sampling_rate=24000,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = DacModel(config).eval()
    made.save_pretrained(folder := tmp_path_factory.mktemp("dac"))
    return folder, made


@pytest.mark.parametrize(
    ("kind", "count", "size", "hop", "books"),
    [("mimi", 8, 64, 1920, "num_quantizers"), ("dac", 9, 32, 320, "n_quantizers")],
)
def test_codebooks_become_one_stream_and_come_back(kind, count, size, hop, books, request):
    folder, network = request.getfixturevalue(kind)
    codec = codecs.load(f"{kind}={folder}")
    assert isinstance(codec, codecs.Codec) and codec.name == f"{kind}-{count}" and codec.vocab == count * size
    assert codec.frame_rate == 24000 / hop * count and codec.special == {
        "start": count * size,
        "stop": count * size + 1,
    }
    wav = noise(hop * 5)
    with torch.no_grad():
        codes = network.encode(wav[None, None], **{books: count}).audio_codes
        sound = network.decode(audio_codes=codes).audio_values.reshape(-1)
    ids = codec.encode(wav)
    assert torch.equal((ids % size).reshape(5, count), codes[0].T) and len(ids.unique()) > 2 * count
    assert torch.equal(ids // size, torch.arange(5 * count) % count)
    assert torch.equal(codec.decode(ids), sound)
    wavs = [noise(n, seed=n) for n in (hop * 3 - 1, hop * 7 + 1, 1)]
    assert all(map(torch.equal, codec.encode_batch(wavs), map(codec.encode, wavs)))
    assert [len(codec.encode(wav)) for wav in wavs] == [3 * count, 8 * count, count]
    two = codecs.load(f"{kind}={folder}#2")
    assert torch.equal(two.encode(wav).reshape(5, 2), ids.reshape(5, count)[:, :2]) and two.hash != codec.hash


def test_a_stream_out_of_step_is_refused(mimi):
    codec = codecs.load(f"mimi={mimi[0]}#2")
    with pytest.raises(CodecError, match="id 3 at position 3 is of codebook 0, where one of codebook 1"):
        codec.decode(torch.tensor([0, 64, 0, 3]))
    with pytest.raises(CodecError, match="3 ids are no whole frames of 2"):
        codec.decode(torch.tensor([0, 64, 0]))
    with pytest.raises(CodecError, match="id -1 at position 1"):
        codec.decode(torch.tensor([0, -1]))


def test_mimi_latents_are_what_the_quantiser_would_get(mimi):
    folder, network = mimi
    codec = codecs.load(f"mimi={folder}#latents")
    assert isinstance(codec, codecs.Codec) and (codec.vocab, codec.dim, codec.frame_rate) == (None, 32, 12.5)
    wav = noise(1920 * 4)
    with torch.no_grad():
        latents = codec.encode(wav)
        codes = network.quantizer.encode(latents.T[None])[:, 0]
        assert torch.equal(codes, network.encode(wav[None, None]).audio_codes[0])
        sound = network.decoder(network.quantizer.decode(codes[None])).audio_values.reshape(-1)
        assert torch.equal(codec.decode(network.quantizer.decode(codes[None])[0].T), sound)
    assert latents.shape == (4, 32) and codec.decode(latents).shape == (4 * 1920,)
    with pytest.raises(CodecError, match=r"expected finite latents \(frames, 32\)"):
        codec.decode(latents[:, :5])


def test_a_choice_that_is_not_there_is_refused(mimi, dac, tmp_path):
    for where, says in {
        f"mimi={mimi[0]}#13": "13 codebooks asked for, it has 1 to 12",
        f"mimi={mimi[0]}#0": "0 codebooks asked for",
        f"dac={dac[0]}#latents": "a number of codebooks, not 'latents'",
        f"mimi={mimi[0]}#many": "a number of codebooks or latents, not 'many'",
        f"mimi={dac[0]}": "mimi",
        f"mimi={tmp_path}": "no weights in this folder; looked for model.safetensors",
    }.items():
        with pytest.raises(CodecError, match=says):
            codecs.load(where)


def test_mimi_is_known_by_its_weights_and_refused_when_some_are_missing(mimi, tmp_path):
    mimi[1].save_pretrained(tmp_path)
    state = codecs.load(f"mimi={tmp_path}#2").state()
    assert codecs.restore(state).hash == state["hash"] and sorted(state) == ["hash", "name", "where"]
    weights = load_file(tmp_path / "model.safetensors")
    name = next(name for name in weights if name.endswith("embed_sum"))
    save_file(weights | {name: weights[name] + 1}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CodecError, match="codes of two codecs do not mix"):
        codecs.restore(state)
    del weights[name]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CodecError, match="1 weights missing or misshapen"):
        codecs.load(f"mimi={tmp_path}#2")


# --- Pocket's Mimi ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pocket_mimi(tmp_path_factory):
    """`(folder, official network)`: the English config with narrow layers, weights as a TTSModel keeps them."""
    configs = published.imported("pocket_tts.utils.config", pocket.INSTALL)
    raw = yaml.safe_load((configs.CONFIGS_DIR / "english.yaml").read_text(encoding="utf-8"))
    small = raw["mimi"]
    small["seanet"] |= {"dimension": 32, "n_filters": 2}
    small["transformer"] |= {
        "d_model": 32, "num_heads": 2, "num_layers": 1, "dim_feedforward": 32, "input_dimension": 32,
        "output_dimensions": [32],
    }  # fmt: skip
    small["quantizer"]["output_dimension"] = small["outer_dim"] = 32
    folder = tmp_path_factory.mktemp("pocket")
    (folder / "small.yaml").write_text(yaml.safe_dump(raw))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = (
            published.imported("pocket_tts.models.mimi", pocket.INSTALL).build_mimi(configs.Config(**raw).mimi).eval()
        )
    weights = {f"mimi.{name}": value for name, value in made.state_dict().items()}
    save_file(weights | {"flow_lm.bos_emb": torch.zeros(32)}, folder / "model.safetensors")
    return folder, made


@needs("pocket_tts")
def test_pocket_latents_and_speech_are_those_of_the_package(pocket_mimi):
    folder, official = pocket_mimi
    torch.set_num_threads(2)
    codec = codecs.load(f"pocket={folder}")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert threads == 2  # the package sets it to 1
    assert isinstance(codec, codecs.Codec) and (codec.dim, codec.frame_rate, codec.vocab) == (32, 12.5, None)
    wav = noise(1920 * 6 + 5)
    with torch.no_grad():
        latents = codec.encode(wav)
        assert torch.equal(latents, official.encode_to_latent(wav[None, None])[0])
        assert latents.shape == (7, 32) and latents.std(dim=0).min() > 0
        states = published.imported("pocket_tts.modules.stateful_module", pocket.INSTALL)
        for name, module in official.named_modules():
            if isinstance(module, states.StatefulModule):
                module._module_absolute_name = name
        state = states.init_states(official, 1, 7 * 16)  # as TTSModel decodes, in two pieces
        heard = [official.decode_from_latent(latents[None, :3], state)]
        states.increment_steps(official, state, 3 * 16)
        heard.append(official.decode_from_latent(latents[None, 3:], state))
    expected = torch.cat(heard, dim=-1).reshape(-1)
    expected[:120] *= torch.linspace(0, 1, 120)
    torch.testing.assert_close(codec.decode(latents), expected, atol=1e-6, rtol=1e-4)
    assert len(expected) == 7 * 1920 and torch.equal(codec.decode(latents), codec.decode(latents))
    wavs = [noise(n, seed=n) for n in (3000, 1920, 9000)]
    assert all(map(torch.equal, codec.encode_batch(wavs), map(codec.encode, wavs)))
    assert codecs.restore(codec.state()).hash == codec.hash


@needs("pocket_tts")
@pytest.mark.parametrize("part", ["encoder", "encoder_transformer", "downsample"])
def test_pocket_without_an_encoder_is_refused(pocket_mimi, tmp_path, part):
    (tmp_path / "small.yaml").write_text((pocket_mimi[0] / "small.yaml").read_text())
    weights = load_file(pocket_mimi[0] / "model.safetensors")
    of_it = [name for name in weights if name.startswith(f"mimi.{part}.")]
    save_file(weights | {name: torch.zeros_like(weights[name]) for name in of_it}, tmp_path / "model.safetensors")
    with pytest.raises(CodecError, match=f"the {part} of Mimi is all zeros, .*accept its terms"):
        codecs.load(f"pocket={tmp_path}")
    save_file({name: weights[name] for name in weights if name not in of_it}, tmp_path / "model.safetensors")
    with pytest.raises(CodecError, match=f"the {part} of Mimi is missing"):
        codecs.load(f"pocket={tmp_path}")


@needs("pocket_tts")
def test_pocket_configs_that_do_not_fit_are_refused(pocket_mimi, tmp_path):
    weights = pocket_mimi[0] / "model.safetensors"
    with pytest.raises(CodecError, match="weights do not fit the config"):
        codecs.load(f"pocket={weights}")  # English's
    with pytest.raises(CodecError, match="512 numbers a frame and its decoder takes 32"):
        codecs.load(f"pocket={weights}#english_2026-01")
    with pytest.raises(CodecError, match="no config 'klingon' in the package; there are dutch"):
        codecs.load(f"pocket={weights}#klingon")
    (tmp_path / "model.safetensors").write_bytes(weights.read_bytes())
    (tmp_path / "odd.yaml").write_text("mimi: 3")
    with pytest.raises(CodecError, match=r"odd\.yaml: no config of pocket-tts"):
        codecs.load(f"pocket={tmp_path}")


# --- w2v-bert and RepCodec of IndexTTS2 -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def index_parts(tmp_path_factory):
    """`(folder, RepCodec, w2v-bert, stats)`: hidden 16, 64 codes, 18 layers."""
    folder = tmp_path_factory.mktemp("indextts")
    return folder, *index_codec(folder)


@needs("indextts")
def test_index_codes_are_made_as_its_runtime_makes_them(index_parts):
    folder, repcodec, w2v, stats = index_parts
    codec = codecs.load(f"indextts={folder}")
    assert isinstance(codec, codecs.Codec) and (codec.vocab, codec.special) == (64, {"start": 64, "stop": 65})
    for samples in (560, 16000, 24123):
        wav = noise(samples)
        heard = SeamlessM4TFeatureExtractor()(wav[None], sampling_rate=16000, return_tensors="pt")
        with torch.no_grad():  # get_emb and quantize of infer_v2.py
            hidden = w2v(**heard, output_hidden_states=True).hidden_states[17]
            codes, _ = repcodec.quantize((hidden - stats["mean"]) / torch.sqrt(stats["var"]))
        assert torch.equal(codec.encode(wav), codes[0])
        assert len(codes[0]) == -(-(1 + (samples - 400) // 160) // 2)
    assert len(codes.unique()) > 5
    wavs = [noise(n, seed=n) for n in (8000, 5000)]
    assert all(map(torch.equal, codec.encode_batch(wavs), map(codec.encode, wavs)))
    with pytest.raises(CodecError, match="IndexTTS2's own runtime turns codes into speech"):
        codec.decode(codes[0])
    with pytest.raises(CodecError, match="560 or more"):
        codec.encode(wav[:559])


@needs("indextts")
def test_index_parts_that_are_missing_or_changed_are_named(index_parts, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "reachable", lambda: False)
    folder, repcodec, _, stats = index_parts
    with pytest.raises(
        CodecError, match=r"no wav2vec2bert_stats\.pt in this folder, and IndexTeam/IndexTTS-2 .*cannot be"
    ):
        codecs.load(f"indextts={tmp_path}")
    torch.save(stats, tmp_path / indextts.STATS)
    with pytest.raises(CodecError, match=r"semantic_codec/model\.safetensors or model.safetensors .* amphion/MaskGCT"):
        codecs.load(f"indextts={tmp_path}")
    save_file(repcodec.state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(CodecError, match=r"no w2v-bert-2\.0/model\.safetensors .* facebook/w2v-bert-2.0"):
        codecs.load(f"indextts={tmp_path}")
    (tmp_path / indextts.W2V).symlink_to(folder / indextts.W2V)
    codec = codecs.load(f"indextts={tmp_path}")
    assert codec.hash == codecs.load(f"indextts={folder}").hash  # the same content elsewhere
    torch.save(stats | {"mean": stats["mean"] + 1}, tmp_path / indextts.STATS)
    with pytest.raises(CodecError, match="codes of two codecs do not mix"):
        codecs.restore(codec.state())


# --- what all share ---------------------------------------------------------------------------------------------------


def test_a_package_is_imported_without_its_own_init(tmp_path, monkeypatch):
    (tmp_path / "fragile" / "part").mkdir(parents=True)
    (tmp_path / "fragile" / "__init__.py").write_text("raise RuntimeError('a server starts')")
    (tmp_path / "fragile" / "part" / "__init__.py").write_text("")
    (tmp_path / "fragile" / "part" / "inner.py").write_text("from .. import part\nvalue = 7")
    (tmp_path / "fragile" / "wants.py").write_text("import a_package_that_is_not_there")
    monkeypatch.syspath_prepend(tmp_path)
    assert published.imported("fragile.part.inner", "fragile==1").value == 7
    assert published.imported("fragile.part.inner", "fragile==1") is sys.modules["fragile.part.inner"]
    assert "fragile" not in sys.modules
    with pytest.raises(RuntimeError, match="a server starts"):
        importlib.import_module("fragile")  # the real one, not what stood for it
    with pytest.raises(CodecError, match=r"needs a_package_that_is_not_there.*pip install --no-deps fragile==1"):
        published.imported("fragile.wants", "fragile==1")
    assert "fragile" not in sys.modules
    with pytest.raises(CodecError, match="nowhere_at_all is not installed: pip install --no-deps nowhere==2"):
        published.imported("nowhere_at_all.part", "nowhere==2")


@pytest.mark.parametrize("kind", ["s3", "mimi", "dac", "indextts"])
def test_weights_that_cannot_be_had_are_named(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "reachable", lambda: False)
    with pytest.raises(CodecError, match=r"nobody/nothing \(.*neither a local file nor in the hub cache"):
        codecs.load(f"{kind}=nobody/nothing")
    with pytest.raises(CodecError, match="no such file or folder, and no hub id"):
        codecs.load(f"{kind}={tmp_path}/gone")


def test_samples_that_are_none_are_refused(mimi):
    codec = codecs.load(f"mimi={mimi[0]}#2")
    for wav in (torch.zeros(0), torch.zeros(2, 4000), torch.zeros(4000).int(), torch.tensor([0.0, float("nan")])):
        with pytest.raises(CodecError, match="expected finite mono samples"):
            codec.encode(wav)
    assert codec.voice(noise(100)) == {}


def test_mimi_leaves_no_table_behind_when_it_moves(mimi):
    codec = codecs.load(f"mimi={mimi[0]}#2")
    before = codec.encode(noise(4000))
    tables = [module for module in codec.modules() if hasattr(module, "_embed")]
    assert any(module._embed is not None for module in tables)  # Transformers keeps it where it was first made
    codec.to("cpu")
    assert all(module._embed is None for module in tables) and torch.equal(codec.encode(noise(4000)), before)
