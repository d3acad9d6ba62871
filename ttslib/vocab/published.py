"""The tokenizers that published systems ship, for a preflight against all that is at hand."""

from ttslib.vocab.source import read
from ttslib.vocab.tokenizer import VocabError

# ISO 639-3 codes of MMS repositories; a three-letter code stands for itself
MMS = {
    "am": "amh", "ar": "ara", "de": "deu", "en": "eng", "es": "spa", "fr": "fra", "it": "ita",
    "kmr": "kmr-script_latin", "ku": "kmr-script_latin", "pt": "por", "ru": "rus", "sw": "swh", "ti": "tir", "tr": "tur",
}  # fmt: skip


def candidates(lang: str) -> dict[str, str | None]:
    """Published tokenizer of each system as `vocab.read` takes it; None where a language has no known repository."""
    code = MMS.get(lang, lang if len(lang) == 3 else None)
    return {
        "t3": "t3=ResembleAI/chatterbox/grapheme_mtl_merged_expanded_v1.json",
        "indextts": "indextts=IndexTeam/IndexTTS-2/bpe.model",
        "vits": f"vits=facebook/mms-tts-{code}/vocab.json" if code else None,
        "pocket": "pocket=kyutai/pocket-tts-without-voice-cloning/tokenizer.model",
    }


def at_hand(lang: str) -> list[dict]:
    """Rows `system, where, tokenizer, reason`: the published tokenizers in the hub cache or reachable, and for those
    that are not (`tokenizer` None) the reason. Two of the six systems have no file to show: they say so too."""
    rows = []
    for system, where in candidates(lang).items():
        tokenizer, reason = None, f"no published repository known for {lang!r}"
        if where:
            try:
                tokenizer, reason = read(where), ""
            except VocabError as error:
                reason = str(error)
        rows.append({"system": system, "where": where, "tokenizer": tokenizer, "reason": reason})
    none = {
        "supertonic": "reads code points through unicode_indexer.json, which is no tokenizer file",
        "acoustic": "has no published vocabulary: it is made from the corpus",
    }
    return rows + [{"system": s, "where": None, "tokenizer": None, "reason": why} for s, why in none.items()]
