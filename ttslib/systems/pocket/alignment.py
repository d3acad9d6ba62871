"""Which frames belong to which token, as the attention has it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ttslib import packing
from ttslib.dataset import Example
from ttslib.systems.pocket.backbone import turned, turns
from ttslib.systems.pocket.head import drawn


@torch.no_grad()
def heard(net, one: Example) -> tuple[Tensor, Tensor, Tensor]:
    """Attention `(layers x heads, frames, tokens)` from where each frame is foretold to the text, and the frames
    `(frames, latent)`, normalised, of the recording and as foretold without noise, of a batch of one."""
    lm = net.flow_lm
    frames = lm.normalised(one["latents"].transpose(1, 2))
    *marks, voice, text = lm.prefix(one["prompt"], one["text"])
    speech = lm.input_linear(torch.cat([lm.bos_emb.expand(1, 1, -1), frames[:, :-1]], 1))
    counts = [torch.tensor([1])] * len(marks) + [one["prompt_len"], one["text_len"], one["latents_len"]]
    packed = packing.pack(list(zip([*marks, voice, text, speech], counts, strict=True)), flat=False)
    words, places = packed.places[-2:]
    turn = turns(packed.positions, lm.transformer.width, lm.transformer.period)
    x, maps = packed.values, []
    for layer in lm.transformer.layers:
        attention = layer.self_attn
        sizes = [attention.heads, attention.kv_heads, attention.kv_heads]
        q, k, _ = attention.in_proj(layer.norm1(x)).unflatten(-1, (-1, attention.width)).split(sizes, -2)
        q, k = (turned(y, turn).transpose(1, 2)[0] for y in (q, k))
        score = q @ k.repeat_interleave(attention.heads // attention.kv_heads, 0).transpose(1, 2) / attention.width**0.5
        seen = torch.ones(score.shape[-2:], dtype=torch.bool, device=x.device).tril()
        maps.append(score.masked_fill(~seen, -torch.inf).softmax(-1)[:, places][:, :, words])
        x = layer(x, turn, None, None, 0)
    z = lm.out(x[0, places])
    noise = F.pad(z.new_zeros(len(z), 0), (0, lm.shape.latent))
    return torch.cat(maps).float(), frames[0], drawn(lm.flow_net, lm.shape.flow, z, noise, net.settings.steps)
