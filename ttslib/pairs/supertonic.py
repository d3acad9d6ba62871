"""The installed package `supertonic` (https://github.com/supertone-inc, MIT; its weights OpenRAIL-M) as a runtime of pairs.

What the package leaves to its caller is done here: its noise comes from numpy's global state; a character without an id
silently reads the last row of an embedding; a language the model does not know, or that it has no use for, is taken
without a word; and speech is padded to whole latent frames of 3072 samples.
"""

from pathlib import Path
from typing import Any

import numpy as np

from ttslib import styles
from ttslib.pairs.building import Refused
from ttslib.styles import Style, StyleError

NEEDED = (
    *(f"onnx/{name}.onnx" for name in ("duration_predictor", "text_encoder", "vector_estimator", "vocoder")),
    "onnx/tts.json",
    "onnx/unicode_indexer.json",
)
LANGUAGES = {"supertonic": ("en",), "supertonic-2": ("en", "ko", "es", "pt", "fr")}
"""of the models that do not know all languages of the package"""
PAUSE = 0.3
"""seconds between the pieces of a long text, as in the package"""


class RuntimeMissing(ValueError):
    """The package or the weights are not there or cannot be loaded: what is missing, and what to do."""


class Supertonic:
    """A runtime of `building`: `model`, `rate` (Hz), `presets` and `speak`.

    `folder` has the files of the model as published (`onnx/`, `voice_styles/`) and nothing is downloaded; without one the
    package looks in its cache and downloads what is missing. `threads` are those of each graph; more than one may change
    the last bits of a sample. Raises `RuntimeMissing`.
    """

    def __init__(self, model: str = "supertonic-3", folder: str | Path | None = None, threads: int = 1) -> None:
        try:
            import supertonic
            from onnxruntime.capi import onnxruntime_pybind11_state as onnx_errors
        except ModuleNotFoundError as error:
            raise RuntimeMissing(f"package {error.name} is not installed: pip install supertonic") from error
        if model not in supertonic.AVAILABLE_MODELS:
            raise RuntimeMissing(f"there is no model {model!r}; there are {', '.join(supertonic.AVAILABLE_MODELS)}")
        if folder is not None and (missing := absent(Path(folder))):
            raise RuntimeMissing(
                f"{folder}: {', '.join(missing)} of {model} are missing; copy them there, or name no folder to have "
                "the package download them"
            )
        refused = (OSError, ValueError, RuntimeError, onnx_errors.Fail, onnx_errors.InvalidProtobuf)
        refused += (onnx_errors.InvalidGraph, onnx_errors.NoSuchFile)
        try:
            self.tts = supertonic.TTS(
                model,
                model_dir=folder,
                auto_download=folder is None,
                intra_op_num_threads=threads,
                inter_op_num_threads=1,
            )
        except refused as error:
            raise RuntimeMissing(
                f"{folder or model}: cannot be loaded: {error}; download it anew, or give the folder of a whole copy"
            ) from error
        self.model, self.rate = model, int(self.tts.sample_rate)
        self.languages = LANGUAGES.get(model, tuple(supertonic.AVAILABLE_LANGUAGES))
        characters = self.tts.model.text_processor
        self.heard = {characters.indexer[ord(c)] for c in characters.supported_character_set if c.isalnum()}

    def presets(self) -> dict[str, Style]:
        """The styles of `voice_styles/*.json` by name. Raises `StyleError` for a file of another model version."""
        files = sorted((self.tts.model_dir / "voice_styles").glob("*.json"))
        return {file.stem: styles.read(file, self.model) for file in files}

    def speak(self, text: str, style: Style, lang: str, seed: int, speed: float = 1.05) -> np.ndarray:
        """`(samples,)` float32 at `rate`, as long as the duration predictor says; the same for the same arguments.

        A text of more than 300 characters (of Korean, 120) is spoken in pieces, as the package does, but each is cut to
        its own duration. numpy's global random state is as it was before; do not speak in two threads at once. Raises
        `StyleError` for a style of another model or of none, and `Refused`.
        """
        from supertonic import Style as Vendor
        from supertonic import config
        from supertonic.utils import chunk_text

        if style.model != self.model:
            raise StyleError(
                f"a style of {style.model or 'no named model'}; {self.model} speaks its own only: make it anew"
            )
        if not 0 <= seed < 2**32:
            raise Refused(f"the seed {seed} is not in 0 to 2^32 - 1; give one that is")
        if not config.MIN_SPEED <= speed <= config.MAX_SPEED:
            raise Refused(f"the speed {speed:g} is not in {config.MIN_SPEED} to {config.MAX_SPEED}; give one that is")
        self.check(text, lang, config.MAX_TEXT_LENGTH)
        most = config.DEFAULT_MAX_CHUNK_LENGTH_KO if lang == "ko" else config.DEFAULT_MAX_CHUNK_LENGTH
        asked = Vendor(style.ttl[None], style.dp[None])
        spoken: list[np.ndarray] = []
        before = np.random.get_state()
        try:
            np.random.seed(seed)
            for piece in chunk_text(text, most):
                wav, seconds = self.tts.synthesize(piece, asked, speed=speed, lang=lang)
                spoken += [np.zeros(int(PAUSE * self.rate), np.float32)] if spoken else []
                spoken.append(wav[0, : int(self.rate * seconds[0])])
        except ValueError as error:  # the package's word for what it does not take, and numpy's for a NaN duration
            raise Refused(f"{text[:60]!r}: supertonic does not speak it: {error}") from error
        finally:
            np.random.set_state(before)
        return np.concatenate(spoken).astype(np.float32, copy=False)

    def check(self, text: str, lang: str, longest: int) -> None:
        """Raises `Refused` for what the package would raise on, leave unsaid, or read as something else."""
        if lang not in self.languages:
            raise Refused(
                f"language {lang!r} is none of {self.model}'s ({', '.join(self.languages)}); choose one of these"
            )
        if len(text) > longest:
            raise Refused(f"{text[:60]!r}...: {len(text)} characters, more than {longest}; split it")
        characters: Any = self.tts.model.text_processor
        valid, unsupported = characters.validate_text(text)
        if not valid:
            named = ", ".join(f"{c!r} (U+{ord(c):04X})" for c in unsupported)
            raise Refused(f"{text[:60]!r}: {self.model} has no {named}; respell the text, or romanise it")
        ids, _ = characters([text])
        if not self.heard.intersection(ids[0].tolist()):
            raise Refused(f"{text[:60]!r}: no letter or digit is left of it to speak; give a text with letters")


def absent(folder: Path) -> list[str]:
    """The files of a model that a folder does not have."""
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    return missing + ["voice_styles/*.json"] * (not any(folder.glob("voice_styles/*.json")))
