"""System `t3`: Chatterbox's T3, text tokens to speech codes, trained from scratch or from the published checkpoints.

What turns speech into codes and codes into speech is a codec (`ttslib.codecs`): Chatterbox's own where its checkpoint is the
base, one of ours where none is at hand. One part learns: the cross-entropy of the next code and, beside it, of the next text
token. The voice is given by a prompt from another utterance of the speaker and by a vector.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ttslib import adapt, attempts, attention, audio, batching, codecs, prompts, reading, voice_encoder
from ttslib.dataset import BadClip, Example
from ttslib.params import Params, ParamsError, validate
from ttslib.systems import coded
from ttslib.systems.t3 import alignment, storage, synthesis, voices
from ttslib.systems.t3.net import PRESETS, Ids, Net, Shape
from ttslib.systems.t3.punctuation import tidied
from ttslib.units import UnitsError

PUBLISHED_ROWS = {"english": (704, 8194), "multilingual": (2454, 8194)}  # text, speech: no fewer in a new network
VOICE_RATE = 16000  # Hz, of what the voice vector is made from


class System(coded.Coded):
    """See `ttslib.systems` for what every system owns."""

    blocks = ("LlamaDecoderLayer",)
    """classes of the layers that `sharding=full` gathers one by one"""
    length_of = "codes"

    def __init__(
        self, p: Params, shape: Shape, tokenizer, codec, encoder, speakers: Sequence[str], languages: Sequence[str],
        chatterbox: bool = False,
    ):  # fmt: skip
        """`codec` is one, or what `codecs.Held` takes. `chatterbox`: text is tidied as the stock runtime does, because this
        network is to go back there."""
        super().__init__(p, tokenizer, codec, speakers, languages)
        self.encoder, self.chatterbox = encoder, chatterbox
        special = self.codec_state["special"]
        ids = Ids(*reading.ends(tokenizer), special["start"], special["stop"])
        self.net = Net(shape, ids, p.t3.text_weight, p.t3.drop_text, p.t3.packing)
        if p.t3.checkpointing:
            self.net.tfmr.activation_checkpointing_enable({"use_reentrant": False})
        self.nets: dict[str, nn.Module] = {"net": self.net}

    @classmethod
    def fresh(cls, p: Params, rows: Sequence) -> "System":
        """A new system for the training rows: their units, speakers and languages; weights from `p.seed`."""
        tokenizer, codec = reading.fitted(p, [(r.text, r.lang) for r in rows]), codecs.of(p)
        if codec.vocab is None:
            raise codecs.CodecError(
                f"codec={p.codec}: gives latents; t3 learns codes, mel-6561 or s3 for example; set codec to one of those"
            )
        text, speech = PUBLISHED_ROWS.get(p.t3.preset, (0, 0))
        encoder = voice_encoder.MelStatistics()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(p.seed)
            text, speech = max(text, len(tokenizer)), max(speech, 1 + max(codec.special.values()))
            shape = Shape(**PRESETS[p.t3.preset], text_rows=text, speech_rows=speech, speaker=encoder.width)
            speakers, languages = ({getattr(r, of) for r in rows} for of in ("speaker", "lang"))
            return cls(p, shape, tokenizer, codec, encoder, sorted(speakers), sorted(languages))

    def widened(self, p: Params, rows: Sequence) -> "System":
        """An untrained system of this one's shape that also has the tokens, speakers and languages of `rows`; it keeps
        the codec, because its codes are what this one knows."""
        tokenizer = reading.extended(self.tokenizer, p, [(r.text, r.lang) for r in rows])
        p = coded.decided(self, p, tokenizer)
        shape = replace(self.net.shape, text_rows=len(tokenizer) + len(self.spare))
        speakers, languages = coded.grown(self.speakers, rows, "speaker"), coded.grown(self.languages, rows, "lang")
        made = System(p, shape, tokenizer, self.held, self.encoder, speakers, languages, self.chatterbox)
        made.references, made.pace = dict(self.references), dict(self.pace)
        return made

    @property
    def spare(self) -> tuple[str, ...]:
        """Names of the text rows that a published network has beyond its tokenizer."""
        return tuple(f"<spare {i}>" for i in range(self.net.shape.text_rows - len(self.tokenizer)))

    @property
    def tables(self) -> dict[str, adapt.Table]:
        return coded.tables(self, self.net.text_emb, self.net.text_head)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {"t3": [q for q in self.net.parameters() if q.requires_grad]}

    @property
    def feature_key(self) -> str:
        """Changes whenever `encode` would give something else: codes of two codecs never meet."""
        of = [self.codec.name, self.codec.hash, self.encoder.name, self.encoder.hash]
        limits = [self.net.shape.text_positions, self.net.shape.speech_positions, self.chatterbox]
        content = ["t3-1", self.tokenizer.digest, *of, *limits, self.speakers, self.languages]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def ids(self, text: str, lang: str) -> list[int]:
        """Ids of a normalised text between start and stop. Raises `UnitsError` for what the vocabulary lacks."""
        return reading.ids(self.tokenizer, tidied(text) if self.chatterbox else text, lang)

    def encode(self, row, wav: Tensor) -> Example:
        """One clip: `text` (ids,), `codes` (frames,), `voice` (width, 1), and scalars `speaker` and `clip`, its key.

        `wav` is `(samples,)` at `self.rate`. Raises `BadClip` for tokens without a row, and for more of them or more codes
        than the network has positions: cut short, a clip would teach to stop in the middle.
        """
        try:
            text = torch.tensor(self.ids(row.text, row.lang))
        except UnitsError as error:
            raise BadClip(str(error)) from None
        kept = self.kept is not None and row in self.kept
        codes = self.kept[row] if kept else self.codec.encode(audio.resampled(wav, self.rate, self.codec.rate))
        coded.fitting(text, codes, self.net.shape.text_positions, self.net.shape.speech_positions)
        vector = self.encoder.embed(audio.resampled(wav, self.rate, VOICE_RATE))
        return {
            "text": text,
            "codes": codes,
            "voice": vector[:, None],
            "speaker": torch.tensor(self.speakers.index(row.speaker)),
            "clip": torch.tensor(prompts.key(row)),
        }

    def measure(self, examples: Sequence[Example]) -> None:
        """Learn whose voices there are: prompts to train with, a reference of each speaker, codes per text token."""
        self.pool = voices.Pool(examples)
        if alone := self.pool.others.alone:
            print(f"{alone} speakers have a single clip, which is trained without a prompt", file=sys.stderr)
        self.references |= self.pool.references(self.speakers, self.p.t3.prompt)
        self.pace = attempts.pace(self.pool.others.sizes)

    def meet(self, rows: Sequence, read) -> None:
        """Give the references what the codec's decoder has to know of their speakers, `read(row) -> (samples,)`."""
        by_clip = {prompts.key(row): row for row in rows}
        for name in self.pool.others.most_heard(self.speakers, prompts.DECODER_VOICES):
            reference = self.references[name]
            if reference.clip in by_clip:
                wav = audio.resampled(read(by_clip[reference.clip]), self.rate, self.codec.rate)
                self.references[name] = replace(reference, decoder=self.codec.voice(wav))

    def losses(self, batch: Example) -> Iterator[dict[str, Tensor]]:
        """`speech` and `text` (weighted) cross-entropies; outside training also `text_ce`, `top1` and `end`, plain."""
        yield self.nets["net"](self.prompted(batch))

    def prompted(self, batch: Example) -> Example:
        """The batch with prompts and an emotion for every sample: of other utterances, or, in a loaded system that knows no
        utterances any more, of each speaker's reference."""
        if self.pool is not None:
            found = self.pool.prompts(batch, self.p.t3.prompt, self.net.training)
        elif self.net.training:
            raise ParamsError("t3: no prompts to train with; `measure` the training examples first")
        else:
            found = voices.referred(batch, [self.reference(self.speakers[i]) for i in batch["speaker"].tolist()])
        return found | {"emotion": torch.full_like(found["voice"][:, 0], self.p.t3.emotion)}

    def verdict(self, terms: dict[str, float]) -> float:
        """`best` is chosen by what is learnt: the code's cross-entropy and, weighted, the text's."""
        return terms["speech"] + terms["text"]

    @torch.no_grad()
    def align(self, batch: Example) -> dict[str, Tensor]:
        """Which codes belong to which token, as the attention has it: `durations` (batch, tokens) in codes; mels of the
        decoded `recording` and of the codes foretold from the text and the recording's past, `mel`, `(b, m, t)`."""
        return attention.align(self, alignment.heard, self.prompted(batch))

    def decoded(self, one: Example, codes: Tensor) -> Tensor:
        """Waveform `(samples,)` of codes in the voice of a batch of one."""
        known = self.references.get(self.speakers[int(one["speaker"])])
        return self.codec.decode(codes.cpu(), (known and known.decoder) or None)

    def reference(self, voice: str | None) -> voices.Reference:
        """A speaker of the training (default: the first), or the voice of a recording by its path.

        Raises `ParamsError` when it is neither, or where none was trained and the base came without one.
        """
        wav = coded.recorded(voice, self.references, self.rate)
        if isinstance(wav, str):
            return self.references[wav]
        heard = audio.resampled(wav, self.rate, self.codec.rate)
        codes = self.codec.encode(heard)[: self.p.t3.prompt]
        vector = self.encoder.embed(audio.resampled(wav, self.rate, VOICE_RATE))
        return voices.Reference(vector, codes, self.codec.voice(heard))

    def codes(self, text: str, voice: str | None = None, seed: int = 0, lang: str | None = None) -> Iterator[int]:
        """The codes of a raw text as they come, the stop id last unless they are cut off (`attempts.limit`). The same for
        the same seed; set the network to `eval()` first."""
        lang = reading.known(lang, self.languages, "language")
        return synthesis.stream(self, synthesis.sample(self, text, self.reference(voice), lang), seed)

    @torch.no_grad()
    def synthesize(
        self, text: str, voice: str | None = None, seed: int = 0, lang: str | None = None, speaking_rate: float = 1.0
    ) -> Tensor:
        """Mono waveform `(samples,)` at `rate`, the same for the same seed. `voice` is a speaker or a recording's path.

        T3 sets its own tempo: another `speaking_rate` stretches the finished speech without changing its pitch. Raises
        `UnitsError` for unknown letters.
        """
        was_training, reference = self.net.training, self.reference(voice)
        self.net.eval()
        try:
            sample = synthesis.sample(self, text, reference, reading.known(lang, self.languages, "language"))
            spoken = synthesis.spoken(self, sample, seed)
        finally:
            self.net.train(was_training)
        return synthesis.sound(self, spoken, reference, seed, speaking_rate)

    def synthesize_each(self, requests: Sequence[batching.Request]) -> batching.Given:
        """`synthesize` of several together, as each is through (`batching.each`)."""
        with batching.evaluating(self.net):
            yield from synthesis.each(self, requests)

    def state(self) -> dict:
        """Everything beside the weights that rebuilds this system, as plain JSON."""
        return {
            "system": "t3",
            "params": self.p.model_dump(mode="json"),
            "shape": vars(self.net.shape),
            "tokenizer": self.tokenizer.state(),
            "codec": self.codec_state,
            "encoder": self.encoder.state(),
            "speakers": self.speakers,
            "languages": self.languages,
            "chatterbox": self.chatterbox,
            "references": {name: r.state() for name, r in self.references.items()},
            "pace": self.pace,
            "adaptation": self.adaptation,
        }

    @classmethod
    def restore(cls, state: dict) -> "System":
        p, encoder = validate(state["params"], "system.json"), voice_encoder.restore(state["encoder"])
        reads = (reading.restore(state["tokenizer"]), state["codec"], encoder)
        made = cls(p, Shape(**state["shape"]), *reads, state["speakers"], state["languages"], state["chatterbox"])
        made.references = {name: voices.Reference.restore(r) for name, r in state["references"].items()}
        made.pace, made.adaptation = state["pace"], state.get("adaptation")
        return made

    def export(self, folder: str | Path) -> Path:
        """See `storage.export`: the folder that the stock Chatterbox package loads."""
        return storage.export(self, Path(folder))

    @classmethod
    def load(cls, source: str | Path) -> "System":
        """A trained system from a checkpoint, an export, or Chatterbox's files by folder or hub id (see `storage`)."""
        return storage.load(cls, source)
