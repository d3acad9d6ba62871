"""System `style`: a recording -> the voice style with which Supertonic speaks in that voice (`ttslib.styles`).

It learns from pairs (`ttslib.pairs`) and reads no text. What it is worth is told by `report`: raw cosines of styles prove
nothing. Speech comes from the vendor's frozen runtime, where `style.runtime` names its files.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ttslib import adapt, audio, checkpoint, styles
from ttslib.dataset import BadClip, Example
from ttslib.params import Params, ParamsError, validate
from ttslib.styles import Style
from ttslib.systems import coded
from ttslib.systems.style import report
from ttslib.systems.style.augmenting import levelled
from ttslib.systems.style.net import HOP, PRESETS, Net
from ttslib.systems.style.voices import spoken_with, style_of
from ttslib.units import END, PAD, START, Units

USUAL = 1.05  # the speed that Supertonic's package speaks with by itself, and pairs with it
CONSENT = "A style of a real person's voice: use it with this person's consent, and as the OpenRAIL-M licence of Supertonic's weights allows."  # fmt: skip  # noqa: E501


class System:
    """See `ttslib.systems` for what every system owns."""

    length_of = "wav"
    reads = False
    frame_seconds = HOP

    def __init__(self, p: Params, model: str, voices: Sequence[str]):
        """`model`: whose styles these are ("supertonic-3"); `voices`: those it is trained on."""
        self.p, self.model, self.voices = p, model, list(voices)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(p.seed)
            self.net = Net(PRESETS[p.style.preset], p.style)
        self.nets: dict[str, nn.Module] = {"net": self.net}
        self.tokenizer = Units("none", (PAD, START, END))
        self.known: dict[str, Style] = {}
        self.adaptation: dict | None = None

    @classmethod
    def fresh(cls, p: Params, rows: Sequence) -> "System":
        """A new system for the training rows; the mean is that of their voices, each counted once."""
        known = spoken_with(rows, p.style.model)
        models = {style.model for style in known.values()}
        if len(models) != 1 or (p.style.model and p.style.model not in models):
            raise ParamsError(
                f"style: the pairs have styles of {', '.join(map(repr, sorted(models)))}"
                + (f", style.model={p.style.model} was asked for" if p.style.model else "")
                + "; the spaces of models differ, train for one"
            )
        if models == {""}:
            print("style: neither the pairs nor style.model say which model's styles these are; voice files will not either",
                  file=sys.stderr)  # fmt: skip
        made = cls(p, models.pop(), sorted(known))
        for name in ("ttl", "dp"):
            every = np.stack([getattr(style, name) for style in known.values()]).astype(np.float64)
            getattr(made.net, f"mean_{name}").copy_(torch.from_numpy(every.mean(0)))
            getattr(made.net, f"spread_{name}").fill_(every.std(0).mean().clip(min=1e-4).item())
        made.known = known
        return made

    def widened(self, p: Params, rows: Sequence) -> "System":
        """An untrained system of this one's size and mean that also takes the voices of `rows`, of the same model."""
        known = spoken_with(rows, self.model)
        if other := sorted({style.model for style in known.values()} - {self.model}):
            raise adapt.AdaptError(
                f"adapt.base gives styles of {self.model}, these pairs have {', '.join(other)}"
                "; make the pairs anew with that model"
            )
        own = p.style.model_copy(update={"preset": self.p.style.preset, "rate": self.p.style.rate})
        made = System(p.model_copy(update={"style": own}), self.model, coded.grown(self.voices, rows, "speaker"))
        made.known = self.known | known
        return made

    @property
    def rate(self) -> int:
        return self.p.style.rate

    @property
    def vocabularies(self) -> dict[str, tuple[str, ...]]:
        return {"text": (), "speaker": tuple(self.voices)}

    @property
    def tables(self) -> dict[str, adapt.Table]:
        return {}

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {"encoder": [q for q in self.net.parameters() if q.requires_grad]}

    def factors(self) -> dict[nn.Parameter, float]:
        """All learn at `train.lr`."""
        return {}

    def undecayed(self) -> list[nn.Parameter]:
        """The queries: they are vectors, as biases are."""
        return [pool.queries for pool in (self.net.ttl, self.net.dp)]

    @property
    def feature_key(self) -> str:
        """Changes whenever `encode` would give something else; a row's speaker names its style."""
        return hashlib.sha256(json.dumps(["style-1", self.rate, self.net.hop, self.model]).encode()).hexdigest()

    def ids(self, text: str, lang: str) -> list[int]:
        return []

    def encode(self, row, wav: Tensor) -> Example:
        """One clip: `wav` (hop, frames) 16-bit integers, `style_ttl` (50, 256), `style_dp` (8, 16). Raises `BadClip` for a
        row that is of no pair, or of another model's style."""
        style = style_of(row, self.model)
        if style.model != self.model:
            raise BadClip(f"a style of {style.model or 'an unnamed model'}, not of {self.model}")
        hop = self.net.hop
        padded = nn.functional.pad((wav * 32768).round().clamp(-32768, 32767), (0, -len(wav) % hop)).short()
        return {
            "wav": padded.reshape(-1, hop).T.contiguous(),
            "style_ttl": torch.from_numpy(style.ttl), "style_dp": torch.from_numpy(style.dp),
        }  # fmt: skip

    def measure(self, examples: Sequence[Example]) -> None:
        """Nothing: the mean style is known from the voices."""

    def losses(self, batch: Example) -> Iterator[dict[str, Tensor]]:
        """See `Net.forward`."""
        yield self.nets["net"](batch)

    def verdict(self, terms: dict[str, float]) -> float:
        """`best` has the lowest loss on voices that were not trained on."""
        return terms["ttl"] + terms["dp"] + terms["cosine"]

    @torch.no_grad()
    def clone(self, wav: Tensor) -> Style:
        """The style of a recording `(samples,)` at `rate`; a long one is heard in parts, whose styles are averaged.

        Raises `ParamsError` for one that is shorter than a tenth of a second or silent.
        """
        if len(wav) < self.rate // 10 or not wav.abs().max() > 1e-4:
            raise ParamsError(
                f"a recording of {len(wav) / self.rate:.2f} s has no voice in it: give some seconds of speech"
            )
        device, was_training = next(self.net.parameters()).device, self.net.training
        most = round(self.p.style.longest * self.rate)
        some = wav.tensor_split(-(-len(wav) // most))
        self.net.eval()
        try:
            found = []
            for part in some:
                length = torch.tensor([len(part)], device=device)
                found.append(self.net.styles(levelled(part[None].to(device), length), length))
        finally:
            self.net.train(was_training)
        ttl, dp = (torch.stack([f[i][0] for f in found]).double().mean(0).cpu().numpy() for i in (0, 1))
        return Style.of(styles.unit(ttl), styles.unit(dp), self.model)

    @cached_property
    def runtime(self):
        """Supertonic's own runtime, of this model and the files in `style.runtime`."""
        from ttslib.pairs.supertonic import Supertonic

        if self.mute:
            raise ParamsError(self.mute)
        return Supertonic(self.model, self.p.style.runtime)

    @property
    def mute(self) -> str:
        """Why nothing can be spoken here, "" where it can."""
        if self.p.style.runtime is None:
            return f"a style is no speech; set style.runtime to the folder of {self.model}'s files to hear it"
        return ""

    def voice(self, voice: str | None) -> Style:
        """The style of a voice file (.json) or of a recording, by its path (silence at its ends is cut off); of a voice that
        it is being trained on, by its name; without any the mean. Raises `ParamsError` for anything else, `StyleError` for
        another model's file."""
        if voice is None:
            return self.mean
        if voice in self.known:
            return self.known[voice]
        if not Path(voice).is_file():
            raise ParamsError(f"voice {voice!r} is neither a recording nor a voice file (.json): give the path of one")
        if Path(voice).suffix == ".json":
            return styles.read(voice, self.model)
        wav, d = audio.load(voice, self.rate)[0], self.p.doctor
        start, end = audio.speech_span(wav, self.rate, d.trim_db, d.keep_silence)  # as in training
        return self.clone(torch.from_numpy(wav[round(start * self.rate) : round(end * self.rate)]))

    def synthesize(
        self, text: str, voice: str | None = None, seed: int = 0, lang: str | None = None, speaking_rate: float = 1.0
    ) -> Tensor:
        """Mono waveform `(samples,)` at `rate`, spoken by Supertonic; `voice` as `System.voice` takes it. Raises
        `ParamsError` without `style.runtime`."""
        return self.spoken(text, self.voice(voice), lang, seed, speaking_rate)

    def spoken(
        self, text: str, style: Style, lang: str | None = None, seed: int = 0, speaking_rate: float = 1.0
    ) -> Tensor:
        """The same in a style."""
        wav = self.runtime.speak(text, style, lang or "na", seed, USUAL * speaking_rate)
        return audio.resampled(torch.from_numpy(wav), self.runtime.rate, self.rate)

    def scorecard(self, held: Sequence, trained: Sequence, read) -> dict:
        """See `report.scorecard`; `held` and `trained` are rows."""
        return report.scorecard(self, held, spoken_with(trained, self.model), read)

    def space(self, held: Sequence, trained: Sequence, read) -> dict:
        """See `report.space`; `held` and `trained` are rows."""
        return report.space(self, held, spoken_with(trained, self.model), read)

    def nearest(self, style: Style, trained: Sequence) -> tuple:
        """The row of the training voice that is nearest to a style, and its centred cosine."""
        first = {}
        for row in trained:
            first.setdefault(row.speaker, row)
        ttl = np.stack([known.ttl for known in spoken_with(list(first.values()), self.model).values()])
        cosines = styles.centred_cosine(ttl, np.broadcast_to(style.ttl, ttl.shape), report.means(self)["ttl"])
        return list(first.values())[int(cosines.argmax())], float(cosines.max())

    @property
    def mean(self) -> Style:
        """The style of nobody: what all voices have in common."""
        return Style.of(*map(styles.unit, report.means(self).values()), self.model)

    @property
    def digest(self) -> str:
        """SHA-256 of the weights, by name."""
        made = hashlib.sha256()
        for name, value in sorted(adapt.plain(self.net).items()):
            made.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        return made.hexdigest()

    def state(self) -> dict:
        """Everything beside the weights that rebuilds this system, as plain JSON; the voices' styles stay with the pairs."""
        return {
            "system": "style",
            "params": self.p.model_dump(mode="json"),
            "model": self.model,
            "voices": self.voices,
            "adaptation": self.adaptation,
        }

    @classmethod
    def restore(cls, state: dict) -> "System":
        made = cls(validate(state["params"], "system.json"), state["model"], state["voices"])
        made.adaptation = state.get("adaptation")
        return made

    def export(self, folder: str | Path) -> Path:
        """Write the encoder: weights, `system.json`, and a README. A voice for the runtime is written by `export_voice`."""
        state = self.state()
        state["adaptation"] = state["adaptation"] and state["adaptation"] | {"lora": None}
        weights = {f"net.{k}": v for k, v in adapt.plain(self.net).items()}
        folder = checkpoint.export(Path(folder), weights, state, self.vocabularies)
        told = f"# An encoder of voice styles of {self.model}\n\n`ttslib voice <this folder> --voice me.wav --out me.json`\n"
        (folder / "README.md").write_text(f"{told}\n{CONSENT}\n", encoding="utf-8")
        return folder

    def export_voice(self, voice: str | None, file: str | Path) -> Path:
        """Write the style of a voice (see `voice`) as the JSON that Supertonic's runtime loads."""
        told = {"encoder": self.digest, "extracted_at": datetime.now(UTC).isoformat(timespec="seconds")}
        if voice is not None and Path(voice).is_file():
            told |= {"source_file": Path(voice).name, "consent": CONSENT}
        return styles.write(file, self.voice(voice), target_sample_rate=self.rate, **told)

    @classmethod
    def load(cls, source: str | Path) -> "System":
        """A trained encoder from a checkpoint or an export. Raises `CheckpointError`."""
        system, weights = coded.trained(cls, Path(source))
        adapt.load_plain("net", system.net, weights, system.adaptation)
        system.net.eval()
        return system
