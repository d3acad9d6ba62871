"""bpe.model, tokenizer.model: SentencePiece files, unigram or BPE, such as IndexTTS2's and Pocket's.

New pieces hold new letters only, after at most one `▁`, so they can cover no position of old text. What is left to keep
apart are scores. BPE: a score is a merge's rank, and any scores below the base's keep the new pieces' order. Unigram: a
path's score is a sum, so a constant per *piece* would favour longer pieces; a constant per *letter* is paid alike by
every path and changes none. `▁` keeps the base's score where it had another among the new pieces; those that start
with it are shifted by the difference. Facts: google/sentencepiece (unigram_model.cc, bpe_model.cc, normalizer.cc).
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

import sentencepiece
from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2 as proto
from sentencepiece.sentencepiece_pb2 import SentencePieceText

from ttslib.vocab.tokenizer import METASPACE, Own, Token, Tokenizer, VocabError

Kind = proto.ModelProto.SentencePiece.Type
UNIGRAM, BPE, CHAR = (proto.TrainerSpec.ModelType.Value(name) for name in ("UNIGRAM", "BPE", "CHAR"))


@dataclass(frozen=True)
class Pieces(Tokenizer):
    """A SentencePiece model. `called` is the file name it is saved under. Raises `VocabError` for other bytes."""

    called: str = "tokenizer.model"

    kind: ClassVar[str] = "sentencepiece"

    @property
    def file(self) -> str:
        return self.called

    @cached_property
    def proto(self) -> proto.ModelProto:
        try:
            found = proto.ModelProto.FromString(self.data)
        except DecodeError as error:
            raise VocabError(f"{self.called}: not a SentencePiece model ({error})") from error
        if not found.pieces:
            raise VocabError(f"{self.called}: a SentencePiece model without pieces")
        return found

    @cached_property
    def engine(self) -> sentencepiece.SentencePieceProcessor:
        return opened(self.proto)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(p.piece for p in self.proto.pieces)

    @cached_property
    def special(self) -> frozenset[str]:
        return frozenset(
            p.piece for p in self.proto.pieces if p.type in (Kind.CONTROL, Kind.USER_DEFINED, Kind.UNKNOWN)
        )

    @cached_property
    def roles(self) -> dict[str, str]:
        e = self.engine
        ids = {"pad": e.pad_id(), "unk": e.unk_id(), "start": e.bos_id(), "end": e.eos_id()}
        return {role: self.names[i] for role, i in ids.items() if i >= 0}

    def tokens(self, text: str) -> list[Token]:
        return [Token(p.id, self.names[p.id], p.surface, 0) for p in self.analysed(text)]

    def analysed(self, text: str):
        return SentencePieceText.FromString(self.engine.encode(text, out_type="serialized_proto")).pieces

    def decode(self, ids: Iterable[int]) -> str:
        return self.engine.decode(list(ids))

    def unfronted(self, text: str) -> str:
        text = self.engine.normalize(text).replace(METASPACE, " ")
        return text.removeprefix(" ") if self.proto.normalizer_spec.add_dummy_prefix else text

    def state(self) -> dict:
        return super().state() | {"called": self.called}

    @classmethod
    def restore(cls, state: dict) -> Self:
        return replace(super().restore(state), called=state["called"])

    # For merges

    bytes_level: ClassVar[bool] = False

    @property
    def metaspace(self) -> bool:
        return METASPACE in self.plain_names

    @property
    def plain_names(self) -> set[str]:
        return {p.piece for p in self.proto.pieces if p.type == Kind.NORMAL}

    @property
    def byte_fallback(self) -> bool:
        return self.proto.trainer_spec.byte_fallback

    def unspelt(self, text: str) -> str:
        """Characters that are unknown or spelt in bytes."""
        types = [p.type for p in self.proto.pieces]
        return "".join(p.surface for p in self.analysed(text) if types[p.id] in (Kind.UNKNOWN, Kind.BYTE))

    def learn(self, segments: list[str], size: int) -> Own:
        """A model of the same type, of the segments (`▁` first where a space stands before): (piece, score)."""
        spec = self.proto.trainer_spec
        if spec.model_type not in (UNIGRAM, BPE, CHAR) or spec.treat_whitespace_as_suffix:
            raise VocabError(f"{self.called}: word models and spaces as suffixes cannot be merged")
        if spec.model_type == CHAR:
            return Own(tuple((c, 0.0) for c in sorted(set("".join(segments)))), list)
        options = {"max_sentencepiece_length": spec.max_sentencepiece_length, "normalization_rule_name": "identity"}
        learnt = trained(
            (s.replace(METASPACE, " ") for s in segments),
            "unigram" if spec.model_type == UNIGRAM else "bpe",
            max(size, len(set("".join(segments))) + 3),
            add_dummy_prefix=False, remove_extra_whitespaces=False, **options,
        )  # fmt: skip
        engine = opened(learnt)
        entries = tuple((p.piece, p.score) for p in learnt.pieces if p.type == Kind.NORMAL)
        return Own(entries, lambda segment: engine.encode(segment, out_type=str))

    def extended(self, singles: Iterable[str], own: Own | None, tag: str | None) -> Self:
        """The same model with pieces appended, all scores below the base's, `trainer_spec.vocab_size` to match."""
        found = proto.ModelProto.FromString(self.data)
        scores = {p.piece: p.score for p in found.pieces if p.type == Kind.NORMAL}
        entries = [(piece, score) for piece, score in (own.entries if own else ()) if piece not in scores]
        floor = min(scores.values(), default=0.0) - 1.0
        if found.trainer_spec.model_type == UNIGRAM:
            shift = scores.get(METASPACE, 0.0) - dict(own.entries if own else ()).get(METASPACE, 0.0)
            entries = [(p, s + shift * p.startswith(METASPACE)) for p, s in entries]
            fall = max(0.0, max((s for _, s in entries), default=0.0) - floor) + 1.0
            entries = [(p, s - fall * len(p.removeprefix(METASPACE))) for p, s in entries]
        else:
            entries = [(p, s + floor) for p, s in entries]
        lowest = min([floor, *(s for _, s in entries)])
        for piece, score in [*entries, *((c, lowest) for c in sorted(singles))]:
            found.pieces.add(piece=piece, score=score)
        if tag and tag not in self.special:
            at = self.names.index(tag) if tag in self.names else None
            piece = found.pieces.add(piece=tag, score=0.0) if at is None else found.pieces[at]
            piece.type = Kind.USER_DEFINED
        found.trainer_spec.vocab_size = len(found.pieces)
        return replace(self, data=found.SerializeToString(deterministic=True))


def opened(model: proto.ModelProto) -> sentencepiece.SentencePieceProcessor:
    """The library's processor. Raises `VocabError` for what it refuses."""
    try:
        return sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())
    except RuntimeError as error:
        raise VocabError(f"SentencePiece: the library cannot read the model ({error})") from error


def trained(lines: Iterable[str], model_type: str, size: int, **options) -> proto.ModelProto:
    """Train a SentencePiece model, in one thread so that a corpus gives one model. Raises `VocabError`."""
    written = io.BytesIO()
    defaults = {"character_coverage": 1.0, "hard_vocab_limit": False, "minloglevel": 2, "num_threads": 1}
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_writer=written, model_type=model_type, vocab_size=size,
            **defaults | options,
        )  # fmt: skip
    except RuntimeError as error:
        raise VocabError(f"SentencePiece cannot train {size} pieces on these lines: {error}") from error
    return proto.ModelProto.FromString(written.getvalue())
