"""T3 against the published package and its checkpoints' names: what is trained here runs there."""

import functools
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from official import chatterbox
from safetensors.torch import load_file

from ttslib.sections import T3 as Settings
from ttslib.systems.t3 import net, speaking, storage
from ttslib.systems.t3.punctuation import tidied

KEYS = Path(__file__).parent / "data" / "t3_keys.tsv"  # of t3_cfg.safetensors, name and shape
ROWS = {"english": 704, "multilingual": 2454, "first multilingual release": 2352}
SHAPE = net.Shape(dim=128, layers=2, ff=256, text_rows=100, speech_rows=258, text_positions=66, speech_positions=132)
IDS = net.Ids(98, 0, 256, 257)


def published() -> dict[str, tuple[int, ...]]:
    lines = (line.split("\t") for line in KEYS.read_text().splitlines())
    return {name: tuple(int(n) for n in shape.strip("()").split(",") if n.strip()) for name, shape in lines}


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_every_name_and_shape_is_the_published_one(rows):
    expected = published()
    assert len(expected) == 292 and sum(torch.Size(s).numel() for s in expected.values()) == 532_405_248
    expected |= {f"{table}.weight": (rows, 1024) for table in ("text_emb", "text_head")}
    with torch.device("meta"):
        shape = net.Shape(**net.PRESETS["english"], text_rows=rows, speech_rows=8194)
        made = net.Net(shape, net.Ids(255, 0, 6561, 6562))
        weights = made.state_dict()
    assert {name: tuple(value.shape) for name, value in weights.items()} == expected
    assert net.shape_of(weights) == shape


@pytest.fixture(scope="module")
def official():
    """The package's T3 in a small size, random weights from a seed."""
    chatterbox()
    from chatterbox.models.t3 import llama_configs
    from chatterbox.models.t3.modules import cond_enc
    from chatterbox.models.t3.modules.t3_config import T3Config
    from chatterbox.models.t3.t3 import T3

    sizes = {
        "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 2, "head_dim": 64,
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(llama_configs.LLAMA_CONFIGS, "tiny", llama_configs.LLAMA_CONFIGS["Llama_520M"] | sizes)
        small = functools.partial(cond_enc.Perceiver, pre_attention_query_size=128, embedding_dim=128)
        patch.setattr(cond_enc, "Perceiver", small)
        config = T3Config(text_tokens_dict_size=100)
        config.llama_config_name, config.speech_tokens_dict_size = "tiny", 258
        config.start_text_token, config.stop_text_token = IDS.text_start, IDS.text_stop
        config.start_speech_token, config.stop_speech_token = IDS.start, IDS.stop
        config.max_text_tokens, config.max_speech_tokens = 64, 128
        torch.manual_seed(0)
        made = T3(config).eval()
        with torch.no_grad():  # attention sharp enough for one position more to change what is said
            for layer in made.tfmr.layers:
                layer.self_attn.q_proj.weight.mul_(20)
                layer.self_attn.o_proj.weight.mul_(20)
        yield made


@pytest.fixture(scope="module")
def weights(official):
    """Before it speaks for the first time: that adds second names for its weights (`patched_model.*`)."""
    return {k: v.clone() for k, v in official.state_dict().items()}


@pytest.fixture
def ours(weights):
    made = net.Net(SHAPE, IDS).eval()
    made.load_state_dict(weights)  # strict: no name missing, none too many
    assert net.shape_of(weights) == SHAPE
    return made


@pytest.fixture
def batch():
    """Three samples of different lengths; the padding holds real ids, which must not count."""
    g = torch.Generator().manual_seed(1)
    text_len, codes_len, prompt_len = torch.tensor([7, 11, 5]), torch.tensor([20, 7, 31]), torch.tensor([15, 4, 22])
    text = torch.randint(1, 97, (3, 11), generator=g)
    text[:, 0] = IDS.text_start
    text[torch.arange(3), text_len - 1] = IDS.text_stop
    return {
        "text": text, "text_len": text_len,
        "codes": torch.randint(0, 256, (3, 31), generator=g), "codes_len": codes_len,
        "prompt": torch.randint(0, 256, (3, 22), generator=g), "prompt_len": prompt_len,
        "voice": torch.randn(3, 256, generator=g), "emotion": torch.tensor([0.5, 0.3, 0.9]),
    }  # fmt: skip


def alone(official, batch, i):
    """The published forward of one sample: its text and speech logits, and its ids."""
    from chatterbox.models.t3.modules.cond_enc import T3Cond

    text = batch["text"][i : i + 1, : batch["text_len"][i]]
    codes = batch["codes"][i, : batch["codes_len"][i]]
    speech = torch.cat([torch.tensor([IDS.start]), codes, torch.tensor([IDS.stop])])[None]
    found = official(
        t3_cond=condition(T3Cond, batch, i), text_tokens=text, text_token_lens=torch.tensor([text.shape[1]]),
        speech_tokens=speech, speech_token_lens=torch.tensor([speech.shape[1]]),
    )  # fmt: skip
    return found.text_logits[0], found.speech_logits[0], text[0], speech[0]


def condition(cls, batch, i):
    prompt = batch["prompt"][i : i + 1, : batch["prompt_len"][i]]
    return cls(
        speaker_emb=batch["voice"][i : i + 1], emotion_adv=batch["emotion"][i].view(1, 1, 1),
        cond_prompt_speech_tokens=prompt if prompt.shape[1] else None,
    )  # fmt: skip


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("promptless", [False, True])
@torch.no_grad()
def test_a_batch_gives_what_the_package_gives_for_each_sample_alone(official, ours, batch, flat, promptless):
    ours.flat = flat
    if promptless:
        batch["prompt_len"][1] = 0
    found, terms = ours.logits(batch), ours(batch)
    singles = [alone(official, batch, i) for i in range(3)]
    torch.testing.assert_close(found["text"], torch.cat([s[0] for s in singles]), atol=1e-5, rtol=0)
    torch.testing.assert_close(found["speech"], torch.cat([s[1] for s in singles]), atol=1e-5, rtol=0)
    ce = {}
    for name, logits, ids in (("text_ce", 0, 2), ("speech", 1, 3)):
        each = [F.cross_entropy(s[logits][:-1], s[ids][1:], reduction="none") for s in singles]
        ce[name] = torch.cat(each).mean()
    assert terms["speech"].item() == pytest.approx(ce["speech"].item(), abs=1e-5)
    assert terms["text_ce"].item() == pytest.approx(ce["text_ce"].item(), abs=1e-5)
    assert terms["text"].item() == pytest.approx(0.1 * ce["text_ce"].item(), abs=1e-6)
    ends = torch.stack([s[1][-2].softmax(-1)[IDS.stop] for s in singles]).mean()
    assert terms["end"].item() == pytest.approx(ends.item(), abs=1e-6)


@torch.no_grad()
def test_the_published_batch_is_not_the_same_as_its_samples(official, batch):
    """Why ours is laid out otherwise: padding between text and codes moves what the codes see."""
    from chatterbox.models.t3.modules.cond_enc import T3Cond

    batch["prompt_len"][:] = 4
    speech = torch.full((3, 33), IDS.stop)
    for i, count in enumerate(batch["codes_len"].tolist()):
        speech[i, : count + 1] = torch.cat([torch.tensor([IDS.start]), batch["codes"][i, :count]])
    cond = T3Cond(
        speaker_emb=batch["voice"], cond_prompt_speech_tokens=batch["prompt"][:, :4],
        emotion_adv=batch["emotion"].view(3, 1, 1),
    )  # fmt: skip
    together = official(
        t3_cond=cond, text_tokens=batch["text"], text_token_lens=batch["text_len"], speech_tokens=speech,
        speech_token_lens=batch["codes_len"] + 2,
    )  # fmt: skip
    single = alone(official, batch, 2)[1]
    assert (together.speech_logits[2, : len(single)] - single).abs().max() > 5e-3


@pytest.mark.parametrize("cfg", [0.5, 1.3])
def test_greedy_speech_is_the_packages(official, ours, batch, monkeypatch, cfg):
    """Fifteen steps, with guidance and the start code fed twice, as the package does."""
    from chatterbox.models.t3.modules.cond_enc import T3Cond

    monkeypatch.setattr(torch, "multinomial", lambda probs, num_samples=1, **_: probs.argmax(-1, keepdim=True))
    text = batch["text"][:1, : batch["text_len"][0]]
    theirs = official.inference(
        t3_cond=condition(T3Cond, batch, 0), text_tokens=text.expand(2, -1), max_new_tokens=15, cfg_weight=cfg, top_p=1.0
    )  # fmt: skip
    cut = int(batch["prompt_len"][0])
    sample = {n: v[:1] for n, v in batch.items()} | {"text": text, "prompt": batch["prompt"][:1, :cut]}
    settings = Settings(cfg=cfg, duplicate_bos=True)
    found = list(speaking.generate(ours, sample, settings, 15, None))
    assert found == theirs[0].tolist()
    assert len(set(found)) > 3
    once = list(speaking.generate(ours, sample, Settings(cfg=cfg), 15, None))
    assert once != found, "the doubled start code changes what is said"


@torch.no_grad()
def test_the_cache_gives_what_the_whole_sequence_gives(ours, batch):
    """Without guidance: each code is the likeliest after all before it."""
    sample = {n: v[:1] for n, v in batch.items()}
    sample |= {"text": batch["text"][:1, : batch["text_len"][0]], "prompt": batch["prompt"][:1, :15]}
    plain = Settings(cfg=0.0, repetition_penalty=1.0, min_p=0.0)
    said = list(speaking.generate(ours, sample, plain, 12, None))
    whole = sample | {"codes": torch.tensor([said]), "codes_len": torch.tensor([len(said)])}
    logits = ours.logits(whole)["speech"][: len(said)]
    assert logits.argmax(-1).tolist() == said


@pytest.mark.parametrize(
    "text",
    [
        "hello there",
        "a… b: c; d — e – f",
        "“so”, he ‘said’ , then -  no",
        "እንዴት ነህ።",
        "Fine.",
        "why? ",
        "x - y...",
        "l'été",
    ],
)
def test_text_is_tidied_as_the_stock_runtime_does(text):
    chatterbox()
    import importlib.util

    found = Path(importlib.util.find_spec("chatterbox.models.t3").origin).parents[2] / "mtl_tts.py"
    source = found.read_text()
    begin, end = source.index("def punc_norm"), source.index("@dataclass", source.index("def punc_norm"))
    scope: dict = {}
    exec(source[begin:end], scope)  # the module itself imports a watermarker
    assert tidied(text) == scope["punc_norm"](text)


def test_the_published_loss_cannot_be_run(official, batch):
    """Its classes are on the wrong axis, and its targets are not the next tokens."""
    from chatterbox.models.t3.modules.cond_enc import T3Cond

    text = batch["text"][1:2]
    with pytest.raises(RuntimeError, match="Expected target size"):
        official.loss(
            t3_cond=condition(T3Cond, batch, 1), text_tokens=text, text_token_lens=torch.tensor([11]),
            speech_tokens=batch["codes"][1:2, :7], speech_token_lens=torch.tensor([7]),
        )  # fmt: skip


def test_what_is_exported_is_read_by_the_published_class(official, weights, ours, batch, tmp_path):
    from ttslib import checkpoint

    checkpoint.write_weights(tmp_path / "t3_cfg.safetensors", ours.state_dict(), {})
    read = load_file(tmp_path / "t3_cfg.safetensors")
    assert read.keys() == weights.keys() and all(v.equal(weights[k]) for k, v in read.items())
    fresh = type(official)(official.hp)
    fresh.load_state_dict(read)
    assert alone(fresh.eval(), batch, 0)[1].equal(alone(official, batch, 0)[1])
    spoken = tmp_path / "after speaking.safetensors"  # as someone saves the package's network who has heard it first
    checkpoint.write_weights(
        spoken, weights | {"patched_model.speech_head.weight": weights["speech_head.weight"].clone()}, {}
    )
    assert storage.flat(spoken).keys() == weights.keys()
