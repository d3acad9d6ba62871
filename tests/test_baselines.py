"""A model that was never trained here speaks, is refused and is counted like any system of ours."""

import json

import pytest
import soundfile
import torch
from transformers import VitsModel, VitsTokenizer, WhisperConfig
from transformers.models.vits import tokenization_vits

from ttslib import baselines, generation
from ttslib.baselines import BaselineError
from ttslib.items import Item
from ttslib.systems.vits import configs
from ttslib.text.romanise import romanizer

LETTERS = "kabdeilmtou nsyrwzhgf'-"  # the blank, id 0, is a letter, as in MMS


def folder(path, speakers: int = 1, letters: str = LETTERS, **says):
    """A tiny VITS in the layout of facebook/mms-tts-*."""
    vocab = {c: i for i, c in enumerate(letters)}
    torch.manual_seed(0)
    VitsModel(configs.config("unit", 16000, len(vocab), speakers)).save_pretrained(path)
    said = {"pad_token": letters[0], "unk_token": "<unk>", "add_blank": True, "normalize": True, "phonemize": False}
    said |= {"is_uroman": False, "language": "qaa", "tokenizer_class": "VitsTokenizer"} | says
    (path / "vocab.json").write_text(json.dumps(vocab))
    (path / "tokenizer_config.json").write_text(json.dumps(said))
    return path


@pytest.fixture(scope="module")
def mms(tmp_path_factory):
    return folder(tmp_path_factory.mktemp("mms"))


@pytest.fixture(scope="module")
def voice(mms):
    return baselines.of(f"transformers={mms}")


def directly(path, text: str, seed: int, **chosen) -> torch.Tensor:
    """What stock Transformers says, called by hand."""
    ids = VitsTokenizer.from_pretrained(path)(text, return_tensors="pt")["input_ids"]
    model = VitsModel.from_pretrained(path).eval()
    torch.manual_seed(seed)
    with torch.no_grad():
        return model(ids, **chosen).waveform[0]


def test_it_speaks_as_stock_transformers_does(mms, voice):
    wav = voice.synthesize("bado kemi", seed=3)
    assert voice.rate == 16000 and wav.ndim == 1 and len(wav) > 1000 and wav.isfinite().all()
    assert wav.equal(directly(mms, "bado kemi", 3))
    assert not wav.equal(directly(mms, "talu", 3))


def test_the_same_seed_is_the_same_speech_and_nothing_outside_moves(voice):
    torch.manual_seed(11)
    before = torch.get_rng_state()
    one, again, other = (voice.synthesize("bado.", seed=seed) for seed in (1, 1, 2))
    assert one.equal(again) and not (len(one) == len(other) and one.equal(other))
    assert torch.get_rng_state().equal(before)
    assert len(voice.synthesize("bado kemi talu", speaking_rate=0.5)) > len(voice.synthesize("bado kemi talu"))


def test_characters_without_capitals_and_digits_get_the_languages_normalised_text(tmp_path, mms):
    voice = baselines.of(f"transformers={mms}")
    assert voice.normalises and voice.lang == "qaa"
    assert voice.read("Three 3", "en") == "three three" != voice.read("Three 3", "de")
    cased = "k" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abehrt "
    whole = baselines.of(f"transformers={folder(tmp_path, letters=cased, normalize=False)}")
    assert not whole.normalises and whole.read("The 3") == "The 3"


def test_what_has_no_row_is_left_out_told_once_and_counted(voice, capsys):
    voice.lost.clear()
    assert voice.read("bado, kemi, xo.", "en") == "bado kemi o"
    assert voice.lost == {",": 2, "x": 1, ".": 1}
    said = capsys.readouterr().err
    assert said.count("','") == 1 and "'x' (U+0078)" in said
    voice.read("a, b", "en")
    assert "','" not in capsys.readouterr().err and voice.lost[","] == 3


def test_uroman_where_the_model_asks_for_it(tmp_path, monkeypatch):
    one = romanizer()
    monkeypatch.setattr(tokenization_vits.ur, "Uroman", lambda: one)  # stock makes one a call: seconds each
    path = folder(tmp_path, is_uroman=True, language="amh")
    voice, text = baselines.of(f"transformers={path}"), "ሰላም"
    assert voice.lang == "am"
    assert voice.read(text) == "".join(c for c in romanizer().romanize_string(text).lower() if c in LETTERS)
    assert voice.synthesize(text, seed=2).equal(directly(path, text, 2))
    plain = folder(tmp_path / "plain", language="amh")
    with pytest.raises(BaselineError, match="nothing to say"):
        baselines.of(f"transformers={plain}").synthesize(text)


def test_speakers_are_numbers(tmp_path, voice):
    path = folder(tmp_path, speakers=3)
    several = baselines.of(f"transformers={path}")
    assert several.synthesize("talu", "2", 1).equal(directly(path, "talu", 1, speaker_id=2))
    assert several.synthesize("talu", None, 1).equal(directly(path, "talu", 1, speaker_id=0))
    for name in ("3", "anna", "-1"):
        with pytest.raises(BaselineError, match=r"no voice .*0 to 2"):
            several.synthesize("talu", name)
    assert voice.synthesize("talu", "anna", 1).equal(voice.synthesize("talu", None, 1)), "one voice, any name"


def test_a_test_set_is_spoken_and_counted_by_the_same_code(voice, mms, tmp_path):
    asked = [Item("a", "bado kemi.", "qaa"), Item("b", "ሰላም", "am"), Item("c", "talu")]
    made = generation.generate(voice, asked, tmp_path)
    assert made == json.loads((tmp_path / "results.json").read_text())
    assert made["totals"]["succeeded"] == 2 and made["totals"]["errors"] == {"BaselineError": 1}
    samples, rate = soundfile.read(tmp_path / "a.wav")
    assert rate == made["rate"] == 16000 and len(samples) / rate == made["items"][0]["seconds"]
    same = baselines.of(f"transformers={mms}")
    assert generation.identity(same) == made["checkpoint"]
    with torch.no_grad():
        next(same.nets["model"].parameters()).add_(1.0)
    assert generation.identity(same) != made["checkpoint"]


def test_what_cannot_be_had_is_one_clear_error(mms, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    WhisperConfig().save_pretrained(tmp_path / "whisper")
    (tmp_path / "whisper" / "model.safetensors").write_bytes(b"")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text((mms / "config.json").read_text())
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"no weights")
    (tmp_path / "empty").mkdir()
    for spec, told in (
        ("transformers=/nowhere/at all", "no such folder, and no hub id"),
        (f"transformers={tmp_path / 'empty'}", "no config.json with weights"),
        (f"transformers={tmp_path / 'whisper'}", "a whisper, no model of AutoModelForTextToWaveform"),
        (f"transformers={tmp_path / 'broken'}", "Transformers cannot speak with it"),
        ("transformers=nobody/has-this", "the hub cannot be reached"),
        ("run=/nowhere", "neither a run with a checkpoint"),
        ("espeak", "names no baseline; there are transformers="),
        ("transformers=", "names no baseline"),
    ):
        with pytest.raises(BaselineError) as error:
            baselines.of(spec)
        assert told in str(error.value) and spec.partition("=")[2] in str(error.value)


def test_weights_that_are_missing_are_not_made_up(mms, tmp_path):
    from safetensors.torch import load_file, save_file

    for file in mms.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(mms / "model.safetensors")
    weights.pop("decoder.conv_pre.weight")
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(BaselineError, match="1 weights are missing"):
        baselines.of(f"transformers={tmp_path}")
