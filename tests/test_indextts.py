"""What IndexTTS2's language model learns from, speaks with and refuses, on the toy corpus."""

import json
import math
from collections import Counter
from dataclasses import replace

import pytest
import torch

from ttslib import adapt, attempts, codecs, dataset, params, pipeline, speech
from ttslib.dataset import BadClip
from ttslib.params import ParamsError
from ttslib.systems.indextts import System, speaking, synthesis, voices
from ttslib.units import UnitsError

TEXT = "bado kemi talu."


@pytest.fixture(scope="module")
def p():
    return params.load("qaa", system="indextts", tracking="disabled", device="cpu", threads=1)


def test_the_stop_code_is_the_last_target_of_each_clip_and_no_other(system, batch):
    system.net.eval()
    _, (states, ids, lengths) = system.net.states(system.prompted(batch))
    for i, count in enumerate(batch["codes_len"].tolist()):
        assert ids[i, : lengths[i]].tolist() == [8192, *batch["codes"][i, :count].tolist(), 8193]
    assert len(states) == int((batch["codes_len"] + 2).sum())
    assert system.net.logits(system.prompted(batch))["speech"].shape == (len(states), 8194)


def test_prompts_are_other_utterances_of_the_same_speaker(system, batch, encoded):
    by_clip = {int(e["clip"]): e for e in encoded[1]}
    torch.manual_seed(0)
    drawn = Counter()
    for _ in range(20):
        found = system.prompted(batch)
        for i in range(3):
            (source,) = [e for e in by_clip.values() if e["voice"][:, 0].equal(found["voice"][i])]
            assert int(source["speaker"]) == int(batch["speaker"][i])
            assert int(source["clip"]) != int(batch["clip"][i])
            drawn[int(source["clip"])] += 1
        assert found["voice"][3].equal(by_clip[int(batch["clip"][3])]["voice"][:, 0]), "the only clip of its speaker"
    assert len(drawn) > 5


def test_packed_or_in_rows_the_losses_are_the_same(system, batch):
    system.net.eval()
    prompted, made = system.prompted(batch), {}
    for flat in (True, False):
        system.net.flat = flat
        with torch.no_grad():
            made[flat] = system.net(prompted)
    for name in made[True]:
        assert made[True][name].item() == pytest.approx(made[False][name].item(), abs=1e-5), name


def test_dropout_reaches_packed_attention(system, batch):
    """Attention of its own for packed samples must drop as the stock one does."""
    prompted = system.prompted(batch)
    for module in system.net.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    system.net.train()
    calm = [system.net(prompted)["speech"].item() for _ in range(2)]
    for layer in system.net.gpt.h:
        layer.attn.attn_dropout.p = 0.5
    wild = [system.net(prompted)["speech"].item() for _ in range(2)]
    assert calm[0] == calm[1] and len({calm[0], *wild}) == 3


def test_validation_says_how_well_codes_and_the_end_are_foretold(system, batch):
    system.net.eval()
    (terms,) = system.losses(batch)
    assert terms.keys() == {"speech", "text", "speech_ce", "text_ce", "top1", "end"}
    assert terms["text"].item() == pytest.approx(0.1 * terms["text_ce"].item())
    assert terms["speech"].item() == pytest.approx(terms["speech_ce"].item())
    assert terms["speech"].item() == pytest.approx(math.log(8194), rel=0.05), "an untrained network knows nothing"
    system.net.train()
    (terms,) = system.losses(batch)
    assert terms.keys() == {"speech", "text"}


def test_weights_of_the_terms_are_parameters(p, encoded, batch):
    other = p.model_copy(update={"indextts": p.indextts.model_copy(update={"mel_weight": 0.9, "text_weight": 0.3})})
    system = System.fresh(other, encoded[0])
    system.measure(encoded[1])
    system.net.eval()
    (terms,) = system.losses(batch)
    assert terms["speech"].item() == pytest.approx(0.9 * terms["speech_ce"].item())
    assert terms["text"].item() == pytest.approx(0.3 * terms["text_ce"].item())


@pytest.fixture
def controlled(p, encoded):
    own = p.indextts.model_copy(update={"duration_control": True, "drop_duration": 0.3})
    made = System.fresh(p.model_copy(update={"indextts": own}), encoded[0])
    made.measure(encoded[1])
    with torch.no_grad():
        made.net.speed_emb.weight.normal_()
        made.net.mel_pos_embedding.emb.weight.normal_()
    return made


def test_durations_stand_in_their_slot_and_are_dropped_sample_by_sample(controlled, encoded):
    net, many = controlled.net.train(), dataset.collate([encoded[1][i % len(encoded[1])] for i in range(200)])
    torch.manual_seed(0)
    told = net.durations(many["codes_len"])
    assert 0.6 < (told >= 0).float().mean() < 0.8 and told[told >= 0].equal(many["codes_len"][told >= 0])
    net.eval()
    assert net.durations(many["codes_len"]).equal(many["codes_len"]), "validation tells all"
    prompted = controlled.prompted(many) | {"duration": told}
    stream, lengths = net.condition(prompted)
    assert set(lengths.tolist()) == {net.shape.latents + 2}
    for i in range(200):
        slot = net.speed_emb.weight[1] if told[i] < 0 else net.mel_pos_embedding.emb.weight[told[i]]
        assert stream[i, -2].equal(slot) and stream[i, -1].equal(net.speed_emb.weight[0])


def test_a_tempo_that_was_learnt_is_asked_for_and_others_are_stretched(controlled, system):
    for made, told in ((controlled, True), (system, False)):
        made.pace = {"median": 2.0, "most": 3.0}
        reference, count = made.reference(None), len(made.ids(TEXT, "qaa"))
        assert "duration" not in synthesis.sample(made, TEXT, reference, "qaa")
        ready = synthesis.sample(made, TEXT, reference, "qaa", 1.25)
        assert ("duration" in ready) == told
        if told:
            assert ready["duration"].tolist() == [round(2.0 * count / 1.25)]
        made.net.eval()
        plain, fast = (len(made.synthesize(TEXT, seed=1, speaking_rate=rate)) for rate in (1.0, 2.0))
        assert told or fast == round(plain / 2)


def test_clips_that_do_not_fit_are_set_aside_whole(system, encoded, spoken):
    row = encoded[0][0]
    wav = speech.recording(spoken, row, system.rate)
    with pytest.raises(BadClip, match=r"\d+ codes, this network has positions for 516; cut the clip"):
        system.encode(row, wav.repeat(20))
    with pytest.raises(BadClip, match=r"text tokens, this network has positions for 258"):
        system.encode(replace(row, text=row.text * 30), wav)
    with pytest.raises(UnitsError, match="speak it in sentences"):
        system.synthesize("bado " * 80)


def test_long_texts_and_speech_without_an_end_are_said(system, capsys):
    system.net.eval()
    system.pace = {}
    system.synthesize("bado kemi " * 13, seed=1)
    said = capsys.readouterr().err
    assert "text tokens at once; IndexTTS2 speaks 120" in said
    assert "no end after 0.8 s (limit), cut off there" in said, "indextts.longest is 40 codes here"


def test_without_training_examples_nothing_is_trained(p, encoded, batch):
    fresh = System.fresh(p, encoded[0])
    fresh.net.train()
    with pytest.raises(ParamsError, match="no prompts to train with"):
        next(fresh.losses(batch))


def test_a_loaded_voice_aligns_and_validates_with_its_references(system, batch, tmp_path):
    again = pipeline.load(system.export(tmp_path / "exported"))
    found = again.align(batch)
    assert found["durations"].sum(1).tolist() == batch["codes_len"].tolist()
    assert found["durations"].shape == batch["text"].shape
    assert found["mel"].shape == found["recording"].shape == (4, 80, int(batch["codes_len"].max()))
    assert found["mel"].isfinite().all() and not found["mel"].equal(found["recording"])
    (terms,) = again.losses(batch)
    assert terms["speech"].item() == pytest.approx(math.log(8194), rel=0.05)


def test_another_recording_lends_its_voice(system, spoken, encoded):
    row = encoded[0][3]
    system.net.eval()
    assert system.synthesize(TEXT, voice=str(spoken.audio(row)), seed=1).isfinite().all()
    reference, default = system.reference(str(spoken.audio(row))), system.reference(None)
    theirs, own = (system.net.condition(synthesis.sample(system, TEXT, r, "qaa"))[0] for r in (reference, default))
    latents = system.net.shape.latents
    assert not theirs[:, :latents].equal(own[:, :latents]) and theirs[:, latents:].equal(own[:, latents:])
    with pytest.raises(ParamsError, match=r"neither a speaker of the training \(.*lonely.*\) nor a recording"):
        system.synthesize(TEXT, voice="nobody.wav")
    system.references = {}
    with pytest.raises(ParamsError, match="this base has none of its own; give a recording's path"):
        system.synthesize(TEXT)


def test_a_reference_travels_as_json():
    made = voices.Reference({"voice": torch.randn(4)}, {"x": torch.randn(2, 3)}, clip=7)
    again = voices.Reference.restore(json.loads(json.dumps(made.state())))
    assert again.heard["voice"].equal(made.heard["voice"]) and again.decoder["x"].equal(made.decoder["x"])
    assert again.clip == 7


def test_only_codes_and_the_stop_are_ever_said(system):
    """However likely the start id or a spare one is."""
    system.net.eval()
    with torch.no_grad():
        system.net.mel_head.bias[8192] += 50
        system.net.mel_head.bias[8193] += 9
    said = system.codes(TEXT, seed=1)
    assert 8192 not in said and said[-1] == 8193
    assert len(said) > attempts.LEAST, "the stop is withheld for the first codes"


@pytest.mark.parametrize("beams", [1, 3])
def test_beams_and_sampling_follow_the_seed(system, beams):
    system.net.eval()
    system.p = system.p.model_copy(update={"indextts": system.p.indextts.model_copy(update={"beams": beams})})
    first, same, other = (system.codes(TEXT, seed=seed) for seed in (1, 1, 2))
    assert first.equal(same) and not first.equal(other)


def test_a_wider_beam_finds_likelier_speech(system, p):
    """With the top codes alone to draw from and no penalty, three beams hold what one finds or better."""
    system.net.eval()
    reference = system.reference(None)
    ready = synthesis.sample(system, TEXT, reference, "qaa")

    def likelihood(beams: int) -> float:
        t = p.indextts.model_copy(update={"beams": beams, "repetition_penalty": 1.0, "top_p": 1.0, "top_k": 8194})
        said = speaking.generate(system.net, ready, t, 12, 5, least=12)
        batch = ready | {"codes": said[None], "codes_len": torch.tensor([len(said)])}
        logits = system.net.logits(batch)["speech"][: len(said)].log_softmax(-1)
        return float(logits.gather(1, said[:, None]).sum())

    with torch.no_grad():
        assert likelihood(4) > likelihood(1)


def test_a_runaway_is_tried_again_and_counted(system, monkeypatch):
    said = iter([[1, 2, 3] * 100, [4, 5, 6, 8193]])
    monkeypatch.setattr(speaking, "generate", lambda *a, **k: torch.tensor(next(said)))
    system.net.eval()
    wav = system.synthesize(TEXT, seed=1)
    assert len(wav) == 3 * 320
    assert system.tally == Counter({"spoken": 1, "rerolled": 1, "stop": 1})


def test_codes_that_cannot_be_made_sound_are_refused_before_they_are_spoken(system, monkeypatch):
    monkeypatch.setattr(type(system.codec), "speaks", False, raising=False)
    assert "s2mel" in system.mute
    with pytest.raises(codecs.CodecError, match="IndexTTS2's own runtime"):
        system.synthesize(TEXT)
    assert not system.tally


def test_latents_are_refused_and_a_missing_codec_is_named(p, encoded):
    with pytest.raises(codecs.CodecError, match="codec: not given; system indextts learns from codes"):
        System.fresh(p.model_copy(update={"codec": None}), encoded[0])
    with pytest.raises(codecs.CodecError, match="gives latents; indextts learns codes"):
        System.fresh(p.model_copy(update={"codec": "mel-vae"}), encoded[0])


def test_a_base_decides_the_codec(system, p, encoded):
    asked = p.model_copy(update={"codec": "mel-6561"})
    grown = adapt.extend(system, asked, encoded[0])
    assert grown.codec.hash == system.codec.hash and grown.p.codec == "mel-8192"
