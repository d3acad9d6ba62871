"""From text to codes: one code at a time with a key-value cache, guidance, and an eye on runaways.

The order of the steps is that of resemble-ai/chatterbox 5de7a54 (`T3.inference`): guidance, repetition penalty,
temperature, min-p, top-p. Its alignment analyzer, which later versions dropped, is not here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, StaticCache
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TopPLogitsWarper,
)

from ttslib import packing
from ttslib.sections import T3
from ttslib.systems.t3.net import Net

PERIOD, LOOP_SECONDS = 25, 3.0  # codes; a pattern up to a second long said again for three is no speech


@torch.no_grad()
def generate(
    net: Net, sample: dict[str, Tensor], t: T3, longest: int, generator: torch.Generator | None, least: int = 0,
    only_codes: int | None = None, static: bool = False,
) -> Iterator[int]:  # fmt: skip
    """Codes of one sample as they come, the stop id last if it comes within `longest`.

    `sample` is a batch of one as `Net.condition` takes it, with `text`. Without a `generator` the likeliest code is taken.
    The stop id is withheld for the first `least` codes; with `only_codes`, all other ids above it always are. `static`
    keeps keys and values in buffers of a fixed size, as compiled kernels on a GPU want them.
    """
    guided = t.cfg > 0
    text, start = sample["text"], torch.full((1, 1), net.special.start, device=net.device)
    streams = net.condition(sample)
    prefix = packing.pack([*streams, (net.embed_text(text), sample["text_len"])], flat=False).values
    if guided:  # the same without the text's tokens, its positions kept
        nothing = torch.zeros(1, dtype=torch.bool, device=net.device)
        bare = packing.pack([*streams, (net.embed_text(text, nothing), sample["text_len"])], flat=False).values
        prefix = torch.cat([prefix, bare])
    first = net.embed_speech(start).expand(len(prefix), -1, -1)
    embeds = torch.cat([prefix, *[first] * (2 if t.duplicate_bos else 1)], 1)
    cache = DynamicCache(config=net.tfmr.config)
    if static:
        cache = StaticCache(config=net.tfmr.config, max_cache_len=embeds.shape[1] + longest)
    repetition, min_p = RepetitionPenaltyLogitsProcessor(t.repetition_penalty), MinPLogitsWarper(t.min_p)
    top_p, said = TopPLogitsWarper(t.top_p), start
    for count in range(longest):
        hidden = net.tfmr(inputs_embeds=embeds, past_key_values=cache, use_cache=True).last_hidden_state[:, -1]
        logits = net.speech_head(hidden).float()
        if guided:
            logits = logits[:1] + t.cfg * (logits[:1] - logits[1:])
        if only_codes is not None:
            stop = logits[:, net.special.stop].clone()
            logits[:, only_codes:] = -torch.inf
            logits[:, net.special.stop] = stop
        if count < least:
            logits[:, net.special.stop] = -torch.inf
        logits = repetition(said, logits) / t.temperature
        logits = top_p(said, min_p(said, logits))
        if generator is None:
            code = logits.argmax(-1, keepdim=True)
        else:
            code = torch.multinomial(logits.softmax(-1).cpu(), 1, generator=generator).to(net.device)
        yield int(code)
        if int(code) == net.special.stop:
            return
        said = torch.cat([said, code], 1)
        embeds = net.embed_speech(code, count + 1).expand(len(prefix), -1, -1)


@dataclass(frozen=True)
class Spoken:
    """What came of one attempt: bare `codes` `(frames,)`, and how it `ended`: stop, loop (it repeats itself) or limit."""

    codes: Tensor
    ended: str

    def distance(self, expected: float) -> tuple[bool, float]:
        """How bad an attempt is: one that did not stop is worse than any that did, then how far its length is off."""
        return self.ended != "stop", abs(len(self.codes) - expected)


class Watch:
    """Notices speech that repeats itself: the same pattern of up to `PERIOD` codes for `LOOP_SECONDS`."""

    def __init__(self, frame_rate: float):
        self.enough = round(LOOP_SECONDS * frame_rate)
        self.codes: list[int] = []
        self.same = [0] * (PERIOD + 1)

    def loops(self, code: int) -> bool:
        """Take in the next code; True when the last ones are a loop."""
        self.codes.append(code)
        for period in range(1, min(PERIOD, len(self.codes) - 1) + 1):
            self.same[period] = self.same[period] + 1 if self.codes[-1 - period] == code else 0
        return max(self.same) >= self.enough


def attempt(codes: Iterator[int], stop: int, frame_rate: float) -> Spoken:
    """Follow a stream of codes to its end, or to where it only repeats itself: of the repetition one period is kept."""
    watch, said = Watch(frame_rate), []
    for code in codes:
        if code == stop:
            return Spoken(torch.tensor(said, dtype=torch.long), "stop")
        said.append(code)
        if watch.loops(code):
            return Spoken(torch.tensor(said[: -watch.enough] or said, dtype=torch.long), "loop")
    return Spoken(torch.tensor(said, dtype=torch.long), "limit")


def best(attempts: Sequence[Spoken], expected: float) -> Spoken:
    """The attempt that ended by itself and is nearest to the expected number of codes."""
    return min(attempts, key=lambda spoken: spoken.distance(expected))
