"""Lighter weights: stored small, loaded whole, and taken only where they speak as well; see ttslib.deploy."""

import json
import re
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.pytorch_utils import Conv1D

from ttslib import adapt, audio, checkpoint, manifest, params, pipeline, speech
from ttslib.__main__ import main
from ttslib.checkpoint import CheckpointError
from ttslib.deploy import DeployError, trial, weights, writing
from ttslib.evaluate import judges, plan
from ttslib.systems import system_class

QUIET = {"tracking": "disabled", "device": "cpu", "threads": 1, "evaluate.recogniser": None, "evaluate.small": 1}


class Echo:
    """Knows what the full voice says and the recordings by their sound, and reads more letters wrong the further a sound is
    from all of that; of every text some, so that there is a floor and an interval."""

    name, hash, languages, trained_on = "echo", "0", None, "the full voice"

    def __init__(self, p, found, system):
        self.known = []
        for one in plan.asked(p, system, found):
            wavs = [system.synthesize(one.text, voice=one.voice, lang=one.lang, seed=p.seed)]
            wavs += [speech.recording(found, one.row, system.rate)] if one.row else []
            self.known += [(one.text, *self.seen(wav, system.rate)) for wav in wavs]

    @staticmethod
    def seen(wav, rate):
        return audio.log_mel(wav, rate).mean(0), len(wav)

    def transcribe(self, wav, rate, lang):
        mel, samples = self.seen(wav, rate)
        away = [(mel - own).abs().mean().item() + 2 * abs(samples / many - 1) for _, own, many in self.known]
        text = self.known[away.index(min(away))][0]
        wrong = min(len(text), round((min(away) + len(text) % 5 / 20) * len(text)))
        return "x" * wrong + text[wrong:]


@pytest.fixture(scope="module")
def run(stocked):
    """A run of six steps, whose voice is told from others by `Echo`."""
    return pipeline.train(params.load("qaa", QUIET, run="a")).run


@pytest.fixture
def echo(run, monkeypatch):
    """The recogniser that evaluate.recogniser=echo names."""
    found = manifest.read(checkpoint.read_json(run.folder / "data.json")["manifest"])
    made = Echo(params.load(run.folder / "params.yaml"), found, pipeline.voice(run))
    monkeypatch.setattr(judges, "readers", lambda p, found, langs: dict.fromkeys(langs, made))
    return "evaluate.recogniser=echo"


# --- Weights ----------------------------------------------------------------------------------------------------------


class Layers(nn.Module):
    """Every kind of layer whose matrix is known, and what stays as it is."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.conv, self.up = nn.Linear(24, 8), nn.Conv1d(6, 10, 5), nn.ConvTranspose1d(12, 5, 4)
        self.table, self.gpt, self.norm = nn.Embedding(9, 16), Conv1D(7, 20), nn.LayerNorm(16)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 6, 3))
        self.relative, self.narrow = nn.Parameter(torch.randn(1, 9, 8)), nn.Linear(3, 64)


def test_matrices_are_known_by_their_output_channels():
    assert weights.channels(Layers()) == {
        "linear.weight": 0, "conv.weight": 0, "up.weight": 1, "table.weight": 0, "gpt.weight": 1,
        "normed.parametrizations.weight.original1": 0, "narrow.weight": 0,
    }  # fmt: skip


def test_int8_is_off_by_half_a_step_of_its_own_channel_and_vectors_are_untouched():
    net = Layers()
    before, axes = net.state_dict(), weights.channels(net)
    before["linear.weight"][3] *= 1e3  # a loud channel must not cost the others
    before["linear.weight"][5] = 0
    stored = weights.reduced(before, axes, "int8")
    after = weights.restored(stored)
    assert after.keys() == before.keys() and all(after[k].dtype == before[k].dtype for k in before)
    for name, axis in axes.items():
        others = [i for i in range(before[name].dim()) if i != axis]
        steps = before[name].abs().amax(others, keepdim=True) / 127
        if name == "narrow.weight":  # three entries a channel: the scale would weigh more
            assert stored[name].equal(before[name])
            continue
        assert stored[name].dtype == torch.int8 and stored[name].abs().max() == 127
        assert ((after[name] - before[name]).abs() <= 0.5001 * steps).all()
        assert stored[name + weights.SCALE].numel() == before[name].shape[axis]
    same = before.keys() - axes.keys()
    assert {"relative", "norm.weight", "linear.bias", "table.weight"} - {*axes} <= same
    assert all(stored[k].equal(before[k]) for k in same)
    net.load_state_dict(after)


def test_bfloat16_is_off_by_eight_bits_of_mantissa():
    net = Layers()
    before, axes = net.state_dict(), weights.channels(net)
    stored = weights.reduced(before, axes, "bf16")
    assert {k for k, v in stored.items() if v.dtype == torch.bfloat16} == axes.keys() - {"narrow.weight"}
    after = weights.restored(stored)
    for name in before:
        torch.testing.assert_close(after[name], before[name], rtol=2**-8 if name in axes else 0, atol=0)


def test_the_error_is_measured_and_its_worst_tensor_named():
    before = {"a": torch.ones(2, 8), "b": torch.full((4,), 2.0), "n": torch.tensor(3)}
    told = weights.error(before, before | {"b": torch.tensor([2.0, 2.0, 2.0, 3.0])})
    assert told["max"] == 1.0 and told["mean"] == 1 / 20 and told["relative"] == pytest.approx((1 / 32) ** 0.5)
    assert told["worst"] == {"tensor": "b", "relative": 0.25}
    assert told["parameters"] == 20 and told["reduced"] == 4 / 20


# --- The trial --------------------------------------------------------------------------------------------------------


def read(errors, length=20):
    return [{"id": str(i), "set": "in_domain", "cer": [e, length], "faults": []} for i, e in enumerate(errors)]


FULL = [0, 1, 0, 6, 2, 0, 9, 1, 0, 3, 0, 7, 1, 0, 2, 0]


@pytest.mark.parametrize(
    ("lighter", "why"),
    [
        (FULL, None),
        ([max(0, e - 1) for e in FULL], None),
        ([e + (i in (3, 8)) - (i == 6) for i, e in enumerate(FULL)], None),  # here and there another letter
        ([e + 1 for e in FULL], r"paired difference of CER \[0\.05.* lies above 0"),  # within its interval, yet worse
        ([20 if i in (0, 4, 9) else e for i, e in enumerate(FULL)], r"CER 0\.\d+ lies above the full voice's interval"),
        (FULL[:12], "4 sentences that the full voice says are refused"),
    ],
)
def test_a_lighter_voice_passes_only_where_nothing_speaks_against_it(lighter, why):
    told = trial.compared(read(FULL), read(lighter), read([0] * 16), 16)
    if why is None:
        assert told["against"] is None
    else:
        assert re.search(why, told["against"] or "passed")
    assert told["full"]["cer_minus_floor"] == pytest.approx(32 / 320)


def test_a_paired_loss_is_found_that_the_interval_alone_would_pass():
    told = trial.compared(read(FULL), read([e + 1 for e in FULL]), read([0] * 16), 16)
    assert told["lighter"]["cer"]["value"] < told["full"]["cer"]["high"] and told["difference"]["low"] > 0


def test_nothing_is_concluded_of_few_sentences_or_of_a_voice_that_is_not_understood():
    assert "only 5 sentences" in trial.compared(read(FULL[:5]), read(FULL[:5]), read([0] * 5), 5)["against"]
    lost = [16] * 12
    assert "itself is not understood" in trial.compared(read(lost), read(lost), read([0] * 12), 12)["against"]


# --- A run ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["int8", "bf16"])
def test_a_lighter_voice_is_written_with_what_was_measured(run, echo, tmp_path, capsys, kind):
    out = tmp_path / "voice"
    assert main(["export", str(run.folder), echo, "--out", str(out), "--weights", kind]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((out / "export.json").read_text())
    t = told["trial"]
    assert (
        t["against"] is None and 0 < t["full"]["cer"]["value"] < 0.2 and t["recogniser"]["qaa"]["recogniser"] == "echo"
    )
    assert t["difference"]["value"] == pytest.approx(t["lighter"]["cer"]["value"] - t["full"]["cer"]["value"])
    assert t["sentences"] == t["asked"] >= 6 and t["sounds"]["mcd_db"] > 0
    state = json.loads((out / "system.json").read_text())
    assert state["weights"] == kind and state["checked"] is told["checked"] is True
    full = run.trained.resolve() / "model.safetensors"
    assert told["bytes"][kind] == (out / "model.safetensors").stat().st_size < full.stat().st_size * 0.62
    assert told["bytes"]["fp32"] == pytest.approx(full.stat().st_size, rel=0.1)
    voice, lighter = pipeline.voice(run), pipeline.load(out)
    before, after = voice.net.state_dict(), lighter.net.state_dict()
    off = max((after[k] - before[k]).abs().max().item() for k in before if before[k].is_floating_point())
    assert off == told["weight_error"]["max"] > 0
    assert all(after[k].equal(before[k]) for k in before if before[k].dim() < 2)
    assert all(q.dtype == torch.float32 for q in lighter.net.parameters())
    assert main(["speak", str(out), "--text", "bado", "--out", str(tmp_path / "a.wav")]) == 0
    assert not [f for f in tmp_path.iterdir() if f.name.startswith(".")]


@pytest.mark.parametrize("fault", ["coarse", "scales of other channels"])
def test_a_quantiser_that_spoils_the_voice_is_refused_and_leaves_nothing(
    run, echo, tmp_path, capsys, monkeypatch, fault
):
    if fault == "coarse":
        monkeypatch.setattr(weights, "STEPS", 1)  # -1, 0, 1
    else:
        right = weights.quantised

        def moved(value, axis):
            whole, scale = right(value, axis)
            return whole, scale.roll(1, axis)

        monkeypatch.setattr(weights, "quantised", moved)
    out = tmp_path / "voice"
    assert main(["export", str(run.folder), echo, "--out", str(out), "--weights", "int8"]) == 1
    said = capsys.readouterr()
    assert said.out == "" and "error: --weights int8: " in said.err
    assert "CER full 0." in said.err and "difference [" in said.err and "read by echo" in said.err
    assert "Nothing was written" in said.err and not [*tmp_path.iterdir()]
    assert main(["export", str(run.folder), echo, "--out", str(out), "--weights", "int8", "--unchecked"]) == 0
    assert json.loads((out / "system.json").read_text())["checked"] is False
    assert json.loads((out / "export.json").read_text())["checked"] is False


def test_a_kill_or_an_error_on_the_way_leaves_nothing(run, echo, tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "held", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        writing.export(run.folder, tmp_path / "voice", "int8")
    assert not [*tmp_path.iterdir()]
    monkeypatch.undo()
    (tmp_path / ".voice.partial").mkdir()  # of a process that was killed
    (tmp_path / ".voice.partial" / "litter").touch()
    writing.export(run.folder, tmp_path / "voice", "int8", unchecked=True)
    assert [f.name for f in tmp_path.iterdir()] == ["voice"] and not (tmp_path / "voice" / "litter").exists()


def test_without_a_recogniser_or_a_run_there_is_one_clear_error(run, tmp_path, capsys):
    def refused(*given):
        assert main(["export", *map(str, given), "--out", str(tmp_path / "v"), "--weights", "int8"]) == 1
        return capsys.readouterr().err

    assert "evaluate.recogniser is null" in (told := refused(run.folder)) and "--unchecked" in told
    told = refused(run.trained)
    assert "no params.yaml in it" in told and "--unchecked" in told
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "mine.txt").touch()
    assert "there is something already" in refused(run.folder, "evaluate.recogniser=echo")
    assert [f.name for f in (tmp_path / "v").iterdir()] == ["mine.txt"]


def test_a_damaged_lighter_voice_is_refused(run, tmp_path):
    out = tmp_path / "voice"
    writing.export(run.folder, out, "int8", unchecked=True)
    whole = load_file(out / "model.safetensors")
    (out / "checksums.json").unlink()
    save_file(
        {k: v for k, v in whole.items() if not k.endswith("up.weight" + weights.SCALE)}, out / "model.safetensors"
    )
    with pytest.raises(CheckpointError, match="is int8 and its scale is missing"):
        pipeline.load(out)


def test_the_plain_copy_is_as_it_was(run, tmp_path, capsys):
    assert main(["export", str(run.folder), "--out", str(tmp_path / "voice")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "voice")
    assert sorted(f.name for f in (tmp_path / "voice").iterdir()) == ["model.safetensors", "system.json"]


@pytest.mark.parametrize(
    ("system", "given", "match"),
    [
        ("t3", ("int8", "official"), r"runtime of t3 reads no int8; give --weights bf16.* --format ttslib"),
        ("vits", ("int8", "official"), "runtime of vits reads no int8"),
        ("pocket", ("fp32", "onnx"), "of pocket there is none"),
        ("acoustic", ("int8", "onnx"), "ONNX is written in fp32"),
    ],
)
def test_forms_that_a_system_does_not_have_are_refused(system, given, match):
    with pytest.raises(DeployError, match=match):
        writing.refuse(system, *given)


# --- Grown and adapted voices -----------------------------------------------------------------------------------------


def test_held_rows_and_merged_updates_come_out_right(run, spoken, tmp_path):
    """A base grown by letters whose old rows are held and whose body learns through LoRA, as it is saved."""
    given = {"adapt.base": str(run.folder), "adapt.body": "lora", "adapt.train_rows": "new"} | QUIET
    p = params.load("qaa", given, run="lora")
    first, *rest = spoken.split("train")
    rows = [replace(first, text=f"{first.text}żź", speaker="another"), *rest]
    system = pipeline.beginning(p, rows)
    with torch.no_grad():
        for name, q in system.net.named_parameters():
            if "lora_B" in name or ".original" in name:
                q.add_(0.05 * torch.randn_like(q))
    place = tmp_path / "step"
    checkpoint.export(
        place, {f"net.{k}": v for k, v in adapt.weights(system.net).items()}, system.state(), system.vocabularies
    )
    merged = adapt.plain(system.net)
    writing.export(place, tmp_path / "voice", "int8", unchecked=True)
    lighter = pipeline.load(tmp_path / "voice")
    assert lighter.vocabularies == system.vocabularies and lighter.adaptation["lora"] is None
    after = lighter.net.state_dict()
    assert after.keys() == merged.keys()
    for name, axis in weights.channels(lighter.net).items():
        steps = merged[name].abs().amax([i for i in range(merged[name].dim()) if i != axis], keepdim=True) / 127
        assert ((after[name] - merged[name]).abs() <= 0.5001 * steps + 1e-6).all(), name
    base = pipeline.voice(run).net.encoder.embedding.weight
    assert (after["encoder.embedding.weight"][: len(base)] - base).abs().max() < base.abs().max() / 200


# --- Every system -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["acoustic", "vits"])
def test_our_own_format_of_a_fresh_system_speaks_the_same(name, spoken, tmp_path):
    p = params.load("qaa", {"system": name} | QUIET)
    system = system_class(name).fresh(p, spoken.split("train"))
    plain = tmp_path / "plain"
    system.export(plain)
    writing.export(plain, tmp_path / "same", "fp32", "ttslib")
    told = writing.export(plain, tmp_path / "voice", "int8", "ttslib", unchecked=True)
    whole, same, lighter = (pipeline.load(tmp_path / place) for place in ("plain", "same", "voice"))
    text = spoken.split("train")[0].raw
    assert same.synthesize(text, seed=3).equal(whole.synthesize(text, seed=3))
    assert lighter.synthesize(text, seed=3).isfinite().all() and 0 < told["weight_error"]["relative"] < 0.02
    assert told["bytes"]["int8"] < 0.45 * told["bytes"]["fp32"]
    assert "discriminator" not in lighter.nets, "only training needs it"
