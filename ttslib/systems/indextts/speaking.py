"""From text to codes, through Transformers' `generate`: sampling or beams, with a key-value cache.

The published runtime (index-tts ee40fa7, `inference_speech`) gives the first code after the start id position 2, the next
3, and so on: position 1 is never used, though training used it. `gap` is that switch. Its repetition penalty also counts
the ids that stand in for text and conditioning there, so that code 1 is never free; here only what was spoken counts.
"""

import warnings

import torch
from torch import Tensor
from transformers import GenerationConfig, GenerationMixin, GPT2PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from ttslib import packing
from ttslib.sections import IndexTTS
from ttslib.systems.indextts.net import Net


class Speaker(GPT2PreTrainedModel, GenerationMixin):
    """A network as `generate` wants it: ids are codes, and what stands before them is given as embeddings."""

    def __init__(self, net: Net, before: int, gap: bool):
        """`before`: positions of conditioning and text."""
        super().__init__(net.gpt.config)
        self.net, self.before, self.gap = net, before, gap

    def forward(
        self, input_ids: Tensor | None = None, inputs_embeds: Tensor | None = None, past_key_values=None,
        attention_mask: Tensor | None = None, use_cache: bool = True, **more,
    ) -> CausalLMOutputWithPast:  # fmt: skip
        if inputs_embeds is None:
            place = past_key_values.get_seq_length() - self.before + self.gap
            inputs_embeds = self.net.embed_speech(input_ids, place)
        out = self.net.gpt(inputs_embeds=inputs_embeds, past_key_values=past_key_values, use_cache=True)
        logits = self.net.mel_head(self.net.final_norm(out.last_hidden_state[:, -1:])).float()
        return CausalLMOutputWithPast(logits=logits, past_key_values=out.past_key_values)


@torch.no_grad()
def generate(
    net: Net, sample: dict[str, Tensor], t: IndexTTS, longest: int, seed: int | None, least: int = 0
) -> Tensor:
    """Codes `(codes,)` of one sample on the CPU, the stop id last if it comes within `longest`; no fewer than `least`.

    `sample` is a batch of one as `Net.condition` takes it, with `text`. Without a `seed` the likeliest code is taken.
    """
    start = torch.full((1, 1), net.special.start, device=net.device)
    streams = [net.condition(sample), (net.embed_text(sample["text"]), sample["text_len"])]
    prefix = packing.pack(streams, flat=False).values
    embeds = torch.cat([prefix, net.embed_speech(start)], 1)
    speaker = Speaker(net, prefix.shape[1], t.mel_pos_gap)
    never = [i for i in range(min(net.special.start, net.special.stop), net.shape.mel_rows) if i != net.special.stop]
    how = {"do_sample": seed is not None, "repetition_penalty": t.repetition_penalty}
    if seed is not None:
        how |= {"top_k": t.top_k, "top_p": t.top_p, "temperature": t.temperature, "num_beams": t.beams}
    if how.get("num_beams", 1) > 1:
        how["length_penalty"] = t.length_penalty
    settings = GenerationConfig(
        max_new_tokens=longest, min_new_tokens=min(least, longest), suppress_tokens=never, eos_token_id=net.special.stop,
        pad_token_id=net.special.stop, **how,
    )  # fmt: skip
    mask = torch.ones(embeds.shape[:2], dtype=torch.long, device=net.device)
    with torch.random.fork_rng(devices=[net.device] if net.device.type == "cuda" else []), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Passing `repetition_penalty`"
        )  # only what was spoken counts, as wanted
        if seed is not None:
            torch.manual_seed(seed)
        said = speaker.generate(inputs_embeds=embeds, attention_mask=mask, generation_config=settings)
    return said[0].cpu()
