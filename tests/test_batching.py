"""Sentences spoken together are those spoken alone, whatever they are together with, and nothing of one reaches another."""

import copy
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from transformers import DynamicCache, GenerationConfig, GenerationMixin, GPT2PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from ttslib import attempts, batching, decoding, encoding, params, speech
from ttslib.batching import Request
from ttslib.params import ParamsError
from ttslib.sections import IndexTTS
from ttslib.systems import SYSTEMS, system_class
from ttslib.systems.indextts import net as index_net
from ttslib.systems.indextts import speaking as index_speaking
from ttslib.systems.t3 import net
from ttslib.systems.vits import speaking
from ttslib.units import UnitsError

TEXTS = ["bado kemi talu.", "talu?", "kemi talu bado kemi, talu bado.", "bado."]
SEEDS = [3, 1, 2, 3]
SPEAKING = [name for name in SYSTEMS if name != "style"]
CODED = ["t3", "indextts"]


@pytest.fixture(scope="module")
def fresh(spoken, tmp_path_factory):
    """`fresh(name, **settings)`: an untrained system, measured, that says something else for every text and seed."""
    made = {}

    def of(name: str, **settings):
        if name not in made:
            p = params.load("qaa", {"system": name}, tracking="disabled", device="cpu", threads=1)
            rows = spoken.split("train")[:12]
            system = system_class(name).fresh(p, rows)
            cache = tmp_path_factory.mktemp("features")
            features = encoding.encode_all(system, rows, lambda r: speech.recording(spoken, r, system.rate), cache, 1.0)
            system.measure(features)
            stirred(system)
            nets = {part: copy.deepcopy(net.state_dict()) for part, net in system.nets.items()}
            made[name] = system, system.p, nets, dict(getattr(system, "pace", {}))
        system, p, nets, pace = made[name]
        for part, weights in nets.items():
            system.nets[part].load_state_dict(weights)
        system.pace = dict(pace)
        system.p = p.model_copy(update={name: getattr(p, name).model_copy(update=settings)})
        getattr(system, "tally", Counter()).clear()
        return system

    return of


@torch.no_grad()
def stirred(system) -> None:
    """Larger weights: what a network says then depends on all that it has read."""
    g = torch.Generator().manual_seed(0)
    for name, made in system.nets.items():
        if name != "discriminator":
            for weight in made.parameters():
                weight.add_(torch.randn(weight.shape, generator=g), alpha=0.05)
    if system.p.system == "indextts":  # some stop by themselves, some are cut off
        system.net.mel_head.bias[system.net.special.stop] += 2.5
    if system.p.system == "pocket":
        system.net.flow_lm.out_eos.weight.mul_(3)


EXACT = {"t3": 0.0, "indextts": 0.0, "pocket": 2e-5, "acoustic": 2e-5, "vits": 2e-6}
"""largest difference of a sample: none where codes are drawn, which are the same; measured 7e-7, 7e-7 and 1e-7"""


def of_length(waveforms) -> list[int]:
    return [len(wav) for wav in waveforms]


@pytest.mark.parametrize("name", SPEAKING)
def test_together_is_as_alone(fresh, name):
    """With other neighbours too; and what is counted, attempts that were made again among it."""
    system = fresh(name)
    system.nets.get("net", system.nets.get("generator")).train()
    alone = [system.synthesize(text, seed=seed) for text, seed in zip(TEXTS, SEEDS, strict=True)]
    tally = Counter(getattr(system, "tally", ()))
    getattr(system, "tally", Counter()).clear()
    together = batching.synthesize_many(system, TEXTS, seeds=SEEDS)
    assert Counter(getattr(system, "tally", ())) == tally
    two = batching.synthesize_many(system, TEXTS[2:0:-1], seeds=SEEDS[2:0:-1])
    assert of_length(alone) == of_length(together) and len(set(of_length(alone))) > 1
    assert all(net.training for net in system.nets.values() if net is not getattr(system, "discriminator", None))
    for a, b in zip([*alone, *alone[2:0:-1]], [*together, *two], strict=True):
        assert (a - b).abs().max() <= EXACT[name] and a.abs().max() > 0.01
    assert not alone[1].equal(alone[3][: len(alone[1])])


@pytest.mark.parametrize("settings", [{"cfg": 0.0}, {"duplicate_bos": True, "longest": 25}])
def test_t3_with_other_settings(fresh, settings):
    alike(fresh("t3", **settings))


@pytest.mark.parametrize("settings", [{"beams": 1, "mel_pos_gap": True}, {"beams": 3, "repetition_penalty": 1.0}])
def test_indextts_with_other_settings(fresh, settings):
    alike(fresh("indextts", **settings))


@pytest.mark.parametrize("settings", [{"guidance": 2.0}, {"most_tokens": 3, "frames_after_end": None}])
def test_pocket_with_other_settings(fresh, settings):
    """Guided; and texts of one and of several pieces."""
    alike(fresh("pocket", **settings))


def alike(system) -> None:
    alone = [system.synthesize(text, seed=seed) for text, seed in zip(TEXTS, SEEDS, strict=True)]
    together = batching.synthesize_many(system, TEXTS, seeds=SEEDS)
    assert of_length(alone) == of_length(together)
    for a, b in zip(alone, together, strict=True):
        assert (a - b).abs().max() <= EXACT[system.p.system]


@pytest.mark.parametrize("name", CODED)
def test_what_does_not_end_is_tried_again_with_the_seeds_it_has_alone(fresh, name):
    """And with the limit that each has of its own text."""
    system, counts, lengths = fresh(name, tries=2, longest=200, **{"beams": 2} if name == "indextts" else {}), [], []
    system.pace = {"median": 1.0, "most": 0.5}
    if name == "indextts":
        system.net.mel_head.bias[system.net.special.stop].data -= 9
    for speak in (
        lambda: [system.synthesize(text, seed=seed) for text, seed in zip(TEXTS, SEEDS, strict=True)],
        lambda: batching.synthesize_many(system, TEXTS, seeds=SEEDS),
    ):
        system.tally.clear()
        lengths.append(of_length(speak()))
        counts.append(Counter(system.tally))
    assert counts[0] == counts[1] and counts[0]["rerolled"] and counts[0]["spoken"] == 4
    assert lengths[0] == lengths[1] and len(set(lengths[0])) >= 3, "of 57, 67 and 82 codes at most"


def test_every_attempt_has_a_seed_of_its_own():
    asked, stop = [], 9
    state = {"special": {"stop": stop}, "frame_rate": 25.0}
    system = SimpleNamespace(codec_state=state, pace={"median": 1.0}, tally=Counter())
    said = attempts.spoken(lambda seed: asked.append(seed) or [1, 2, 3, 4][: len(asked)], system, 2, 3, 5)
    assert asked == [5, 5 + 7919, 5 + 2 * 7919] and said.codes.tolist() == [1, 2], (
        "the length nearest to the expected one"
    )
    assert system.tally == Counter({"spoken": 1, "rerolled": 2, "limit": 1})
    ended = attempts.spoken(lambda seed: [1, stop, 3], system, 2, 3, 5)
    assert (ended.codes.tolist(), ended.ended) == ([1], "stop") and system.tally["rerolled"] == 2


@pytest.mark.parametrize("name", SPEAKING)
def test_what_is_refused_leaves_the_others_alone(fresh, name):
    system = fresh(name)
    asked = [Request("bado kemi."), Request("zzz"), Request("talu?", voice="nobody"), Request("bado.", seed=4)]
    found = dict(batching.each(system, asked))
    kinds = [torch.Tensor, UnitsError, ParamsError, torch.Tensor]
    assert all(isinstance(found[i], kind) for i, kind in enumerate(kinds)), found
    assert (found[3] - system.synthesize("bado.", seed=4)).abs().max() <= EXACT[name]
    with pytest.raises(UnitsError, match="U\\+007A"):
        batching.synthesize_many(system, ["bado.", "zzz"])
    assert all(isinstance(made, Exception) for _, made in batching.each(system, asked[1:3])), "none is left"


@pytest.mark.parametrize("name", ["t3", "acoustic", "vits"])
def test_each_request_has_its_own_tempo(fresh, name):
    system = fresh(name)
    asked = [Request("bado kemi talu."), Request("bado kemi talu.", speaking_rate=2.0)]
    wavs = dict(batching.each(system, asked))
    for number, one in enumerate(asked):
        alone = system.synthesize(one.text, speaking_rate=one.speaking_rate)
        assert len(wavs[number]) == len(alone) and (wavs[number] - alone).abs().max() <= EXACT[name]
    assert len(wavs[1]) < 0.8 * len(wavs[0])


def test_lists_of_another_length_are_a_mistake(fresh):
    with pytest.raises(ValueError, match="shorter"):
        batching.synthesize_many(fresh("acoustic"), ["bado.", "talu."], seeds=[1])


def test_what_cannot_be_spoken_together_is_spoken_one_by_one():
    class Plain:
        def synthesize(self, text, voice=None, seed=0, lang=None, speaking_rate=1.0):
            if text == "no":
                raise UnitsError("no")
            return torch.full((seed,), float(len(text)))

    assert [w.tolist() for w in batching.synthesize_many(Plain(), ["a", "bb"], seeds=[2, 1])] == [[1.0, 1.0], [2.0]]
    assert isinstance(dict(batching.each(Plain(), [Request("no"), Request("a")]))[0], UnitsError)


def test_keys_and_values_in_place_are_those_of_a_growing_cache():
    """Bit by bit, of one sequence; of two of different lengths in the same rows, in what they say of themselves."""
    torch.manual_seed(0)
    shape = net.Shape(dim=128, layers=2, ff=256, text_rows=9, speech_rows=9, text_positions=9, speech_positions=9)
    llama = net.Net(shape, net.Ids(0, 1, 7, 8)).tfmr.eval()
    xs = [torch.randn(2, 7, 128), torch.randn(1, 4, 128)]
    news = [torch.randn(3, 1, 128) for _ in range(4)]
    with torch.no_grad():
        reads, expected = [], []
        for x, rows in zip(xs, (slice(0, 2), slice(2, 3)), strict=True):
            cache, read = DynamicCache(config=llama.config), decoding.Read(2, x.shape[1] + 4)
            first = llama(inputs_embeds=x, past_key_values=cache).last_hidden_state
            assert first.equal(llama(inputs_embeds=x, **read.more()).last_hidden_state)
            alone = decoding.joined([read], 4)
            assert alone is read, "one alone is not copied"
            said = [llama(inputs_embeds=new[rows], past_key_values=cache).last_hidden_state for new in news]
            place = read.layers[0].keys.data_ptr()
            for new, wanted in zip(news, said, strict=True):
                assert wanted.equal(llama(inputs_embeds=new[rows], **read.more()).last_hidden_state)
            assert read.layers[0].keys.data_ptr() == place, "nothing moves while it is read"
            with pytest.raises(RuntimeError, match="there is room for"):
                llama(inputs_embeds=news[0][rows], **read.more())
            expected.append(said)
            reads.append(decoding.Read(2, x.shape[1]))
            llama(inputs_embeds=x, **reads[-1].more())
        both = decoding.joined(reads, 4)
        assert both.blank.tolist() == [0, 0, 3]
        for step in range(2):
            found = llama(inputs_embeds=news[step], **both.more()).last_hidden_state
            torch.testing.assert_close(found, torch.cat([said[step] for said in expected]), atol=2e-6, rtol=0)
        both.keep([2, 0])  # the second row leaves, the others change places
        for step in range(2, 4):
            found = llama(inputs_embeds=news[step][[2, 0]], **both.more()).last_hidden_state
            wanted = torch.cat([expected[1][step], expected[0][step][:1]])
            torch.testing.assert_close(found, wanted, atol=2e-6, rtol=0)


class Wrapped(GPT2PreTrainedModel, GenerationMixin):
    """IndexTTS2's network as Transformers' own `generate` wants it."""

    def __init__(self, made, before: int, gap: bool):
        super().__init__(made.gpt.config)
        self.net, self.before, self.gap = made, before, gap

    def forward(self, input_ids=None, inputs_embeds=None, past_key_values=None, **_):
        if inputs_embeds is None:
            inputs_embeds = self.net.embed_speech(input_ids, past_key_values.get_seq_length() - self.before + self.gap)
        out = self.net.gpt(inputs_embeds=inputs_embeds, past_key_values=past_key_values, use_cache=True)
        logits = self.net.mel_head(self.net.final_norm(out.last_hidden_state[:, -1:]))
        return CausalLMOutputWithPast(logits=logits, past_key_values=out.past_key_values)


@pytest.mark.filterwarnings("ignore:Passing `repetition_penalty`")
@pytest.mark.parametrize(
    ("more", "stop"),
    [
        ({"beams": 1, "mel_pos_gap": True}, 0.0),
        ({"beams": 2, "repetition_penalty": 1.0, "top_p": 1.0}, 1.0),
        ({"beams": 3, "temperature": 1.0, "top_k": 5}, 0.0),
        ({"beams": 4, "length_penalty": 1.5, "top_k": 40}, 2.0),
    ],
)
@torch.no_grad()
def test_what_is_drawn_is_what_transformers_draws(more, stop):
    """Samples and beams, short and long, for the same seed: the package of IndexTTS2 calls its `generate`."""
    torch.manual_seed(1)
    shape = index_net.Shape(
        64, 2, 2, text_rows=50, mel_rows=66, text_positions=40, mel_positions=90, latents=4, voice=16
    )
    made = index_net.Net(shape, net.Ids(0, 1, 64, 65)).eval()
    for block in made.gpt.h:
        block.attn.c_attn.weight.mul_(8)
    made.mel_head.weight.mul_(6)
    made.mel_head.bias[65] += stop
    t, lengths = IndexTTS(**more), set()
    for seed in range(4):
        text = torch.randint(2, 50, (1, 6 + seed))
        sample = {"text": text, "text_len": torch.tensor([text.shape[1]]), "voice": torch.randn(1, 16)}
        prefix = torch.cat([made.condition(sample)[0], made.embed_text(text)], 1)
        embeds = torch.cat([prefix, made.embed_speech(torch.tensor([[64]]))], 1)
        how = GenerationConfig(
            max_new_tokens=60, min_new_tokens=2, suppress_tokens=[64], eos_token_id=65, pad_token_id=65, do_sample=True,
            num_beams=t.beams, top_k=t.top_k, top_p=t.top_p, temperature=t.temperature, length_penalty=t.length_penalty,
            repetition_penalty=t.repetition_penalty,
        )  # fmt: skip
        mask = torch.ones(embeds.shape[:2], dtype=torch.long)
        torch.manual_seed(seed)
        wrapped = Wrapped(made, prefix.shape[1], t.mel_pos_gap)
        wanted = wrapped.generate(inputs_embeds=embeds, attention_mask=mask, generation_config=how)[0]
        assert index_speaking.generate(made, sample, t, 60, seed, 2).equal(wanted)
        lengths.add(len(wanted))
    assert len(lengths) > 1 or 60 in lengths


def test_a_short_sentence_ends_in_a_batch_as_it_ends_alone(fresh):
    """Transformers' own batch does not: what is padded is heard in its last frames."""
    system = fresh("vits")
    with system.speaking() as vits, torch.no_grad():
        torch.manual_seed(0)
        priors = [torch.randn(1, vits.config.flow_size, frames) for frames in (30, 9)]
        alone = [speaking.sounds(vits, [one], None)[0] for one in priors]
        both = speaking.sounds(vits, priors, None)
        for a, b in zip(alone, both, strict=True):
            torch.testing.assert_close(a, b, atol=2e-6, rtol=0)
        plain = vits.decoder(vits.flow(priors[1], torch.ones(1, 1, 9), None, reverse=True))[0, 0]
        assert plain.equal(alone[1]), "the masks change nothing for one alone"
