"""Which codes belong to which token, read off the attention: the one head whose attention climbs best through the text."""

import torch
from torch import Tensor

from ttslib import alignment, audio, packing
from ttslib.dataset import Example

WINDOW, MELS = 1024, 80


def align(system, batch: Example) -> Example:
    """`durations` (batch, tokens) in codes; log-mels `(batch, mels, codes)` of the decoded `recording`, and of the codes
    that are likeliest after the text and the recording's own past, `mel`."""
    net, found = system.net, []
    for i in range(len(batch["text"])):
        cut = {name: int(batch[f"{name}_len"][i]) for name in ("text", "codes", "prompt")}
        one = {n: v[i : i + 1] for n, v in batch.items()} | {n: batch[n][i : i + 1, :most] for n, most in cut.items()}
        attention, codes = heard(net, one)
        reference = system.reference(system.speakers[int(one["speaker"])])
        mels = [mel(system, spoken, reference) for spoken in (one["codes"][0], codes)]
        found.append({"durations": climbing(attention), "recording": mels[0], "mel": mels[1]})
    longest = {n: max(f[n].shape[-1] for f in found) for n in found[0]}
    return {
        n: torch.stack([torch.nn.functional.pad(f[n], (0, longest[n] - f[n].shape[-1])) for f in found])
        for n in longest
    }


def heard(net, one: Example) -> tuple[Tensor, Tensor]:
    """Attention `(layers x heads, codes, tokens)` from where each code is foretold to the text, and the foretold codes
    `(codes,)`, of a batch of one."""
    speech, speech_len = net.between(one["codes"], one["codes_len"])
    streams = [
        *net.condition(one), (net.embed_text(one["text"]), one["text_len"]), (net.embed_speech(speech), speech_len)
    ]  # fmt: skip
    packed = packing.pack(streams, flat=False)
    own, net.tfmr.config._attn_implementation = net.tfmr.config._attn_implementation, "eager"
    try:
        out = net.tfmr(inputs_embeds=packed.values, use_cache=False, output_attentions=True)
    finally:
        net.tfmr.config._attn_implementation = own
    text, codes = packed.places[3], packed.places[4][:-2]
    logits = net.speech_head(out.last_hidden_state[0, codes]).float()
    logits[:, net.special.start :] = -torch.inf
    maps = torch.cat([a[0] for a in out.attentions])[:, codes][:, :, text].float()
    return maps, logits.argmax(-1)


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


def mel(system, codes: Tensor, reference) -> Tensor:
    """Log-mel `(mels, codes)` of decoded codes, a frame a code."""
    wav = system.codec.decode(codes.cpu(), reference.decoder or None)
    hop = round(system.rate * system.frame_seconds)
    return audio.log_mel(wav, system.rate, WINDOW * system.rate // 16000, hop, MELS).T[:, : len(codes)]
