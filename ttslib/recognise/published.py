"""Recognisers of Transformers: Whisper, and CTC networks such as MMS (with its adapter a language) and wav2vec 2.0.

    transformers=openai/whisper-small          # speaks for itself which languages it knows
    transformers=facebook/mms-1b-all@<commit>  # 1,100 languages, an adapter of 9 MB each, fetched when it is asked for
    transformers=<folder>                      # as `save_pretrained` writes them

Decoding is greedy and without a language model: temperature 0 and no fallback to sampling, so that the same speech is
always read the same. Speech longer than `LONGEST` s is cut where it is quietest, as Whisper hears 30 s and no more.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ttslib.codecs.published import digest
from ttslib.recognise import RATE, RecogniserError, heard, known
from ttslib.vocab.source import HUB, UNREACHABLE, in_cache, reachable

LONGEST, SEARCH, QUIET = 28.0, 5.0, 0.1  # seconds: of a piece; before its end; of the window that must be quiet
SHORTEST = 0.05  # seconds; networks of strided convolutions make nothing of less
MMS = {  # our codes, as the adapters of facebook/mms-1b-all are called: ISO 639-3, the script where there are several
    "am": "amh", "de": "deu", "en": "eng", "es": "spa", "fr": "fra", "it": "ita", "kmr": "kmr-script_latin",
    "ku": "kmr-script_latin", "ru": "rus",
}  # fmt: skip
UNTOLD = "unknown: its files do not say; see the model card of "


def load(source: str) -> "Whisper | Ctc":
    """The recogniser of a folder or hub id (`owner/name`, `@revision` after it). Raises `RecogniserError`."""
    from transformers import AutoConfig

    place, revision, options = located(source)
    try:
        config = AutoConfig.from_pretrained(place, **options)
        kind = Whisper if config.model_type == "whisper" else Ctc
        return kind(source, place, options, revision or config._commit_hash)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        if isinstance(error, RecogniserError):
            raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RecogniserError(f"transformers={source}: no recogniser of Transformers: {reason}") from error


def located(source: str, failure: type[ValueError] = RecogniserError) -> tuple[str, str | None, dict]:
    """What Transformers is to open, the hash where it is a folder, and options for `from_pretrained`. Raises `failure`."""
    path = Path(source).expanduser()
    if path.is_dir():
        weights = sorted(path.glob("*.safetensors")) + sorted(path.glob("*.bin"))
        if not weights or not (path / "config.json").is_file():
            raise failure(
                f"transformers={source}: no config.json with weights (*.safetensors) in this folder"
                "; give the folder of a whole model"
            )
        others = [path / name for name in ("config.json", "vocab.json", "tokenizer.json") if (path / name).is_file()]
        return str(path), digest(weights + others), {"local_files_only": True}
    if not (match := HUB.fullmatch(source)) or match["file"]:
        raise failure(
            f"transformers={source}: no such folder, and no hub id (owner/name, owner/name@revision); correct it"
        )
    options = {"revision": match["revision"]} if match["revision"] else {}
    if in_cache(match["repo"], ["config.json"], match["revision"]) is None and not reachable():
        raise failure(f"transformers={source}: {UNREACHABLE}")
    return match["repo"], None, options


def whole(kind, place: str, options: dict, failure: type[ValueError] = RecogniserError, **more):
    """A network of this class with every weight of it. Raises `failure` naming what is missing."""
    found, info = kind.from_pretrained(place, output_loading_info=True, dtype=torch.float32, **options, **more)
    wrong = sorted(info["missing_keys"]) + sorted(str(key) for key in info["mismatched_keys"])
    if wrong:
        raise failure(f"transformers={place}: {len(wrong)} weights are missing or misshapen, as {wrong[:3]}")
    return found.eval()


def pieces(wav: Tensor) -> list[Tensor]:
    """16 kHz samples cut into pieces of at most `LONGEST` s, each cut in the middle of the quietest `QUIET` s that
    are near its end."""
    longest, search, window = round(LONGEST * RATE), round(SEARCH * RATE), round(QUIET * RATE)
    found = []
    while len(wav) > longest:
        power = wav[longest - search : longest].square().unfold(0, window, window // 2).mean(1)
        cut = longest - search + int(power.argmin()) * (window // 2) + window // 2
        found.append(wav[:cut])
        wav = wav[cut:]
    return [*found, wav]


class Whisper:
    """Radford et al. 2022, Robust speech recognition via large-scale weak supervision. Language and task are always set."""

    trained_on = (
        "680,000 hours of the web or more, 99 languages of very unequal shares (Radford et al. 2022), unless fine-tuned"
    )

    def __init__(self, source: str, place: str, options: dict, revision: str):
        from transformers import WhisperForConditionalGeneration, WhisperProcessor

        self.name, self.hash = f"transformers={source}", revision
        self.processor = WhisperProcessor.from_pretrained(place, **options)
        self.network = whole(WhisperForConditionalGeneration, place, options)
        told = getattr(self.network.generation_config, "lang_to_id", None)
        self.languages = frozenset(token[2:-2] for token in told) if told else frozenset(("en",))

    @torch.no_grad()
    def transcribe(self, wav: Tensor | np.ndarray, rate: int, lang: str) -> str:
        known(self, lang)
        lead = {"language": lang, "task": "transcribe"} if len(self.languages) > 1 else {}
        said = []
        for piece in pieces(heard(wav, rate, self.name)):
            if len(piece) < SHORTEST * RATE:
                continue
            mels = self.processor(piece.numpy(), sampling_rate=RATE, return_tensors="pt", return_attention_mask=True)
            ids = self.network.generate(
                mels.input_features, attention_mask=mels.attention_mask, do_sample=False, num_beams=1, **lead
            )
            said.append(self.processor.batch_decode(ids, skip_special_tokens=True)[0].strip())
        return " ".join(filter(None, said))


class Ctc:
    """A network with a CTC head. MMS (Pratap et al. 2023) has an adapter and a vocabulary a language; one without adapters
    knows the language it was fine-tuned on, which its files do not tell: `languages` is None, and to take it for yours is
    your choice."""

    def __init__(self, source: str, place: str, options: dict, revision: str):
        from transformers import AutoModelForCTC, AutoProcessor

        self.name, self.hash, self.trained_on = f"transformers={source}", revision, UNTOLD + source
        self.processor = AutoProcessor.from_pretrained(place, **options)
        self.network = whole(AutoModelForCTC, place, options)
        self.options = options
        vocab = self.processor.tokenizer.vocab
        self.adapters = frozenset(vocab) if vocab and all(isinstance(v, dict) for v in vocab.values()) else frozenset()
        ours = {code for code, name in MMS.items() if name in self.adapters}
        self.languages = self.adapters | ours if self.adapters else None
        self.adapted = None

    def adapt(self, lang: str) -> None:
        """Put the language's adapter and vocabulary in. Raises `RecogniserError` when it cannot be had."""
        name = lang if lang in self.adapters else MMS[lang]
        if name == self.adapted:
            return
        try:
            self.processor.tokenizer.set_target_lang(name)
            self.network.load_adapter(name, **self.options)
        except OSError as error:
            self.adapted = None
            raise RecogniserError(f"{self.name}: no adapter for {name}: {str(error).splitlines()[0]}") from error
        self.adapted = name

    @torch.no_grad()
    def transcribe(self, wav: Tensor | np.ndarray, rate: int, lang: str) -> str:
        known(self, lang)
        if self.adapters:
            self.adapt(lang)
        said = []
        for piece in pieces(heard(wav, rate, self.name)):
            if len(piece) < SHORTEST * RATE:
                continue
            inputs = self.processor(piece.numpy(), sampling_rate=RATE, return_tensors="pt")
            ids = self.network(**inputs).logits.argmax(-1)
            said.append(self.processor.batch_decode(ids, skip_special_tokens=True)[0].strip())
        return " ".join(filter(None, said))
