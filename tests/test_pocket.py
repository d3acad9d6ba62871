"""What Pocket's language model learns from, speaks with and refuses, on the toy corpus."""

import json
from collections import Counter
from dataclasses import replace

import pytest
import torch

from ttslib import adapt, codecs, dataset, params, pipeline
from ttslib.checkpoint import CheckpointError
from ttslib.params import ParamsError
from ttslib.systems.pocket import System, speaking, synthesis, voices

TEXT = "bado kemi talu."


@pytest.fixture(scope="module")
def p():
    return params.load("qaa", system="pocket", tracking="disabled", device="cpu", threads=1)


def test_statistics_are_those_of_all_training_frames_and_those_of_a_base_stay(system, p, encoded):
    frames = torch.cat([e["latents"] for e in encoded[1]], 1).double()
    lm = system.net.flow_lm
    torch.testing.assert_close(lm.emb_mean.double(), frames.mean(1), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(lm.emb_std.double(), frames.std(1, correction=0), atol=1e-6, rtol=1e-5)
    grown = adapt.extend(system, p, [replace(r, text=r.text + "x") for r in encoded[0]])
    lm.emb_mean.add_(1)
    grown = adapt.extend(system, p, [replace(r, text=r.text + "x") for r in encoded[0]])
    grown.measure(encoded[1])
    assert grown.net.flow_lm.emb_mean.equal(lm.emb_mean)


def test_prompts_are_beginnings_of_other_utterances_of_the_same_speaker(system, batch, encoded):
    torch.manual_seed(0)
    lengths, drawn = set(), Counter()
    for _ in range(30):
        found = system.prompted(batch)
        for i in range(3):
            prompt = found["prompt"][i, : found["prompt_len"][i]]
            sources = [e for e in encoded[1] if e["latents"].shape[1] >= len(prompt)
                       and e["latents"].T[: len(prompt)].equal(prompt)]  # fmt: skip
            (source,) = [e for e in sources if int(e["speaker"]) == int(batch["speaker"][i])]
            assert int(source["clip"]) != int(batch["clip"][i])
            drawn[int(source["clip"])] += 1
            lengths.add(len(prompt))
        assert found["prompt_len"][3] == 0, "the only clip of its speaker is no prompt for itself"
    assert len(drawn) > 5 and len(lengths) > 3
    system.net.eval()
    assert system.prompted(batch)["prompt"].equal(system.prompted(batch)["prompt"])


def test_packed_or_in_rows_the_losses_are_the_same(system, batch):
    system.net.eval()
    made = {}
    for flat in (True, False):
        system.net.settings = system.p.pocket.model_copy(update={"packing": flat})
        (made[flat],) = system.losses(batch)
    for name in made[True]:
        assert made[True][name].item() == pytest.approx(made[False][name].item(), abs=1e-5), name


def test_validation_tells_plain_terms_by_which_the_best_is_chosen(system, batch):
    system.net.eval()
    (terms,) = system.losses(batch)
    (again,) = system.losses(batch)
    assert {k: v.item() for k, v in terms.items()} == {k: v.item() for k, v in again.items()}, (
        "the same draws each time"
    )
    names = {"flow", "distillation", "eos", "diagonal_raw", "distillation_raw", "eos_raw", "end"}
    assert terms.keys() == names
    told = {k: v.item() for k, v in terms.items()}
    expected = 0.75 * told["diagonal_raw"] + 0.25 * told["distillation_raw"] + 0.1 * told["eos_raw"]
    assert system.verdict(told) == pytest.approx(expected)
    assert told["flow"] == pytest.approx(0.75 * told["diagonal_raw"] / 32), "the learned weight starts at one"


def test_voice_and_text_are_withheld_each_by_itself(system, encoded, monkeypatch):
    net, seen = system.net.train(), []
    states = net.states
    monkeypatch.setattr(
        net, "states", lambda batch, keep=None, lm=None: (seen.append(keep), states(batch, keep, lm))[1]
    )
    net.settings = system.p.pocket.model_copy(update={"drop_voice": 0.3, "drop_text": 0.1})
    many = system.prompted(dataset.collate([encoded[1][i % len(encoded[1])] for i in range(300)]))
    torch.manual_seed(0)
    net(many)
    voice, text = seen[0]
    assert 0.63 < voice.float().mean() < 0.77 and 0.85 < text.float().mean() < 0.95
    assert (voice & ~text).any() and (~voice & text).any()
    net.eval()
    net(many)
    assert all(kept.all() for kept in seen[1]), "nothing is withheld in validation"


def test_another_recording_lends_its_voice_and_guidance_changes_what_is_said(system, spoken, encoded):
    system.net.eval()
    torch.manual_seed(1)
    for value in system.net.flow_lm.flow_net.parameters():
        torch.nn.init.normal_(value, std=0.2)
    recording = str(spoken.audio(encoded[0][3]))
    first, own = (torch.stack(list(system.frames(TEXT, voice, 1, "qaa"))) for voice in (recording, None))
    assert not first[:4].equal(own[:4])
    system.p = system.p.model_copy(update={"pocket": system.p.pocket.model_copy(update={"guidance": 2.0})})
    guided = torch.stack(list(system.frames(TEXT, None, 1, "qaa")))
    assert not guided[:4].equal(own[:4])
    with pytest.raises(ParamsError, match=r"neither a speaker of the training \(.*lonely.*\) nor a recording"):
        system.synthesize(TEXT, voice="nobody.wav")


def test_frames_come_one_by_one_until_the_end(system):
    """The end is not heeded at first; frames may follow it; a limit ends what does not end."""
    system.net.eval()
    lm = system.net.flow_lm
    state, text = speaking.listened(lm, system.reference(None).latents), torch.tensor(system.ids(TEXT, "qaa"))
    s = system.p.pocket

    def count(bias: float, after: int) -> tuple[int, bool]:
        with torch.no_grad():
            lm.out_eos.weight.zero_()
            lm.out_eos.bias.fill_(bias)
        said = synthesis.Said(speaking.frames(lm, state, text, s, 20, torch.Generator().manual_seed(0), after))
        return len(list(said)), said.ended

    assert count(9.0, 0) == (speaking.LEAST, True)
    assert count(9.0, 3) == (speaking.LEAST + 3, True)
    assert count(-9.0, 3) == (20, False)
    stream = speaking.frames(lm, state, text, s, 10**6, torch.Generator().manual_seed(0))
    assert next(stream).shape == (32,), "the first frame needs no later one"


def test_long_texts_are_spoken_in_pieces(system):
    system.net.eval()
    system.p = system.p.model_copy(update={"pocket": system.p.pocket.model_copy(update={"most_tokens": 3})})
    whole = "bado kemi. talu bado. kemi talu."
    assert [part for part, _ in synthesis.pieces(system, whole, "qaa")] == ["bado kemi.", "talu bado.", "kemi talu."]
    system.synthesize(whole, seed=1)
    assert system.tally["spoken"] == 3


def test_noise_is_of_the_asked_variance_and_within_the_clamp(p):
    g = torch.Generator().manual_seed(0)
    plain = torch.cat([speaking.started(32, p.pocket, g) for _ in range(300)])
    assert plain.var().item() == pytest.approx(0.3, rel=0.05)
    clamped = p.pocket.model_copy(update={"noise_clamp": 0.4})
    assert torch.cat([speaking.started(32, clamped, g) for _ in range(100)]).abs().max() <= 0.4
    assert speaking.started(32, p.pocket, None).eq(0).all()


def test_a_reference_travels_as_json():
    made = voices.Reference(torch.randn(5, 32), clip=7)
    again = voices.Reference.restore(json.loads(json.dumps(made.state())))
    assert again.latents.equal(made.latents) and again.clip == 7


def test_codes_are_refused_and_a_missing_codec_is_named(p, encoded):
    with pytest.raises(codecs.CodecError, match="codec: not given; system pocket"):
        System.fresh(p.model_copy(update={"codec": None}), encoded[0])
    with pytest.raises(codecs.CodecError, match="gives codes; pocket learns latents"):
        System.fresh(p.model_copy(update={"codec": "mel-6561"}), encoded[0])


def test_a_student_learns_its_teachers_states_and_keeps_its_heads(system, p, encoded, batch, tmp_path):
    """With all of its layers and no guidance it is the teacher: nothing is left to learn."""
    system.net.eval()
    teacher = system.export(tmp_path / "teacher")

    def student(**more):
        own = p.pocket.model_copy(update={"teacher": str(teacher), "layers": [0, 1], "teacher_guidance": 1.0} | more)
        made = System.fresh(p.model_copy(update={"pocket": own}), encoded[0])
        made.measure(encoded[1])
        made.net.eval()
        return made

    (same,) = student().losses(batch)
    assert same.keys() == {"states"} and same["states"].item() < 1e-10
    guided = student(teacher_guidance=2.0)
    assert next(guided.losses(batch))["states"].item() > 1e-6
    shallow = student(layers=[1])
    assert shallow.net.shape.layers == 1 and shallow.net.flow_lm.emb_mean.equal(system.net.flow_lm.emb_mean)
    learning = {n for n, q in shallow.net.named_parameters() if q.requires_grad}
    assert not [n for n in learning if "flow_net" in n or "out_eos" in n or "precision" in n]
    assert not [n for n in shallow.net.state_dict() if "teacher" in n]
    first = next(shallow.losses(batch))["states"].item()
    optimizer = torch.optim.AdamW([q for part in shallow.parts().values() for q in part], lr=3e-3)
    shallow.net.train()
    for _ in range(20):
        optimizer.zero_grad()
        next(shallow.losses(batch))["states"].backward()
        optimizer.step()
    shallow.net.eval()
    assert next(shallow.losses(batch))["states"].item() < 0.7 * first
    with pytest.raises(CheckpointError, match=r"has layers 0 to 1, not \[7\]"):
        student(layers=[0, 7])


def test_a_loaded_voice_aligns_with_its_references(system, batch, tmp_path):
    again = pipeline.load(system.export(tmp_path / "exported"))
    found = again.align(batch)
    assert found["durations"].sum(1).tolist() == batch["latents_len"].tolist()
    assert found["durations"].shape == batch["text"].shape
    assert found["mel"].shape == found["recording"].shape == (4, 80, int(batch["latents_len"].max()))
    assert found["mel"].isfinite().all() and not found["mel"].equal(found["recording"])
