"""Which codes belong to which token, read off the attention: the one head whose attention climbs best through the text."""

from collections.abc import Callable

import torch
from torch import Tensor

from ttslib import alignment, audio, packing
from ttslib.dataset import Example

WINDOW, MELS = 1024, 80


def align(system, heard: Callable, batch: Example) -> Example:
    """`durations` (batch, tokens) in codes; log-mels `(batch, mels, codes)` of the decoded `recording`, and of the codes
    that are likeliest after the text and the recording's own past, `mel`.

    `heard(net, one)` gives, of a batch of one, attention `(heads, codes, tokens)` from where each code (or latent) is
    foretold to the text, the recording's codes and the foretold ones, both as `system.decoded` takes them.
    """
    found = []
    for i in range(len(batch["text"])):
        one = {n: v[i : i + 1] for n, v in batch.items()}
        for name in one.keys() & {"text", "codes", "prompt"}:
            one[name] = one[name][:, : int(one[f"{name}_len"])]
        if system.length_of == "latents":  # IndexTTS2 has a prompt's under this name
            one["latents"] = one["latents"][..., : int(one["latents_len"])]
        attention, own, foretold = heard(system.net, one)
        mels = [mel(system, one, spoken) for spoken in (own, foretold)]
        found.append({"durations": climbing(attention), "recording": mels[0], "mel": mels[1]})
    longest = {n: max(f[n].shape[-1] for f in found) for n in found[0]}
    return {
        n: torch.stack([torch.nn.functional.pad(f[n], (0, longest[n] - f[n].shape[-1])) for f in found])
        for n in longest
    }


def watched(backbone, packed: packing.Packed) -> tuple[Tensor, tuple[Tensor, ...]]:
    """States `(1, length, dim)` of a Transformers backbone, and the attention of every layer `(1, heads, length, length)`,
    which only its plain implementation tells."""
    own, backbone.config._attn_implementation = backbone.config._attn_implementation, "eager"
    try:
        out = backbone(inputs_embeds=packed.values, use_cache=False, output_attentions=True)
    finally:
        backbone.config._attn_implementation = own
    return out.last_hidden_state, out.attentions


def climbing(attention: Tensor) -> Tensor:
    """Durations `(tokens,)` of the best monotonic path through the head `(heads, codes, tokens)` where it scores best.

    Start and stop get none: heads that have nothing to look at rest there. With fewer codes than tokens others get none too.
    """
    attention = attention[:, :, 1:-1]
    heads, codes, tokens = attention.shape
    score = (attention / attention.sum(-1, keepdim=True).clamp(min=1e-9)).clamp(min=1e-6).log()
    finer = -(-tokens // codes)
    score = score.repeat_interleave(finer, 1)
    lengths = torch.full((heads,), codes * finer), torch.full((heads,), tokens)
    durations = alignment.monotonic(score, *lengths)
    token = alignment.expand(durations)[0]
    best = int(score.gather(2, token[..., None]).sum((1, 2)).argmax())
    ends = (durations[best].cumsum(0) / finer).round().long()
    return torch.nn.functional.pad(ends.diff(prepend=ends.new_zeros(1)), (1, 1))


def mel(system, one: Example, codes: Tensor) -> Tensor:
    """Log-mel `(mels, codes)` of decoded codes, a frame a code."""
    wav = system.decoded(one, codes)
    hop = round(system.rate * system.frame_seconds)
    return audio.log_mel(wav, system.rate, WINDOW * system.rate // 16000, hop, MELS).T[:, : len(codes)]
