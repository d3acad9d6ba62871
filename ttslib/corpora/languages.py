"""What other corpora call our languages: 639-3 codes, regions (`am_et`, `es-MX`) and English names."""

import re

OURS = {
    "am": "amh amharic",
    "ku": "kmr kur kurmanji kurdish",
    "en": "eng english",
    "fr": "fra fre french",
    "es": "spa spanish castilian",
    "de": "deu ger german",
    "it": "ita italian",
    "ru": "rus russian",
}
ALIASES = {alias: code for code, aliases in OURS.items() for alias in aliases.split()}


def language_of(value: str) -> str:
    """Our code for a corpus's own word for a language: `am_et`, `amh`, `Amharic` → `am`; others lower-cased."""
    word = value.strip().lower()
    primary = re.split(r"[-_ ]", word, maxsplit=1)[0]
    return ALIASES.get(word) or ALIASES.get(primary) or (primary if len(primary) <= 3 else word)
