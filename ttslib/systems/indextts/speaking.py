"""From text to codes, sampling or searching beams with a key-value cache, of one sentence or of several together.

Processors and their order are those of Transformers' `generate`, which the published runtime calls (index-tts ee40fa7,
`inference_speech`); so are the codes, for the same seed. That runtime gives the first code after the start id position 2,
the next 3, and so on: position 1 is never used, though training used it. `gap` is that switch. Its repetition penalty also
counts the ids that stand in for text and conditioning there, so that code 1 is never free; here only what was spoken counts.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessorList
from transformers.generation.logits_process import (
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from ttslib import decoding, packing
from ttslib.sections import IndexTTS
from ttslib.systems.indextts.beams import Beams, Sample
from ttslib.systems.indextts.net import Net


def generate(
    net: Net, sample: dict[str, Tensor], t: IndexTTS, longest: int, seed: int | None, least: int = 0
) -> Tensor:
    """Codes `(codes,)` of one sample on the CPU, the stop id last if it comes within `longest`; see `Together`."""
    speech = Together(net, [sample], t, [longest], [seed], least)
    while not (done := speech.step()):
        pass
    return done[0]


class Together:
    """Several samples spoken in step; each gives the codes that it gives alone.

    (Where the arithmetic of a larger batch rounds otherwise, a draw on the edge between two codes may fall to the other.)
    """

    @torch.no_grad()
    def __init__(
        self, net: Net, samples: Sequence[dict[str, Tensor]], t: IndexTTS, longest: Sequence[int],
        seeds: Sequence[int | None], least: int = 0,
    ):  # fmt: skip
        """Each of `samples` is a batch of one as `Net.condition` takes it, with `text`, and gets no more than its `longest`
        codes and no fewer than `least`. Without seeds the likeliest code is taken. Draws are made on the CPU."""
        self.net, self.gap, self.least, self.count = net, int(t.mel_pos_gap), least, 0
        generators = [seed if seed is None else torch.Generator().manual_seed(seed) for seed in seeds]
        self.width = t.beams if seeds[0] is not None else 1
        if self.width > 1:
            found = [Beams(self.width, most, net.special.stop, t.length_penalty, g)
                     for most, g in zip(longest, generators, strict=True)]  # fmt: skip
        else:
            found = [Sample(most, net.special.stop, g) for most, g in zip(longest, generators, strict=True)]
        self.items = dict(enumerate(found))
        room = longest[0] if len(samples) == 1 else 0
        parts, states = zip(*(self.begun(sample, room) for sample in samples), strict=True)
        self.read, self.state = decoding.joined(parts, max(longest)), torch.cat(states)
        self.said = torch.zeros(len(samples) * self.width, 0, dtype=torch.long, device=net.device)
        self.processors = processors(net, t, seeds[0] is not None, str(net.device))

    def begun(self, sample: dict[str, Tensor], room: int) -> tuple[decoding.Read, Tensor]:
        """What is read of a sample before its first code, a row a beam, and the last state of each row."""
        net = self.net
        start = torch.full((1, 1), net.special.start, device=net.device)
        streams = [net.condition(sample), (net.embed_text(sample["text"]), sample["text_len"])]
        prefix = packing.pack(streams, flat=False).values
        embeds = torch.cat([prefix, net.embed_speech(start)], 1).repeat_interleave(self.width, 0)
        read = decoding.Read(net.shape.layers, embeds.shape[1] + room)
        return read, net.gpt(inputs_embeds=embeds, **read.more()).last_hidden_state[:, -1:]

    @torch.no_grad()
    def step(self) -> dict[int, Tensor]:
        """One code more for every sample; the codes `(codes,)` of those that are through, by number, who cost nothing from
        now on."""
        net = self.net
        if self.count:
            embeds = net.embed_speech(self.said[:, -1:], self.count + self.gap)
            self.state = net.gpt(inputs_embeds=embeds, **self.read.more()).last_hidden_state[:, -1:]
        scores = net.mel_head(net.final_norm(self.state))[:, -1].float()
        if self.width > 1:
            scores = scores.log_softmax(-1)
        if self.count < self.least:  # between the penalty and the rest, as it stands there; none of them moves it
            scores[:, net.special.stop] = -torch.inf
        scores = self.processors(self.said, scores).cpu().split(self.width)
        done, rows, said = {}, [], []
        for place, (item, search) in enumerate(list(self.items.items())):
            kept = search.take(scores[place])
            if kept is None:
                done[item] = search.codes
                del self.items[item]
            else:
                rows += [self.width * place + row for row in kept]
                said.append(search.running)
        if said:
            self.read.keep(rows)
            self.said, self.count = torch.cat(said).to(net.device), self.count + 1
        return done


def processors(net: Net, t: IndexTTS, sampled: bool, device: str) -> LogitsProcessorList:
    """What `generate` makes of these settings, in its order."""
    never = [i for i in range(min(net.special.start, net.special.stop), net.shape.mel_rows) if i != net.special.stop]
    found = LogitsProcessorList()
    if t.repetition_penalty != 1.0:
        found.append(RepetitionPenaltyLogitsProcessor(t.repetition_penalty))
    if never:
        found.append(SuppressTokensLogitsProcessor(never, device=device))
    if sampled:
        least = 2 if t.beams > 1 else 1  # ids that are left to choose from
        if t.temperature != 1.0:
            found.append(TemperatureLogitsWarper(t.temperature))
        found.append(TopKLogitsWarper(t.top_k, min_tokens_to_keep=least))
        if t.top_p < 1.0:
            found.append(TopPLogitsWarper(t.top_p, min_tokens_to_keep=least))
    return found
