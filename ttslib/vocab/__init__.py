"""Tokenizers: the files published systems read text with, and how they learn a language without unlearning one.

    base = vocab.read("t3=ResembleAI/chatterbox/tokenizer.json")     # or a file, a folder, `indextts=bpe.model`
    rows = vocab.preflight(lines, "am", [base])                      # what would go wrong, before it does
    merged = vocab.merge(base, lines, "am", english, "en", tag="[am]")
    merged.tokenizer.save("outputs/am/vocab"); merged.report.to_json()

A tokenizer has the interface of `ttslib.units.Units`: `names` (position = id), `normalise`, strict `encode`, `state`,
`digest`. Its `front` names what the system does to a text first, its `versions` the normalisers it was made for.

| kind | file | read by |
|---|---|---|
| bpe | tokenizer.json | Chatterbox T3 |
| sentencepiece | bpe.model, tokenizer.model | IndexTTS2, Pocket |
| characters | vocab.json (vocab.txt is read too) | VITS, MMS |

`encode` adds neither start nor end: systems place them themselves, by `roles`.
"""

from ttslib.vocab.difference import difference
from ttslib.vocab.fronts import FRONTS
from ttslib.vocab.merge import Merged, Report, merge
from ttslib.vocab.preflight import gate, preflight
from ttslib.vocab.published import at_hand
from ttslib.vocab.source import read, restore
from ttslib.vocab.tokenizer import Tokenizer, VocabError
from ttslib.vocab.train import train

__all__ = [
    "FRONTS", "Merged", "Report", "Tokenizer", "VocabError", "at_hand", "difference", "gate", "merge", "preflight",
    "read", "restore", "train",
]  # fmt: skip
