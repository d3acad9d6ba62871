"""How a `System` speaks: a text prepared and cut into pieces, their latents as they come, their sound."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ttslib.systems.pocket import speaking, wording
from ttslib.systems.pocket.voices import Reference
from ttslib.units import Units, UnitsError

LETTERS = 4  # of a text, to a token of the published models


def pieces(system, text: str, lang: str) -> list[tuple[str, Tensor]]:
    """The pieces that a raw text is spoken in, prepared, and their ids `(ids,)`.

    Raises `UnitsError` for a text without anything to say or with unknown letters.
    """
    if not (spoken := system.tokenizer.normalise(text, lang)):
        raise UnitsError(f"nothing to speak: the text is {text!r}; give a text with letters")

    def encode(part: str) -> list[int]:
        return system.tokenizer.encode(part, lang)

    most = system.p.pocket.most_tokens * (LETTERS if isinstance(system.tokenizer, Units) else 1)
    cut = wording.chunks(spoken, system.flags, encode, most)
    ready = [wording.prepared(part, system.flags) for part in cut]
    return [(part, torch.tensor(encode(part), device=system.net.device)) for part in ready]


def stream(system, text: str, reference: Reference, lang: str, seed: int) -> Iterator[Tensor]:
    """Raw latents `(latent,)` of a raw text as they come; `system.tally` counts how its pieces ended."""
    lm, generator = system.net.flow_lm, torch.Generator().manual_seed(seed)
    parts = pieces(system, text, lang)
    voice = speaking.listened(lm, reference.latents.to(system.net.device))
    for part, ids in parts:
        most = limit(system, len(ids))
        after = system.p.pocket.frames_after_end
        after = wording.frames_after_end(part) if after is None else after
        made = Said(speaking.frames(lm, voice, ids, system.p.pocket, most, generator, after))
        for latent in made:
            yield latent * lm.emb_std + lm.emb_mean
        system.tally.update({"spoken": 1, "stop" if made.ended else "limit": 1})


class Said:
    """An iterator that knows, when it is through, whether speech ended by itself."""

    def __init__(self, frames: Iterator[Tensor]):
        self.frames, self.ended = frames, False

    def __iter__(self) -> Iterator[Tensor]:
        self.ended = yield from self.frames


def limit(system, tokens: int) -> int:
    """Frames after which speech is a runaway: what the runtime allows, or twice the slowest clip of the training."""
    if not system.pace:
        return wording.most_frames(tokens, 1 / system.frame_seconds)
    return round(2 * system.pace["most"] * tokens) + 2 * speaking.LEAST


def spoken(system, text: str, reference: Reference, lang: str, seed: int) -> Tensor:
    """Waveform `(samples,)` of a raw text."""
    latents = torch.stack(list(stream(system, text, reference, lang, seed)))
    return system.codec.decode(latents.cpu())
