"""Does it sound like the speaker? The cosine of two voices, between what other speakers and the speaker himself reach.

    encoder = similarity.of("resemblyzer")             # whose weights the package carries; `identity` goes into the result
    speakers = similarity.Speakers(encoder, recordings)
    speakers.compare(wav, rate, "f1", "sentence-3")    # {"similarity": 0.87, "stranger": 0.62}

Resemblyzer 0.1.4 (Apache-2.0; Wan et al. 2018, generalised end-to-end loss) carries its weights in the package. It was
trained on English speech (LibriSpeech, VoxCeleb); it hears voices of other languages, and what counts is where a score lies
between floor and ceiling. Its network is computed by `ttslib.voice_encoder`; of the package only the file is read.
"""

import hashlib
import importlib.util
import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ttslib import audio, voice_encoder
from ttslib.adapt.tables import fingerprint
from ttslib.checkpoint import CheckpointError
from ttslib.dataset import BadClip
from ttslib.voice_encoder import HOP, PARTIAL, RATE, STEP, WINDOW, VoiceEncoder

INSTALL = "pip install --no-deps resemblyzer==0.1.4; or evaluate.encoder=null"
COVERAGE = 0.75  # of the last partial that must be speech; Chatterbox's own encoder wants 0.8
LOUD_DBFS = -30.0  # quieter recordings are brought up to it


class SimilarityError(ValueError):
    """No encoder, or nothing to compare; the message says what to install or to give."""


class Encoder(Protocol):
    """A named embedding. `hash` is SHA-256 of the weights, or the commit of a hub repository."""

    name: str
    hash: str
    trained_on: str

    def embed(self, wav: Tensor | np.ndarray, rate: int) -> Tensor:
        """`(samples,)` at `rate` Hz -> `(numbers,)` of unit length. Raises `BadClip` for what has no voice in it."""


def of(spec: str) -> Encoder:
    """The encoder that `resemblyzer`, `resemblyzer=<file>` or `transformers=<hub id or folder>` names.

    Raises `SimilarityError` naming what to install, or what is wrong with the files.
    """
    kind, _, source = spec.partition("=")
    if kind == "resemblyzer":
        return encoder(source or None)
    if kind == "transformers" and source:
        return XVectors(source)
    raise SimilarityError(
        f"{spec!r} names no speaker encoder: give resemblyzer, resemblyzer=<file> or transformers=<hub id or folder>"
    )


def identity(encoder: Encoder) -> dict[str, str]:
    return {"encoder": encoder.name, "hash": encoder.hash, "trained_on": encoder.trained_on}


class SpeakerEncoder:
    """Resemblyzer's: 256 numbers."""

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


class Speakers:
    """The speakers of some recordings, `id -> (speaker, (samples,), Hz)`: each is the mean of his embeddings, left out that
    of the sentence that is compared, so that what is said does not help. `failed` has what has no voice in it, and why."""

    def __init__(self, encoder: Encoder, recordings: Mapping[str, tuple[str, Tensor, int]]):
        self.encoder, self.vectors, self.failed = encoder, {}, {}
        for key, (speaker, wav, rate) in recordings.items():
            try:
                self.vectors[key] = speaker, encoder.embed(wav, rate)
            except BadClip as error:
                self.failed[key] = str(error)

    def mean(self, speaker: str, but: str) -> Tensor | None:
        """A speaker's mean without one sentence; None where nothing is left."""
        rest = [vector for key, (who, vector) in self.vectors.items() if who == speaker and key != but]
        return voice_encoder.normalised(torch.stack(rest).mean(0)) if rest else None

    def compare(self, wav: Tensor, rate: int, speaker: str, key: str) -> dict[str, float]:
        """`similarity`, the cosine of speech `(samples,)` of the sentence `key` and its speaker, and `stranger`, that of the
        other speaker who is nearest: the floor. What there is not to compare with has no score. Of a recording the first
        is the ceiling. Raises `BadClip` for what has no voice in it."""
        vector = self.encoder.embed(wav, rate)
        told = {"similarity": [self.mean(speaker, key)]}
        told["stranger"] = [self.mean(who, key) for who in {who for who, _ in self.vectors.values()} - {speaker}]
        cosines = {name: [float(vector @ mean) for mean in means if mean is not None] for name, means in told.items()}
        return {name: max(found) for name, found in cosines.items() if found}


def louder(wav: Tensor) -> Tensor:
    """Brought up to `LOUD_DBFS` where it is quieter, as the package's `normalize_volume` does."""
    change = LOUD_DBFS - 20 * wav.square().mean().sqrt().log10()
    return wav * 10 ** (change.clamp(min=0) / 20)


class XVectors:
    """A speaker verification model of Transformers with an x-vector head (WavLM, UniSpeech-SAT, wav2vec 2.0)."""

    trained_on = "unknown: see its model card"

    def __init__(self, source: str):
        from transformers import AutoFeatureExtractor, AutoModelForAudioXVector

        try:
            self.extractor = AutoFeatureExtractor.from_pretrained(source)
            self.net, told = AutoModelForAudioXVector.from_pretrained(source, output_loading_info=True)
        except (OSError, ValueError, KeyError) as error:
            raise SimilarityError(f"transformers={source}: not a speaker encoder with x-vectors: {error}") from error
        if told["missing_keys"]:
            raise SimilarityError(f"transformers={source}: its files lack {sorted(told['missing_keys'])[0]}")
        self.net.eval()
        self.name = source
        self.hash = getattr(self.net.config, "_commit_hash", None) or fingerprint(self.net)

    @torch.no_grad()
    def embed(self, wav: Tensor | np.ndarray, rate: int) -> Tensor:
        hears = self.extractor.sampling_rate
        wav = audio.resampled(torch.as_tensor(wav, dtype=torch.float32), rate, hears)
        if not voice_encoder.checked(wav, hears // 10).abs().max() > 0:
            raise BadClip("silence has no voice")
        inputs = self.extractor(wav.numpy(), sampling_rate=hears, return_tensors="pt")
        return voice_encoder.normalised(self.net(**inputs).embeddings[0])
