"""How well speech is understood: a recogniser's error rates on a set of sentences, beside those of the recordings.

card = scores.understood(recogniser, {"recordings": ..., "vocoder": ..., "voice": ...}, rate, "am")
"""

from collections.abc import Mapping

from torch import Tensor
from tqdm import tqdm

from ttslib import intervals, transcripts
from ttslib.recognise import Recogniser, RecogniserError, identity

FLOOR = "recordings"
Speech = Mapping[str, tuple[str, Tensor]]


def understood(
    recogniser: Recogniser, voices: Mapping[str, Speech], rate: int, lang: str, homophones: bool = True
) -> dict:
    """Every voice's speech, `id -> (text, (samples,) at rate Hz)`, read back by `recogniser`.

    Of a voice: `cer` and `wer` as intervals over its sentences, their medians, counts of `faults`, its `sentences`, and
    where the voice `recordings` is there, `cer_minus_floor`, `wer_minus_floor` and `distinguishable` from the floor by CER.
    `homophones` folds letters that no ear tells apart. Raises `RecogniserError` for no speech.
    """
    expected = {key: len(wav) / rate for key, (_, wav) in voices.get(FLOOR, {}).items()}
    told = {name: heard(recogniser, speech, rate, lang, homophones, expected, name) for name, speech in voices.items()}
    floor = told.get(FLOOR)
    for name, card in told.items():
        if floor is not None and name != FLOOR:
            card |= {f"{of}_minus_floor": card[of].value - floor[of].value for of in ("cer", "wer")}
            one, other = ({key: s["cer"] for key, s in c["sentences"].items()} for c in (card, floor))
            card["distinguishable"] = intervals.distinguishable(one, other)
    return identity(recogniser) | {"lang": lang, "homophones_folded": homophones, "voices": told}


def heard(
    recogniser: Recogniser,
    speech: Speech,
    rate: int,
    lang: str,
    homophones: bool,
    expected: Mapping[str, float],
    name: str,
) -> dict:
    if not speech:
        raise RecogniserError(f"{name}: there is no speech to understand")
    sentences = {}
    for key, (line, wav) in tqdm(speech.items(), desc=f"{recogniser.name}: {name}", unit="sentence", mininterval=10):
        hypothesis = recogniser.transcribe(wav, rate, lang)
        found = transcripts.faults(line, hypothesis, wav.numpy(), rate, lang, expected.get(key))
        scores = transcripts.compare(line, hypothesis, lang, homophones)
        sentences[key] = {"text": line, "heard": hypothesis} | scores | {"faults": found}
    card = {of: intervals.rate(*zip(*[s[of] for s in sentences.values()], strict=True)) for of in ("cer", "wer")}
    card |= {f"median_{of}": intervals.median([s[of].rate for s in sentences.values()]) for of in ("cer", "wer")}
    names = sorted({fault for s in sentences.values() for fault in s["faults"]})
    card["faults"] = {fault: sum(fault in s["faults"] for s in sentences.values()) for fault in names}
    return card | {"sentences": sentences}
