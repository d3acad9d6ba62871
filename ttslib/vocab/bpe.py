"""tokenizer.json: Hugging Face `tokenizers` files, above all BPE such as T3's.

T3's format: BPE over characters, pre-tokenizer Whitespace, no normaliser, no decoder, `[SPACE]` an added token, so the
space has to be written as one and read back. Files with Metaspace or ByteLevel keep spaces by themselves.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

import tokenizers
from tokenizers import models, trainers

from ttslib.vocab.fronts import SPACE
from ttslib.vocab.tokenizer import METASPACE, NONE, Own, Token, Tokenizer, VocabError, holed

ROLES = {
    "pad": ("[PAD]", "<pad>"), "start": ("[START]", "<s>", "<bos>"), "end": ("[STOP]", "</s>", "<eos>"),
    "space": (SPACE,),
}  # fmt: skip
BYTE = re.compile(r"<0x[0-9A-F]{2}>")


@dataclass(frozen=True)
class Bpe(Tokenizer):
    """A tokenizer.json. Raises `VocabError` for bytes that are no such file."""

    kind: ClassVar[str] = "bpe"
    file: ClassVar[str] = "tokenizer.json"

    @cached_property
    def json(self) -> dict:
        try:
            found = json.loads(self.data)
        except ValueError as error:
            raise VocabError(f"tokenizer.json: not JSON ({error})") from error
        if not isinstance(found, dict) or "model" not in found:
            raise VocabError("tokenizer.json: no `model`; this is not a file of Hugging Face tokenizers")
        return found

    @cached_property
    def engine(self) -> tokenizers.Tokenizer:
        self.json  # noqa: B018  says more of a broken file than the library does
        try:
            engine = tokenizers.Tokenizer.from_str(self.data.decode())
        except Exception as error:
            raise VocabError(f"tokenizer.json: the library cannot read it ({error})") from error
        engine.no_truncation()  # a file may ask for both, and cut or pad text without a word
        engine.no_padding()
        return engine

    @cached_property
    def names(self) -> tuple[str, ...]:
        return holed(self.engine.get_vocab(with_added_tokens=True), self.file)

    @cached_property
    def special(self) -> frozenset[str]:
        return frozenset(t.content for t in self.engine.get_added_tokens_decoder().values())

    @cached_property
    def roles(self) -> dict[str, str]:
        found = {role: next((n for n in known if n in self.special), None) for role, known in ROLES.items()}
        unk = self.json["model"].get("unk_token")
        if self.json["model"].get("type") == "Unigram" and self.json["model"].get("unk_id") is not None:
            unk = self.names[self.json["model"]["unk_id"]]
        return {role: name for role, name in (found | {"unk": unk}).items() if name is not None}

    def tokens(self, text: str) -> list[Token]:
        e = self.engine.encode(text, add_special_tokens=False)
        words = [-1 if w is None else w for w in e.word_ids]
        found = [
            Token(i, piece, text[a:b], w) for i, piece, (a, b), w in zip(e.ids, e.tokens, e.offsets, words, strict=True)
        ]
        if "unk" not in self.roles:  # such a model drops what it does not know
            covered = {at for a, b in e.offsets for at in range(a, b)}
            found += [Token(NONE, "", c, -1) for at, c in enumerate(text) if at not in covered and not c.isspace()]
        return found

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids; without a decoder in the file, names in a row with `[SPACE]` as a space."""
        ids = list(ids)
        if self.json.get("decoder") is not None:
            return self.engine.decode(ids, skip_special_tokens=False)
        return "".join(self.names[i] for i in ids).replace(SPACE, " ")

    def unfronted(self, text: str) -> str:
        if self.engine.normalizer is None:
            return text
        found = self.engine.normalizer.normalize_str(text)
        if METASPACE in found and METASPACE not in text:  # Llama's way: the normaliser writes spaces as ▁
            found = found.replace(METASPACE, " ").removeprefix(" ")
        return found

    # For merges

    @property
    def metaspace(self) -> bool:
        """Whether a word's pieces begin with the space before it."""
        steps = json.dumps([self.json.get("pre_tokenizer"), self.json.get("normalizer")], ensure_ascii=False)
        return METASPACE in steps and METASPACE in self.plain_names

    @property
    def plain_names(self) -> set[str]:
        """Names that text spells: no added tokens, no bytes."""
        return {n for n in self.names if n not in self.special and not BYTE.fullmatch(n) and not n.startswith("<hole ")}

    @cached_property
    def bytes_level(self) -> bool:
        return '"ByteLevel"' in json.dumps([self.json.get("pre_tokenizer"), self.json.get("normalizer")])

    @property
    def byte_fallback(self) -> bool:
        return bool(self.json["model"].get("byte_fallback"))

    def unspelt(self, text: str) -> str:
        """Characters of a fronted text that no name spells: unknown ones and those spelt in bytes."""
        return "".join(t.surface for t in self.tokens(text) if self.lossy(t) or BYTE.fullmatch(t.piece))

    def bytes_of(self, text: str) -> str:
        """A fronted text in the letters that stand for bytes; one that its training never saw may have no name."""
        engine = self.engine
        text = engine.normalizer.normalize_str(text) if engine.normalizer else text
        return (
            "".join(word for word, _ in engine.pre_tokenizer.pre_tokenize_str(text)) if engine.pre_tokenizer else text
        )

    def learn(self, segments: list[str], size: int) -> Own:
        """BPE of the segments, each one word: `entries` are (alphabet, merges)."""
        self.mergeable()
        alphabet = sorted(set("".join(segments)))
        engine = tokenizers.Tokenizer(models.BPE())
        engine.train_from_iterator(
            segments, trainers.BpeTrainer(vocab_size=max(size, len(alphabet)), show_progress=False)
        )
        merges = [tuple(pair) for pair in json.loads(engine.to_str())["model"]["merges"]]
        return Own((alphabet, merges), lambda segment: [t.value for t in engine.model.tokenize(segment)])

    def mergeable(self) -> None:
        model = self.json["model"]
        if model.get("type") != "BPE":
            raise VocabError(
                f"tokenizer.json: a {model.get('type')} model cannot be merged; give its .model (SentencePiece) file"
            )
        if odd := [k for k in ("continuing_subword_prefix", "end_of_word_suffix") if model.get(k)]:
            raise VocabError(f"tokenizer.json: {' and '.join(odd)} cannot be merged; only plain BPE can")

    def extended(self, singles: Iterable[str], own: Own | None, tag: str | None) -> Self:
        """The same file with names appended: ids from the last on, merges after the base's."""
        self.mergeable()
        found = json.loads(self.data)
        model, vocab = found["model"], found["model"]["vocab"]
        alphabet, merges = own.entries if own else ([], [])
        # The library numbers added tokens that the model lacks anew, after the model's last, whatever the file says.
        for token in found["added_tokens"]:
            vocab.setdefault(token["content"], token["id"])
        after = len(self.names)
        for name in [*sorted(singles), *alphabet, *("".join(pair) for pair in merges)]:
            if name not in vocab:
                vocab[name], after = after, after + 1
        as_strings = bool(model["merges"]) and isinstance(model["merges"][0], str)
        model["merges"] += [" ".join(pair) if as_strings else list(pair) for pair in merges]
        if tag and tag not in self.special:
            # In `model.vocab` alone a tag is never reached: the pre-tokenizer splits it at its brackets.
            added = {"id": vocab.setdefault(tag, after), "content": tag, "single_word": False, "lstrip": False}
            found["added_tokens"].append(added | {"rstrip": False, "normalized": False, "special": True})
        return replace(self, data=json.dumps(found, ensure_ascii=False, indent=2).encode())
