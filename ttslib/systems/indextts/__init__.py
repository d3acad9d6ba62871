"""System `indextts`: the language model of IndexTTS2, text tokens to semantic codes, trained from scratch or from the
published checkpoint.

What turns speech into codes is a codec (`ttslib.codecs`): IndexTTS2's own where its checkpoint is the base, one of ours
where none is at hand. The voice is that of another utterance of the speaker, encoded once a clip. One part learns: the
cross-entropy of the next code and, beside it, of the next text token.

The published weights are under the bilibili model licence, which every derived model keeps.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ttslib import adapt, attempts, attention, audio, batching, codecs, prompts, reading
from ttslib.dataset import BadClip, Example
from ttslib.packing import Ids
from ttslib.params import Params, ParamsError, validate
from ttslib.systems import coded
from ttslib.systems.indextts import alignment, storage, synthesis, voices
from ttslib.systems.indextts.files import Beside
from ttslib.systems.indextts.net import PRESETS, Net, Shape
from ttslib.units import UnitsError
from ttslib.voice_encoder import WIDTH

MUTE = (
    "indextts: its codes become sound through s2mel, CAM++ and BigVGAN, which are not at hand; put their files beside the "
    "codec's, or export the voice and speak with it in IndexTTS2's own runtime"
)


class System(coded.Coded):
    """See `ttslib.systems` for what every system owns."""

    blocks = ("GPT2Block",)
    """classes of the layers that `sharding=full` gathers one by one"""
    length_of = "codes"
    spare = ("<spare 0>",)
    """the published tables have a row more than the tokenizer, left over from tortoise; no id reaches it"""

    def __init__(
        self, p: Params, shape: Shape, tokenizer, codec, speakers: Sequence[str], languages: Sequence[str],
        beside: Beside | None = None, config: dict | None = None,
    ):  # fmt: skip
        """`codec` is one, or what `codecs.Held` takes. `beside`: the published encoders of prompts; `config`: the published
        configuration, which goes back with an export."""
        super().__init__(p, tokenizer, codec, speakers, languages)
        self.config, self.ear = config, voices.Ear(beside)
        special, t = self.codec_state["special"], p.indextts
        ids = Ids(*reading.ends(tokenizer), special["start"], special["stop"])
        told = t.drop_duration if t.duration_control else None
        self.net = Net(shape, ids, t.text_weight, t.mel_weight, t.dropout, told, t.packing)
        if t.checkpointing:
            self.net.gpt.activation_checkpointing_enable({"use_reentrant": False})
        self.nets: dict[str, nn.Module] = {"net": self.net}

    @classmethod
    def fresh(cls, p: Params, rows: Sequence) -> "System":
        """A new system for the training rows: their units, speakers and languages; weights from `p.seed`."""
        tokenizer, codec = reading.fitted(p, [(r.text, r.lang) for r in rows]), codecs.of(p)
        if codec.vocab is None:
            raise codecs.CodecError(
                f"codec={p.codec}: gives latents; indextts learns codes, mel-8192 for example; set codec to one of those"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(p.seed)
            sizes = {"text_rows": len(tokenizer) + len(cls.spare), "mel_rows": 1 + max(codec.special.values())}
            shape = Shape(**PRESETS[p.indextts.preset], **sizes, voice=WIDTH)
            speakers, languages = ({getattr(r, of) for r in rows} for of in ("speaker", "lang"))
            return cls(p, shape, tokenizer, codec, sorted(speakers), sorted(languages))

    def widened(self, p: Params, rows: Sequence) -> "System":
        """An untrained system of this one's shape that also has the tokens, speakers and languages of `rows`; it keeps
        the codec, because its codes are what this one knows."""
        tokenizer = reading.extended(self.tokenizer, p, [(r.text, r.lang) for r in rows])
        p = coded.decided(self, p, tokenizer)
        shape = replace(self.net.shape, text_rows=len(tokenizer) + len(self.spare))
        speakers, languages = coded.grown(self.speakers, rows, "speaker"), coded.grown(self.languages, rows, "lang")
        made = System(p, shape, tokenizer, self.held, speakers, languages, self.ear.beside, self.config)
        made.references, made.pace = dict(self.references), dict(self.pace)
        return made

    @property
    def tables(self) -> dict[str, adapt.Table]:
        return coded.tables(self, self.net.text_embedding, self.net.text_head)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {"gpt": [q for q in self.net.parameters() if q.requires_grad]}

    @property
    def feature_key(self) -> str:
        """Changes whenever `encode` would give something else: codes of two codecs never meet."""
        limits = [self.net.shape.text_positions, self.net.shape.mel_positions]
        content = ["indextts-1", self.tokenizer.digest, self.codec.name, self.codec.hash, self.ear.hash, *limits]
        return hashlib.sha256(json.dumps([*content, self.speakers, self.languages]).encode()).hexdigest()

    def ids(self, text: str, lang: str) -> list[int]:
        """Ids of a normalised text between start and stop. Raises `UnitsError` for what the vocabulary lacks."""
        return reading.ids(self.tokenizer, text, lang)

    def encode(self, row, wav: Tensor) -> Example:
        """One clip: `text` (ids,), `codes` (frames,), what is heard of its voice (`voices.stored`), and scalars: `speaker`
        and `clip`, its key.

        `wav` is `(samples,)` at `self.rate`. Raises `BadClip` for tokens without a row, and for more of them or more codes
        than the network has positions: cut short, a clip would teach to stop in the middle.
        """
        try:
            text = torch.tensor(self.ids(row.text, row.lang))
        except UnitsError as error:
            raise BadClip(str(error)) from None
        heard, features = self.ear.taken(wav, self.rate, self.codec)
        if self.kept is not None and row in self.kept:
            codes = self.kept[row]
        elif features is not None:
            codes = self.codec.quantised(features)
        else:
            codes = self.codec.encode(audio.resampled(wav, self.rate, self.codec.rate))
        coded.fitting(text, codes, self.net.shape.text_positions, self.net.shape.mel_positions)
        scalars = {"speaker": self.speakers.index(row.speaker), "clip": prompts.key(row)}
        return {"text": text, "codes": codes} | voices.stored(heard) | {k: torch.tensor(v) for k, v in scalars.items()}

    def listen_on(self, device: torch.device | str) -> None:
        """Where `encode` computes: w2v-bert and the published encoders are large."""
        if self.ear.beside is not None:
            self.codec.to(device)
            self.ear.to(device)

    def measure(self, examples: Sequence[Example]) -> None:
        """Learn whose voices there are: prompts to train with, a reference of each speaker, codes per text token."""
        self.pool = voices.Pool(examples, self.ear.names)
        if alone := self.pool.others.alone:
            print(f"{alone} speakers have a single clip, which is its own prompt", file=sys.stderr)
        self.references |= self.pool.references(self.speakers, self.codec_state["frame_rate"])
        self.pace = attempts.pace(self.pool.others.sizes)

    def meet(self, rows: Sequence, read) -> None:
        """Give the references what the codec's decoder has to know of their speakers, `read(row) -> (samples,)`."""
        by_clip = {prompts.key(row): row for row in rows}
        for name in self.pool.others.most_heard(self.speakers, prompts.DECODER_VOICES):
            reference = self.references[name]
            if reference.clip in by_clip:
                voice = self.ear.voice(read(by_clip[reference.clip]), self.rate, self.codec)
                self.references[name] = replace(reference, decoder=voice)

    def losses(self, batch: Example) -> Iterator[dict[str, Tensor]]:
        """`speech` and `text` (weighted) cross-entropies; outside training also `speech_ce`, `text_ce`, `top1`, `end`."""
        yield self.nets["net"](self.prompted(batch))

    def prompted(self, batch: Example) -> Example:
        """The batch with what is heard of another utterance for every sample; in a loaded system that knows no utterances
        any more, of each speaker's reference."""
        if self.pool is not None:
            return self.pool.prompts(batch, self.net.training)
        if self.net.training:
            raise ParamsError("indextts: no prompts to train with; `measure` the training examples first")
        return voices.conditioned(batch, [self.reference(self.speakers[i]).heard for i in batch["speaker"].tolist()])

    def verdict(self, terms: dict[str, float]) -> float:
        """`best` is chosen by what is learnt: both cross-entropies as they are weighted."""
        return terms["speech"] + terms["text"]

    @torch.no_grad()
    def align(self, batch: Example) -> dict[str, Tensor]:
        """Which codes belong to which token, as the attention has it (`attention.align`)."""
        return attention.align(self, alignment.heard, self.prompted(batch))

    def decoded(self, one: Example, codes: Tensor) -> Tensor:
        """Waveform `(samples,)` of codes in the voice of a batch of one. Raises `CodecError` where they are no sound."""
        known = self.references.get(self.speakers[int(one["speaker"])])
        return synthesis.decoded(self, one, codes.cpu(), known.decoder if known else {})

    @property
    def mute(self) -> str:
        """Why its codes cannot be made sound here; "" where they can."""
        return "" if getattr(self.codec, "speaks", True) else MUTE

    def reference(self, voice: str | None) -> voices.Reference:
        """A speaker of the training (default: the first), or the voice of a recording by its path.

        Raises `ParamsError` when it is neither, or where none was trained and the base came without one.
        """
        wav = coded.recorded(voice, self.references, self.rate)
        if isinstance(wav, str):
            return self.references[wav]
        heard = self.ear.heard(wav, self.rate, self.codec)
        return voices.Reference(heard, self.ear.voice(wav, self.rate, self.codec))

    def codes(self, text: str, voice: str | None = None, seed: int = 0, lang: str | None = None) -> Tensor:
        """The codes `(codes,)` of a raw text, the stop id last unless they are cut off (`attempts.limit`). The same for the
        same seed; set the network to `eval()` first."""
        lang = reading.known(lang, self.languages, "language")
        return synthesis.codes(self, synthesis.sample(self, text, self.reference(voice), lang), seed)

    @torch.no_grad()
    def synthesize(
        self, text: str, voice: str | None = None, seed: int = 0, lang: str | None = None, speaking_rate: float = 1.0
    ) -> Tensor:
        """Mono waveform `(samples,)` at `rate`, the same for the same seed. `voice` is a speaker or a recording's path.

        Trained with `duration_control`, it is told how long to speak at another `speaking_rate`; else the finished speech is
        stretched. Raises `UnitsError` for unknown letters, `CodecError` where its codes cannot be made sound.
        """
        was_training, reference = self.net.training, synthesis.moved(self, self.reference(voice))
        self.net.eval()
        try:
            language = reading.known(lang, self.languages, "language")
            sample = synthesis.sample(self, text, reference, language, speaking_rate)
            return synthesis.sound(self, sample, reference, seed, speaking_rate)
        finally:
            self.net.train(was_training)

    def synthesize_each(self, requests: Sequence[batching.Request]) -> batching.Given:
        """`synthesize` of several together, as each is through (`batching.each`)."""
        with batching.evaluating(self.net), torch.no_grad():
            yield from synthesis.each(self, requests)

    def state(self) -> dict:
        """Everything beside the weights that rebuilds this system, as plain JSON."""
        beside = self.ear.beside
        return {
            "system": "indextts",
            "params": self.p.model_dump(mode="json"),
            "training_type": "scratch" if self.adaptation is None else self.p.adapt.body,
            "shape": vars(self.net.shape),
            "tokenizer": self.tokenizer.state(),
            "codec": self.codec_state,
            "beside": beside and {"home": beside.home, "gpt": dict(beside.gpt), "hash": beside.hash},
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
        beside = state["beside"] and Beside(**state["beside"])
        reads = (tokenizer, state["codec"], state["speakers"], state["languages"])
        made = cls(p, Shape(**state["shape"]), *reads, beside, state["config"])
        made.references = {name: voices.Reference.restore(r) for name, r in state["references"].items()}
        made.pace, made.adaptation = state["pace"], state.get("adaptation")
        return made

    def export(self, folder: str | Path) -> Path:
        """See `storage.export`: the files that IndexTTS2's own runtime loads."""
        return storage.export(self, Path(folder))

    @classmethod
    def load(cls, source: str | Path) -> "System":
        """A trained system from a checkpoint, an export, or IndexTTS2's files by folder or hub id (see `storage`)."""
        return storage.load(cls, source)
