"""How a `System` speaks: a text made ready for the network, its codes as they come, and again where they run away."""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from ttslib import attempts, audio, batching, reading
from ttslib.attempts import Spoken
from ttslib.dataset import Example
from ttslib.systems import coded
from ttslib.systems.t3 import speaking
from ttslib.systems.t3.voices import Reference
from ttslib.units import UnitsError


def sample(system, text: str, reference: Reference, lang: str) -> Example:
    """A batch of one to speak from. Raises `UnitsError` for a text without anything to say or with unknown letters."""
    if not (spoken := system.tokenizer.normalise(text, lang)):
        raise UnitsError(f"nothing to speak: the text is {text!r}; give a text with letters")
    ids = system.ids(spoken, lang)
    if len(ids) > (most := system.net.shape.text_positions):
        raise UnitsError(f"{len(ids)} text tokens, this network has positions for {most}; speak it in sentences")
    prompt = reference.codes if len(reference.codes) else reference.codes.new_zeros(1)
    made = {
        "text": torch.tensor([ids]),
        "text_len": torch.tensor([len(ids)]),
        "voice": reference.vector[None],
        "prompt": prompt[None],
        "prompt_len": torch.tensor([len(reference.codes)]),
        "emotion": torch.tensor([system.p.t3.emotion]),
    }
    return {name: value.to(system.net.device) for name, value in made.items()}


def limit(system, ready: Example) -> int:
    """Codes after which a `sample` is a runaway."""
    most = min(system.p.t3.longest, system.net.shape.speech_positions - 2)
    return attempts.limit(most, system.pace, int(ready["text_len"]))


def stream(system, ready: Example, seed: int) -> Iterator[int]:
    """The codes of a `sample` as they come, the stop id last if it comes within the limit."""
    generator, more = torch.Generator().manual_seed(seed), (attempts.LEAST, system.codec_state["vocab"])
    return speaking.generate(system.net, ready, system.p.t3, limit(system, ready), generator, *more)


def spoken(system, ready: Example, seed: int) -> Spoken:
    """The first attempt that ends by itself, else the best of `t3.tries`."""
    again = partial(stream, system, ready)
    return attempts.spoken(again, system, int(ready["text_len"]), system.p.t3.tries, seed)


def streams(
    system, ready: Sequence[Example], items: Sequence[int], seeds: Sequence[int]
) -> Iterator[tuple[int, Spoken]]:
    """An attempt at each of these items of `ready`, together: `(item, Spoken)` as each ends."""
    state, samples = system.codec_state, [ready[item] for item in items]
    most = [limit(system, one) for one in samples]
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    more = (attempts.LEAST, state["vocab"])
    speech = speaking.Together(system.net, samples, system.p.t3, max(most), generators, *more)
    followed = [attempts.Attempt(state["special"]["stop"], state["frame_rate"]) for _ in items]
    while speech.items:
        done = {}
        for place, code in speech.step().items():
            made = followed[place].take(code)
            if made is None and speech.count == most[place]:
                made = followed[place].cut()
            if made is not None:
                done[place] = made
        speech.leave(done)
        yield from ((items[place], made) for place, made in done.items())


def each(system, requests: Sequence[batching.Request]) -> batching.Given:
    """See `coded.each`."""

    def ready(one: batching.Request) -> tuple[Example, Reference]:
        reference = system.reference(one.voice)
        return sample(system, one.text, reference, reading.known(one.lang, system.languages, "language")), reference

    def heard(speech: Spoken, _: Example, reference: Reference, one: batching.Request) -> Tensor:
        return sound(system, speech, reference, one.seed, one.speaking_rate)

    return coded.each(system, requests, ready, streams, heard)


def sound(system, speech: Spoken, reference: Reference, seed: int, speaking_rate: float) -> Tensor:
    """Waveform `(samples,)` at `system.rate`."""
    wav = system.codec.decode(speech.codes, reference.decoder or None, seed)
    return wav if speaking_rate == 1.0 else audio.stretched(wav, speaking_rate)
