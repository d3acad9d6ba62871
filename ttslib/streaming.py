"""Speech as it comes: chunks of a waveform, the first one long before the last is computed, where the system can.

    for chunk in streaming.stream(system, "..."):    # (samples,) at system.rate
        ...

| what speaks | what comes | joined, the chunks are |
|---|---|---|
| pocket with Pocket's Mimi (`codec: pocket=...`) | a frame of 80 ms as soon as it is drawn | `synthesize`, up to rounding |
| everything else | a sentence | `synthesize` of each sentence, one after the other |

The second row is no streaming within a sentence: Griffin-Lim iterates over a whole utterance, the decoder of our codecs sees
both sides of a frame, and so do S3Gen's and IndexTTS2's flows. A text of several sentences is then not what `synthesize`
makes of it, which speaks them at once.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from torch import Tensor

from ttslib import audio, codecs
from ttslib.systems.pocket.wording import sentences


def streams(system) -> bool:
    """Whether it gives speech frame by frame."""
    return hasattr(system, "stream") and isinstance(system.codec, codecs.Streaming)


def stream(
    system, text: str, voice: str | None = None, seed: int = 0, lang: str | None = None, speaking_rate: float = 1.0
) -> Iterator[Tensor]:
    """Chunks `(samples,)` of a mono waveform at `system.rate`, the same for the same seed. Raises what `synthesize` raises.

    Another `speaking_rate` is a matter of whole sentences.
    """
    if streams(system) and speaking_rate == 1.0:
        yield from system.stream(text, voice=voice, seed=seed, lang=lang)
        return
    for sentence in sentences(text) or [text]:
        yield system.synthesize(sentence, voice=voice, seed=seed, lang=lang, speaking_rate=speaking_rate)


def first_audio(system, text: str, **choices) -> float:
    """Seconds until the first chunk of `stream` is there; the rest is not computed."""
    began, chunks = time.perf_counter(), stream(system, text, **choices)
    next(chunks)
    spent = time.perf_counter() - began
    chunks.close()
    return spent


def pcm(chunk: Tensor) -> np.ndarray:
    """16-bit samples. Louder ones than 1 are clipped: what is still to come is not known, so nothing can be scaled."""
    return (np.asarray(chunk).clip(-1, 1) * 32767).round().astype("<i2")


@contextmanager
def sink(out: Path, rate: int) -> Iterator[Callable[[np.ndarray], object]]:
    """What takes 16-bit samples and passes them on at once: to a WAV file that can be read while it grows, whose path is
    printed at the end, or with `-` to stdout, without any header. Raises `AudioError` for another kind of file."""
    import soundfile

    if str(out) == "-":
        yield lambda samples: (sys.stdout.buffer.write(samples.tobytes()), sys.stdout.buffer.flush())
        return
    if out.suffix.lower() != ".wav":
        raise audio.AudioError(f"{out}: a stream is written as .wav, or with - as raw samples; call it .wav")
    out.parent.mkdir(parents=True, exist_ok=True)
    with soundfile.SoundFile(str(out), "w", rate, 1, "PCM_16", format="WAV") as file:

        def write(samples: np.ndarray) -> None:
            file.write(samples)
            file.flush()

        yield write
    print(out)
