"""Does it sound like the speaker? The cosine of two voices, between what other speakers and the speaker himself reach.

    encoder = similarity.encoder()                              # Resemblyzer's weights; `encoder.name` goes into the result
    card = similarity.scores(encoder, spoken, recordings, rate)

Resemblyzer 0.1.4 (Apache-2.0; Wan et al. 2018, generalised end-to-end loss) carries its weights in the package. It was
trained on English speech (LibriSpeech, VoxCeleb); it hears voices of other languages, and what counts is where a score lies
between floor and ceiling. Its network is computed by `ttslib.voice_encoder`; of the package only the file is read.
"""

import hashlib
import importlib.util
import math
import pickle
import statistics
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ttslib import audio, voice_encoder
from ttslib.checkpoint import CheckpointError
from ttslib.dataset import BadClip
from ttslib.voice_encoder import HOP, PARTIAL, RATE, STEP, WINDOW, VoiceEncoder

INSTALL = "pip install --no-deps resemblyzer==0.1.4"
COVERAGE = 0.75  # of the last partial that must be speech; Chatterbox's own encoder wants 0.8
LOUD_DBFS = -30.0  # quieter recordings are brought up to it


class SimilarityError(ValueError):
    """No encoder, or nothing to compare; the message says what to install or to give."""


class SpeakerEncoder:
    """A named embedding: `embed` gives 256 numbers of unit length. `hash` is that of the weights."""

    trained_on = "English speech (LibriSpeech, VoxCeleb 1 and 2), not calibrated for other languages"

    def __init__(self, name: str, net: VoiceEncoder, hash: str):
        self.name, self.net, self.hash = name, net, hash

    @torch.no_grad()
    def embed(self, wav: Tensor | np.ndarray, rate: int) -> Tensor:
        """`(samples,)` at `rate` Hz -> `(256,)`: what Resemblyzer's `embed_utterance` gives of 16 kHz samples brought to
        its loudness, the ends trimmed. Its pauses inside stay: the package takes them out by a voice detector (webrtcvad).

        Raises `BadClip` for what is too short, not finite or silent.
        """
        wav = audio.resampled(torch.as_tensor(wav, dtype=torch.float32), rate, RATE)
        if not voice_encoder.checked(wav, WINDOW // 2).abs().max() > 0:
            raise BadClip("silence has no voice")
        return self.of(louder(voice_encoder.trimmed(wav)))

    def of(self, wav: Tensor) -> Tensor:
        """`embed_utterance`: 16 kHz samples as they are, in partials of 1.6 s, 0.77 s apart."""
        frames = math.ceil((len(wav) + 1) / HOP)
        count = max(1, math.ceil((frames - PARTIAL + STEP + 1) / STEP))
        if count > 1 and (len(wav) - (count - 1) * STEP * HOP) / (PARTIAL * HOP) < COVERAGE:
            count -= 1
        longest = ((count - 1) * STEP + PARTIAL) * HOP
        padded = torch.nn.functional.pad(wav, (WINDOW // 2, WINDOW // 2 + max(0, longest - len(wav))))
        window = torch.hann_window(WINDOW)
        spectrum = torch.stft(padded, WINDOW, HOP, window=window, center=False, return_complex=True)
        mels = spectrum.abs().square().T @ voice_encoder.bank()
        pieces = torch.stack([mels[i * STEP : i * STEP + PARTIAL] for i in range(count)])
        vector = voice_encoder.normalised(self.net(pieces).mean(0))
        if not vector.isfinite().all():
            raise BadClip("the encoder makes nothing of it; is there a voice in it?")
        return vector


def encoder(weights: str | Path | None = None) -> SpeakerEncoder:
    """Resemblyzer's, from the installed package, or from a file in the layout of its `pretrained.pt`.

    Raises `SimilarityError` naming what to install, or what is wrong with the file.
    """
    path = Path(weights) if weights is not None else packaged()
    if not path.is_file():
        raise SimilarityError(f"{path}: no such file; it is pretrained.pt of the package: {INSTALL}")
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
        named = {key.replace("linear.", "proj."): value for key, value in held.items()}
        net = VoiceEncoder.of(named, str(path))
    except (
        CheckpointError,
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        raise SimilarityError(f"{path}: not Resemblyzer's weights ({error}); install them anew: {INSTALL}") from error
    name = "resemblyzer 0.1.4" if weights is None else f"resemblyzer's network, {path.name}"
    return SpeakerEncoder(name, net, hashlib.sha256(path.read_bytes()).hexdigest())


def packaged() -> Path:
    """The weights in the installed package, which is not imported: it wants webrtcvad, whose place is taken by a trim."""
    found = importlib.util.find_spec("resemblyzer")
    if found is None or not found.submodule_search_locations:
        raise SimilarityError(f"speaker similarity needs Resemblyzer's weights: {INSTALL}")
    return Path(found.submodule_search_locations[0]) / "pretrained.pt"


def scores(
    encoder: SpeakerEncoder,
    spoken: Mapping[str, tuple[str, Tensor]],
    recordings: Mapping[str, tuple[str, Tensor]],
    rate: int,
) -> dict:
    """Similarity of speech to its speaker's recordings; both are `id -> (speaker, (samples,) at rate Hz)`.

    A sentence is compared with the mean of the speaker's recordings of *other* sentences, so that what is said does not
    help. `ceiling` is the same for the recordings themselves, `floor` for the recordings against the other speakers' means;
    None where there is one recording, or one speaker. What has no voice in it is `failed`, with the reason.
    """
    failed: dict[str, str] = {}
    own = vectors(encoder, recordings, rate, "recording", failed)
    heard = vectors(encoder, spoken, rate, "speech", failed)
    sentences, ceiling, floor = {}, {}, {}
    for key, (speaker, vector) in heard.items():
        if (mean := voice(own, speaker, key)) is None:
            failed[f"speech {key}"] = f"there is no other recording of {speaker} to compare with"
        else:
            sentences[key] = float(vector @ mean)
    speakers = sorted({speaker for speaker, _ in own.values()})
    for key, (speaker, vector) in own.items():
        if (mean := voice(own, speaker, key)) is not None:
            ceiling[key] = float(vector @ mean)
        strange = [voice(own, other, key) for other in speakers if other != speaker]
        if strange := [mean for mean in strange if mean is not None]:
            floor[key] = max(float(vector @ mean) for mean in strange)
    return {
        "encoder": encoder.name,
        "hash": encoder.hash,
        "trained_on": encoder.trained_on,
        "sentences": sentences,
        "median": statistics.median(sentences.values()) if sentences else None,
        "ceiling": statistics.median(ceiling.values()) if ceiling else None,
        "floor": statistics.median(floor.values()) if floor else None,
        "failed": failed,
    }


def vectors(encoder: SpeakerEncoder, clips: Mapping, rate: int, what: str, failed: dict[str, str]) -> dict:
    """`id -> (speaker, (256,))` of the clips that have a voice in them; the others go into `failed`."""
    if not clips:
        raise SimilarityError(f"speaker similarity: there is no {what} to compare")
    found = {}
    for key, (speaker, wav) in clips.items():
        try:
            found[key] = speaker, encoder.embed(wav, rate)
        except BadClip as error:
            failed[f"{what} {key}"] = str(error)
    return found


def voice(own: Mapping, speaker: str, but: str) -> Tensor | None:
    """The mean of a speaker's vectors, without that of one sentence; None where nothing is left."""
    rest = [vector for key, (who, vector) in own.items() if who == speaker and key != but]
    return voice_encoder.normalised(torch.stack(rest).mean(0)) if rest else None


def louder(wav: Tensor) -> Tensor:
    """Brought up to `LOUD_DBFS` where it is quieter, as the package's `normalize_volume` does."""
    change = LOUD_DBFS - 20 * wav.square().mean().sqrt().log10()
    return wav * 10 ** (change.clamp(min=0) / 20)
