"""How Chatterbox tidies a text before its tokenizer reads it (resemble-ai/chatterbox 5de7a54, `punc_norm`).

Done in training as well: what the stock runtime adds to a sentence, the full stop after "።" for one, must have been learnt.
"""

REPLACED = (
    ("...", ", "), ("…", ", "), (":", ","), (" - ", ", "), (";", ", "), ("—", "-"), ("–", "-"), (" ,", ","),
    ("“", '"'), ("”", '"'), ("‘", "'"), ("’", "'"),
)  # fmt: skip
ENDS = (".", "!", "?", "-", ",", "、", "，", "。", "？", "！")


def tidied(text: str) -> str:
    """A text as Chatterbox reads it: a capital first, single spaces, plain punctuation, a mark at the end."""
    text = text[:1].upper() + text[1:] if text[:1].islower() else text
    text = " ".join(text.split())
    for old, new in REPLACED:
        text = text.replace(old, new)
    text = text.rstrip(" ")
    return text if text.endswith(ENDS) else text + "."
