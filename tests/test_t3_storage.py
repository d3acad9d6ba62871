"""Chatterbox's own files: read, grown by a language, written back, and read by the published classes."""

import json
import sys
import types
from dataclasses import replace

import pytest
import torch
from official import chatterbox
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer as Engine
from tokenizers import models, pre_tokenizers

from ttslib import adapt, checkpoint, codecs, extension, params, pipeline, vocab
from ttslib.adapt import AdaptError
from ttslib.systems.t3 import System, net, synthesis
from ttslib.vocab import VocabError
from ttslib.voice_encoder import VoiceEncoder

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,!?'-\""
HANGUL = [chr(0x1100 + i) for i in range(40)]


def tokenizer_json(tags: tuple[str, ...], extra: list[str] = ()) -> dict:
    """A small file in Chatterbox's format: BPE of letters, a merge, added tokens, no normaliser."""
    names = ["[STOP]", "[UNK]", "[SPACE]", *tags, "[START]", "[PLACEHOLDER55]", *LETTERS, *extra, "th"]
    table = {name: i for i, name in enumerate(names)}
    engine = Engine(models.BPE(vocab=table, merges=[("t", "h")], unk_token="[UNK]"))
    engine.pre_tokenizer = pre_tokenizers.Whitespace()
    engine.add_special_tokens([n for n in names if n.startswith("[")])
    return json.loads(engine.to_str())


@pytest.fixture(params=["english", "multilingual"])
def kind(request) -> str:
    return request.param


@pytest.fixture
def folder(tmp_path, kind):
    """Chatterbox's files with a small network: everything T3 is made of, no S3Gen."""
    where = tmp_path / "chatterbox"
    where.mkdir()
    english = kind == "english"
    data = tokenizer_json(() if english else ("[en]", "[fr]"), [] if english else HANGUL)
    name = "tokenizer.json" if english else "grapheme_mtl_merged_expanded_v1.json"
    (where / name).write_text(json.dumps(data, ensure_ascii=False))
    rows = len(vocab.read(where / name))
    torch.manual_seed(0)
    shape = net.Shape(64, 2, 128, rows, 8194, text_positions=130, speech_positions=260)
    names = vocab.read(where / name).names
    made = net.Net(shape, net.Ids(names.index("[START]"), names.index("[STOP]"), 6561, 6562))
    save_file(made.state_dict(), where / ("t3_cfg.safetensors" if english else "t3_mtl23ls_v2.safetensors"))
    encoder = VoiceEncoder()
    encoder.save(where / ("ve.safetensors" if english else "ve.pt"))
    t3 = {
        "speaker_emb": torch.randn(1, 256), "clap_emb": None, "cond_prompt_speech_emb": None,
        "cond_prompt_speech_tokens": torch.randint(0, 6561, (1, 9)), "emotion_adv": torch.full((1, 1, 1), 0.5),
    }  # fmt: skip
    torch.save({"t3": t3, "gen": {"embedding": torch.randn(1, 192), "prompt_feat_len": None}}, where / "conds.pt")
    return where


def test_the_published_files_become_a_system(folder, kind):
    system = System.load(folder)
    assert system.chatterbox and not system.net.training
    assert system.tokenizer.front == ("t3-english" if kind == "english" else "t3")
    assert system.languages == (["en"] if kind == "english" else ["en", "fr"])
    assert (system.rate, system.frame_seconds, system.spare) == (24000, 0.04, ())
    assert system.references["built-in"].codes.shape == (9,)
    assert system.references["built-in"].decoder.keys() == {"embedding"}
    weights = load_file(next(folder.glob("t3_*.safetensors")))
    assert all(v.equal(weights[k]) for k, v in system.net.state_dict().items())
    ids = system.ids("the end", "en")
    names = [system.tokenizer.names[i] for i in ids]
    expected = ["[START]", "T", "h", "e", "[SPACE]", "e", "n", "d", ".", "[STOP]"]
    if kind == "multilingual":
        expected = ["[START]", "[en]", "th", "e", "[SPACE]", "e", "n", "d", ".", "[STOP]"]
    assert names == expected


def test_its_codec_is_asked_for_only_when_it_is_needed(folder):
    system = System.load(folder)
    with pytest.raises(codecs.CodecError, match=r"s3gen"):
        system.synthesize("the end")


def test_what_is_missing_or_of_another_kind_is_named(folder, tmp_path, kind):
    with pytest.raises(checkpoint.CheckpointError, match="no such file or folder, and no hub id"):
        System.load(tmp_path / "nothing here")
    (tmp_path / "empty").mkdir()
    with pytest.raises(checkpoint.CheckpointError, match="none of t3_mtl23ls_v3"):
        System.load(tmp_path / "empty")
    file = next(folder.glob("t3_*.safetensors"))
    weights = load_file(file)
    save_file(weights | {"tfmr.wte.weight": torch.zeros(2)}, file)
    with pytest.raises(checkpoint.CheckpointError, match="Turbo or Nano"):
        System.load(folder)
    save_file({"x": torch.zeros(1)}, file)
    with pytest.raises(checkpoint.CheckpointError, match="not T3's weights: x"):
        System.load(folder)
    rows = torch.cat([weights["text_emb.weight"], torch.zeros(3, 64)])
    save_file(weights | {"text_emb.weight": rows, "text_head.weight": rows.clone()}, file)
    with pytest.raises(VocabError, match=rf"no tokenizer of {len(rows)} names, .* \({len(rows) - 3}\)"):
        System.load(folder)
    file.write_bytes(b"broken")
    with pytest.raises(checkpoint.CheckpointError, match="missing or damaged"):
        System.load(folder)


def test_a_language_pack_is_found_by_its_only_weights(folder, kind):
    file = next(folder.glob("t3_*.safetensors"))
    file.rename(folder / "t3_pt_br.safetensors")
    assert System.load(folder).net.shape.dim == 64
    assert System.load(folder / "t3_pt_br.safetensors").net.shape.dim == 64


@pytest.fixture
def grown(folder, kind, tmp_path, spoken):
    """The system with Amharic letters and the tag `[am]`, merged into its tokenizer, and one that has been trained."""
    base = System.load(folder)
    amharic = ["ሰላም ለሁሉም", "እንዴት ነህ", "ሰላም ነው"]
    known = extension.base_lines(base.tokenizer)[:20]
    merged = vocab.merge(base.tokenizer, amharic, "am", known, "en", size=20, tag="[am]").tokenizer
    merged.save(tmp_path / "merged")
    (tmp_path / "merged" / "tokenizer.json").rename(tmp_path / "merged" / "grapheme_mtl_merged_expanded_v1.json")
    settings = {"text.units": "tokenizer", "text.tokenizer": str(tmp_path / "merged")}
    p = params.load("qaa", settings, system="t3", device="cpu", threads=1)
    rows = [replace(spoken.split("train")[0], text=text, lang="am") for text in amharic]
    system = adapt.extend(base, p, rows)
    with torch.no_grad():  # what training would have changed
        for table in system.tables.values():
            table.module.weight[len(base.tokenizer) :] += 0.1
    return base, system


def official_t3(shape: net.Shape, special: net.Ids, monkeypatch):
    """The published class in the size of `shape`."""
    import functools

    chatterbox()
    from chatterbox.models.t3 import llama_configs
    from chatterbox.models.t3.modules import cond_enc
    from chatterbox.models.t3.modules.t3_config import T3Config
    from chatterbox.models.t3.t3 import T3

    sizes = {
        "hidden_size": shape.dim, "intermediate_size": shape.ff, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.dim // 64, "num_key_value_heads": shape.dim // 64, "head_dim": 64,
    }  # fmt: skip
    monkeypatch.setitem(llama_configs.LLAMA_CONFIGS, "Llama_520M", llama_configs.LLAMA_CONFIGS["Llama_520M"] | sizes)
    perceiver = functools.partial(cond_enc.Perceiver, pre_attention_query_size=shape.dim, embedding_dim=shape.dim)
    if not isinstance(cond_enc.Perceiver, functools.partial):
        monkeypatch.setattr(cond_enc, "Perceiver", perceiver)
    config = T3Config(text_tokens_dict_size=shape.text_rows)
    config.start_text_token, config.stop_text_token = special.text_start, special.text_stop
    config.max_text_tokens, config.max_speech_tokens = shape.text_positions - 2, shape.speech_positions - 4
    return T3(config).eval()


def logits(official, system, text: str, lang: str) -> torch.Tensor:
    """Speech logits of the published class for a text in the built-in voice."""
    from chatterbox.models.t3.modules.cond_enc import T3Cond

    ids, voice = torch.tensor([system.ids(text, lang)]), system.references["built-in"]
    speech = torch.tensor([[6561, 5, 6, 7, 6562]])
    cond = T3Cond(
        speaker_emb=voice.vector[None], cond_prompt_speech_tokens=voice.codes[None],
        emotion_adv=torch.full((1, 1, 1), 0.5),
    )  # fmt: skip
    with torch.no_grad():
        return official(
            t3_cond=cond, text_tokens=ids, text_token_lens=torch.tensor([ids.shape[1]]), speech_tokens=speech,
            speech_token_lens=torch.tensor([5]),
        ).speech_logits[0]  # fmt: skip


def ours(system, text: str, lang: str) -> torch.Tensor:
    voice = system.references["built-in"]
    sample = synthesis.sample(system, text, voice, lang) | {
        "codes": torch.tensor([[5, 6, 7]]),
        "codes_len": torch.tensor([3]),
    }
    with torch.no_grad():
        return system.net.eval().logits(sample)["speech"]


def test_an_extended_export_is_read_by_the_published_class_through_the_shim(grown, tmp_path, monkeypatch, kind):
    _, system = grown
    folder = system.export(tmp_path / "exported")
    monkeypatch.setitem(sys.modules, "perth", types.ModuleType("perth"))  # the watermarker: nothing is spoken here
    official = official_t3(system.net.shape, system.net.special, monkeypatch)
    from chatterbox.models.t3.modules.t3_config import T3Config

    name = "english_only" if kind == "english" else "multilingual"
    monkeypatch.setattr(T3Config, name, getattr(T3Config, name))  # put back after the test
    exec((folder / "chatterbox_shim.py").read_text(), {})
    assert getattr(T3Config, name)().text_tokens_dict_size == len(system.tokenizer)
    if kind == "multilingual":
        from chatterbox.mtl_tts import SUPPORTED_LANGUAGES

        assert SUPPORTED_LANGUAGES.pop("am") == "am"
    file = "t3_cfg.safetensors" if kind == "english" else "t3_mtl23ls_v2.safetensors"
    official.load_state_dict(load_file(folder / file))  # strict
    for text, lang in (("the end", "en"), ("ሰላም ነው", "am")):
        torch.testing.assert_close(logits(official, system, text, lang), ours(system, text, lang), atol=1e-4, rtol=0)
    read = Engine.from_file(
        str(next(folder.glob("*.json"))) if kind == "english" else str(folder / "grapheme_mtl_merged_expanded_v1.json")
    )
    assert read.get_vocab_size() == len(system.tokenizer)


def test_the_stock_tokenizer_class_reads_the_export(grown, tmp_path, kind, monkeypatch):
    chatterbox()
    monkeypatch.setitem(sys.modules, "perth", types.ModuleType("perth"))
    from chatterbox.models.tokenizers import EnTokenizer

    _, system = grown
    folder = system.export(tmp_path / "exported")
    name = "tokenizer.json" if kind == "english" else "grapheme_mtl_merged_expanded_v1.json"
    stock = EnTokenizer(str(folder / name))
    text = "[am]" + "ሰላም ነው" + "."
    assert stock.text_to_tokens(text)[0].tolist() == system.ids("ሰላም ነው", "am")[1:-1]


def test_an_export_loads_back_whole(grown, tmp_path):
    _, system = grown
    again = pipeline.load(system.export(tmp_path / "exported"))
    assert again.net.shape == system.net.shape and again.tokenizer == system.tokenizer
    assert all(v.equal(system.net.state_dict()[k]) for k, v in again.net.state_dict().items())
    assert again.references["built-in"].decoder.keys() == {"embedding"}
    assert again.encoder.hash == system.encoder.hash
    assert ours(again, "ሰላም", "am").equal(ours(system, "ሰላም", "am"))
    saved = torch.load(tmp_path / "exported" / "conds.pt", weights_only=True)
    assert saved["t3"]["cond_prompt_speech_tokens"].shape == (1, 9) and saved["gen"].keys() == {
        "embedding",
        "prompt_feat_len",
    }


def test_the_base_speaks_as_before_it_was_grown(grown):
    base, system = grown
    assert ours(system, "the end", "en").equal(ours(base, "the end", "en"))
    assert adapt.RowMap.restore(system.adaptation["rows"]["text"]).dropped == []


def test_recycled_rows_keep_the_stock_size(grown, tmp_path, monkeypatch, kind):
    """New tokens stand where unwanted ones stood: same number of rows, same logits, the old language unchanged."""
    base, system = grown
    system.p = system.p.model_copy(update={"t3": system.p.t3.model_copy(update={"recycle": True})})
    if kind == "english":
        with pytest.raises(AdaptError, match=r"\d+ new tokens, 1 rows of scripts to give up"):
            system.export(tmp_path / "exported")
        return
    folder = system.export(tmp_path / "exported")
    official = official_t3(base.net.shape, system.net.special, monkeypatch)
    weights = load_file(folder / "t3_mtl23ls_v2.safetensors")
    official.load_state_dict(weights)
    again = pipeline.load(folder)
    assert len(again.tokenizer) == len(base.tokenizer)
    gone = set(base.tokenizer.names) - set(again.tokenizer.names)
    assert gone <= {"[PLACEHOLDER55]", *HANGUL} and len(gone) == len(system.tokenizer) - len(base.tokenizer)
    assert again.ids("the end", "en") == base.ids("the end", "en")
    for text, lang in (("the end", "en"), ("ሰላም ነው", "am"), ("እንዴት ነህ", "am")):
        assert len(again.ids(text, lang)) == len(system.ids(text, lang))
        expected = ours(system, text, lang)
        torch.testing.assert_close(ours(again, text, lang), expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(logits(official, again, text, lang), expected, atol=1e-4, rtol=0)
    stock = Engine.from_file(str(folder / "grapheme_mtl_merged_expanded_v1.json"))
    assert stock.encode("[am]ሰላም[SPACE]ነው.").ids == again.ids("ሰላም ነው", "am")[1:-1]
    assert not (folder / "chatterbox_shim.py").exists() or len(base.tokenizer) != 2454


def test_s3gens_file_goes_with_the_export(folder, tmp_path):
    (folder / "s3gen.pt").write_bytes(b"weights")
    system = System.load(folder)
    exported = system.export(tmp_path / "exported")
    assert (exported / "s3gen.pt").read_bytes() == b"weights"
