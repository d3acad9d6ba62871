"""System `vits`: VITS and MMS-TTS, trained whole from scratch or from any published checkpoint.

`load` takes a run's checkpoint, an export, any VITS folder or hub id of Transformers whose tokenizer reads characters
(facebook/mms-tts-kmr-script_latin, ...), an original `G_*.pth`, or a Piper voice; `export` writes a folder that stock
`VitsModel` and `VitsTokenizer` speak from. Two parts learn in turn: the discriminator, then the generator.
`vits.discriminator=false` leaves the second alone. A voice may be the base (`adapt.base`: all of it is kept and learns on)
or lend its sound alone (`vits.vocoder`: the text side starts fresh).
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import VitsConfig, VitsModel

from ttslib import adapt, batching, losses, reading
from ttslib.dataset import BadClip, Example
from ttslib.params import Params, ParamsError, validate
from ttslib.systems.vits import configs, discriminator, features, letters, net, sources, speaking, storage
from ttslib.units import UnitsError
from ttslib.vocab import restore
from ttslib.vocab.characters import Characters

SLOPE_SCALE = 4096.0  # lifts the slope at a single sample, 1e-5 and less, above what fp16 can tell from zero


class System:
    """See `ttslib.systems` for what every system owns."""

    length_of = "wav"

    def __init__(
        self, p: Params, vits: VitsModel, tokenizer: Characters, speakers: Sequence[str], languages: Sequence[str],
        blanks: bool = True,
    ):  # fmt: skip
        """`blanks`: id 0 stands between all ids (`add_blank`). A network of one voice speaks it under every name."""
        self.p, self.tokenizer, self.blanks = p, tokenizer, blanks
        self.speakers, self.languages = list(speakers), list(languages)
        self.generator = net.Generator(vits, p.vits.segment)
        self.config: VitsConfig = vits.config
        self.rate: int = vits.config.sampling_rate
        self.nets: dict[str, nn.Module] = {"generator": self.generator}
        self.discriminator = None
        if p.vits.discriminator:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(p.seed)
                self.discriminator = discriminator.Discriminator(configs.PRESETS[p.vits.preset]["discriminator"])
            self.nets["discriminator"] = self.discriminator
        self.adaptation: dict | None = None

    @classmethod
    def fresh(cls, p: Params, rows: Sequence) -> "System":
        """A new system for the training rows: their symbols and speakers; weights from `p.seed`, and from `vits.vocoder`."""
        tokenizer = letters.fit([(r.text, r.lang) for r in rows], p)
        speakers, languages = sorted({r.speaker for r in rows}), sorted({r.lang for r in rows})
        lender = cls.load(p.vits.vocoder) if p.vits.vocoder else None
        if lender:
            config = configs.like(lender.config, len(tokenizer), len(speakers))
            p = p.model_copy(update={"vits": p.vits.model_copy(update={"rate": lender.rate})})
        else:
            config = configs.config(p.vits.preset, p.vits.rate, len(tokenizer), len(speakers))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(p.seed)
            vits = net.fresh(config)
        if lender:
            net.lend(lender.generator.vits, vits)
        made = cls(p, vits, tokenizer, speakers, languages)
        made.begin()
        return made

    def begin(self) -> None:
        """As training starts: the discriminator's weights where they are given, and the modules that are held."""
        for name, module in self.modules().items():
            if self.p.vits.lr.get(name) == 0:
                module.requires_grad_(False)
        if (path := self.p.vits.discriminator_from) is not None:
            if self.discriminator is None:
                raise ParamsError(
                    "vits.discriminator_from names weights, vits.discriminator=false trains without them"
                    "; give one of the two"
                )
            discriminator.load_original(self.discriminator, path)

    def widened(self, p: Params, rows: Sequence) -> "System":
        """An untrained system of this one's shape that also has the characters and speakers of `rows`."""
        new = sorted({r.speaker for r in rows})
        if p.vits.vocoder:
            raise ParamsError("adapt.base keeps the whole voice, vits.vocoder its sound alone; give one of the two")
        if len(new) > 1 and self.config.num_speakers == 1:
            raise ParamsError(
                f"adapt.base has one voice, the corpus {len(new)} ({', '.join(new[:5])}); choose one of them"
            )
        if p.vits.discriminator_from and self.discriminator is not None:
            raise ParamsError(
                "vits.discriminator_from: adapt.base has a trained discriminator already; give one of the two"
            )
        tokenizer = letters.extended(self.tokenizer, [(r.text, r.lang) for r in rows], p)
        speakers = [*self.speakers, *(s for s in new if s not in self.speakers)]
        languages = [*self.languages, *sorted({r.lang for r in rows} - {*self.languages})]
        config = VitsConfig.from_dict(self.config.to_dict())
        config.vocab_size = len(tokenizer) + len(self.spare)
        config.num_speakers = len(speakers) if config.num_speakers > 1 else 1
        p = p.model_copy(update={"vits": p.vits.model_copy(update={"preset": self.p.vits.preset, "rate": self.rate})})
        made = System(p, net.build(config), tokenizer, speakers, languages, self.blanks)
        made.begin()
        return made

    @property
    def spare(self) -> tuple[str, ...]:
        """Names of the rows that a published network has beyond its vocabulary: the same when tokens come before them."""
        rows = len(self.generator.vits.text_encoder.embed_tokens.weight)
        return tuple(f"<spare {i}>" for i in range(rows - len(self.tokenizer)))

    @property
    def vocabularies(self) -> dict[str, tuple[str, ...]]:
        return {"text": self.tokenizer.symbols, "speaker": tuple(self.speakers), "language": tuple(self.languages)}

    @property
    def tables(self) -> dict[str, adapt.Table]:
        vits = self.generator.vits
        found = {"text": adapt.Table(vits.text_encoder.embed_tokens, "text", self.tokenizer.symbols, self.spare)}
        if self.config.num_speakers > 1:
            found["speaker"] = adapt.Table(vits.embed_speaker, "speaker", tuple(self.speakers))
        return found

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The discriminator first; a part of which nothing learns (`adapt.body`) is none."""
        nets = {"discriminator": self.discriminator, "generator": self.generator}
        found = {n: [q for q in m.parameters() if q.requires_grad] for n, m in nets.items() if m is not None}
        return {n: qs for n, qs in found.items() if qs}

    def modules(self) -> dict[str, nn.Module]:
        """What `vits.lr` can name."""
        return dict(self.generator.vits.named_children()) | (
            {"discriminator": self.discriminator} if self.discriminator else {}
        )

    def factors(self) -> dict[nn.Parameter, float]:
        """Multiples of `train.lr`, where they are not 1."""
        lr = self.p.vits.lr
        return {q: lr[name] for name, module in self.modules().items() if name in lr for q in module.parameters()}

    @property
    def frame_seconds(self) -> float:
        return self.generator.hop / self.rate

    @property
    def feature_key(self) -> str:
        """Changes whenever `encode` would give something else."""
        g, voices = self.generator, self.speakers if self.config.num_speakers > 1 else []
        content = ["vits-2", self.rate, g.hop, g.segment, self.tokenizer.digest, self.blanks, voices]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def encode(self, row, wav: Tensor) -> Example:
        """One clip: `text` (ids,), `wav` (hop, frames) in 16 bits, `speaker` scalar.

        `wav` comes as `(samples,)` at `self.rate`. Raises `BadClip` for symbols without a row, for clips shorter than the
        training segment or not finite, and when there are fewer frames than ids, so that no monotonic path exists. Spectra
        are made of each batch: kept, they would take four times the memory and save a thousandth of a step.
        """
        g, frames = self.generator, len(wav) // self.generator.hop
        try:
            ids, speaker = self.ids(row.text, row.lang), self.voice(row.speaker)
        except (UnitsError, ParamsError) as error:
            raise BadClip(str(error)) from None
        if frames < g.segment:
            raise BadClip(
                f"{frames} frames, shorter than the segment of {g.segment} that training speaks (vits.segment)"
            )
        if frames < len(ids):
            raise BadClip(f"{frames} frames for {len(ids)} ids: spoken faster than one id a frame")
        if not wav.sum().isfinite():
            raise BadClip("its samples are not finite; record the clip anew")
        return {"text": torch.tensor(ids), "wav": features.stored(wav, g.hop), "speaker": torch.tensor(speaker)}

    def ids(self, text: str, lang: str) -> list[int]:
        """What the text encoder reads for a normalised text. Raises `UnitsError` naming symbols that have no row."""
        return letters.ids(text, lang, self.tokenizer, self.blanks)

    def measure(self, examples: Sequence[Example]) -> None:
        """Nothing: VITS reads magnitudes as they are."""

    def losses(self, batch: Example) -> Iterator[dict[str, Tensor]]:
        """`discriminator`; then mel, kl, duration, adversarial and feature_matching, each times its weight; outside
        training also `prior_mel`, plain.

        What a fresh discriminator says counts more and more over its first `vits.ramp` steps.
        """
        terms, seen = self.nets["generator"](batch)
        weights = self.p.vits.model_dump() | {"prior_mel": 1.0}
        terms = {name: weights[name] * value for name, value in terms.items()}
        if "discriminator" in self.parts():
            learnt, opinion = self.judged(seen["real"], seen["fake"].float())
            yield {"discriminator": learnt}
            terms |= opinion
        yield terms

    def judged(self, real: Tensor, fake: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The discriminator's own loss, and what it thinks of `fake`, weighted: adversarial, feature_matching.

        It hears each once: the slope of its opinion is taken here, before it learns from the same forward, and travels on to
        the generator with the term `adversarial`. The usual order, hearing both again after its step, costs it half as much
        again for an opinion that is one step younger.
        """
        v, learning = self.p.vits, torch.is_grad_enabled()
        spoken = fake.detach().requires_grad_(learning)
        (scores, wanted), (answers, found) = (self.nets["discriminator"](wav) for wav in (real, spoken))
        own = losses.least_squares_discriminator(scores, answers)
        share = self.discriminator.taught(v.ramp * self.p.data.accumulate, self.generator.training)
        adversarial = share * v.adversarial * losses.least_squares_generator(answers)
        matching = share * v.feature_matching * losses.feature_matching(wanted, found)
        if learning:
            (slope,) = torch.autograd.grad(SLOPE_SCALE * (adversarial + matching), spoken, retain_graph=True)
            carried = (fake * (slope.float() / SLOPE_SCALE)).sum()
            adversarial = adversarial.detach() + (carried - carried.detach())
        return own, {"adversarial": adversarial, "feature_matching": matching.detach()}

    def verdict(self, terms: dict[str, float]) -> float:
        """`best` is chosen by what can be heard, the mel error of speech made from text; the duration term's bound rises on
        small corpora while the voice still gains."""
        return terms["prior_mel"]

    @torch.no_grad()
    def align(self, batch: Example) -> dict[str, Tensor]:
        """What the model hears in a batch: durations `(b, ids)`, mels of the recording and of the text at its timing."""
        return self.generator.align(batch)

    def voice(self, name: str | None) -> int:
        """Index of a speaker (default: the first), 0 in a network of one voice. Raises `ParamsError` for another name."""
        index = self.speakers.index(reading.known(name, self.speakers, "speaker"))
        return index if self.config.num_speakers > 1 else 0

    @torch.no_grad()
    def synthesize(
        self, text: str, voice: str | None = None, seed: int = 0, lang: str | None = None, speaking_rate: float = 1.0
    ) -> Tensor:
        """Mono waveform `(samples,)` at `rate`, the same for the same seed. Raises `UnitsError` for unknown letters."""
        ids, speaker = self.ready(text, voice, lang)
        with self.speaking() as vits, seeded(seed, vits.device):
            wav = self.generator.infer(ids, speaker if self.config.num_speakers > 1 else None, speaking_rate)
        return wav.float().cpu()

    def synthesize_each(self, requests: Sequence[batching.Request]) -> batching.Given:
        """`synthesize` of several (`batching.each`), together as far as `speaking.spoken` has them."""
        ready, refused = batching.prepared(requests, lambda one: self.ready(one.text, one.voice, one.lang))
        yield from refused
        if not ready:
            return
        with self.speaking() as vits, torch.no_grad():
            priors, voices = [], []
            for number, (ids, speaker) in ready.items():
                voices.append(self.generator.voice(torch.tensor([speaker], device=vits.device)))
                with seeded(requests[number].seed, vits.device):
                    priors.append(speaking.prior(vits, ids, voices[-1], requests[number].speaking_rate))
        wavs = speaking.spoken(vits, priors, None if voices[0] is None else voices)
        for number in ready:
            with self.speaking(), torch.no_grad():  # and not while somebody else has the turn
                wav = next(wavs).float().cpu()
            yield number, wav

    def ready(self, text: str, voice: str | None, lang: str | None) -> tuple[Tensor, int]:
        """Ids `(1, tokens)` of a raw text, and the index of a speaker. Raises `UnitsError`, `ParamsError`."""
        lang, speaker = reading.known(lang, self.languages, "language"), self.voice(voice)
        if not (spoken := self.tokenizer.normalise(text, lang)):
            raise UnitsError(f"nothing to speak: the text is {text!r}; give a text with letters")
        return torch.tensor([self.ids(spoken, lang)], device=self.generator.vits.device), speaker

    @contextmanager
    def speaking(self) -> Iterator[VitsModel]:
        """The network in evaluation, at the noise that the params ask for."""
        vits = self.generator.vits
        vits.noise_scale, vits.noise_scale_duration = self.p.vits.noise, self.p.vits.noise_duration
        with batching.evaluating(self.generator):
            yield vits

    def state(self) -> dict:
        """Everything beside the weights that rebuilds this system, as plain JSON."""
        return {
            "system": "vits",
            "params": self.p.model_dump(mode="json"),
            "config": self.config.to_dict(),
            "tokenizer": self.tokenizer.state(),
            "blanks": self.blanks,
            "speakers": self.speakers,
            "languages": self.languages,
            "adaptation": self.adaptation,
        }

    @classmethod
    def restore(cls, state: dict) -> "System":
        p, vits = validate(state["params"], "system.json"), net.build(VitsConfig.from_dict(state["config"]))
        made = cls(p, vits, restore(state["tokenizer"]), state["speakers"], state["languages"], state["blanks"])
        made.adaptation = state.get("adaptation")
        return made

    def export(self, folder: str | Path) -> Path:
        """See `storage.export`: what Transformers speaks from, and `load` trains on from."""
        return storage.export(self, Path(folder))

    @classmethod
    def load(cls, source: str | Path) -> "System":
        """A trained system from a checkpoint, an export, or what others published (see `sources.read`).

        Raises `CheckpointError` for damaged folders and weights of another vocabulary, `VocabError` where there is no
        tokenizer or the hub cannot be reached.
        """
        if (Path(source) / "system.json").is_file():
            return storage.load(cls, Path(source))
        made = cls(*sources.read(str(source)))
        made.generator.eval()
        return made


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's random state is that of `seed` inside, and as it was afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
