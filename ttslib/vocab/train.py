"""A new tokenizer from lines: BPE in T3's file format, SentencePiece, or plain characters. The same lines give the
same file."""

import json
from collections.abc import Iterable
from typing import Literal

import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from ttslib.vocab import pieces
from ttslib.vocab.bpe import Bpe
from ttslib.vocab.characters import Characters
from ttslib.vocab.fronts import FRONTS, SPACE
from ttslib.vocab.tokenizer import Tokenizer, VocabError

Kind = Literal["bpe", "sentencepiece-bpe", "sentencepiece-unigram", "characters"]
SPECIALS = ["[STOP]", "[UNK]", SPACE, "[START]"]  # T3's ids 0, 1, 2; its [START] is 255, which few lines reach


def train(
    lines: Iterable[str],
    lang: str,
    kind: Kind = "bpe",
    size: int = 500,
    *,
    front: str | None = None,
    hard_limit: bool = False,
    byte_fallback: bool = False,
    split_digits: bool = True,
    homophones: bool = False,
) -> Tokenizer:
    """A tokenizer of at most `size` names for normalised lines of one language.

    `front` defaults to the system's whose format it is: t3-english for BPE, vits for characters, plain otherwise.
    `hard_limit`, `byte_fallback` and `split_digits` are SentencePiece's; characters ignore `size`. Raises `VocabError`
    for lines without text, and when SentencePiece cannot make so many pieces (`hard_limit`) or so few.
    """
    fronts = {"bpe": "t3-english", "characters": "vits"}
    front = front or fronts.get(kind, "plain")
    if front not in FRONTS:
        raise VocabError(f"no text front named {front!r}; there are {', '.join(FRONTS)}")
    texts = [FRONTS[front](line, "").replace(SPACE, " ") for line in lines if line.strip()]
    if not texts:
        raise VocabError(f"no text to train a tokenizer on ({lang}); give at least one line that is not empty")
    if kind == "bpe":
        found: Tokenizer = Bpe(bpe(texts, size), front)
    elif kind == "characters":
        table = {name: i for i, name in enumerate(["<pad>", *sorted(set("".join(texts))), "<unk>"])}
        found = Characters(json.dumps(table, ensure_ascii=False).encode(), front)
    elif kind in ("sentencepiece-bpe", "sentencepiece-unigram"):
        options = {"hard_vocab_limit": hard_limit, "byte_fallback": byte_fallback, "split_digits": split_digits}
        # Pocket's way: text is normalised already, and a tokenizer that changes it again hides what it lost
        options |= {"normalization_rule_name": "identity"}
        model = pieces.trained(texts, kind.removeprefix("sentencepiece-"), size, **options)
        model.trainer_spec.vocab_size = len(model.pieces)
        found = pieces.Pieces(model.SerializeToString(deterministic=True), front)
    else:
        raise VocabError(f"no kind of tokenizer named {kind!r}; there are bpe, sentencepiece-bpe, "
                         "sentencepiece-unigram and characters")  # fmt: skip
    return type(found).restore(found.state() | {"homophones": homophones}).made_for(lang)


def bpe(texts: list[str], size: int) -> bytes:
    """A tokenizer.json as T3's: no normaliser, no decoder, special tokens in T3's order. Raises `VocabError`."""
    least = len(set("".join(texts)) - {" "}) + len(SPECIALS)
    if size < least:
        raise VocabError(
            f"{size} names are too few: the letters and special tokens alone are {least}; give a larger size"
        )
    engine = tokenizers.Tokenizer(models.BPE(unk_token="[UNK]", fuse_unk=False))
    engine.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIALS, show_progress=False)
    engine.train_from_iterator(texts, trainer)
    return engine.to_str(pretty=True).encode()
