"""From text to latents, a frame as soon as it is drawn: an explicit state of what was read, noise from a generator.

The order of things is that of pocket-tts 4.0.1 (`TTSModel._autoregressive_generation`): the voice is read, then the text,
then one frame at a time; the end is not heeded during the first frames, and some frames follow it.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ttslib.sections import Pocket
from ttslib.systems.pocket.backbone import State
from ttslib.systems.pocket.head import drawn
from ttslib.systems.pocket.net import FlowLM

LEAST = 6  # frames before the end is heeded
ROOM = 64  # positions that a state has place for beside what it was begun with


@torch.no_grad()
def listened(lm: FlowLM, voice: Tensor) -> State:
    """The state after a voice, `(frames, latent)` raw: the same for every text that is spoken with it."""
    *marks, heard, _ = lm.prefix(voice[None], torch.zeros(1, 0, dtype=torch.long, device=voice.device))
    prefix = torch.cat([*marks, heard], 1)
    state = lm.transformer.begun(1, prefix.shape[1] + ROOM)
    if prefix.shape[1]:
        lm.transformer.read(prefix, state)
    return state


@torch.no_grad()
def frames(
    lm: FlowLM, voice: State, text: Tensor, s: Pocket, most: int, generator: torch.Generator | None, after: int = 0,
) -> Iterator[Tensor]:  # fmt: skip
    """Normalised latents `(latent,)` of a text `(ids,)`, `after` frames beyond the end, `most` at the most.

    `voice` is a state of `listened`, left as it was. The iterator returns whether the end came by itself. Without a
    `generator` noise is none: every frame is the likeliest way from zero.
    """
    states = [voice.copied()]
    if s.guidance > 1:
        states.append(listened(lm, lm.speaker_proj_weight.new_zeros(0, lm.shape.voice)))
    lm.transformer.read(lm.conditioner(text[None]), states[0])
    last, ended = lm.bos_emb, None
    for count in range(most):
        step = lm.input_linear(last[None, None])
        z = [lm.read(step, state) for state in states]
        guided = z[0] if len(z) == 1 else z[1] + s.guidance * (z[0] - z[1])
        if ended is None and count >= LEAST and lm.out_eos(guided).item() > s.eos_threshold:
            ended = count
        if ended is not None and count >= ended + after:
            return True
        noise = started(lm.shape.latent, s, generator).to(guided)
        last = drawn(lm.flow_net, lm.shape.flow, guided, noise, s.steps)[0]
        yield last
    return False


def started(latent: int, s: Pocket, generator: torch.Generator | None) -> Tensor:
    """Noise `(1, latent)` of variance `temperature`, on the CPU."""
    noise = torch.zeros(1, latent)
    if generator is None:
        return noise
    std = s.temperature**0.5
    if s.noise_clamp is None:
        return noise.normal_(0, std, generator=generator)
    return nn.init.trunc_normal_(noise, 0, std, -s.noise_clamp, s.noise_clamp, generator=generator)
