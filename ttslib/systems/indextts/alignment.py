"""Where the attention of IndexTTS2's language model looks."""

import torch
from torch import Tensor

from ttslib import packing
from ttslib.attention import watched
from ttslib.dataset import Example


def heard(net, one: Example) -> tuple[Tensor, Tensor, Tensor]:
    """Attention `(layers x heads, codes, tokens)` from where each code is foretold to the text, the codes `(codes,)`
    of the recording and the foretold ones, of a batch of one."""
    speech = packing.between(one["codes"], one["codes_len"], net.special)
    streams = [
        net.condition(one),
        (net.embed_text(one["text"]), one["text_len"]),
        (net.embed_speech(speech[0]), speech[1]),
    ]
    packed = packing.pack(streams, flat=False)
    states, attentions = watched(net.gpt, packed)
    text, codes = packed.places[1], packed.places[2][:-2]
    logits = net.mel_head(net.final_norm(states[0, codes])).float()
    logits[:, min(net.special.start, net.special.stop) :] = -torch.inf
    maps = torch.cat([a[0] for a in attentions])[:, codes][:, :, text].float()
    return maps, one["codes"][0], logits.argmax(-1)
