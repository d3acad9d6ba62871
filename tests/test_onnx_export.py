"""ONNX folders: onnxruntime gives what PyTorch gives, and a process that has neither ttslib nor torch speaks from them."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ttslib import audio, params
from ttslib.__main__ import main
from ttslib.deploy import DeployError, graphs, onnx_folder, writing
from ttslib.systems import system_class
from ttslib.systems.vits import net

pytest.importorskip("onnxscript")
EXAMPLE = Path(__file__).parent.parent / "examples" / "onnx_speak.py"
QUIET = {"tracking": "disabled", "device": "cpu", "threads": 1}
# In the process that runs the example these are as if they were not installed.
BLOCKED = """
import runpy, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchaudio", "ttslib", "transformers"):
            raise ModuleNotFoundError(f"no {name} here")

sys.meta_path.insert(0, Missing())
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def stirred(network, scale=0.03):
    """Away from the start, where zeros hide what is not computed."""
    torch.manual_seed(1)
    with torch.no_grad():
        for q in network.parameters():
            q.add_(scale * torch.randn_like(q))


@pytest.fixture(scope="module")
def rows(spoken):
    """Two speakers."""
    first, *rest = spoken.split("train")
    return [replace(first, speaker="another"), *rest]


@pytest.fixture(scope="module")
def acoustic(rows, tmp_path_factory):
    """`(system, folder of ONNX, what the verb printed)`."""
    system = system_class("acoustic").fresh(params.load("qaa", QUIET), rows)
    stirred(system.net)
    with torch.no_grad():
        system.net.durations.out.bias.fill_(1.7)
        system.net.mel_mean.fill_(-5.0)
    return system, *written(system, tmp_path_factory.mktemp("acoustic"))


@pytest.fixture(scope="module")
def vits(rows, tmp_path_factory):
    """The same of VITS, with its stochastic duration predictor."""
    system = shallow(rows)
    assert system.config.use_stochastic_duration_prediction and system.config.num_speakers == 2
    return system, *written(system, tmp_path_factory.mktemp("vits"))


def shallow(rows, **more):
    """VITS of every kind of layer and few of each: tracing takes seconds a dozen layers."""
    whole = system_class("vits").fresh(
        params.load("qaa", {"system": "vits", "vits.discriminator": False} | QUIET), rows
    )
    few = {"prior_encoder_num_flows": 2, "prior_encoder_num_wavenet_layers": 1, "duration_predictor_num_flows": 2,
           "num_hidden_layers": 1, "depth_separable_num_layers": 1} | more  # fmt: skip
    config = type(whole.config).from_dict(whole.config.to_dict() | few)
    made = system_class("vits")(whole.p, net.fresh(config), whole.tokenizer, whole.speakers, whole.languages)
    stirred(made.generator)
    return made


def written(system, place):
    for one in system.nets.values():
        one.eval()
    system.export(place / "plain")
    return place / "onnx", writing.export(place / "plain", place / "onnx", form="onnx")


@pytest.mark.parametrize("name", ["acoustic", "vits"])
def test_what_is_written_says_how_far_it_is_from_pytorch(name, request):
    _system, folder, told = request.getfixturevalue(name)
    assert sorted(f.name for f in folder.iterdir()) == ["export.json", "model.onnx", "tokens.json"]
    assert told == json.loads((folder / "export.json").read_text()) and told["checked"] is True
    assert told["max"] == max(one["max"] for one in told["compared"]) <= 1e-4 < told["tolerance"]
    assert {one["speaker"] for one in told["compared"]} == {0, 1} and len({one["rate"] for one in told["compared"]}) > 1
    ids = sorted({one["ids"] for one in told["compared"]})
    assert ids[0] == 3 and ids[-1] > 10 * onnx_folder.TRACED, (
        "the shortest text there is, and far longer than the traced"
    )
    assert told["bytes"]["fp32"] == (folder / "model.onnx").stat().st_size


def test_the_check_compares_with_what_synthesize_speaks(vits):
    """The same seed through onnxruntime, with the noise that VitsModel draws, is the waveform of `synthesize`."""
    import onnxruntime

    system, folder, _ = vits
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    text = "bado kemi talu"
    given = onnx_folder.inputs(onnx_folder.of(system), system.ids(system.tokenizer.normalise(text, "qaa"), "qaa"), 1)
    with torch.no_grad():
        onnx_folder.reference(system, session, given)  # puts the noise in
    found = onnx_folder.run(session, given)[0][0]
    assert given["noise"].std() > 0.3 and given["noise_duration"].std() > 0.3
    np.testing.assert_allclose(found, system.synthesize(text, voice=system.speakers[1], seed=system.p.seed), atol=1e-5)
    again = given | {"noise": given["noise"].repeat(1, 1, 2)}
    np.testing.assert_array_equal(onnx_folder.run(session, again)[0][0], found)  # longer noise is not read to its end
    other = given | {"noise": -given["noise"]}
    assert np.abs(onnx_folder.run(session, other)[0][0] - found).max() > 1e-3


def test_a_deterministic_duration_predictor_and_one_voice_are_written_too(tmp_path, spoken, monkeypatch):
    monkeypatch.setattr(onnx_folder, "LENGTHS", (1, 40))
    system = shallow(spoken.split("train"), use_stochastic_duration_prediction=False)
    for one in system.nets.values():
        one.eval()
    told = onnx_folder.write(system, tmp_path)
    assert told["max"] <= 1e-4 and {one["speaker"] for one in told["compared"]} == {0}


@pytest.mark.parametrize("name", ["acoustic", "vits"])
def test_without_torch_and_ttslib_the_example_speaks_the_same(name, request, tmp_path):
    system, folder, _ = request.getfixturevalue(name)
    text, voice = "bado kemi talu toki", system.speakers[1]
    spelt = system.tokenizer.normalise(text, "qaa")
    command = [
        sys.executable,
        "-c",
        BLOCKED,
        EXAMPLE,
        folder,
        spelt,
        tmp_path / "a.wav",
        "--speaker",
        voice,
        "--noise",
        "0",
    ]
    done = subprocess.run([*map(str, command), "--rate", "1.25"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    wav, rate = audio.load(tmp_path / "a.wav")
    assert rate == system.rate
    if name == "vits":
        system.p = system.p.model_copy(
            update={"vits": system.p.vits.model_copy(update={"noise": 0.0, "noise_duration": 0.0})}
        )
        ours = system.synthesize(text, voice=voice, speaking_rate=1.25).numpy()
        np.testing.assert_allclose(wav, ours / max(1, np.abs(ours).max()), atol=1 / 32768 + 1e-5)
    else:  # Griffin-Lim starts from other phases: what is heard is the same mel
        a, mel = system.p.acoustic, system.mel(text, voice=voice, speaking_rate=1.25)
        ours = system.synthesize(text, voice=voice, speaking_rate=1.25)
        assert len(wav) == len(ours) == (mel.shape[1] - 1) * a.hop
        heard, expected = (audio.log_mel(torch.as_tensor(w), a.rate, a.window, a.hop, a.mels) for w in (wav, ours))
        assert (heard - expected).abs().mean() < 0.35 < (expected - expected.flip(0)).abs().mean() * 2
    refused = subprocess.run([*map(str, command[:5]), "bado ሰ", *map(str, command[6:])], capture_output=True, text=True)
    assert refused.returncode == 1 and "no symbol for ['ሰ']" in refused.stderr


@pytest.mark.parametrize("name", ["acoustic", "vits"])
def test_the_recipe_of_ids_is_the_systems(name, request):
    system, folder, _ = request.getfixturevalue(name)
    told = json.loads((folder / "tokens.json").read_text())
    around, text = told["recipe"], "bado kemi, talu?"
    spelt = [i for c in text if c in told["symbols"] for i in (told["symbols"][c], *around["after"])]
    assert [*around["before"], *spelt, *around["end"]] == system.ids(
        "".join(c for c in text if c in told["symbols"]), "qaa"
    )
    assert told["speakers"] == {name: i for i, name in enumerate(system.speakers)}
    assert told["text"]["normaliser"] == system.tokenizer.versions and told["rate"] == system.rate


def test_a_graph_that_speaks_otherwise_is_refused_and_leaves_nothing(acoustic, tmp_path, monkeypatch, capsys):
    """The graph of one voice beside the weights of another that is a hundredth of a log unit louder."""
    system, folder, _ = acoustic
    with torch.no_grad():
        system.net.mel_mean += 0.01
        system.export(tmp_path / "plain")
        system.net.mel_mean -= 0.01
    monkeypatch.setattr(onnx_folder, "exported", lambda graph, given, file: shutil.copy(folder / "model.onnx", file))
    assert main(["export", str(tmp_path / "plain"), "--out", str(tmp_path / "onnx"), "--format", "onnx"]) == 1
    said = capsys.readouterr().err
    assert "from PyTorch's, more than 0.001" in said and [f.name for f in tmp_path.iterdir()] == ["plain"]


def test_other_lengths_are_infinitely_far(acoustic, monkeypatch):
    system, folder, _ = acoustic
    run = onnx_folder.run
    monkeypatch.setattr(onnx_folder, "run", lambda session, given: [x[..., 1:] for x in run(session, given)])
    told = [*onnx_folder.difference(system, onnx_folder.of(system), folder / "model.onnx")]
    assert {one["max"] for one in told} == {float("inf")} and all(one["length_onnx"] < one["length"] for one in told)


def test_without_onnxscript_it_says_what_to_install(acoustic, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(DeployError, match=r"pip install ttslib\[onnx\]"):
        onnx_folder.write(acoustic[0], tmp_path)


def test_a_tokenizer_file_has_no_table_of_symbols(acoustic, monkeypatch):
    class Bpe:
        kind, symbols, roles = "bpe", ("a",), {}

    monkeypatch.setattr(acoustic[0], "tokenizer", Bpe())
    with pytest.raises(DeployError, match="this run reads a tokenizer file"):
        onnx_folder.described(acoustic[0])


def test_transformers_is_itself_again_after_tracing():
    from transformers.models.vits import modeling_vits

    before = modeling_vits._unconstrained_rational_quadratic_spline, torch.backends.mkldnn.enabled
    with graphs.traceable():
        assert modeling_vits._unconstrained_rational_quadratic_spline is graphs.spline
    assert (modeling_vits._unconstrained_rational_quadratic_spline, torch.backends.mkldnn.enabled) == before


def test_the_spline_is_transformers():
    from transformers.models.vits import modeling_vits

    torch.manual_seed(0)
    given = (torch.randn(1, 1, 50) * 4, torch.randn(1, 1, 50, 10), torch.randn(1, 1, 50, 10), torch.randn(1, 1, 50, 9))
    assert (given[0].abs() > 5).any(), "the identity is in it"
    for mine, theirs in zip(
        graphs.spline(*given, reverse=True),
        modeling_vits._unconstrained_rational_quadratic_spline(*given, reverse=True),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)
