"""Pocket's language model against the published package: names, states, frames, and the objective against its definition."""

from functools import partial

import pytest
import torch
from official import needs
from torch import nn

from ttslib.codecs import pocket, published
from ttslib.sections import Pocket
from ttslib.systems.pocket import head, objective, speaking
from ttslib.systems.pocket.configs import Shape
from ttslib.systems.pocket.net import Net

SHAPE = Shape(text_rows=51, dim=64, heads=4, layers=2, ff=256, flow_dim=64, flow_depth=2)
FLOWS = {"lsd": 2, "flow_matching": 1, "drifting": 0, "pointwise": 0}


def part(name: str):
    return published.imported(f"pocket_tts.{name}", pocket.INSTALL)


def official(shape: Shape):
    """The package's FlowLM, random weights from a seed, none at its start: a branch left out must show."""
    flow, text, transformer, mlp = map(
        part, ("models.flow_lm", "modules.text_conditioner", "modules.transformer", "modules.mlp")
    )

    class Bare(text.LUTConditioner):  # its own wants a tokenizer
        def __init__(self):
            nn.Module.__init__(self)
            self.embed = nn.Embedding(shape.text_rows, shape.rank or shape.dim)
            self.proj = nn.Linear(shape.rank, shape.dim, bias=False) if shape.rank else None

    z = shape.z_dim or shape.dim
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = transformer.StreamingTransformer(
            shape.dim, shape.heads, shape.layers, dim_feedforward=shape.ff, attn_dim=shape.attn_dim,
            num_kv_heads=shape.kv_heads,
        )  # fmt: skip
        net = mlp.SimpleMLPAdaLN(32, shape.flow_dim, 32, z, shape.flow_depth, FLOWS[shape.flow])
        made = flow.FlowLMModel(
            Bare(), net, backbone, dim=shape.dim, ldim=32, insert_bos_before_voice=shape.voice_bos, flow_type=shape.flow,
            z_dim=shape.z_dim,
        ).eval()  # fmt: skip
        made.speaker_proj_weight = nn.Parameter(torch.randn(shape.dim, shape.voice) * 0.2)
        with torch.no_grad():
            for value in made.parameters():
                value.add_(torch.randn_like(value), alpha=0.1)
            made.emb_mean.normal_()
            made.emb_std.uniform_(0.5, 2)
    stateful = part("modules.stateful_module")
    for name, module in made.named_modules():
        if isinstance(module, stateful.StatefulModule):
            module._module_absolute_name = name
    return made


SHAPES = {
    "full": SHAPE,
    "small models'": Shape(
        text_rows=51, dim=48, heads=3, layers=2, ff=96, flow_dim=32, flow_depth=2, z_dim=24, attn_dim=96, kv_heads=1,
        rank=16, flow="drifting",
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=SHAPES)
def pair(request):
    """The package's network and ours, with the same weights."""
    if published.importlib.util.find_spec("pocket_tts") is None:
        pytest.skip("pocket_tts is not installed (requirements-parity.txt)")
    shape = SHAPES[request.param]
    theirs = official(shape)
    ours = Net(shape, Pocket()).eval()
    ours.flow_lm.load_state_dict(theirs.state_dict())  # strict: no name missing, none too many
    return theirs, ours


@pytest.fixture
def batch():
    """Four samples of different lengths; one is as long as the batch is wide, and its end is a target too."""
    g = torch.Generator().manual_seed(5)
    sizes = {"latents": [20, 13, 31, 7], "text": [9, 4, 12, 6], "prompt": [10, 6, 3, 0]}
    latents, prompts = ([torch.randn(n, 32, generator=g) for n in sizes[k]] for k in ("latents", "prompt"))
    texts = [torch.randint(0, 50, (n,), generator=g) for n in sizes["text"]]
    pad = partial(nn.utils.rnn.pad_sequence, batch_first=True)
    return {
        "latents": pad(latents).transpose(1, 2), "prompt": pad(prompts), "text": pad(texts),
        **{f"{name}_len": torch.tensor(counts) for name, counts in sizes.items()},
    }  # fmt: skip


@torch.no_grad()
def alone(theirs, batch, i):
    """The package's states of one sample: its whole sequence through the stateless path, a place behind the last frame."""
    cut = {name: int(batch[f"{name}_len"][i]) for name in ("latents", "prompt", "text")}
    frames = (batch["latents"][i, :, : cut["latents"]].T - theirs.emb_mean) / theirs.emb_std
    voice = nn.functional.linear(batch["prompt"][i : i + 1, : cut["prompt"]], theirs.speaker_proj_weight)
    text = theirs.conditioner(batch["text"][i : i + 1, : cut["text"]])
    speech = theirs.input_linear(torch.cat([theirs.bos_emb[None], frames])[None])
    out = theirs.out_norm(theirs.transformer(torch.cat([theirs.bos_before_voice, voice, text, speech], 1), None))
    out = out if theirs.z_proj is None else theirs.z_proj(out)
    return out[0, -speech.shape[1] :], frames


@pytest.mark.parametrize("flat", [True, False])
def test_a_batch_gives_what_the_package_gives_for_each_sample_alone(pair, batch, flat):
    theirs, ours = pair
    ours.settings = Pocket(packing=flat)
    with torch.no_grad():
        z, x, followed = ours.states(batch)
    expected = [alone(theirs, batch, i) for i in range(4)]
    torch.testing.assert_close(z, torch.cat([s for s, _ in expected]), atol=2e-6, rtol=0)
    assert x.equal(torch.cat([frames for _, frames in expected]))
    ends = (~followed).nonzero()[:, 0] + 1
    assert ends.tolist() == (batch["latents_len"] + 1).cumsum(0).tolist(), "one end for each sample, the longest too"


@torch.no_grad()
def test_frames_as_they_come_are_those_of_the_package(pair):
    theirs, ours = pair
    stateful, flow = part("modules.stateful_module"), part("models.flow_lm")
    g = torch.Generator().manual_seed(1)
    voice, text = torch.randn(1, 10, 32, generator=g), torch.randint(0, 50, (1, 9), generator=g)
    state = stateful.init_states(theirs, 1, 60)

    def theirs_read(x):
        out = theirs.out_norm(theirs.transformer(x, state))
        stateful.increment_steps(theirs, state, increment=x.shape[1])
        return out[:, -1] if theirs.z_proj is None else theirs.z_proj(out[:, -1])

    decode = {"lsd": flow.lsd_decode, "drifting": flow.drifting_decode}[ours.shape.flow]
    theirs_read(torch.cat([theirs.bos_before_voice, nn.functional.linear(voice, theirs.speaker_proj_weight)], 1))
    theirs_read(theirs.conditioner(text))
    s = Pocket(steps=2, temperature=0.4, eos_threshold=1e9)
    last, expected, noise = theirs.bos_emb, [], torch.Generator().manual_seed(7)
    for _ in range(30):
        z = theirs_read(theirs.input_linear(last[None, None]))
        last = decode(partial(theirs.flow_net, z), torch.empty(1, 32).normal_(0, 0.4**0.5, generator=noise), 2)[0]
        expected.append(last)
    prompt = speaking.listened(ours.flow_lm, voice[0])
    for _ in range(2):  # the state of a voice is not used up
        found = list(speaking.frames(ours.flow_lm, prompt, text[0], s, 30, torch.Generator().manual_seed(7)))
        torch.testing.assert_close(torch.stack(found), torch.stack(expected), atol=1e-6, rtol=0)
    assert torch.stack(found).std() > 0.1 and prompt.read == 11


@torch.no_grad()
@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("steps", [1, 3])
def test_every_kind_of_head_draws_as_the_package_does(flow, steps):
    theirs = official(Shape(**vars(SHAPE) | {"flow": flow})).flow_net
    ours = head.Head(32, 64, 2, 64, FLOWS[flow])
    ours.load_state_dict(theirs.state_dict())
    z, noise = torch.randn(5, 64), torch.randn(5, 32)
    kinds = {"lsd": "lsd", "flow_matching": "ot", "drifting": "drifting", "pointwise": "pointwise"}
    decode = getattr(part("models.flow_lm"), f"{kinds[flow]}_decode")
    torch.testing.assert_close(head.drawn(ours, flow, z, noise, steps), decode(partial(theirs, z), noise, steps))


@pytest.fixture
def field():
    """A head whose velocity depends on all it is given, and frames, noise and times for it, in double precision."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        made = head.Head(8, 16, 2, 8, 2).double()
        for value in made.parameters():
            nn.init.normal_(value, std=0.3)
        given = made.cond_embed(torch.randn(6, 8).double()).detach()
        x, e = torch.randn(2, 6, 8).double()
        times = torch.rand(6, 2).double()
    return made, partial(made, given), x, e, times.amin(-1, True), times.amax(-1, True)


def test_the_derivative_in_time_is_that_of_finite_differences(field):
    _, velocity, x, e, s, t = field
    y, h = s * x + (1 - s) * e, 1e-5

    def end(late):
        return y + (late - s) * velocity(s, late, y)

    with torch.no_grad():
        change = (end(t + h) - end(t - h)) / (2 * h)
        expected = (change - velocity(t, t, end(t))).square().sum(-1)
        torch.testing.assert_close(
            objective.distillation(velocity, x, e, s, t, "classic"), expected, rtol=1e-6, atol=1e-8
        )
        plain = (velocity(t, t, t * x + (1 - t) * e) - (x - e)).square().sum(-1)
        torch.testing.assert_close(objective.diagonal(velocity, x, e, t), plain)


@pytest.mark.parametrize("stop", ["classic", "minimal"])
def test_gradients_stop_where_they_are_said_to(field, stop):
    """The derivative by reverse-mode twice over, and the target's parameters held by a copy of them."""
    made, velocity, x, e, s, t = field
    objective.distillation(velocity, x, e, s, t, stop).sum().backward()
    found = [value.grad.clone() for value in made.parameters() if value.grad is not None]
    made.zero_grad()
    copy = head.Head(8, 16, 2, 8, 2).double().requires_grad_(False)
    copy.load_state_dict(made.state_dict())
    y, late = s * x + (1 - s) * e, t.clone().requires_grad_()
    end = y + (late - s) * velocity(s, late, y)
    rows = [torch.autograd.grad(end[:, i].sum(), late, create_graph=True)[0] for i in range(8)]
    held = partial(copy, velocity.args[0])
    target = held(t, t, end if stop == "minimal" else end.detach())
    (torch.cat(rows, 1) - target).square().sum().backward()
    expected = [value.grad for value in made.parameters() if value.grad is not None]
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-7, atol=1e-9)


def test_the_learned_weight_is_lowest_where_it_fits_the_error():
    """raw * exp(w) / dim - w has its minimum at w = log(dim / mean raw)."""
    raw, w = torch.tensor([3.0, 5.0, 10.0]), torch.zeros((), requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.3)
    for _ in range(200):
        optimizer.zero_grad()
        objective.weighed(raw, w, 32).mean().backward()
        optimizer.step()
    assert w.item() == pytest.approx(torch.log(32 / raw.mean()).item(), abs=1e-4)


def test_self_distillation_is_computed_in_its_share_of_the_steps_and_resumes_there(batch):
    torch.manual_seed(0)
    net = Net(SHAPE, Pocket(distill_share=0.3, draws=1)).train()
    taken = ["distillation" in net(batch) for _ in range(200)]
    assert 0.2 < sum(taken) / 200 < 0.4
    again = Net(SHAPE, Pocket(distill_share=0.3, draws=1)).train()
    for _ in range(17):
        again(batch)
    fresh = Net(SHAPE, Pocket(distill_share=0.3, draws=1)).train()
    fresh.load_state_dict(again.state_dict())
    assert ["distillation" in fresh(batch) for _ in range(50)] == taken[17:67]
    net.eval()
    assert all("distillation" in net(batch) for _ in range(5)), "validation computes all"


@needs("pocket_tts")
def test_every_name_and_shape_is_the_published_one():
    with torch.device("meta"):
        lm = Net(Shape(text_rows=4001), Pocket()).flow_lm
    assert sum(v.numel() for k, v in lm.state_dict().items() if "freqs" not in k and "emb_" not in k) == 89_447_489
    theirs = official(SHAPE).state_dict()
    assert {k: v.shape for k, v in Net(SHAPE, Pocket()).flow_lm.state_dict().items()} == {
        k: v.shape for k, v in theirs.items()
    }
