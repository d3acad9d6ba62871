"""Recognisers of Transformers on small random checkpoints in the official layout: what is heard is noise, but it is what
Transformers' own calls give, with the language, the task and the adapter that were asked for."""

import json

import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    GenerationConfig,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

from ttslib import recognise
from ttslib.recognise import RATE, RecogniserError, published

LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]


@pytest.fixture(scope="module")
def wav() -> torch.Tensor:
    time = torch.arange(2 * RATE) / RATE
    return 0.3 * (time * 900 * (1 + 0.3 * (time * 5).sin())).sin() * (time * 9).sin()


# --- Whisper ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    """A folder as `save_pretrained` writes it: 2 layers of 16, byte-level letters, two languages."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    folder = tmp_path_factory.mktemp("whisper")
    vocab = {char: i for i, char in enumerate(bytes_to_unicode().values())}
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|am|>", "<|translate|>", "<|transcribe|>",
               "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]  # fmt: skip
    ids = {token: len(vocab) + i for i, token in enumerate(special)}
    (folder / "vocab.json").write_text(json.dumps(vocab | {"<|endoftext|>": ids["<|endoftext|>"]}), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = WhisperTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": special[1:]})
    assert tokenizer.convert_tokens_to_ids(special) == list(ids.values())
    WhisperProcessor(WhisperFeatureExtractor(), tokenizer).save_pretrained(folder)
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=len(vocab) + len(special), d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_target_positions=40, init_std=0.6,
        decoder_start_token_id=ids["<|startoftranscript|>"], eos_token_id=ids["<|endoftext|>"],
        bos_token_id=ids["<|endoftext|>"], pad_token_id=ids["<|endoftext|>"], suppress_tokens=None,
    )  # fmt: skip
    network = WhisperForConditionalGeneration(config)
    network.generation_config = GenerationConfig(
        decoder_start_token_id=ids["<|startoftranscript|>"], eos_token_id=ids["<|endoftext|>"],
        pad_token_id=ids["<|endoftext|>"], max_length=30, is_multilingual=True,
        lang_to_id={"<|en|>": ids["<|en|>"], "<|am|>": ids["<|am|>"]},
        task_to_id={"translate": ids["<|translate|>"], "transcribe": ids["<|transcribe|>"]},
        no_timestamps_token_id=ids["<|notimestamps|>"],
    )  # fmt: skip
    network.save_pretrained(folder)
    return folder, ids


def test_whisper_is_told_the_language_and_to_transcribe(whisper, wav, monkeypatch):
    folder, ids = whisper
    recogniser = recognise.of(f"transformers={folder}")
    assert isinstance(recogniser, recognise.Recogniser) and recogniser.languages == {"en", "am"}
    begun = []
    forward = WhisperForConditionalGeneration.forward

    def seen(self, *args, **kwargs):
        if kwargs.get("decoder_input_ids") is not None and kwargs["decoder_input_ids"].shape[1] > 1:
            begun.append(kwargs["decoder_input_ids"][0].tolist())
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(WhisperForConditionalGeneration, "forward", seen)
    said = {lang: recogniser.transcribe(wav, RATE, lang) for lang in ("am", "en")}
    start = [ids["<|startoftranscript|>"]], [ids["<|transcribe|>"], ids["<|notimestamps|>"]]
    assert begun == [[*start[0], ids[f"<|{lang}|>"], *start[1]] for lang in ("am", "en")]
    assert said["am"] and said["am"] != said["en"] and said["am"] == recogniser.transcribe(wav, RATE, "am")


def test_whisper_says_what_transformers_own_call_says(whisper, wav):
    folder, _ = whisper
    processor, network = (
        WhisperProcessor.from_pretrained(folder),
        WhisperForConditionalGeneration.from_pretrained(folder),
    )
    mels = processor(wav.numpy(), sampling_rate=RATE, return_tensors="pt").input_features
    ids = network.generate(mels, language="am", task="transcribe")
    expected = processor.batch_decode(ids, skip_special_tokens=True)[0].strip()
    assert recognise.of(f"transformers={folder}").transcribe(wav, RATE, "am") == expected


def test_whisper_refuses_a_language_it_does_not_know(whisper, wav):
    recogniser = recognise.of(f"transformers={whisper[0]}")
    with pytest.raises(RecogniserError, match=r"does not know ku; it knows am, en.*training\.for_language"):
        recogniser.transcribe(wav, RATE, "ku")
    assert recogniser.transcribe(wav[:100], RATE, "am") == ""


def test_long_speech_is_cut_where_it_is_quiet(whisper):
    wav = torch.randn(70 * RATE, generator=torch.Generator().manual_seed(0)) * 0.1
    for second in (25.3, 50.1):
        wav[round(second * RATE) : round((second + 0.3) * RATE)] = 0
    cut = published.pieces(wav)
    assert torch.equal(torch.cat(cut), wav) and len(cut) == 3
    ends = [len(cut[0]) / RATE, (len(cut[0]) + len(cut[1])) / RATE]
    assert 25.3 < ends[0] < 25.6 and 50.1 < ends[1] < 50.4
    assert [len(piece) for piece in published.pieces(wav[:RATE])] == [RATE]
    recogniser = recognise.of(f"transformers={whisper[0]}")
    parts = [recogniser.transcribe(piece, RATE, "am") for piece in cut]
    assert recogniser.transcribe(wav, RATE, "am") == " ".join(filter(None, parts))


# --- MMS and wav2vec 2.0 ----------------------------------------------------------------------------------------------


def wav2vec2(folder, vocab, adapter: bool) -> Wav2Vec2ForCTC:
    (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    tokenizer = Wav2Vec2CTCTokenizer(folder / "vocab.json", target_lang="eng" if adapter else None)
    Wav2Vec2Processor(Wav2Vec2FeatureExtractor(return_attention_mask=True), tokenizer).save_pretrained(folder)
    torch.manual_seed(0)
    network = Wav2Vec2ForCTC(Wav2Vec2Config(
        vocab_size=31, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        conv_dim=(16, 16, 16), conv_stride=(5, 8, 8), conv_kernel=(10, 8, 8), num_feat_extract_layers=3,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, do_stable_layer_norm=True,
        feat_extract_norm="layer", adapter_attn_dim=4 if adapter else None, initializer_range=0.5,
    ))  # fmt: skip
    network.save_pretrained(folder)
    return network


def letters(order) -> dict[str, int]:
    names = ["<pad>", "<s>", "</s>", "<unk>", "|", *order]
    return {name: i for i, name in enumerate(names)}


@pytest.fixture(scope="module")
def mms(tmp_path_factory):
    """The layout of facebook/mms-1b-all: a vocabulary and an `adapter.<iso>.safetensors` for every language."""
    folder = tmp_path_factory.mktemp("mms")
    vocab = {"eng": letters(LETTERS), "amh": letters([chr(ord("ሀ") + i) for i in range(26)])}
    network = wav2vec2(folder, vocab, adapter=True)
    for seed, lang in enumerate(vocab):
        draw = torch.Generator().manual_seed(seed)
        weights = {k: v + torch.randn(v.shape, generator=draw) for k, v in network._get_adapters().items()}
        save_file({k: v.detach().contiguous() for k, v in weights.items()}, folder / f"adapter.{lang}.safetensors")
    return folder


def test_mms_takes_the_adapter_and_the_letters_of_the_language(mms, wav):
    recogniser = recognise.of(f"transformers={mms}")
    assert {"am", "amh", "en", "eng"} == recogniser.languages and "model card" in recogniser.trained_on
    for ours, iso in (("am", "amh"), ("en", "eng"), ("am", "amh")):
        processor = Wav2Vec2Processor.from_pretrained(mms)
        network = Wav2Vec2ForCTC.from_pretrained(mms)
        processor.tokenizer.set_target_lang(iso)
        network.load_adapter(iso)
        with torch.no_grad():
            logits = network.eval()(**processor(wav.numpy(), sampling_rate=RATE, return_tensors="pt")).logits
        expected = processor.batch_decode(logits.argmax(-1), skip_special_tokens=True)[0].strip()
        assert expected and recogniser.transcribe(wav, RATE, ours) == expected
        assert all((letter in LETTERS) == (ours == "en") for letter in expected if letter.isalpha())


def test_mms_without_the_languages_adapter_says_so(mms, wav, tmp_path):
    recogniser = recognise.of(f"transformers={mms}")
    with pytest.raises(RecogniserError, match="does not know fr"):
        recogniser.transcribe(wav, RATE, "fr")
    for file in mms.iterdir():
        if file.name != "adapter.amh.safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    less = recognise.of(f"transformers={tmp_path}")
    assert less.hash != recogniser.hash
    with pytest.raises(RecogniserError, match="no adapter for amh"):
        less.transcribe(wav, RATE, "am")


def test_a_network_of_one_language_does_not_say_which(tmp_path, wav):
    network = wav2vec2(tmp_path, letters(LETTERS), adapter=False)
    recogniser = recognise.of(f"transformers={tmp_path}")
    assert recogniser.languages is None
    processor = Wav2Vec2Processor.from_pretrained(tmp_path)
    with torch.no_grad():
        logits = network.eval()(**processor(wav.numpy(), sampling_rate=RATE, return_tensors="pt")).logits
    assert (
        recogniser.transcribe(wav, RATE, "de")
        == processor.batch_decode(logits.argmax(-1), skip_special_tokens=True)[0].strip()
    )
    half = torch.nn.functional.interpolate(wav[None, None], scale_factor=0.5)[0, 0]
    assert isinstance(recogniser.transcribe(half, RATE // 2, "de"), str)


# --- Refusals ---------------------------------------------------------------------------------------------------------


def test_what_is_no_recogniser_is_refused(tmp_path, monkeypatch, mms):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(RecogniserError, match="no recogniser of Transformers"):
        recognise.of(f"transformers={tmp_path}")
    monkeypatch.setattr(published, "reachable", lambda: False)
    with pytest.raises(RecogniserError, match="hub cannot be reached"):
        recognise.of("transformers=openai/whisper-of-no-cache")


def test_missing_weights_are_named(mms, tmp_path):
    from safetensors.torch import load_file

    for file in mms.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    del weights["wav2vec2.encoder.layers.0.attention.k_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(RecogniserError, match=r"1 weights are missing.*k_proj"):
        recognise.of(f"transformers={tmp_path}")
