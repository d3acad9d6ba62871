"""What T3 learns from, speaks with and refuses, on the toy corpus."""

import json
import math
from collections import Counter
from dataclasses import replace

import pytest
import torch

from ttslib import adapt, audio, codecs, dataset, params, pipeline, speech
from ttslib.dataset import BadClip
from ttslib.params import ParamsError
from ttslib.systems.t3 import System, speaking, synthesis, voices
from ttslib.units import UnitsError

TEXT = "bado kemi talu."


@pytest.fixture(scope="module")
def p():
    return params.load("qaa", system="t3", tracking="disabled", device="cpu", threads=1)


def test_the_stop_code_is_the_last_target_of_each_clip_and_no_other(system, batch):
    ids, lengths = system.net.between(batch["codes"], batch["codes_len"])
    for i, count in enumerate(batch["codes_len"].tolist()):
        own = ids[i, : lengths[i]].tolist()
        assert own == [6561, *batch["codes"][i, :count].tolist(), 6562]
    system.net.eval()
    found = system.net.logits(system.prompted(batch))
    assert found["speech"].shape == (int((batch["codes_len"] + 2).sum()), 6563)


def test_prompts_are_other_utterances_of_the_same_speaker(system, batch, encoded):
    by_clip = {int(e["clip"]): e for e in encoded[1]}
    speakers = {int(e["speaker"]): [] for e in encoded[1]}
    for example in encoded[1]:
        speakers[int(example["speaker"])].append(example)
    torch.manual_seed(0)
    drawn = Counter()
    for _ in range(20):
        found = system.prompted(batch)
        for i in range(3):
            prompt = found["prompt"][i, : found["prompt_len"][i]].tolist()
            vector = found["voice"][i]
            source = [e for e in speakers[int(batch["speaker"][i])] if e["voice"][:, 0].equal(vector)]
            assert len(source) == 1 and int(source[0]["clip"]) != int(batch["clip"][i])
            codes = source[0]["codes"].tolist()
            assert any(codes[s : s + len(prompt)] == prompt for s in range(len(codes)))
            drawn[int(source[0]["clip"])] += 1
    assert len(drawn) > 5
    assert found["prompt_len"][3] == 0, "the only clip of its speaker is no prompt for itself"
    assert found["voice"][3].equal(by_clip[int(batch["clip"][3])]["voice"][:, 0])


def test_long_prompts_are_stretches_of_the_asked_length(system, encoded):
    torch.manual_seed(0)
    starts = set()
    for _ in range(10):
        found = system.pool.prompts(dataset.collate([encoded[1][0]]), 5, training=True)
        starts.add(tuple(found["prompt"][0].tolist()))
        assert found["prompt_len"].tolist() == [5]
    assert len(starts) > 3
    calm = [system.pool.prompts(dataset.collate([encoded[1][0]]), 5, training=False)["prompt"] for _ in range(2)]
    assert calm[0].equal(calm[1])


def test_text_is_withheld_as_often_as_asked_and_is_then_no_target(system, batch):
    net = system.net.train()
    prompted = system.prompted(batch)
    net.drop_text = 0.999999
    torch.manual_seed(0)
    terms = net(prompted)
    assert terms["text"].item() == 0, "withheld text is not to be foretold"
    net.drop_text = 0.0
    torch.manual_seed(0)
    with_text = net(prompted)
    assert with_text["text"].item() > 0
    other = prompted | {"text": prompted["text"].flip(0), "text_len": prompted["text_len"].flip(0)}
    net.eval()  # no dropout in the perceiver
    nothing = torch.zeros(4, dtype=torch.bool)
    kept = net.logits(prompted)["speech"], net.logits(other)["speech"]
    assert not kept[0].equal(kept[1])
    same_length = prompted | {"text": prompted["text"].roll(1, 1)}
    dropped = net.logits(prompted, nothing)["speech"], net.logits(same_length, nothing)["speech"]
    assert dropped[0].equal(dropped[1]), "of a withheld text only its length is left"


def test_texts_are_withheld_sample_by_sample(system, encoded, monkeypatch):
    net, drawn = system.net.train(), []
    net.drop_text, embed = 0.3, net.embed_text
    monkeypatch.setattr(net, "embed_text", lambda ids, keep=None: (drawn.append(keep), embed(ids, keep))[1])
    prompted = system.prompted(dataset.collate([encoded[1][i % len(encoded[1])] for i in range(200)]))
    torch.manual_seed(0)
    net(prompted)
    assert 0.6 < drawn[0].float().mean() < 0.8
    net.eval()
    net(prompted)
    assert drawn[1] is None, "nothing is withheld in validation"


def test_packed_or_in_rows_the_losses_are_the_same(system, batch):
    system.net.eval()
    prompted = system.prompted(batch)
    with torch.no_grad():
        system.net.flat = True
        flat = system.net(prompted)
        system.net.flat = False
        rows = system.net(prompted)
    for name in flat:
        assert flat[name].item() == pytest.approx(rows[name].item(), abs=1e-5), name


def test_validation_says_how_well_codes_and_the_end_are_foretold(system, batch):
    system.net.eval()
    (terms,) = system.losses(batch)
    assert {"speech", "text", "text_ce", "top1", "end"} == terms.keys()
    assert terms["text"].item() == pytest.approx(0.1 * terms["text_ce"].item())
    assert 0 <= terms["top1"] <= 1 and 0 < terms["end"] < 1
    assert terms["speech"].item() == pytest.approx(math.log(6563), rel=0.05), "an untrained network knows nothing"
    assert system.verdict({k: v.item() for k, v in terms.items()}) == pytest.approx(
        (terms["speech"] + terms["text"]).item()
    )
    system.net.train()
    (terms,) = system.losses(batch)
    assert {"speech", "text"} == terms.keys()


def test_clips_that_do_not_fit_are_set_aside_whole(system, encoded, spoken):
    row = encoded[0][0]
    wav = speech.recording(spoken, row, system.rate)
    with pytest.raises(BadClip, match=r"\d+ codes, this network has positions for 516; cut the clip"):
        system.encode(row, wav.repeat(40))
    with pytest.raises(BadClip, match=r"text tokens, this network has positions for 258"):
        system.encode(replace(row, text=row.text * 30), wav)
    with pytest.raises(UnitsError, match="speak it in sentences"):
        system.synthesize("bado " * 80)


def test_without_training_examples_nothing_is_trained(p, encoded, batch):
    fresh = System.fresh(p, encoded[0])
    fresh.net.train()
    with pytest.raises(ParamsError, match="no prompts to train with"):
        next(fresh.losses(batch))


def test_a_loaded_voice_aligns_with_its_references(system, batch, tmp_path):
    again = pipeline.load(system.export(tmp_path / "exported"))
    found = again.align(batch)
    assert found["durations"].sum(1).tolist() == batch["codes_len"].tolist()
    assert found["durations"].shape == batch["text"].shape
    assert found["mel"].shape == found["recording"].shape == (4, 80, int(batch["codes_len"].max()))
    assert found["mel"].isfinite().all() and not found["mel"].equal(found["recording"])


def test_another_recording_lends_its_voice(system, spoken, encoded):
    row = encoded[0][3]
    system.net.eval()
    heard = system.synthesize(TEXT, voice=str(spoken.audio(row)), seed=1)
    assert heard.isfinite().all()
    reference, default = system.reference(str(spoken.audio(row))), system.reference(None)
    assert reference.vector.shape == (256,) and 0 < len(reference.codes) <= 150
    theirs, own = (system.net.condition(synthesis.sample(system, TEXT, r, "qaa")) for r in (reference, default))
    assert not theirs[0][0].equal(own[0][0]) and not theirs[1][0].equal(own[1][0])
    with pytest.raises(ParamsError, match=r"neither a speaker of the training \(.*lonely.*\) nor a recording"):
        system.synthesize(TEXT, voice="nobody.wav")


def test_a_base_without_a_voice_asks_for_one(system):
    system.references = {}
    with pytest.raises(ParamsError, match="this base has none of its own; give a recording's path"):
        system.synthesize(TEXT)


def test_a_reference_keeps_what_the_decoder_needs_through_json():
    made = voices.Reference(torch.randn(4), torch.tensor([3, 1]), {"x": torch.randn(2, 3)}, clip=7)
    again = voices.Reference.restore(json.loads(json.dumps(made.state())))
    assert again.vector.equal(made.vector) and again.codes.equal(made.codes) and again.clip == 7
    assert again.decoder["x"].equal(made.decoder["x"])


def test_a_runaway_is_tried_again_and_counted(system, monkeypatch):
    said = iter([[1, 2, 3] * 100, [4, 5, 6, 6562]])
    monkeypatch.setattr(speaking, "generate", lambda *a, **k: iter(next(said)))
    system.net.eval()
    wav = system.synthesize(TEXT, seed=1)
    assert len(wav) == 3 * 640
    assert system.tally == Counter({"spoken": 1, "rerolled": 1, "stop": 1})


def test_no_speech_is_longer_than_twice_the_slowest_clip(system):
    system.net.eval()
    system.pace = {"median": 1.0, "most": 0.5}
    codes = list(system.codes("bado", seed=1))
    assert len(codes) <= 2 * 0.5 * len(system.ids("bado", "qaa")) + 50


def test_another_tempo_keeps_the_pitch():
    wav = torch.sin(2 * math.pi * 220 * torch.arange(16000) / 16000)
    for rate in (0.8, 1.5):
        made = audio.stretched(wav, rate)
        assert len(made) == round(16000 / rate)
        spectrum = torch.fft.rfft(made).abs()
        assert spectrum.argmax() * 16000 / len(made) == pytest.approx(220, abs=3)


def test_latents_are_refused_and_a_missing_codec_is_named(p, encoded):
    with pytest.raises(codecs.CodecError, match="codec: not given; system t3 learns from codes"):
        System.fresh(p.model_copy(update={"codec": None}), encoded[0])
    with pytest.raises(codecs.CodecError, match="gives latents; t3 learns codes"):
        System.fresh(p.model_copy(update={"codec": "mel-vae"}), encoded[0])


def test_another_codec_is_another_feature(system, p, encoded):
    other = System.fresh(params.load("qaa", {"mel_codec.steps": 9}, system="t3", device="cpu", threads=1), encoded[0])
    assert other.codec.hash != system.codec.hash
    assert other.feature_key != system.feature_key


def test_a_base_decides_the_codec(system, p, encoded):
    """Its codes are what the base knows, whatever the params of the new run would make."""
    asked = p.model_copy(update={"codec": "mel-8192", "mel_codec": p.mel_codec.model_copy(update={"steps": 5})})
    grown = adapt.extend(system, asked, encoded[0])
    assert grown.codec.hash == system.codec.hash and grown.p.codec == "mel-6561"


@pytest.mark.parametrize("body", ["all", "lora", "none"])
def test_new_rows_learn_and_the_bases_do_not(system, p, encoded, spoken, body):
    """Embedding and head, whatever else learns; LoRA updates are merged into the exported names."""
    settings = params.load(
        "qaa",
        {"adapt.body": body, "adapt.lora.rank": 2, "train.weight_decay": 0.1},
        system="t3",
        device="cpu",
        threads=1,
    )
    rows = [replace(r, text=r.text + "ሰላም") for r in encoded[0]]
    grown = adapt.extend(system, settings, rows)
    adapt.freeze(grown, settings.adapt)
    examples = [
        dict(encoded[1][i], text=torch.tensor(grown.ids(rows[i].text, rows[i].lang))) for i in range(len(encoded[1]))
    ]
    grown.measure(examples)
    from ttslib.session import adamw

    news = [q for net in grown.nets.values() for q in adapt.new_rows(net)]
    assert len(news) == 2, "embedding and head"
    before = {n: t.tensors["weight"].detach().clone() for n, t in grown.tables.items()}
    body_before = grown.net.tfmr.layers[0].mlp.up_proj.weight.detach().clone() if body != "lora" else None
    (part,) = grown.parts().values()
    optimizer = adamw(part, settings, torch.device("cpu"), news)
    batch = dataset.collate(examples[:4])
    grown.net.train()
    for _ in range(3):
        optimizer.zero_grad()
        (terms,) = grown.losses(batch)
        sum(terms.values()).backward()
        optimizer.step()
    size = len(system.tokenizer)
    for name, table in grown.tables.items():
        after = table.tensors["weight"].detach()
        assert after[:size].equal(before[name][:size]), name
        assert not after[size:].equal(before[name][size:]), name
    if body_before is not None:
        assert grown.net.tfmr.layers[0].mlp.up_proj.weight.equal(body_before) is (body == "none")
    assert adapt.plain(grown.net).keys() == system.net.state_dict().keys()
