"""The real package speaks small graphs of the official signatures, and what it would let pass is refused."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("supertonic")
pytest.importorskip("onnx")

import huggingface_hub
import standin
import supertonic

from ttslib import styles
from ttslib.pairs.building import Refused
from ttslib.pairs.supertonic import NEEDED, RuntimeMissing, Supertonic
from ttslib.styles import StyleError

TEXT = "Hello there, you."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A whole model folder. Read it, copy it, do not write into it."""
    return standin.write(tmp_path_factory.mktemp("standin") / "model")


@pytest.fixture(scope="module")
def runtime(folder):
    return Supertonic("supertonic-3", folder)


@pytest.fixture(scope="module")
def voices(runtime):
    return runtime.presets()


@pytest.fixture
def copied(folder, tmp_path):
    """A model folder of the test's own."""
    return shutil.copytree(folder, tmp_path / "model")


def test_it_has_the_presets_of_its_folder(runtime, voices):
    assert (runtime.model, runtime.rate) == ("supertonic-3", 44100)
    assert sorted(voices) == sorted(standin.NAMES)
    for name, style in standin.presets().items():
        assert voices[name].digest == style.digest and voices[name].model == "supertonic-3"


def test_it_speaks_as_the_package_does_and_as_long_as_the_package_says(runtime, voices, folder):
    tts = supertonic.TTS("supertonic-3", folder, auto_download=False)
    np.random.seed(7)
    wav, seconds = tts.synthesize(TEXT, tts.get_voice_style("F2"), lang="de")
    mine = runtime.speak(TEXT, voices["F2"], "de", 7, 1.05)
    assert mine.dtype == np.float32 and len(mine) == int(44100 * seconds[0]) < wav.shape[1]
    assert np.array_equal(mine, wav[0, : len(mine)])


def test_what_it_speaks_follows_from_text_style_speed_and_seed(runtime, voices):
    def pitch(wav):
        return np.abs(np.fft.rfft(wav, 4 * 44100)).argmax() / 4

    for name in ("F1", "M5"):
        for text, speed in ((TEXT, 1.05), (TEXT, 0.8), ("A much longer text, of several words.", 1.05)):
            wav = runtime.speak(text, voices[name], "en", 1, speed)
            assert len(wav) / 44100 == pytest.approx(standin.seconds(text, voices[name], speed=speed), abs=1e-3)
            assert pitch(wav) == pytest.approx(standin.hertz(voices[name]), abs=8)
    again, other = (runtime.speak(TEXT, voices["F1"], "en", seed, 1.05) for seed in (1, 2))
    assert np.array_equal(again, runtime.speak(TEXT, voices["F1"], "en", 1, 1.05)) and not np.array_equal(again, other)
    assert again.std() != runtime.speak(TEXT[::-1] + ".", voices["F1"], "en", 1, 1.05).std()


def test_the_random_numbers_of_others_stay_as_they_are(runtime, voices, monkeypatch):
    np.random.seed(3)
    expected = np.random.rand(4)
    np.random.seed(3)
    first = np.random.rand(2)
    runtime.speak(TEXT, voices["F1"], "en", 9, 1.05)

    def fails(*_, **__):
        np.random.rand()
        raise ValueError("negative dimensions are not allowed")

    monkeypatch.setattr(runtime.tts, "synthesize", fails)
    with pytest.raises(Refused, match="negative dimensions"):
        runtime.speak(TEXT, voices["F1"], "en", 9, 1.05)
    assert np.array_equal(np.concatenate([first, np.random.rand(2)]), expected)


def test_a_long_text_is_spoken_in_pieces_each_cut_to_its_own_length(runtime, voices):
    one, two = "A first sentence" + " goes on" * 25 + ".", "The second" + " one too" * 25 + "."
    wav, pause = runtime.speak(f"{one} {two}", voices["M1"], "en", 5, 1.05), int(0.3 * 44100)
    lengths = [int(44100 * np.float32(standin.seconds(text, voices["M1"]))) for text in (one, two)]
    assert len(wav) == pytest.approx(sum(lengths) + pause, abs=50)
    assert np.array_equal(
        wav[: len(wav) - lengths[1] - pause - 50], runtime.speak(one, voices["M1"], "en", 5, 1.05)[:-50]
    )
    assert not wav[lengths[0] + 25 : lengths[0] + pause - 25].any() and wav[lengths[0] - 50 : lengths[0] - 25].any()


@pytest.mark.parametrize(
    ("text", "changed", "said"),
    [
        ("Hello ሰላም you.", {}, r"no 'ለ' |no 'ሰ'|'ላ' \(U\+120B\)"),
        ("Hello \U00010330.", {}, r"U\+10330"),
        ("  ", {}, "no letter"),
        ("\U0001f600 ...", {}, "no letter"),
        ("a" * 100_001, {}, "split it"),
        (TEXT, {"lang": "am"}, "'am' is none"),
        (TEXT, {"lang": ""}, "'' is none"),
        (TEXT, {"speed": 0.5}, "speed 0.5"),
        (TEXT, {"speed": float("nan")}, "speed nan"),
        (TEXT, {"seed": -1}, "seed -1"),
        (TEXT, {"seed": 2**32}, "seed 4294967296"),
    ],
)
def test_what_it_cannot_speak_is_refused_before_anything_is_spoken(runtime, voices, monkeypatch, text, changed, said):
    monkeypatch.setattr(runtime.tts, "synthesize", lambda *_, **__: pytest.fail("it was spoken"))
    with pytest.raises(Refused, match=said):
        runtime.speak(text, voices["F1"], **({"lang": "en", "seed": 0, "speed": 1.05} | changed))


def test_unsupported_characters_would_have_been_spoken_by_the_graphs(runtime, voices):
    """The trap: id -1 is the last row of the embedding, so without the refusal nobody would notice."""
    style = supertonic.Style(voices["F1"].ttl[None], voices["F1"].dp[None])
    last = standin.CHARACTERS[-1]
    spoken = []
    for text in ("a ሰ", f"a {last}"):
        np.random.seed(0)
        spoken.append(runtime.tts.model([text], style, lang="en")[0])
    assert np.array_equal(*spoken)


def test_a_style_of_another_model_is_refused(runtime):
    for model, said in (("supertonic-2", "a style of supertonic-2"), ("", "no named model")):
        with pytest.raises(StyleError, match=said):
            runtime.speak(TEXT, standin.presets(model=model)["F1"], "en", 0, 1.05)


def test_a_preset_file_of_another_model_is_refused(copied):
    styles.write(copied / "voice_styles" / "F3.json", standin.presets(model="supertonic-2")["F3"])
    with pytest.raises(StyleError, match=r"F3\.json: a style of supertonic-2"):
        Supertonic(folder=copied).presets()


def test_older_models_know_fewer_languages(folder):
    for model, known in (("supertonic-2", "fr"), ("supertonic", "en")):
        runtime, style = Supertonic(model, folder), standin.presets(model=model)["F1"]
        assert runtime.speak(TEXT, style, known, 0, 1.05).any()
        with pytest.raises(Refused, match=f"'na' is none of {model}'s"):
            runtime.speak(TEXT, style, "na", 0, 1.05)


@pytest.mark.parametrize("name", [*NEEDED, "voice_styles"])
def test_a_missing_file_is_named_and_nothing_is_downloaded(copied, monkeypatch, name):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda **_: pytest.fail("it would download"))
    (copied / name).rename(copied / "gone")
    with pytest.raises(RuntimeMissing, match=f"{name}.* missing; copy"):
        Supertonic(folder=copied)


@pytest.mark.parametrize("name", [*NEEDED])
def test_a_damaged_file_is_no_runtime(copied, name):
    (copied / name).write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(RuntimeMissing, match="cannot be loaded"):
        Supertonic(folder=copied)


def test_without_a_folder_weights_out_of_reach_are_named(tmp_path, monkeypatch):
    def unreachable(repo_id, **_):
        raise ConnectionError(f"no way to {repo_id}")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    monkeypatch.setenv("SUPERTONIC_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(RuntimeMissing, match="no way to Supertone/supertonic-3"):
        Supertonic()
    with pytest.raises(RuntimeMissing, match="no model 'supertonic-9'; there are supertonic,"):
        Supertonic("supertonic-9")


def test_without_the_package_the_module_can_be_imported_and_says_what_to_install():
    program = """if True:
        import sys
        sys.modules["supertonic"] = None
        from ttslib.pairs.supertonic import RuntimeMissing, Supertonic
        try:
            Supertonic()
        except RuntimeMissing as error:
            assert str(error) == "package supertonic is not installed: pip install supertonic", error
        else:
            raise AssertionError("made without the package")
    """
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_exported_style_is_the_same_to_the_package(runtime, tmp_path):
    style = standin.presets(seed=5)["M2"]
    theirs = runtime.tts.get_voice_style_from_path(styles.write(tmp_path / "mine.json", style, source_file="mine.wav"))
    assert theirs.ttl.dtype == theirs.dp.dtype == np.float32
    assert np.array_equal(theirs.ttl, style.ttl[None]) and np.array_equal(theirs.dp, style.dp[None])
    np.random.seed(4)
    wav, seconds = runtime.tts.synthesize(TEXT, theirs, lang="en")
    assert np.array_equal(wav[0, : int(44100 * seconds[0])], runtime.speak(TEXT, style, "en", 4, 1.05))
