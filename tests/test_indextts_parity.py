"""IndexTTS2's network against the published package and its checkpoints' names: what is trained here runs there."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from official import needs

from ttslib.codecs import indextts, published
from ttslib.packing import Ids
from ttslib.sections import IndexTTS
from ttslib.systems.indextts import encoders, net, speaking

KEYS = Path(__file__).parent / "data" / "indextts_keys.tsv"  # of gpt.pth, name and shape
SPEAKER = {"output_size": 512, "linear_units": 2048, "attention_heads": 8, "num_blocks": 6, "perceiver_mult": 2}
EMOTION = {"output_size": 512, "linear_units": 1024, "attention_heads": 4, "num_blocks": 4, "perceiver_mult": 2}
MODULE = {"output_size": 32, "linear_units": 64, "attention_heads": 4, "num_blocks": 2, "perceiver_mult": 2}
SHAPE = net.Shape(
    dim=64, layers=2, heads=4, text_rows=51, mel_rows=34, text_positions=42, mel_positions=103, latents=32
)
IDS = Ids(0, 1, 32, 33)
PROMPTS = [40, 23, 57]  # frames of w2v-bert features


def test_every_name_and_shape_is_the_published_one():
    lines = (line.split("\t") for line in KEYS.read_text().splitlines())
    expected = {name: tuple(int(n) for n in shape.strip("()").split(",") if n.strip()) for name, shape in lines}
    assert len(expected) == 665 and sum(torch.Size(s).numel() for s in expected.values()) == 871_100_639
    with torch.device("meta"):
        model = net.Net(net.Shape(**net.PRESETS["official"], text_rows=12001, mel_rows=8194), Ids(0, 1, 8192, 8193))
        beside = encoders.Encoders(1280, 32, SPEAKER, EMOTION)
    assert not model.state_dict().keys() & beside.state_dict().keys()
    found = model.state_dict() | beside.state_dict()
    assert {name: tuple(value.shape) for name, value in found.items()} == expected


@pytest.fixture(scope="module")
def official():
    """The package's network in a small size, random weights from a seed."""
    package = published.imported("indextts.gpt.model_v2", indextts.INSTALL)
    module = MODULE | {"input_layer": "conv2d2"}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = package.UnifiedVoice(
            layers=2, model_dim=64, heads=4, max_text_tokens=40, max_mel_tokens=100, number_text_tokens=50,
            number_mel_codes=34, start_mel_token=32, stop_mel_token=33, condition_type="conformer_perceiver",
            condition_module=module, emo_condition_module=module,
        ).eval()  # fmt: skip
        with torch.no_grad():  # no weight at its start: a branch left out, or added twice, must show
            for name, value in made.named_parameters():
                value.add_(torch.randn_like(value), alpha=0.2 if value.ndim == 1 or "speed" in name else 0.02)
            for layer in made.gpt.h:
                layer.attn.c_attn.weight.mul_(6)
            for table in (made.mel_embedding, made.mel_pos_embedding.emb, made.text_embedding):
                table.weight.mul_(15)
    return made


@pytest.fixture(scope="module")
def beside(official):
    made = encoders.Encoders(64, 32, MODULE, MODULE).eval()
    made.load_state_dict({k: v for k, v in official.state_dict().items() if k in made.state_dict()})
    return made


@pytest.fixture(params=[True, False], ids=["flat", "rows"])
def ours(request, official, beside):
    made = net.Net(SHAPE, IDS, flat=request.param).eval()
    rest = {k: v for k, v in official.state_dict().items() if k not in beside.state_dict()}
    made.load_state_dict(rest)  # strict: no name missing, none too many
    return made


@pytest.fixture
def prompts():
    g = torch.Generator().manual_seed(2)
    return [torch.randn(frames, 1024, generator=g) for frames in PROMPTS]


@pytest.fixture
def batch(beside, prompts):
    """Three samples of different lengths; the padding holds real ids, which must not count."""
    g = torch.Generator().manual_seed(1)
    text_len, codes_len = torch.tensor([7, 11, 5]), torch.tensor([20, 7, 31])
    text = torch.randint(2, 50, (3, 11), generator=g)
    text[:, 0] = IDS.text_start
    text[torch.arange(3), text_len - 1] = IDS.text_stop
    voices = [beside(prompt) for prompt in prompts]
    return {
        "text": text, "text_len": text_len,
        "codes": torch.randint(0, 32, (3, 31), generator=g), "codes_len": codes_len,
        "latents": torch.stack([voice for voice, _ in voices]), "emotion": torch.stack([e for _, e in voices]),
    }  # fmt: skip


def alone(official, batch, i):
    """What the package's `get_logits` gives for one sample, and its ids, laid out as its `forward` lays them out."""
    text = batch["text"][i : i + 1, : batch["text_len"][i]]
    codes = batch["codes"][i : i + 1, : batch["codes_len"][i]]
    speech = F.pad(F.pad(codes, (1, 0), value=IDS.start), (0, 1), value=IDS.stop)
    conds = torch.cat(
        [
            batch["latents"][i] + batch["emotion"][i],
            official.speed_emb.weight[1:2],
            official.speed_emb.weight[0:1],
        ]
    )[None]
    embedded = official.text_embedding(text) + official.text_pos_embedding(text)
    spoken = official.mel_embedding(speech) + official.mel_pos_embedding(speech)
    logits = official.get_logits(conds, embedded, official.text_head, spoken, official.mel_head)
    return logits[0][0].T, logits[1][0].T, text[0], speech[0]


@needs("indextts")
@torch.no_grad()
def test_prompts_are_encoded_as_in_the_package(official, beside, prompts):
    for prompt in prompts:
        voice, emotion = beside(prompt)
        # Lengths as its runtime passes them: the width of the features, more than there are frames.
        given = prompt[None].transpose(1, 2), torch.tensor([1024])
        assert (voice - official.get_conditioning(*given)[0]).abs().max() < 1e-5
        assert (emotion - official.get_emovec(prompt[None], torch.tensor([1024]))[0]).abs().max() < 1e-5
    assert (beside(prompts[0])[0] - beside(prompts[1])[0]).abs().max() > 0.01


@needs("indextts")
@torch.no_grad()
def test_a_batch_gives_what_the_package_gives_for_each_sample_alone(official, ours, batch):
    logits = ours.logits(batch)
    text, speech = [], []
    for i in range(3):
        theirs = alone(official, batch, i)
        text.append(theirs[0])
        speech.append(theirs[1])
    assert (logits["text"] - torch.cat(text)).abs().max() < 1e-5
    assert (logits["speech"] - torch.cat(speech)).abs().max() < 1e-5
    assert torch.cat(speech).std() > 0.1


@needs("indextts")
@torch.no_grad()
def test_the_published_forward_gives_the_same_latents(official, ours, batch):
    """The second pass of its runtime, from which s2mel makes sound: `forward` with its targets dropped."""
    states, ids, lengths = ours.states(batch)[1]
    ours_each = states.split(lengths.tolist())
    for i in range(3):
        text, codes = (batch[n][i : i + 1, : batch[f"{n}_len"][i]] for n in ("text", "codes"))
        latents = official(
            batch["latents"][i : i + 1], text[:, 1:-1], torch.tensor([text.shape[1] - 2]), codes.clone(),
            torch.tensor([codes.shape[1]]), None, emo_vec=batch["emotion"][i : i + 1], use_speed=torch.zeros(1).long(),
        )  # fmt: skip
        assert (latents[0] - ours_each[i][:-2]).abs().max() < 1e-5
        assert ids[i, 0] == IDS.start


@needs("indextts")
@torch.no_grad()
def test_the_loss_is_the_cross_entropy_of_each_next_id_and_one_stop(official, ours, batch):
    ours.text_weight, ours.mel_weight = 0.3, 0.9
    terms = ours(batch)
    text, speech, words, codes = [], [], [], []
    for i in range(3):
        theirs = alone(official, batch, i)
        text.append(theirs[0][:-1])
        speech.append(theirs[1][:-1])
        words.append(theirs[2][1:])
        codes.append(theirs[3][1:])
    assert [len(t) for t in codes] == [21, 8, 32], "every code, and the stop once"
    expected = F.cross_entropy(torch.cat(text), torch.cat(words)), F.cross_entropy(torch.cat(speech), torch.cat(codes))
    assert terms["text_ce"].item() == pytest.approx(expected[0].item(), abs=1e-5)
    assert terms["speech_ce"].item() == pytest.approx(expected[1].item(), abs=1e-5)
    assert terms["text"].item() == pytest.approx(0.3 * expected[0].item(), abs=1e-5)
    assert terms["speech"].item() == pytest.approx(0.9 * expected[1].item(), abs=1e-5)
    last = torch.stack([s[-1].softmax(-1)[IDS.stop] for s in speech]).mean()
    assert terms["end"].item() == pytest.approx(last.item(), abs=1e-5)


@torch.no_grad()
def by_hand(official, batch, i, gap, count):
    """The likeliest codes, one after the other, through the package's modules without a cache.

    Its own `generate` fails with the Transformers at hand (no attention mask is passed on); positions are those that its
    `GPT2InferenceModel` gives with `gap`, and those of its training without.
    """
    text = batch["text"][i : i + 1, : batch["text_len"][i]]
    conds = torch.cat([batch["latents"][i] + batch["emotion"][i], official.speed_emb.weight.flip(0)])[None]
    before = torch.cat([conds, official.text_embedding(text) + official.text_pos_embedding(text)], 1)
    said = []
    while len(said) < count:
        ids = torch.tensor([[IDS.start, *said]])
        places = torch.tensor([0, *(n + 1 + gap for n in range(len(said)))])
        spoken = official.mel_embedding(ids) + official.mel_pos_embedding.emb(places)
        out = official.gpt(inputs_embeds=torch.cat([before, spoken], 1), use_cache=False).last_hidden_state[:, -1]
        logits = official.mel_head(official.final_norm(out))[0]
        logits[IDS.start] = -torch.inf
        said.append(int(logits.argmax()))
        if said[-1] == IDS.stop:
            break
    return said


@needs("indextts")
@pytest.mark.parametrize("gap", [False, True])
def test_the_likeliest_codes_are_those_of_the_package(official, ours, batch, gap):
    settings = IndexTTS(mel_pos_gap=gap, repetition_penalty=1.0)
    for i in range(3):
        sample = {n: v[i : i + 1] for n, v in batch.items()}
        sample["text"] = sample["text"][:, : sample["text_len"]]
        said = speaking.generate(ours, sample, settings, 25, None)
        assert said.tolist() == by_hand(official, batch, i, gap, 25)
        other = speaking.generate(ours, sample, settings.model_copy(update={"mel_pos_gap": not gap}), 25, None)
        assert len(set(said.tolist())) > 3
        assert other.tolist() != said.tolist(), "the switch must matter"
