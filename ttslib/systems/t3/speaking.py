"""From text to codes: one code at a time with a key-value cache and guidance, of one sentence or of several together.

The order of the steps is that of resemble-ai/chatterbox 5de7a54 (`T3.inference`): guidance, repetition penalty,
temperature, min-p, top-p. Its alignment analyzer, which later versions dropped, is not here.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TopPLogitsWarper,
)

from ttslib import decoding, packing
from ttslib.sections import T3
from ttslib.systems.t3.net import Net


def generate(
    net: Net, sample: dict[str, Tensor], t: T3, longest: int, generator: torch.Generator | None, least: int = 0,
    only_codes: int | None = None,
) -> Iterator[int]:  # fmt: skip
    """Codes of one sample as they come, the stop id last if it comes within `longest`; see `Together`."""
    speech = Together(net, [sample], t, longest, [generator], least, only_codes)
    for _ in range(longest):
        (code,) = speech.step().values()
        yield code
        if code == net.special.stop:
            return


class Together:
    """Several samples, spoken code by code; each gives the codes that it gives alone.

    (Where the arithmetic of a larger batch rounds otherwise, a draw on the edge between two codes may fall to the other.)
    """

    @torch.no_grad()
    def __init__(
        self, net: Net, samples: Sequence[dict[str, Tensor]], t: T3, longest: int,
        generators: Sequence[torch.Generator | None], least: int = 0, only_codes: int | None = None,
    ):  # fmt: skip
        """Each of `samples` is a batch of one as `Net.condition` takes it, with `text`. Without a generator the likeliest
        code is taken. There is room for `longest` codes. The stop id is withheld for the first `least` codes; with
        `only_codes`, all other ids above it always are."""
        self.net, self.t, self.least, self.only_codes = net, t, least, only_codes
        self.items, self.generators = list(range(len(samples))), dict(enumerate(generators))
        self.guided, self.count = t.cfg > 0, 0
        room = longest if len(samples) == 1 else 0
        parts, states = zip(*(self.begun(sample, room) for sample in samples), strict=True)
        self.read, self.state = decoding.joined(parts, longest), torch.cat(states)
        self.said = torch.full((len(samples), 1), net.special.start, device=net.device)
        self.penalty, self.min_p = RepetitionPenaltyLogitsProcessor(t.repetition_penalty), MinPLogitsWarper(t.min_p)
        self.top_p = TopPLogitsWarper(t.top_p)

    def begun(self, sample: dict[str, Tensor], room: int) -> tuple[decoding.Read, Tensor]:
        """What is read of a sample before its first code, guided with a second row, and the last state of each row."""
        net, text = self.net, sample["text"]
        streams = net.condition(sample)
        prefix = packing.pack([*streams, (net.embed_text(text), sample["text_len"])], flat=False).values
        if self.guided:  # the same without the text's tokens, its positions kept
            nothing = torch.zeros(1, dtype=torch.bool, device=net.device)
            bare = packing.pack([*streams, (net.embed_text(text, nothing), sample["text_len"])], flat=False).values
            prefix = torch.cat([prefix, bare])
        start = torch.full((1, 1), net.special.start, device=net.device)
        first = net.embed_speech(start).expand(len(prefix), -1, -1)
        embeds = torch.cat([prefix, *[first] * (2 if self.t.duplicate_bos else 1)], 1)
        read = decoding.Read(net.shape.layers, embeds.shape[1] + room)
        return read, net.tfmr(inputs_embeds=embeds, **read.more()).last_hidden_state[:, -1]

    @torch.no_grad()
    def step(self) -> dict[int, int]:
        """The next code of every sample that is still spoken, by its number."""
        net, t, rows = self.net, self.t, 2 if self.guided else 1
        if self.count:
            embeds = net.embed_speech(self.said[:, -1:], self.count).repeat_interleave(rows, 0)
            self.state = net.tfmr(inputs_embeds=embeds, **self.read.more()).last_hidden_state[:, -1]
        logits = net.speech_head(self.state).float()
        if self.guided:
            logits = logits[::2] + t.cfg * (logits[::2] - logits[1::2])
        if self.only_codes is not None:
            stop = logits[:, net.special.stop].clone()
            logits[:, self.only_codes :] = -torch.inf
            logits[:, net.special.stop] = stop
        if self.count < self.least:
            logits[:, net.special.stop] = -torch.inf
        logits = self.penalty(self.said, logits) / t.temperature
        logits = self.min_p(self.said, logits)
        if t.top_p < 1.0:  # at 1 it sorts all codes and leaves out none
            logits = self.top_p(self.said, logits)
        codes = decoding.drawn(logits, [self.generators[item] for item in self.items])
        self.said, self.count = torch.cat([self.said, codes], 1), self.count + 1
        return dict(zip(self.items, codes[:, 0].tolist(), strict=True))

    def leave(self, done: Sequence[int]) -> None:
        """These samples are through: they cost nothing from now on."""
        kept = [place for place, item in enumerate(self.items) if item not in done]
        if len(kept) == len(self.items):
            return
        self.items = [self.items[place] for place in kept]
        if kept:
            self.said = self.said[kept]
            width = 2 if self.guided else 1
            self.read.keep([width * place + row for place in kept for row in range(width)])
