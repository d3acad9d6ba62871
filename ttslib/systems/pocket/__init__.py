"""System `pocket`: the language model of Kyutai's Pocket TTS over continuous latents, from scratch or from its checkpoints.

What turns speech into latents is a codec (`ttslib.codecs`): Pocket's Mimi where its checkpoint is the base, one of ours
(mel-vae, 12.5 Hz) where none is at hand. The voice is the beginning of another utterance of the speaker. One part learns:
where noise has to go to be the next frame, by flow matching and self-distillation, and whether speech is over.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ttslib import adapt, attempts, attention, audio, batching, checkpoint, codecs, prompts, reading, vocab
from ttslib.dataset import BadClip, Example
from ttslib.params import Params, ParamsError, validate
from ttslib.systems import coded
from ttslib.systems.pocket import alignment, distilling, storage, synthesis, voices, wording
from ttslib.systems.pocket.configs import Shape
from ttslib.systems.pocket.net import PRESETS, Net
from ttslib.units import Units, UnitsError


class System(coded.Coded):
    """See `ttslib.systems` for what every system owns."""

    blocks = ("Layer",)
    """classes of the layers that `sharding=full` gathers one by one"""
    length_of = "latents"
    spare = ("<padding>",)
    """the published table's last row, which is never placed"""

    def __init__(
        self, p: Params, shape: Shape, tokenizer, codec, flags: wording.Flags, speakers: Sequence[str],
        languages: Sequence[str], config: dict | None = None,
    ):  # fmt: skip
        """`codec` is one, or what `codecs.Held` takes. `flags`: how texts are prepared, as the runtime will; `config`: the
        published configuration, which goes back with an export."""
        super().__init__(p, tokenizer, codec, speakers, languages)
        self.flags, self.config = flags, config
        self.net = Net(shape, p.pocket)
        self.nets: dict[str, nn.Module] = {"net": self.net}
        self.reset: frozenset[str] = frozenset()

    @classmethod
    def fresh(cls, p: Params, rows: Sequence) -> "System":
        """A new system for the training rows: their units, speakers and languages; weights from `p.seed`, or with
        `pocket.teacher` a student of it."""
        if p.pocket.teacher is not None:
            return distilling.student(cls, p, rows)
        lines, codec = [(r.text, r.lang) for r in rows], codecs.of(p)
        tokenizer = reading.fitted(p, lines)
        if codec.vocab is not None:
            raise codecs.CodecError(
                f"codec={p.codec}: gives codes; pocket learns latents, mel-vae for example; set codec to one of those"
            )
        mapped = {} if isinstance(tokenizer, Units) else wording.replacing(text for text, _ in lines)
        flags = wording.Flags(mapped, capital=False, terminal=not isinstance(tokenizer, Units))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(p.seed)
            rows_of = len(tokenizer) + len(cls.spare)
            shape = Shape(**PRESETS[p.pocket.preset], text_rows=rows_of, latent=codec.dim, voice=codec.dim)
            speakers, languages = ({getattr(r, of) for r in rows} for of in ("speaker", "lang"))
            return cls(p, shape, tokenizer, codec, flags, sorted(speakers), sorted(languages))

    def widened(self, p: Params, rows: Sequence) -> "System":
        """An untrained system of this one's shape that also has the tokens, speakers and languages of `rows`; it keeps
        the codec. With `pocket.tokens=refit` the text's rows are all new."""
        lines, flags = [(r.text, r.lang) for r in rows], self.flags
        if not isinstance(self.tokenizer, Units):
            flags = wording.Flags(**vars(flags) | {"replace": wording.replacing((t for t, _ in lines), flags.replace)})
        refit = p.pocket.tokens == "refit"
        tokenizer = refitted(self, p, lines, flags) if refit else reading.extended(self.tokenizer, p, lines)
        p = coded.decided(self, p, tokenizer)
        shape = replace(self.net.shape, text_rows=len(tokenizer) + len(self.spare))
        speakers, languages = coded.grown(self.speakers, rows, "speaker"), coded.grown(self.languages, rows, "lang")
        made = System(p, shape, tokenizer, self.held, flags, speakers, languages, self.config)
        made.references, made.pace = dict(self.references), dict(self.pace)
        made.reset = frozenset({"text"}) if refit else frozenset()
        return made

    @property
    def tables(self) -> dict[str, adapt.Table]:
        table = self.net.flow_lm.conditioner.embed
        return {"text": adapt.Table(table, "text", self.tokenizer.symbols, self.spare)}

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {"flow_lm": [q for q in self.net.parameters() if q.requires_grad]}

    def undecayed(self) -> list[nn.Parameter]:
        """The text table: rows of tokens that a corpus does not use would decay to nothing."""
        return list(self.net.flow_lm.conditioner.embed.parameters())

    @property
    def feature_key(self) -> str:
        """Changes whenever `encode` would give something else: latents of two codecs never meet."""
        content = ["pocket-1", self.tokenizer.digest, asdict(self.flags), self.codec.name, self.codec.hash]
        return hashlib.sha256(json.dumps([*content, self.speakers, self.languages]).encode()).hexdigest()

    def ids(self, text: str, lang: str) -> list[int]:
        """Ids of a normalised text, prepared as the runtime does. Raises `UnitsError` for what the vocabulary lacks."""
        return self.tokenizer.encode(wording.prepared(text, self.flags), lang)

    def encode(self, row, wav: Tensor) -> Example:
        """One clip: `text` (ids,), `latents` (latent, frames) as the codec gives them, and scalars: `speaker` and `clip`,
        its key. `wav` is `(samples,)` at `self.rate`. Raises `BadClip` for tokens without a row."""
        try:
            text = torch.tensor(self.ids(row.text, row.lang))
        except UnitsError as error:
            raise BadClip(str(error)) from None
        if self.kept is not None and row in self.kept:
            latents = self.kept[row]
        else:
            latents = self.codec.encode(audio.resampled(wav, self.rate, self.codec.rate))
        scalars = {"speaker": self.speakers.index(row.speaker), "clip": prompts.key(row)}
        return {"text": text, "latents": latents.T.contiguous()} | {k: torch.tensor(v) for k, v in scalars.items()}

    def measure(self, examples: Sequence[Example]) -> None:
        """Learn whose voices there are, frames per text token, and in a new network the latents' mean and deviation: once,
        over all frames. Those of a base stay, its weights are used to them."""
        self.pool = voices.Pool(examples)
        if alone := self.pool.others.alone:
            print(f"{alone} speakers have a single clip, which is trained without a prompt", file=sys.stderr)
        self.references |= self.pool.references(self.speakers, self.p.pocket.prompt)
        self.pace = attempts.pace(self.pool.others.sizes)
        if self.adaptation is None and not self.net.teacher:
            count, total = 0, 0.0
            for example in examples:
                count, total = count + example["latents"].shape[-1], total + example["latents"].double().sum(-1)
            mean = total / count
            var = sum((e["latents"].double() - mean[:, None]).square().sum(-1) for e in examples) / count
            self.net.flow_lm.emb_mean.copy_(mean)
            self.net.flow_lm.emb_std.copy_(var.sqrt().clamp(min=1e-5))

    def meet(self, rows: Sequence, read) -> None:
        """Latents carry the voice: the decoder has nothing to know of it."""

    def losses(self, batch: Example) -> Iterator[dict[str, Tensor]]:
        """`flow`, `distillation` (in some steps) and `eos`; outside training, where the draws are always the same, also
        `diagonal_raw`, `distillation_raw`, `eos_raw` and `end`."""
        prompted = self.prompted(batch)
        if self.net.training:
            terms = self.nets["net"](prompted)
        else:
            with checkpoint.own_rng(0):
                terms = self.nets["net"](prompted)
        yield terms

    def prompted(self, batch: Example) -> Example:
        """The batch with prompts for every sample: of other utterances, or, in a loaded system that knows no utterances any
        more, of each speaker's reference."""
        if self.pool is not None:
            return self.pool.prompts(batch, self.p.pocket.prompt, self.net.training)
        if self.net.training:
            raise ParamsError("pocket: no prompts to train with; `measure` the training examples first")
        return voices.prompted(batch, [self.reference(self.speakers[i]).latents for i in batch["speaker"].tolist()])

    def verdict(self, terms: dict[str, float]) -> float:
        """`best` is chosen by the plain terms: under its learned weight a loss is no measure of progress."""
        if "states" in terms:
            return terms["states"]
        s = self.p.pocket
        jumps = terms.get("distillation_raw", 0.0)
        return s.diagonal * terms["diagonal_raw"] + (1 - s.diagonal) * jumps + s.eos_weight * terms["eos_raw"]

    @torch.no_grad()
    def align(self, batch: Example) -> dict[str, Tensor]:
        """Which frames belong to which token, as the attention has it (`attention.align`)."""
        return attention.align(self, alignment.heard, self.prompted(batch))

    def decoded(self, one: Example, latents: Tensor) -> Tensor:
        """Waveform `(samples,)` of normalised latents `(frames, latent)`, whose voice they carry."""
        lm = self.net.flow_lm
        return self.codec.decode((latents * lm.emb_std + lm.emb_mean).cpu())

    def reference(self, voice: str | None) -> voices.Reference:
        """A speaker of the training (default: the first), or the voice of a recording by its path.

        Raises `ParamsError` when it is neither, or where none was trained and the base came without one.
        """
        wav = coded.recorded(voice, self.references, self.rate)
        if isinstance(wav, str):
            return self.references[wav]
        latents = self.codec.encode(audio.resampled(wav, self.rate, self.codec.rate))
        return voices.Reference(latents[: self.p.pocket.prompt])

    def frames(self, text: str, voice: str | None = None, seed: int = 0, lang: str | None = None) -> Iterator[Tensor]:
        """Raw latents `(latent,)` of a raw text as they come, the same for the same seed; set the network to `eval()`."""
        lang = reading.known(lang, self.languages, "language")
        return synthesis.stream(self, text, self.reference(voice), lang, seed)

    @torch.no_grad()
    def synthesize(
        self, text: str, voice: str | None = None, seed: int = 0, lang: str | None = None, speaking_rate: float = 1.0
    ) -> Tensor:
        """Mono waveform `(samples,)` at `rate`, the same for the same seed. `voice` is a speaker or a recording's path.

        Pocket sets its own tempo: another `speaking_rate` stretches the finished speech without changing its pitch. Raises
        `UnitsError` for unknown letters.
        """
        was_training, reference = self.net.training, self.reference(voice)
        self.net.eval()
        try:
            lang = reading.known(lang, self.languages, "language")
            return synthesis.spoken(self, text, reference, lang, seed, speaking_rate)
        finally:
            self.net.train(was_training)

    @torch.no_grad()
    def stream(self, text: str, voice: str | None = None, seed: int = 0, lang: str | None = None) -> Iterator[Tensor]:
        """The waveform of `synthesize` in chunks `(samples,)`, a frame as soon as it is drawn; joined they are the same, up
        to rounding (1e-6). Only with a codec whose decoder streams (`codecs.Streaming`); see `ttslib.streaming`."""
        reference = self.reference(voice)
        with batching.evaluating(self.net):
            lang = reading.known(lang, self.languages, "language")
            yield from synthesis.streamed(self, text, reference, lang, seed)

    def synthesize_each(self, requests: Sequence[batching.Request]) -> batching.Given:
        """`synthesize` of several together, as each is through (`batching.each`)."""
        with batching.evaluating(self.net), torch.no_grad():
            yield from synthesis.each(self, requests)

    def state(self) -> dict:
        """Everything beside the weights that rebuilds this system, as plain JSON."""
        return {
            "system": "pocket",
            "params": self.p.model_dump(mode="json"),
            "shape": asdict(self.net.shape),
            "tokenizer": self.tokenizer.state(),
            "flags": asdict(self.flags),
            "codec": self.codec_state,
            "config": self.config,
            "speakers": self.speakers,
            "languages": self.languages,
            "references": {name: r.state() for name, r in self.references.items()},
            "pace": self.pace,
            "adaptation": self.adaptation,
        }

    @classmethod
    def restore(cls, state: dict) -> "System":
        p, tokenizer = validate(state["params"], "system.json"), reading.restore(state["tokenizer"])
        reads = (tokenizer, state["codec"], wording.Flags(**state["flags"]), state["speakers"], state["languages"])
        made = cls(p, Shape(**state["shape"]), *reads, state["config"])
        made.references = {name: voices.Reference.restore(r) for name, r in state["references"].items()}
        made.pace, made.adaptation = state["pace"], state.get("adaptation")
        return made

    def export(self, folder: str | Path) -> Path:
        """See `storage.export`: what the official package loads."""
        return storage.export(self, Path(folder))

    def export_voice(self, voice: str | None, file: str | Path) -> Path:
        """See `storage.export_voice`: a speaker or a recording, as `get_state_for_audio_prompt` of the package takes it."""
        return storage.export_voice(self, voice, Path(file))

    @classmethod
    def load(cls, source: str | Path) -> "System":
        """A trained system from a checkpoint, an export, or Pocket TTS's files (see `storage`)."""
        return storage.load(cls, source)


def refitted(base: System, p: Params, lines: reading.Lines, flags: wording.Flags):
    """A vocabulary of the lines' own: the file `text.tokenizer`, or `vocab.size` pieces of the kind that `base` reads."""
    if isinstance(base.tokenizer, Units) or p.text.tokenizer is not None:
        return reading.fitted(p, lines)
    texts, langs = [wording.prepared(text, flags) for text, _ in lines], sorted({lang for _, lang in lines})
    how = {"byte_fallback": p.vocab.byte_fallback, "split_digits": p.vocab.split_digits}
    return vocab.train(texts, langs[0], "sentencepiece-unigram", p.vocab.size, **how).made_for(*langs)
