"""Where T3's attention looks."""

import torch
from torch import Tensor

from ttslib import packing
from ttslib.attention import watched
from ttslib.dataset import Example


def heard(net, one: Example) -> tuple[Tensor, Tensor, Tensor]:
    """Attention `(layers x heads, codes, tokens)` from where each code is foretold to the text, the codes `(codes,)`
    of the recording and the foretold ones, of a batch of one."""
    speech, speech_len = net.between(one["codes"], one["codes_len"])
    streams = [
        *net.condition(one), (net.embed_text(one["text"]), one["text_len"]), (net.embed_speech(speech), speech_len)
    ]  # fmt: skip
    packed = packing.pack(streams, flat=False)
    states, attentions = watched(net.tfmr, packed)
    text, codes = packed.places[3], packed.places[4][:-2]
    logits = net.speech_head(states[0, codes]).float()
    logits[:, net.special.start :] = -torch.inf
    maps = torch.cat([a[0] for a in attentions])[:, codes][:, :, text].float()
    return maps, one["codes"][0], logits.argmax(-1)
