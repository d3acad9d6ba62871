"""How well speech is understood, without anything else being measured: error rates of voices beside their recordings'.

told = understood(recogniser, {"recordings": ..., "vocoder": ...}, rate, "am")
"""

from collections.abc import Mapping

from torch import Tensor
from tqdm import tqdm

from ttslib.evaluate import summary
from ttslib.evaluate.judges import Asked, Judges
from ttslib.recognise import Recogniser

FLOOR = "recordings"


def understood(
    recogniser: Recogniser,
    voices: Mapping[str, Mapping[str, tuple[str, Tensor]]],
    rate: int,
    lang: str,
    homophones: bool = True,
) -> dict[str, dict]:
    """Of every voice, `id -> (text, (samples,) at rate Hz)`, the `summary` and its `sentences`; beside the floor where one
    of the voices is `recordings`."""
    judges = Judges({lang: recogniser}, homophones=homophones)
    lasts = {key: len(wav) / rate for key, (_, wav) in voices.get(FLOOR, {}).items()}
    read = {
        name: [
            {"id": key, "text": line} | judges.read(Asked(key, name, lang, line, "", None), wav, rate, lasts.get(key))
            for key, (line, wav) in tqdm(speech.items(), desc=f"{recogniser.name}: {name}", mininterval=10)
        ]
        for name, speech in voices.items()
    }
    return {
        name: summary.of(some, read.get(FLOOR, ()) if name != FLOOR else ()) | {"sentences": some}
        for name, some in read.items()
    }
