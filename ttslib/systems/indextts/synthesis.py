"""How a `System` speaks: a text made ready for the network, its codes, again where they run away, and their sound."""

import sys
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from ttslib import attempts, audio, batching, reading
from ttslib.attempts import Spoken
from ttslib.codecs import CodecError
from ttslib.dataset import Example
from ttslib.params import ParamsError
from ttslib.systems import coded
from ttslib.systems.indextts import speaking, voices
from ttslib.units import UnitsError

SEGMENT = 120  # text tokens that the published runtime speaks at once


def moved(system, reference: voices.Reference) -> voices.Reference:
    """The voice with the emotion that `indextts.emotion` asks for. Raises `ParamsError` where there is no ear for it."""
    t = system.p.indextts
    if t.emotion is None:
        return reference
    if system.ear.beside is None:
        raise ParamsError(
            "indextts.emotion: this network was trained without IndexTTS2's encoders, it hears no emotion; leave it out"
        )
    wav = torch.from_numpy(audio.load(t.emotion, system.rate)[0])
    return voices.blended(reference, system.ear.heard(wav, system.rate, system.codec), t.emotion_weight)


def sample(system, text: str, reference: voices.Reference, lang: str, speaking_rate: float = 1.0) -> Example:
    """A batch of one to speak from. Raises `UnitsError` for a text without anything to say or with unknown letters."""
    if not (spoken := system.tokenizer.normalise(text, lang)):
        raise UnitsError(f"nothing to speak: the text is {text!r}; give a text with letters")
    ids = system.ids(spoken, lang)
    if len(ids) > (most := system.net.shape.text_positions):
        raise UnitsError(f"{len(ids)} text tokens, this network has positions for {most}; speak it in sentences")
    if len(ids) > SEGMENT + 2:
        said = f"{len(ids) - 2} text tokens at once; IndexTTS2 speaks {SEGMENT}, more are better spoken in sentences"
        print(said, file=sys.stderr)
    made = {"text": torch.tensor([ids]), "text_len": torch.tensor([len(ids)])}
    made |= {name: value[None] for name, value in reference.heard.items()}
    if told(system, speaking_rate):
        made["duration"] = torch.tensor([round(system.pace["median"] * len(ids) / speaking_rate)])
    return {name: value.to(system.net.device) for name, value in made.items()}


def told(system, speaking_rate: float) -> bool:
    """Whether the network itself sets the tempo: it learnt to, and another than its own is asked for."""
    return system.net.drop_duration is not None and speaking_rate != 1.0 and bool(system.pace)


def limit(system, ready: Example) -> int:
    """Codes after which a `sample` is a runaway."""
    most = min(system.p.indextts.longest, system.net.shape.mel_positions - 3)
    return attempts.limit(most, system.pace, int(ready["text_len"]))


def codes(system, ready: Example, seed: int) -> Tensor:
    """The codes of a `sample`, the stop id last if it comes within the limit."""
    return speaking.generate(system.net, ready, system.p.indextts, limit(system, ready), seed, attempts.LEAST)


def sound(system, ready: Example, reference: voices.Reference, seed: int, speaking_rate: float) -> Tensor:
    """Waveform `(samples,)` at `system.rate`. A sentence that never stops is cut off, which is said."""
    if mute := system.mute:
        raise CodecError(mute)
    tries = system.p.indextts.tries
    tokens = int(ready["text_len"])
    spoken = attempts.spoken(lambda s: codes(system, ready, s).tolist(), system, tokens, tries, seed)
    return heard(system, spoken, ready, reference, seed, speaking_rate)


def heard(
    system, spoken: Spoken, ready: Example, reference: voices.Reference, seed: int, speaking_rate: float
) -> Tensor:
    """Waveform `(samples,)` of what was `spoken`."""
    if spoken.ended != "stop":
        seconds, tokens = len(spoken.codes) * system.frame_seconds, int(ready["text_len"])
        print(f"no end after {seconds:.1f} s ({spoken.ended}), cut off there: {tokens} text tokens", file=sys.stderr)
    wav = decoded(system, ready, spoken.codes, reference.decoder, seed)
    stretch = speaking_rate != 1.0 and not told(system, speaking_rate)
    return audio.stretched(wav, speaking_rate) if stretch else wav


def together(
    system, ready: Sequence[Example], items: Sequence[int], seeds: Sequence[int]
) -> Iterator[tuple[int, Spoken]]:
    """An attempt at each of these items of `ready`, together: `(item, Spoken)` as each ends."""
    state, samples = system.codec_state, [ready[item] for item in items]
    most = [limit(system, one) for one in samples]
    speech = speaking.Together(system.net, samples, system.p.indextts, most, seeds, attempts.LEAST)
    while speech.items:
        for place, said in speech.step().items():
            yield items[place], attempts.attempt(said.tolist(), state["special"]["stop"], state["frame_rate"])


def each(system, requests: Sequence[batching.Request]) -> batching.Given:
    """See `coded.each`."""

    def ready(one: batching.Request) -> tuple[Example, voices.Reference]:
        reference = moved(system, system.reference(one.voice))
        lang = reading.known(one.lang, system.languages, "language")
        if mute := system.mute:
            raise CodecError(mute)
        return sample(system, one.text, reference, lang, one.speaking_rate), reference

    def sounding(spoken: Spoken, example: Example, reference: voices.Reference, one: batching.Request) -> Tensor:
        return heard(system, spoken, example, reference, one.seed, one.speaking_rate)

    return coded.each(system, requests, ready, together, sounding)


def decoded(system, ready: Example, codes: Tensor, decoder: Mapping[str, Tensor], seed: int = 0) -> Tensor:
    """Waveform `(samples,)` of codes `(codes,)`. IndexTTS2's is made of the model's states, not of the codes alone."""
    voice = dict(decoder) | {"latents": latents(system.net, ready, codes)} if decoder else None
    return system.codec.decode(codes, voice, seed)


@torch.no_grad()
def latents(net, ready: Example, codes: Tensor) -> Tensor:
    """The states `(codes, dim)` that foretell each code, by a second pass as the published runtime makes it."""
    batch = ready | {"codes": codes[None].to(net.device), "codes_len": torch.tensor([len(codes)], device=net.device)}
    return net.states(batch)[1][0][: len(codes)].cpu()
