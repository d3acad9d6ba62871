"""What systems that learn the codes, or the latents, of a codec have alike and do alike."""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ttslib import adapt, attempts, audio, batching, checkpoint, codecs, reading
from ttslib.dataset import BadClip
from ttslib.params import Params, ParamsError


class Coded:
    """Text of a tokenizer into the codes or latents of a codec, in voices that are prompts."""

    def __init__(self, p: Params, tokenizer, codec, speakers: Sequence[str], languages: Sequence[str]):
        """`codec` is one, or what `codecs.Held` takes."""
        self.p, self.tokenizer, self.held = p, tokenizer, codecs.Held(codec)
        self.speakers, self.languages = list(speakers), list(languages)
        self.kept = None  # codes computed ahead (`codecs.kept`), given by who prepares the data
        self.pool = None  # utterances of the training, from which prompts are drawn
        self.references: dict = {}  # what each voice speaks with
        self.pace: dict[str, float] = {}
        self.tally: Counter[str] = Counter()
        self.adaptation: dict | None = None

    @property
    def codec(self) -> codecs.Codec:
        """Loaded when it is first needed: reading and saving weights works without it."""
        return self.held.codec

    @property
    def codec_state(self) -> dict:
        return self.held.state

    @property
    def rate(self) -> int:
        return self.codec_state["rate_out"]

    @property
    def frame_seconds(self) -> float:
        return 1 / self.codec_state["frame_rate"]

    @property
    def vocabularies(self) -> dict[str, tuple[str, ...]]:
        text = (*self.tokenizer.symbols, *self.spare)
        return {"text": text, "speaker": tuple(self.speakers), "language": tuple(self.languages)}

    def factors(self) -> dict[nn.Parameter, float]:
        """All learn at `train.lr`."""
        return {}

    def welcome(self, rows: Sequence) -> None:
        """Take in speakers that it does not know: a voice is a prompt, which needs no row of a table."""
        self.speakers = grown(self.speakers, rows, "speaker")


def decided(base, p: Params, tokenizer) -> Params:
    """The params of a system grown from `base`: the codec, the size and what is read are the base's."""
    if p.codec != base.p.codec:
        print(f"adapt.base decides: codec={base.p.codec} (asked: {p.codec})", file=sys.stderr)
    own = getattr(p, p.system).model_copy(update={"preset": getattr(base.p, p.system).preset})
    text = p.text.model_copy(update={"units": reading.kind(tokenizer)})
    return p.model_copy(update={"codec": base.p.codec, p.system: own, "text": text})


def grown(known: Sequence[str], rows: Sequence, of: str) -> list[str]:
    """Names (`of`: speaker or lang) with those of the rows behind them."""
    return [*known, *sorted({getattr(row, of) for row in rows} - {*known})]


def tables(system, embedding: nn.Module, head: nn.Module) -> dict[str, adapt.Table]:
    names = ("text", system.tokenizer.symbols, system.spare)
    return {"text": adapt.Table(embedding, *names), "text_head": adapt.Table(head, *names, head=True)}


def fitting(text: Tensor, codes: Tensor, text_positions: int, code_positions: int) -> None:
    """Raise `BadClip` for more ids than there are positions: cut short, a clip would teach to stop in the middle."""
    for what, count, most in (("text tokens", len(text), text_positions), ("codes", len(codes) + 2, code_positions)):
        if count > most:
            raise BadClip(f"{count} {what}, this network has positions for {most}; cut the clip into sentences")


def recorded(voice: str | None, references: dict, rate: int) -> Tensor | str:
    """Which voice is asked for: the name of a reference (default: the first), or the samples at `rate` of a recording.

    Raises `ParamsError` when it is neither, or where there is no reference and none is asked for.
    """
    if voice is None and not references:
        raise ParamsError("voice: this base has none of its own; give a recording's path")
    if voice is None or voice in references:
        return reading.known(voice, list(references), "speaker")
    if not Path(voice).is_file():
        told = ", ".join(references)
        raise ParamsError(
            f"voice {voice!r} is neither a speaker of the training ({told}) nor a recording's path; give one of the two"
        )
    return torch.from_numpy(audio.load(voice, rate)[0])


def trained(cls, folder: Path):
    """The system of a run's checkpoint, its weights not yet loaded, and the weights. Raises `CheckpointError`."""
    weights, state = checkpoint.trained(folder)
    system = cls.restore(state)
    checkpoint.same_vocabulary(folder, system.vocabularies)
    return system, {name.removeprefix("net."): value for name, value in weights.items()}


def each(
    system, requests: Sequence[batching.Request], ready: Callable, attempt: Callable, sound: Callable
) -> batching.Given:
    """See `batching.each`: codes of all requests together, their sound one by one.

    `ready(request)` gives an example and a reference; `attempt(system, examples, items, seeds)` an attempt at each of these
    items, `(item, Spoken)` as each ends; `sound(spoken, example, reference, request)` its waveform `(samples,)`.
    """
    found, refused = batching.prepared(requests, ready)
    yield from refused
    numbers, examples = list(found), [example for example, _ in found.values()]
    tokens, seeds = [int(one["text_len"]) for one in examples], [requests[number].seed for number in numbers]
    tries, attempted = getattr(system.p, system.p.system).tries, partial(attempt, system, examples)
    for item, spoken in attempts.together(attempted, system, tokens, tries, seeds):
        number = numbers[item]
        yield number, batching.attempted(partial(sound, spoken, *found[number], requests[number]))
