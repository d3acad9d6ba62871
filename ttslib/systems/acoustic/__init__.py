"""System `acoustic` (SimplifiedT3): text to log-mel, heard through Griffin-Lim.

Trained from scratch or from a checkpoint with three terms: mel (L1), prior (which frame belongs to which token, for the
alignment search) and duration. No external aligner, no vocoder.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ttslib import audio
from ttslib.dataset import BadClip, Example
from ttslib.params import Params, ParamsError, validate
from ttslib.systems.acoustic.net import PRESETS, Net
from ttslib.units import Units, UnitsError

CEPSTRA = 34  # 17 and their slopes


class System:
    """See `ttslib.systems` for what every system owns."""

    length_of = "mel"

    def __init__(self, p: Params, units: Units, speakers: Sequence[str], languages: Sequence[str]):
        self.p, self.tokenizer = p, units
        self.speakers, self.languages = list(speakers), list(languages)
        self.rate = p.acoustic.rate
        shape = (len(units), PRESETS[p.acoustic.preset], p.acoustic.mels, CEPSTRA, p.acoustic.dropout)
        self.net = Net(*shape, speakers=len(self.speakers), languages=len(self.languages))
        self.nets: dict[str, nn.Module] = {"net": self.net}

    @classmethod
    def fresh(cls, p: Params, rows: Sequence) -> "System":
        """A new system for the training rows: their units, speakers and languages; weights from `p.seed`."""
        units = Units.fit(((r.text, r.lang) for r in rows), p.text.units, p.text.homophones)
        torch.manual_seed(p.seed)
        return cls(p, units, sorted({r.speaker for r in rows}), sorted({r.lang for r in rows}))

    @property
    def tables(self) -> dict[str, nn.Module]:
        return {"text": self.net.encoder.embedding}

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {"acoustic": list(self.net.parameters())}

    @property
    def frame_seconds(self) -> float:
        return self.p.acoustic.hop / self.rate

    @property
    def feature_key(self) -> str:
        """Changes whenever `encode` would give something else."""
        a = self.p.acoustic
        content = ["acoustic-2", a.rate, a.hop, a.window, a.mels, self.tokenizer.digest, self.speakers, self.languages]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def encode(self, row, wav: Tensor) -> Example:
        """One clip: `text` (tokens,), `mel` (mels, frames), `cepstra` (34, frames), `speaker` and `language` scalars.

        `wav` is `(samples,)` at `self.rate`. Raises `BadClip` for units never seen in training, and when there
        are fewer frames than tokens, so that no monotonic alignment exists.
        """
        a = self.p.acoustic
        try:
            text = torch.tensor(self.tokenizer.encode(row.text, row.lang))
        except UnitsError as error:
            raise BadClip(str(error)) from None
        if len(wav) <= a.window // 2:
            raise BadClip(f"{len(wav)} samples are too few for a window of {a.window}")
        mel = audio.log_mel(wav, a.rate, a.window, a.hop, a.mels).T
        if mel.shape[1] < len(text):
            raise BadClip(f"{mel.shape[1]} frames for {len(text)} units: spoken faster than one unit a frame")
        speaker, language = self.speakers.index(row.speaker), self.languages.index(row.lang)
        cepstra = audio.cepstra(mel.T, CEPSTRA // 2).T
        return {
            "text": text,
            "mel": mel,
            "cepstra": cepstra,
            "speaker": torch.tensor(speaker),
            "language": torch.tensor(language),
        }

    def measure(self, examples: Sequence[Example]) -> None:
        """Per-band mean and standard deviation of the training mels and cepstra, once, before the first step."""
        for name in ("mel", "cepstra"):
            count, total, square = 0, 0.0, 0.0
            for example in examples:
                values = example[name].double()
                count += values.shape[1]
                total, square = total + values.sum(1), square + values.square().sum(1)
            mean = total / count
            getattr(self.net, f"{name}_mean").copy_(mean)
            getattr(self.net, f"{name}_std").copy_((square / count - mean.square()).clamp(min=1e-4).sqrt())

    def losses(self, batch: Example) -> Iterator[dict[str, Tensor]]:
        yield self.nets["net"](batch)[0]

    @torch.no_grad()
    def align(self, batch: Example) -> dict[str, Tensor]:
        """What the model hears in a batch: durations `(batch, tokens)` and its mel `(batch, mels, frames)`."""
        return self.net(batch)[1]

    @torch.no_grad()
    def mel(self, text: str, voice: str | None = None, lang: str | None = None, speaking_rate: float = 1.0) -> Tensor:
        """Log-mel `(mels, frames)` of a raw text in `lang` (default: the first) by speaker `voice` (default: the first)."""
        lang = self.known(lang, self.languages, "language")
        speaker = self.speakers.index(self.known(voice, self.speakers, "speaker"))
        if not (spoken := self.tokenizer.normalise(text, lang)):
            raise UnitsError(f"nothing to speak: the text is {text!r}")
        ids = self.tokenizer.encode(spoken, lang)
        device = self.net.mel_mean.device
        place = [torch.tensor([i], device=device) for i in (speaker, self.languages.index(lang))]
        mel, _ = self.net.infer(torch.tensor([ids], device=device), *place, rate=speaking_rate)
        return mel[0].cpu()

    def synthesize(
        self, text: str, voice: str | None = None, seed: int = 0, lang: str | None = None, speaking_rate: float = 1.0
    ) -> Tensor:
        """Mono waveform `(samples,)` at `rate`, the same for the same seed. Raises `UnitsError` for unknown letters."""
        was_training = self.net.training
        self.net.eval()
        try:
            mel = self.mel(text, voice, lang, speaking_rate)
        finally:
            self.net.train(was_training)
        a = self.p.acoustic
        return audio.griffin_lim(mel.T, a.rate, a.window, a.hop, a.griffin_lim, seed)

    @staticmethod
    def known(name: str | None, names: list[str], what: str) -> str:
        if name is None:
            return names[0]
        if name not in names:
            raise ParamsError(f"{what} {name!r} is not one this voice was trained on: {', '.join(names)}")
        return name

    def state(self) -> dict:
        """Everything beside the weights that rebuilds this system, as plain JSON."""
        return {
            "system": "acoustic",
            "params": self.p.model_dump(mode="json"),
            "tokenizer": self.tokenizer.state(),
            "speakers": self.speakers,
            "languages": self.languages,
        }

    @classmethod
    def restore(cls, state: dict) -> "System":
        p = validate(state["params"], "system.json")
        return cls(p, Units.restore(state["tokenizer"]), state["speakers"], state["languages"])

    def export(self, folder: str | Path) -> Path:
        """Write `model.safetensors` and `system.json`; this system has no other runtime. `load` reads them back."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        weights = {f"net.{k}": v.detach().cpu().contiguous() for k, v in self.net.state_dict().items()}
        save_file(weights, folder / "model.safetensors")
        (folder / "system.json").write_text(json.dumps(self.state(), ensure_ascii=False, indent=1), encoding="utf-8")
        return folder

    @classmethod
    def load(cls, source: str | Path) -> "System":
        """A trained system from a checkpoint or exported folder."""
        folder = Path(source)
        if not (folder / "system.json").is_file():
            raise FileNotFoundError(
                f"{folder}: no system.json; give a checkpoint folder such as <run>/checkpoints/best"
            )
        system = cls.restore(json.loads((folder / "system.json").read_text(encoding="utf-8")))
        weights = {k.removeprefix("net."): v for k, v in load_file(folder / "model.safetensors").items()}
        system.net.load_state_dict(weights)
        system.net.eval()
        return system
