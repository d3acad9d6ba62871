"""How a `System` speaks: a text prepared and cut into pieces, their latents as they come, their sound."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from ttslib import audio, batching, reading
from ttslib.systems.pocket import speaking, wording
from ttslib.systems.pocket.backbone import State
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
        one = piece(system, voice, part, ids, generator)
        made = Said(speaking.frames(lm, voice, ids, system.p.pocket, one.most, generator, one.after))
        for latent in made:
            yield latent * lm.emb_std + lm.emb_mean
        system.tally.update({"spoken": 1, "stop" if made.ended else "limit": 1})


def streamed(system, text: str, reference: Reference, lang: str, seed: int) -> Iterator[Tensor]:
    """Waveform `(samples,)` of every frame of a raw text as it is drawn."""
    most = sum(limit(system, len(ids)) for _, ids in pieces(system, text, lang))
    yield from system.codec.stream((latent.cpu() for latent in stream(system, text, reference, lang, seed)), most)


def piece(system, voice: State, part: str, ids: Tensor, generator: torch.Generator) -> speaking.Piece:
    """A piece of a text, with how long it may take and what follows its end."""
    after = system.p.pocket.frames_after_end
    after = wording.frames_after_end(part) if after is None else after
    return speaking.Piece(voice, ids, limit(system, len(ids)), after, generator)


def each(system, requests: Sequence[batching.Request]) -> batching.Given:
    """See `batching.each`: the first pieces of all requests together, then the second ones; their sound one by one."""
    lm, heard = system.net.flow_lm, {}

    def made(one: batching.Request) -> list[speaking.Piece]:
        reference, lang = system.reference(one.voice), reading.known(one.lang, system.languages, "language")
        parts, generator = pieces(system, one.text, lang), torch.Generator().manual_seed(one.seed)
        if one.voice not in heard:
            heard[one.voice] = speaking.listened(lm, reference.latents.to(system.net.device))
        return [piece(system, heard[one.voice], part, ids, generator) for part, ids in parts]

    ready, refused = batching.prepared(requests, made)
    yield from refused
    latents, tally = {number: [] for number in ready}, {number: Counter() for number in ready}
    going, turn = list(ready), 0
    while going:
        speech = speaking.Together(lm, [ready[number][turn] for number in going], system.p.pocket)
        while before := list(speech.items):
            for place, latent in speech.step().items():
                latents[going[place]].append(latent * lm.emb_std + lm.emb_mean)
            for place in before:
                if place in speech.items:
                    continue
                number = going[place]
                tally[number].update({"spoken": 1, "stop" if speech.ended[place] else "limit": 1})
                if len(ready[number]) == turn + 1:
                    system.tally.update(tally[number])
                    yield (
                        number,
                        batching.attempted(partial(sound, system, latents[number], requests[number].speaking_rate)),
                    )
        turn += 1
        going = [number for number in going if len(ready[number]) > turn]


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


def spoken(system, text: str, reference: Reference, lang: str, seed: int, speaking_rate: float) -> Tensor:
    """Waveform `(samples,)` of a raw text."""
    return sound(system, list(stream(system, text, reference, lang, seed)), speaking_rate)


def sound(system, latents: Sequence[Tensor], speaking_rate: float) -> Tensor:
    """Waveform `(samples,)` of raw latents `(latent,)`."""
    wav = system.codec.decode(torch.stack(list(latents)).cpu())
    return wav if speaking_rate == 1.0 else audio.stretched(wav, speaking_rate)
