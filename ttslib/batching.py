"""Several sentences spoken together: each is what `synthesize` makes of it alone, for its own seed.

    wavs = batching.synthesize_many(system, ["...", "..."], seeds=[1, 2])

A system that can has `synthesize_each(requests)`, which gives `(number, waveform or error)` as each is through; where it has
none they are spoken one after the other. Networks see the batch; Griffin-Lim and the published decoders still speak one
sentence at a time. Kernels may round the last bits of a larger batch otherwise: codes then are the same but where a draw
falls on the edge between two of them, waveforms of networks that give no codes the same up to such rounding.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from torch import Tensor, nn

from ttslib import audio
from ttslib.codecs import CodecError
from ttslib.dataset import BadClip
from ttslib.params import ParamsError
from ttslib.units import UnitsError

REFUSED = (UnitsError, ParamsError, CodecError, BadClip, audio.AudioError)
"""about what was asked; anything else is a bug"""


class Request(NamedTuple):
    """What `synthesize` takes."""

    text: str
    voice: str | None = None
    seed: int = 0
    lang: str | None = None
    speaking_rate: float = 1.0


Given = Iterator[tuple[int, Tensor | Exception]]


def synthesize_many(
    system, texts: Sequence[str], voices: Sequence[str | None] | str | None = None, seeds: Sequence[int] | int = 0,
    langs: Sequence[str | None] | str | None = None, speaking_rate: float = 1.0,
) -> list[Tensor]:  # fmt: skip
    """Mono waveforms `(samples,)` at `system.rate`, in the order of the texts; one voice, seed or language, or one each.

    Raises what `synthesize` raises for the first text that is refused, and `ValueError` for lists of another length.
    """

    def one_each(given) -> list:
        return [given] * len(texts) if given is None or isinstance(given, str | int) else list(given)

    parts = zip(texts, one_each(voices), one_each(seeds), one_each(langs), strict=True)
    found = dict(each(system, [Request(*part, speaking_rate) for part in parts]))
    for number in range(len(texts)):
        if isinstance(error := found[number], Exception):
            raise error
    return [found[number] for number in range(len(texts))]


def each(system, requests: Sequence[Request]) -> Given:
    """`(number, waveform (samples,))` of every request as it is through, or the error (`REFUSED`) that it is refused with,
    which leaves the others alone. A `tally` that the system keeps grows by a request right before it is given."""
    if hasattr(system, "synthesize_each"):
        yield from system.synthesize_each(requests)
        return
    for number, one in enumerate(requests):
        yield number, attempted(lambda one=one: system.synthesize(**one._asdict()))


def attempted(make: Callable):
    """What `make()` gives, or the error that it refuses with."""
    try:
        return make()
    except REFUSED as error:
        return error


def prepared(requests: Sequence[Request], make: Callable[[Request], object]) -> tuple[dict[int, object], Given]:
    """What `make` makes of each request, by its number; and those that it refuses, as `each` gives them."""
    found = {number: attempted(lambda one=one: make(one)) for number, one in enumerate(requests)}
    refused = {number: made for number, made in found.items() if isinstance(made, Exception)}
    return {number: made for number, made in found.items() if number not in refused}, iter(refused.items())


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """In evaluation inside, as it was afterwards."""
    was_training = net.training
    net.eval()
    try:
        yield
    finally:
        net.train(was_training)
