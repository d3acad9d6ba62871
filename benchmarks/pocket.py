"""Pocket TTS's language model against the official code, in one run: what is learnt, and how fast; how fast it speaks.

    pip download --no-deps --no-binary pocket-tts pocket-tts==4.0.1 && tar xf pocket_tts-4.0.1.tar.gz
    python benchmarks/pocket.py --official pocket_tts-4.0.1 [--size tiny] [--threads 1] [--rounds 5]

The trainer is in the source archive only. Prints differences of loss and gradients over the same draws; training steps a
second of both over the same batches (clips of log-normal lengths, padded by the trainer, packed here), turn by turn; and
milliseconds a frame of streaming, both with the same state read. Ratios are of medians; above 1 ours is faster.
"""

import argparse
import statistics
import sys
import time
from functools import partial
from types import SimpleNamespace

import torch
from torch import nn

from ttslib.sections import Pocket
from ttslib.systems.pocket import speaking
from ttslib.systems.pocket.configs import Shape
from ttslib.systems.pocket.net import PRESETS, Net


def official(shape: Shape, folder: str):
    """The trainer's module and the flow class, of the same shape."""
    sys.path.insert(0, folder)
    from pocket_tts.models.flow_lm import FlowLMModel
    from pocket_tts.modules.mlp import SimpleMLPAdaLN
    from pocket_tts.modules.text_conditioner import LUTConditioner
    from pocket_tts.modules.transformer import StreamingTransformer
    from training.modules.model import TrainableTTS
    from training.modules.samplers import LSD

    class Bare(LUTConditioner):  # its own wants a tokenizer
        def __init__(self):
            nn.Module.__init__(self)
            self.embed, self.proj = nn.Embedding(shape.text_rows, shape.dim), None

    lm = FlowLMModel(
        Bare(), SimpleMLPAdaLN(32, shape.flow_dim, 32, shape.dim, shape.flow_depth, 2),
        StreamingTransformer(shape.dim, shape.heads, shape.layers, dim_feedforward=shape.ff), dim=shape.dim, ldim=32,
        insert_bos_before_voice=True,
    )  # fmt: skip
    lm.speaker_proj_weight = nn.Parameter(torch.randn(shape.dim, 32) * 0.2)
    args = SimpleNamespace(voice_dropout=0.2, text_dropout=0.2, flow_batch_multiplier=4, eos_loss_weight=0.1)
    return TrainableTTS(lm, LSD(), args)


def batches(shape: Shape, count: int, size: int) -> list[list[tuple[torch.Tensor, ...]]]:
    """Clips of about 4 s, 1 to 15: latents, text, prompt of each."""
    g = torch.Generator().manual_seed(0)
    lengths = torch.empty(count * size).log_normal_(1.4, 0.6, generator=g).clamp(1, 15).sort().values
    made = []
    for seconds in lengths.tolist():
        frames, letters = round(12.5 * seconds), round(5 * seconds)
        text = torch.randint(0, shape.text_rows - 1, (letters,), generator=g)
        made.append((torch.randn(frames, 32, generator=g), text, torch.randn(40, 32, generator=g)))
    return [made[i : i + size] for i in range(0, len(made), size)]


def theirs(model, clips) -> torch.Tensor:
    pad = partial(nn.utils.rnn.pad_sequence, batch_first=True)
    latents = pad([c[0] for c in clips] + [torch.zeros(1 + max(len(c[0]) for c in clips), 32)])[:-1]  # an end for each
    mask = torch.arange(latents.shape[1])[None] < torch.tensor([[len(c[0])] for c in clips])
    prompts = torch.tensor([len(c[2]) for c in clips])
    return model(latents, mask, [c[1] for c in clips], pad([c[2] for c in clips]), num_voice_prompt_frames=prompts)[0]


def ours(net: Net, clips) -> torch.Tensor:
    pad = partial(nn.utils.rnn.pad_sequence, batch_first=True)
    latents, text, prompt = zip(*clips, strict=True)
    batch = {"latents": pad(latents).transpose(1, 2), "text": pad(text), "prompt": pad(prompt)}
    batch |= {
        f"{k}_len": torch.tensor([len(x) for x in v]) for k, v in zip(batch, (latents, text, prompt), strict=True)
    }
    return sum(net(batch).values())


def step(parameters, loss) -> float:
    began = time.perf_counter()
    loss().backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    for q in parameters:
        q.grad = None
    return time.perf_counter() - began


@torch.no_grad()
def frame_times(model, net: Net, frames: int) -> tuple[list[float], list[float]]:
    """Seconds a frame of the official package and of ours, after a prompt of 40 frames and 30 tokens."""
    from pocket_tts.modules.stateful_module import increment_steps, init_states

    lm, mine = model.flow_lm, net.flow_lm
    voice, text = torch.randn(40, 32), torch.randint(0, mine.shape.text_rows - 1, (30,))
    state, took = init_states(lm, 1, 80 + frames), ([], [])

    def run(sequence, prefix):
        found = lm(sequence=sequence, text_embeddings=prefix, model_state=state, sampler_decode_steps=1, temp=0.3,
                   noise_clamp=None, eos_threshold=1e9)  # fmt: skip
        increment_steps(lm, state, increment=sequence.shape[1] + prefix.shape[1])
        return found

    nothing = torch.zeros(1, 0, lm.dim)
    prefix = torch.cat([lm.bos_before_voice, nn.functional.linear(voice[None], lm.speaker_proj_weight)], 1)
    last = run(torch.full((1, 1, 32), torch.nan), torch.cat([prefix, lm.conditioner(text[None])], 1))[0]
    s = Pocket(eos_threshold=1e9)
    stream = speaking.frames(mine, speaking.listened(mine, voice), text, s, frames, torch.Generator().manual_seed(0))
    next(stream)
    for _ in range(frames - 2):
        began = time.perf_counter()
        last = run(last[:, None], nothing)[0]
        middle = time.perf_counter()
        next(stream)
        took[0].append(middle - began)
        took[1].append(time.perf_counter() - middle)
    return took


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--official", required=True, help="the unpacked source archive")
    options.add_argument("--size", default="tiny", choices=PRESETS)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--rounds", type=int, default=5)
    options = options.parse_args()
    shape = Shape(text_rows=401, **PRESETS[options.size])
    torch.manual_seed(0)
    model, net = official(shape, options.official).train(), Net(shape, Pocket()).train()
    net.flow_lm.load_state_dict(model.flow_lm.state_dict())
    torch.set_num_threads(options.threads)
    clips = batches(shape, 6, options.batch)

    worst = [0.0, 0.0]
    for turn, some in enumerate(clips):
        torch.manual_seed(turn)
        expected = theirs(model, some)
        torch.manual_seed(turn)
        found = ours(net, some)
        expected.backward(), found.backward()
        mine = {name: q.grad for name, q in net.flow_lm.named_parameters()}
        pairs = [(q.grad, mine[name]) for name, q in model.flow_lm.named_parameters() if q.grad is not None]
        worst[0] = max(worst[0], abs(expected.item() - found.item()))
        worst[1] = max([worst[1], *((a - b).abs().max().item() for a, b in pairs)])
        model.zero_grad(), net.zero_grad()
    print(f"{options.size}: largest difference of the loss {worst[0]:.1e}, of a gradient {worst[1]:.1e}")

    took = ([], [])
    for turn in range(options.rounds):
        for some in clips:
            torch.manual_seed(turn)
            took[0].append(step(list(model.flow_lm.parameters()), lambda some=some: theirs(model, some)))
            took[1].append(step(list(net.parameters()), lambda some=some: ours(net, some)))
    totals = [sum(seconds) for seconds in took]
    print(f"training, batches of {options.batch}: official {1 / statistics.mean(took[0]):.2f} steps/s, ours "
          f"{1 / statistics.mean(took[1]):.2f}: x{totals[0] / totals[1]:.2f}")  # fmt: skip

    model.eval(), net.eval()
    medians = [1000 * statistics.median(seconds) for seconds in frame_times(model, net, 120)]
    print(f"streaming: official {medians[0]:.2f} ms a frame, ours {medians[1]:.2f}: x{medians[0] / medians[1]:.2f}")


if __name__ == "__main__":
    main()
