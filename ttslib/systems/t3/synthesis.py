"""How a `System` speaks: a text made ready for the network, its codes as they come, and again where they run away."""

from collections.abc import Iterator
from functools import partial

import torch

from ttslib import attempts
from ttslib.dataset import Example
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


def stream(system, ready: Example, seed: int) -> Iterator[int]:
    """The codes of a `sample` as they come, the stop id last if it comes within the limit."""
    generator, state = torch.Generator().manual_seed(seed), system.codec_state
    most = min(system.p.t3.longest, system.net.shape.speech_positions - 2)
    most, static = attempts.limit(most, system.pace, int(ready["text_len"])), system.net.device.type == "cuda"
    more = {"least": attempts.LEAST, "only_codes": state["vocab"], "static": static}
    return speaking.generate(system.net, ready, system.p.t3, most, generator, **more)


def spoken(system, ready: Example, seed: int) -> attempts.Spoken:
    """The first attempt that ends by itself, else the best of `t3.tries`."""
    again = partial(stream, system, ready)
    return attempts.spoken(again, system, int(ready["text_len"]), system.p.t3.tries, seed)
