"""Kurmanji Kurdish in the Latin (Hawar) alphabet.

Letters: a b c ç d e ê f g h i î j k l m n o p q r s ş t u û v w x y z. Capital I is i and İ is i as well; a dotless ı
is not a letter of Kurmanji and stays, since writers use it for both i and î. Number words: made here (num2words has no
Kurdish); forms as taught in the north, hundreds and thousands apart (du sed, du hezar).
Sources: Thackston, Kurmanji Kurdish (grammar, §9); espeak-ng's ku_list for stêrk, xal, bêhnok, hwd.
"""

import re

from ttslib.text.abbreviations import expand, initials
from ttslib.text.numbers import Numerals, Unit, pointed, say, verbalise
from ttslib.text.surface import LETTER, PUNCTUATION, settle, tidy, unify

VERSION = "ku-1"
CHARSET = frozenset("abcçdeêfghiîjklmnopqrsştuûvwxyz") | PUNCTUATION

SMALL = [
    "sifir", "yek", "du", "sê", "çar", "pênc", "şeş", "heft", "heşt", "neh", "deh", "yanzdeh", "diwanzdeh",
    "sêzdeh", "çardeh", "panzdeh", "şanzdeh", "hivdeh", "hijdeh", "nozdeh",
]  # fmt: skip
TENS = ["", "deh", "bîst", "sî", "çil", "pêncî", "şêst", "heftê", "heştê", "nod"]
SCALES = [(10**12, "trilyon"), (10**9, "milyar"), (10**6, "milyon"), (1000, "hezar"), (100, "sed")]
VOWELS = "aeêiîouû"

OTHERS = {
    "Dr.": "doktor", "Prof.": "profesor", "bnr.": "binêre", "b.z.": "berî zayînê", "p.z.": "piştî zayînê",
    "hej.": "hejmar",
}  # fmt: skip
CLOSING = {"hwd.": "her wekî din", "hwd": "her wekî din", "htd.": "heta dawiyê"}
SYMBOLS = {
    "*": "stêrk", "#": "diyez", "&": "û", "@": "et", "+": "zêde", "=": "wekhev", "%": "ji sedî", "/": "slaş",
    "€": "euro", "$": "dolar", "£": "pawnd", "₺": "lîre", "°": "derece",
}  # fmt: skip
SUFFIXES = "yemîn|emîn|yem|em|mîn|yan|an|yê|ê"  # written straight after digits; any other only after an apostrophe


def cardinal(n: int, gender: str = "") -> str:
    """n >= 0 in words joined by û: 1250 hezar û du sed û pêncî. `gender` is ignored: numerals do not agree."""
    if n < 20:
        return SMALL[n]
    if n < 100:
        return TENS[n // 10] + (f" û {SMALL[n % 10]}" if n % 10 else "")
    value, name = next(scale for scale in SCALES if scale[0] <= n)
    count, rest = divmod(n, value)
    # One hundred and one thousand have no "yek"; one million has.
    words = name if count == 1 and value <= 1000 else f"{cardinal(count)} {name}"
    return words + (f" û {cardinal(rest)}" if rest else "")


def inflected(match: re.Match[str]) -> str:
    """`5'ê` pêncê, `2yem` duyem, `1990an` ... nodan: the suffix joins the last word, with a glide y between vowels."""
    word, suffix = cardinal(int(match[1].replace(".", ""))), (match["apart"] or match["joined"]).lower()
    suffix = re.sub(rf"^y(?=[{VOWELS}])", "", suffix)
    return word + "y" * (word[-1] in VOWELS and suffix[0] in VOWELS) + suffix


def time(hours: int, minutes: int, seconds: int | None) -> str:
    """14:30 çardeh û sî deqîqe; the word saet, where it is said, stands in the text."""
    words = cardinal(hours) + (f" û {cardinal(minutes)} deqîqe" if minutes else "")
    return words + (f" û {cardinal(seconds)} saniye" if seconds else "")


def unit(name: str, cents: str = "") -> Unit:
    return Unit((f"{{}} {name}",), cents=Unit((f"{{}} {cents}",)) if cents else None)


NUMERALS = Numerals(
    cardinal=cardinal,
    decimal=pointed(cardinal, "bêhnok", number=True),
    time=time,
    group=".",
    point=",",
    dot="xal",
    minus="kêm",
    to="heta",
    cents="{} û {}",
    before="€$£₺%",  # %5 is as common as 5%
    fractions={
        "1/2": ("nîv", "{} û nîv"),
        "1/4": ("çaryek", "{} û çaryek"),
        "3/4": ("sê çaryek", "{} û sê çaryek"),
    },
    units={
        "%": Unit(("ji sedî {}",)),
        "€": unit("euro", "sent"),
        "$": unit("dolar", "sent"),
        "£": unit("pawnd", "penî"),
        "₺": unit("lîre", "qurûş"),
        "°C": unit("dereceyê celsius"),
        "°": unit("derece"),
        "km": unit("kîlometre"),
        "cm": unit("santîmetre"),
        "mm": unit("mîlîmetre"),
        "kg": unit("kîlogram"),
    },
)


def step(text: str) -> str:
    text = unify(text).replace("İ", "i").replace("i̇", "i")  # the second is a lower-cased İ
    text = initials(expand(expand(text, OTHERS), CLOSING, closing=True))
    text = re.sub(r"(?<![\w.])r\.\s?(?=\d)", "rûpel ", text)
    number = r"(?<![\w.,:])(\d{1,3}(?:\.\d{3})+|\d{1,9})"
    text = re.sub(rf"{number}(?:'(?P<apart>{LETTER}+)|(?P<joined>{SUFFIXES}))(?!\w)", inflected, text)
    return tidy(say(verbalise(text, NUMERALS), SYMBOLS))


def normalise(text: str) -> str:
    """Kurmanji text as it is spoken, in lower case; what has no rule stays and is `unknown`."""
    return settle(step, text)
