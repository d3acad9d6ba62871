"""System `acoustic` (SimplifiedT3): text to log-mel, heard through Griffin-Lim.

Trained from scratch or from a checkpoint with three terms: mel (L1), prior (which frame belongs to which token, for the
alignment search) and duration. No external aligner, no vocoder.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ttslib import adapt, audio, batching, checkpoint, reading
from ttslib.dataset import BadClip, Example
from ttslib.params import Params, validate
from ttslib.systems.acoustic.net import PRESETS, Net
from ttslib.units import Units, UnitsError

CEPSTRA = 34  # 17 and their slopes


class System:
    """See `ttslib.systems` for what every system owns."""

    blocks = ("EncoderLayer", "DecoderBlock")
    """classes of the layers that `sharding=full` gathers one by one"""
    length_of = "mel"

    def __init__(self, p: Params, units: Units, speakers: Sequence[str], languages: Sequence[str]):
        self.p, self.tokenizer = p, units
        self.speakers, self.languages = list(speakers), list(languages)
        self.rate = p.acoustic.rate
        shape = (len(units), PRESETS[p.acoustic.preset], p.acoustic.mels, CEPSTRA, p.acoustic.dropout)
        self.net = Net(*shape, speakers=len(self.speakers), languages=len(self.languages))
        self.nets: dict[str, nn.Module] = {"net": self.net}
        self.adaptation: dict | None = None

    @classmethod
    def fresh(cls, p: Params, rows: Sequence) -> "System":
        """A new system for the training rows: their units, speakers and languages; weights from `p.seed`."""
        units = reading.fitted(p, [(r.text, r.lang) for r in rows])
        torch.manual_seed(p.seed)
        return cls(p, units, sorted({r.speaker for r in rows}), sorted({r.lang for r in rows}))

    def widened(self, p: Params, rows: Sequence) -> "System":
        """An untrained system of this one's shape that also has the units, speakers and languages of `rows`."""
        read = reading.extended(self.tokenizer, p, [(r.text, r.lang) for r in rows])
        p = p.model_copy(
            update={"acoustic": self.p.acoustic, "text": p.text.model_copy(update={"units": reading.kind(read)})}
        )
        speakers = [*self.speakers, *sorted({r.speaker for r in rows} - {*self.speakers})]
        return System(p, read, speakers, [*self.languages, *sorted({r.lang for r in rows} - {*self.languages})])

    @property
    def vocabularies(self) -> dict[str, tuple[str, ...]]:
        return {"text": self.tokenizer.symbols, "speaker": tuple(self.speakers), "language": tuple(self.languages)}

    @property
    def tables(self) -> dict[str, adapt.Table]:
        found = {"text": self.net.encoder.embedding, "speaker": self.net.speaker, "language": self.net.language}
        return {n: adapt.Table(m, n, self.vocabularies[n]) for n, m in found.items() if m is not None}

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {"acoustic": [q for q in self.net.parameters() if q.requires_grad]}

    @property
    def frame_seconds(self) -> float:
        return self.p.acoustic.hop / self.rate

    @property
    def feature_key(self) -> str:
        """Changes whenever `encode` would give something else."""
        a = self.p.acoustic
        content = ["acoustic-2", a.rate, a.hop, a.window, a.mels, self.tokenizer.digest, self.speakers, self.languages]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def ids(self, text: str, lang: str) -> list[int]:
        """Ids of a normalised text between start and end, which also absorb the silence at both ends of a clip.

        Raises `UnitsError` for what the vocabulary lacks, and for a tokenizer file without start and end tokens.
        """
        return reading.ids(self.tokenizer, text, lang)

    def encode(self, row, wav: Tensor) -> Example:
        """One clip: `text` (tokens,), `mel` (mels, frames), `cepstra` (34, frames), `speaker` and `language` scalars.

        `wav` is `(samples,)` at `self.rate`. Raises `BadClip` for units never seen in training, and when there
        are fewer frames than tokens, so that no monotonic alignment exists.
        """
        a = self.p.acoustic
        try:
            text = torch.tensor(self.ids(row.text, row.lang))
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
        """Per-band mean and standard deviation of the training mels and cepstra, once, before the first step; a base keeps
        those it was trained with."""
        if self.adaptation:
            return
        sums = {name: [0, 0.0, 0.0] for name in ("mel", "cepstra")}
        for example in examples:  # read once: they may lie on a disk
            for name, (count, total, square) in sums.items():
                values = example[name].double()
                sums[name] = [count + values.shape[1], total + values.sum(1), square + values.square().sum(1)]
        for name, (count, total, square) in sums.items():
            mean = total / count
            getattr(self.net, f"{name}_mean").copy_(mean)
            getattr(self.net, f"{name}_std").copy_((square / count - mean.square()).clamp(min=1e-4).sqrt())

    def losses(self, batch: Example) -> Iterator[dict[str, Tensor]]:
        yield self.nets["net"](batch)[0]

    def verdict(self, terms: dict[str, float]) -> float:
        """`best` is chosen by the sum of the validation terms."""
        return sum(terms.values())

    def factors(self) -> dict[nn.Parameter, float]:
        """All learn at `train.lr`."""
        return {}

    @torch.no_grad()
    def align(self, batch: Example) -> dict[str, Tensor]:
        """What the model hears in a batch: durations `(batch, tokens)`, its `mel` and the `recording`'s, `(b, m, t)`."""
        return self.net(batch)[1] | {"recording": batch["mel"]}

    @torch.no_grad()
    def mel(self, text: str, voice: str | None = None, lang: str | None = None, speaking_rate: float = 1.0) -> Tensor:
        """Log-mel `(mels, frames)` of a raw text in `lang` (default: the first) by speaker `voice` (default: the first)."""
        ids, *places = self.ready(text, voice, lang)
        device = self.net.mel_mean.device
        place = [torch.tensor([i], device=device) for i in places]
        mel, _ = self.net.infer(torch.tensor([ids], device=device), *place, rate=speaking_rate)
        return mel[0].cpu()

    def ready(self, text: str, voice: str | None, lang: str | None) -> tuple[list[int], int, int]:
        """Ids of a raw text, and the indices of a speaker and a language. Raises `UnitsError`, `ParamsError`."""
        lang = reading.known(lang, self.languages, "language")
        speaker = self.speakers.index(reading.known(voice, self.speakers, "speaker"))
        if not (spoken := self.tokenizer.normalise(text, lang)):
            raise UnitsError(f"nothing to speak: the text is {text!r}; give a text with letters")
        return self.ids(spoken, lang), speaker, self.languages.index(lang)

    def synthesize(
        self, text: str, voice: str | None = None, seed: int = 0, lang: str | None = None, speaking_rate: float = 1.0
    ) -> Tensor:
        """Mono waveform `(samples,)` at `rate`, the same for the same seed. Raises `UnitsError` for unknown letters."""
        with batching.evaluating(self.net):
            mel = self.mel(text, voice, lang, speaking_rate)
        return self.heard(mel, seed)

    def heard(self, mel: Tensor, seed: int) -> Tensor:
        """Waveform `(samples,)` of a log-mel `(mels, frames)`."""
        a = self.p.acoustic
        return audio.griffin_lim(mel.T, a.rate, a.window, a.hop, a.griffin_lim, seed)

    @torch.no_grad()
    def synthesize_each(self, requests: Sequence[batching.Request]) -> batching.Given:
        """`synthesize` of several together (`batching.each`): mels of all at once, Griffin-Lim one by one."""
        ready, refused = batching.prepared(requests, lambda one: self.ready(one.text, one.voice, one.lang))
        yield from refused
        if not ready:
            return
        device, (texts, *places) = self.net.mel_mean.device, zip(*ready.values(), strict=True)
        text = pad_sequence([torch.tensor(ids) for ids in texts], batch_first=True).to(device)
        tokens, *place = (torch.tensor(of, device=device) for of in ([len(ids) for ids in texts], *places))
        rate = torch.tensor([[requests[number].speaking_rate] for number in ready], device=device)
        with batching.evaluating(self.net):
            mels, durations = self.net.infer(text, *place, rate=rate, tokens=tokens)
        for number, mel, frames in zip(ready, mels.cpu(), durations.sum(1).tolist(), strict=True):
            yield number, self.heard(mel[:, :frames], requests[number].seed)

    def state(self) -> dict:
        """Everything beside the weights that rebuilds this system, as plain JSON."""
        return {
            "system": "acoustic",
            "params": self.p.model_dump(mode="json"),
            "tokenizer": self.tokenizer.state(),
            "speakers": self.speakers,
            "languages": self.languages,
            "adaptation": self.adaptation,
        }

    @classmethod
    def restore(cls, state: dict) -> "System":
        p = validate(state["params"], "system.json")
        made = cls(p, reading.restore(state["tokenizer"]), state["speakers"], state["languages"])
        made.adaptation = state.get("adaptation")
        return made

    def export(self, folder: str | Path) -> Path:
        """Write `model.safetensors` and `system.json`; this system has no other runtime. `load` reads them back."""
        weights = {f"net.{k}": v for k, v in adapt.plain(self.net).items()}
        state = self.state()
        state["adaptation"] = state["adaptation"] and state["adaptation"] | {"lora": None}
        return checkpoint.export(Path(folder), weights, state, self.vocabularies)

    @classmethod
    def load(cls, source: str | Path) -> "System":
        """A trained system from a checkpoint or exported folder, its LoRA updates merged.

        Raises `CheckpointError` for a damaged folder and for weights trained with another vocabulary.
        """
        weights, state = checkpoint.trained(Path(source))
        system = cls.restore(state)
        checkpoint.same_vocabulary(Path(source), system.vocabularies)
        own = {k.removeprefix("net."): v for k, v in weights.items()}
        adapt.load_plain("net", system.net, own, system.adaptation)
        system.net.eval()
        return system
