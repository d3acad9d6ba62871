"""From text to codes: one code at a time with a key-value cache and guidance.

The order of the steps is that of resemble-ai/chatterbox 5de7a54 (`T3.inference`): guidance, repetition penalty,
temperature, min-p, top-p. Its alignment analyzer, which later versions dropped, is not here.
"""

from collections.abc import Iterator

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
