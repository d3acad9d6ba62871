"""Predicted opinion scores without a reference: DNSMOS, trained on English, and labelled so in every result.

    scores = quality.dnsmos(wav, rate, "am")      # {"ovrl_mos": 3.1, ..., "predictor": "DNSMOS ..., English-trained, ..."}

The package `speechmos` 0.0.1.1 (MIT) carries the ONNX networks of DNSMOS P.835 (Reddy et al. 2022) and P.808 (Reddy et al.
2021). They learnt what noise suppression does to English speech; in another language, and of synthetic speech, only
differences between systems on the same sentences mean anything, and those need listeners behind them.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from ttslib import audio

RATE = 16000
INSTALL = (
    "pip install --no-deps speechmos==0.0.1.1, which needs onnxruntime, librosa and requests; or evaluate.mos=null"
)
SCORES = ("ovrl_mos", "sig_mos", "bak_mos", "p808_mos")


class QualityError(ValueError):
    """No predictor, or nothing to predict from; the message says what to do."""


def package() -> ModuleType:
    """`speechmos.dnsmos`. Raises `QualityError` naming what to install."""
    if importlib.util.find_spec("speechmos") is None:
        raise QualityError(f"predicted opinion scores need a package: {INSTALL}")
    try:
        from speechmos import dnsmos
    except ModuleNotFoundError as error:
        raise QualityError(f"speechmos needs {error.name}, which is not installed: {INSTALL}") from error
    return dnsmos


def label(lang: str) -> str:
    """What stands beside the scores."""
    trained = "English-trained" if lang == "en" else f"English-trained, not calibrated for {lang or 'other languages'}"
    return f"DNSMOS P.835 and P.808 (speechmos 0.0.1.1), {trained}"


def predictor(spec: str | None) -> tuple[Callable[[Tensor, int, str], float] | None, str | None]:
    """The overall score `(wav, rate, lang) -> 1..5` that `dnsmos` or `utmos=<TorchScript file>` names, and its label.

    A UTMOS file (Saeki et al. 2022) takes 16 kHz `(1, samples)` and gives one number. Raises `QualityError`.
    """
    if spec is None:
        return None, None
    kind, _, source = spec.partition("=")
    if spec == "dnsmos":
        package()
        return lambda wav, rate, lang: dnsmos(wav, rate, lang)["ovrl_mos"], label("")
    if kind != "utmos" or not source:
        raise QualityError(f"{spec!r} predicts no opinion scores: give dnsmos or utmos=<TorchScript file>")
    try:
        net = torch.jit.load(source, map_location="cpu").eval()
    except (RuntimeError, ValueError) as error:
        raise QualityError(
            f"utmos={source}: not a TorchScript file: {str(error).splitlines()[0]}; give dnsmos or another file"
        ) from None

    @torch.no_grad()
    def utmos(wav: Tensor, rate: int, lang: str) -> float:
        return float(net(audio.resampled(checked(wav), rate, RATE)[None]).squeeze())

    return utmos, f"UTMOS, {Path(source).name}, English-trained, not calibrated for other languages"


def checked(wav: Tensor | np.ndarray) -> Tensor:
    wav = torch.as_tensor(wav)
    if wav.ndim != 1 or not wav.is_floating_point() or not wav.isfinite().all() or not len(wav) or not wav.any():
        raise QualityError(
            f"expected finite mono samples (samples,) with a sound in them, got {wav.dtype} {tuple(wav.shape)}"
            "; give a recording of speech"
        )
    return wav.detach().float().cpu()


def dnsmos(wav: Tensor | np.ndarray, rate: int, lang: str) -> dict:
    """Scores from 1 to 5 of `(samples,)` at `rate` Hz: `ovrl_mos` (overall), `sig_mos` (speech), `bak_mos` (background) and
    `p808_mos`; and `predictor`, which names and labels them.

    Speech of less than 9 s is repeated, longer speech scored in windows 1 s apart, as the package does. Raises
    `QualityError` for samples that are not mono and finite, or that are silent: a score of nothing would look like one.
    """
    samples = audio.resampled(checked(wav), rate, RATE).numpy()
    samples = samples / max(1.0, float(np.abs(samples).max()))
    told = package().run(samples, sr=RATE)
    return {name: float(told[name]) for name in SCORES} | {"predictor": label(lang)}
