"""Who judges speech: a recogniser a language, a speaker embedding, a predictor of opinion scores; named in every result."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from ttslib import quality, recognise, similarity, transcripts
from ttslib.dataset import BadClip
from ttslib.evaluate import distances
from ttslib.manifest import Manifest, Row
from ttslib.params import Params
from ttslib.recognise import Recogniser, RecogniserError

IN_DOMAIN = "in_domain"  # of the sentences these alone go before the predictor of opinions: he is slow


class Asked(NamedTuple):
    """A sentence to be spoken and judged; `row` is its recording where there is one, `voice` what `synthesize` takes."""

    id: str
    set: str
    lang: str
    text: str
    speaker: str
    voice: str | None
    row: Row | None = None
    note: str = ""


@dataclass
class Judges:
    """Those that were asked for; what is missing judges nothing and leaves no score."""

    recognisers: Mapping[str, Recogniser] = field(default_factory=dict)
    encoder: similarity.Encoder | None = None
    predict: Callable[[Tensor, int, str], float] | None = None
    predictor: str | None = None
    homophones: bool = True

    def identity(self) -> dict:
        """What stands beside every score."""
        readers = {lang: recognise.identity(one) for lang, one in self.recognisers.items()}
        encoder = self.encoder and similarity.identity(self.encoder)
        rest = {"encoder": encoder, "predictor": self.predictor, "homophones_folded": self.homophones}
        return {"recognisers": readers} | rest

    def read(self, asked: Asked, wav: Tensor, rate: int, seconds: float | None = None) -> dict:
        """What the recogniser hears of `(samples,)` at `rate` Hz, error counts and faults; `seconds` has the recording."""
        if asked.lang not in self.recognisers:
            return {}
        heard = self.recognisers[asked.lang].transcribe(wav, rate, asked.lang)
        scores = transcripts.compare(asked.text, heard, asked.lang, self.homophones)
        found = transcripts.faults(asked.text, heard, wav, rate, asked.lang, seconds)
        return {"heard": heard} | scores | {"faults": found}

    def scores(
        self,
        asked: Asked,
        wav: Tensor,
        rate: int,
        speakers: similarity.Speakers | None = None,
        reference: tuple[Tensor, int] | None = None,
    ) -> dict:
        """All scores of one sentence, beside its recording `(samples,), Hz` where there is one. What a judge makes nothing
        of is None, with his reason in `unjudged`."""
        seconds = reference and len(reference[0]) / reference[1]
        told, unjudged = self.read(asked, wav, rate, seconds), {}
        if speakers is not None:
            try:
                told |= speakers.compare(wav, rate, asked.speaker, asked.id)
            except BadClip as reason:
                told["similarity"], unjudged["similarity"] = None, str(reason)
        if self.predict is not None and asked.set == IN_DOMAIN:
            try:
                told["mos"] = self.predict(wav, rate, asked.lang)
            except quality.QualityError as reason:
                told["mos"], unjudged["mos"] = None, str(reason)
        if reference is not None and len(wav):
            told |= distances.compare(distances.sound(*reference), distances.sound(wav, rate))
        return told | ({"unjudged": unjudged} if unjudged else {})


def of(p: Params, found: Manifest, langs: Iterable[str]) -> Judges:
    """The judges that `p.evaluate` asks for; a recogniser of ours is trained where there is none yet.

    Raises `RecogniserError`, `SimilarityError` or `QualityError` for one that cannot be had.
    """
    predict, predictor = quality.predictor(p.evaluate.mos)
    encoder = similarity.of(p.evaluate.encoder) if p.evaluate.encoder else None
    return Judges(readers(p, found, langs), encoder, predict, predictor, p.evaluate.homophones)


def readers(p: Params, found: Manifest, langs: Iterable[str]) -> dict[str, Recogniser]:
    """The recogniser of each language. Raises `RecogniserError` for what `evaluate.recogniser` cannot name or does not
    know the language."""
    if (spec := p.evaluate.recogniser) is None:
        return {}
    if spec == "ctc":
        from ttslib.recognise import training

        try:
            return {lang: training.for_language(p, found, lang) for lang in langs}
        except RecogniserError as error:
            raise RecogniserError(f"{error}; set evaluate.recogniser to another one, or to null for none") from None
    one = recognise.of(spec)
    for lang in langs:
        recognise.known(one, lang)
    return dict.fromkeys(langs, one)
