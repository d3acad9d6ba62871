"""From text to latents, a frame as soon as it is drawn, of one text or of several together: an explicit state of what was
read, noise from a generator.

The order of things is that of pocket-tts 4.0.1 (`TTSModel._autoregressive_generation`): the voice is read, then the text,
then one frame at a time; the end is not heeded during the first frames, and some frames follow it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ttslib.sections import Pocket
from ttslib.systems.pocket.backbone import State, joined
from ttslib.systems.pocket.head import drawn
from ttslib.systems.pocket.net import FlowLM

LEAST = 6  # frames before the end is heeded
ROOM = 64  # positions that a state has place for beside what it was begun with
LONGEST = 4096  # frames that place is taken for at once; more are made place for as they come


@torch.no_grad()
def listened(lm: FlowLM, voice: Tensor) -> State:
    """The state after a voice, `(frames, latent)` raw: the same for every text that is spoken with it."""
    *marks, heard, _ = lm.prefix(voice[None], torch.zeros(1, 0, dtype=torch.long, device=voice.device))
    prefix = torch.cat([*marks, heard], 1)
    state = lm.transformer.begun(1, prefix.shape[1] + ROOM)
    if prefix.shape[1]:
        lm.transformer.read(prefix, state)
    return state


def frames(
    lm: FlowLM, voice: State, text: Tensor, s: Pocket, most: int, generator: torch.Generator | None, after: int = 0,
) -> Iterator[Tensor]:  # fmt: skip
    """Normalised latents `(latent,)` of a text `(ids,)`, `after` frames beyond the end, `most` at the most.

    `voice` is a state of `listened`, left as it was. The iterator returns whether the end came by itself. Without a
    `generator` noise is none: every frame is the likeliest way from zero.
    """
    speech = Together(lm, [Piece(voice, text, most, after, generator)], s)
    while speech.items:
        yield from speech.step().values()
    return speech.ended[0]


@dataclass(frozen=True)
class Piece:
    """What is to be spoken, as `frames` takes it."""

    voice: State
    text: Tensor
    most: int
    after: int
    generator: torch.Generator | None


class Together:
    """Several pieces, spoken frame by frame; each gives the frames that it gives alone, up to what the arithmetic of a
    larger batch rounds otherwise."""

    @torch.no_grad()
    def __init__(self, lm: FlowLM, pieces: Sequence[Piece], s: Pocket):
        self.lm, self.s, self.pieces, self.count = lm, s, pieces, 0
        self.items = [item for item, piece in enumerate(pieces) if piece.most > 0]
        self.ended = dict.fromkeys(range(len(pieces)), False)
        """by piece, whether its end came by itself"""
        self.ends: dict[int, int] = {}
        if not self.items:
            return
        room = min(max(piece.most for piece in pieces), LONGEST)
        states = [self.read(pieces[item], room if len(self.items) == 1 else 0) for item in self.items]
        self.states = [states[0] if len(states) == 1 else joined(states, room)]
        if s.guidance > 1:
            bare = listened(lm, lm.speaker_proj_weight.new_zeros(0, lm.shape.voice))
            self.states.append(joined([bare] * len(states), room))
        self.last = lm.bos_emb.expand(len(states), -1)

    def read(self, piece: Piece, room: int) -> State:
        """The state after a piece's voice and text."""
        state = piece.voice.copied(len(piece.text) + room)
        self.lm.transformer.read(self.lm.conditioner(piece.text[None]), state)
        return state

    @torch.no_grad()
    def step(self) -> dict[int, Tensor]:
        """The next frame `(latent,)` of every piece that goes on; what is through leaves."""
        lm, s = self.lm, self.s
        one = lm.input_linear(self.last[:, None])
        z = [lm.read(one, state) for state in self.states]
        guided = z[0] if len(z) == 1 else z[1] + s.guidance * (z[0] - z[1])
        if self.count >= LEAST:
            logits = lm.out_eos(guided)[:, 0].tolist()
            for item, logit in zip(self.items, logits, strict=True):
                if logit > s.eos_threshold:
                    self.ends.setdefault(item, self.count)
        over = [i for i in self.items if i in self.ends and self.count >= self.ends[i] + self.pieces[i].after]
        self.ended |= dict.fromkeys(over, True)
        guided = self.leave(over, guided)
        if not self.items:
            return {}
        noise = [started(lm.shape.latent, s, self.pieces[item].generator) for item in self.items]
        self.last = drawn(lm.flow_net, lm.shape.flow, guided, torch.cat(noise).to(guided), s.steps)
        made, self.count = dict(zip(self.items, self.last, strict=True)), self.count + 1
        self.last = self.leave([item for item in self.items if self.count == self.pieces[item].most], self.last)
        return made

    def leave(self, done: Sequence[int], values: Tensor) -> Tensor:
        """These pieces are through; what is left of `values`, a row for each that was spoken."""
        if not done:
            return values
        kept = [place for place, item in enumerate(self.items) if item not in done]
        self.items = [self.items[place] for place in kept]
        if kept:
            for state in self.states:
                state.keep(kept)
        return values[kept]


def started(latent: int, s: Pocket, generator: torch.Generator | None) -> Tensor:
    """Noise `(1, latent)` of variance `temperature`, on the CPU."""
    noise = torch.zeros(1, latent)
    if generator is None:
        return noise
    std = s.temperature**0.5
    if s.noise_clamp is None:
        return noise.normal_(0, std, generator=generator)
    return nn.init.trunc_normal_(noise, 0, std, -s.noise_clamp, s.noise_clamp, generator=generator)
