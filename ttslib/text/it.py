"""Italian; `#` is "cancelletto".

Letters: a-z, à è é ì í î ï ò ó ù ú. Number words: num2words.
"""

import re

from num2words import num2words

from ttslib.text.abbreviations import expand, initials
from ttslib.text.numbers import Numerals, Unit, pointed, roman, say, verbalise
from ttslib.text.surface import PUNCTUATION, settle, tidy, unify

VERSION = "it-1"
CHARSET = frozenset("abcdefghijklmnopqrstuvwxyzàèéìíîïòóùú") | PUNCTUATION

TITLES = {
    "Sig.": "signor", "Sig.ra": "signora", "Sig.na": "signorina", "Sigg.": "signori", "Dott.": "dottor",
    "Dr.": "dottor", "Dott.ssa": "dottoressa", "Prof.": "professor", "Prof.ssa": "professoressa", "Ing.": "ingegner",
    "Avv.": "avvocato", "Geom.": "geometra", "p.es.": "per esempio", "p. es.": "per esempio",
    "ad es.": "ad esempio", "es.": "esempio", "cfr.": "confronta", "pag.": "pagina", "pagg.": "pagine",
    "tel.": "telefono", "P.zza": "piazza",
    "a.C.": "avanti cristo", "a. C.": "avanti cristo", "d.C.": "dopo cristo", "d. C.": "dopo cristo",
    "c.so": "corso", "v.le": "viale",
}  # fmt: skip
CLOSING = {"ecc.": "eccetera", "ecc": "eccetera", "etc.": "eccetera"}
SYMBOLS = {
    "*": "asterisco", "#": "cancelletto", "&": "e", "@": "chiocciola", "+": "più", "=": "uguale", "%": "per cento",
    "/": "barra", "_": "trattino basso", "€": "euro", "$": "dollaro", "£": "sterlina", "°": "gradi",
}  # fmt: skip


def cardinal(n: int, gender: str = "") -> str:
    """n >= 0 in words; before a noun 1 is un ("m") or una ("f")."""
    words = num2words(n, lang="it")
    return {"m": "un", "f": "una"}.get(gender, words) if n == 1 else words


def ordinal(n: int, feminine: bool = False) -> str:
    """1 primo, 3 terzo, 23 ventitreesimo; from a million on the cardinal."""
    if not 1 <= n < 10**6:
        return cardinal(n)
    words = num2words(n, lang="it", to="ordinal")
    return words[:-1] + "a" if feminine else words


def time(hours: int, minutes: int, seconds: int | None) -> str:
    """14:30 quattordici e trenta, 14:00 quattordici, 1:00 una."""
    words = cardinal(hours, "f") + (f" e {cardinal(minutes)}" if minutes else "")
    return words + (f" e {cardinal(seconds)} secondi" if seconds else "")


def unit(one: str, many: str, gender: str = "m", cents: Unit | None = None) -> Unit:
    return Unit((f"{{}} {one}", f"{{}} {many}"), gender, cents)


CENT = unit("centesimo", "centesimi")
NUMERALS = Numerals(
    cardinal=cardinal,
    decimal=pointed(cardinal, "virgola", number=True),
    time=time,
    group=".",
    point=",",
    dot="punto",
    minus="meno",
    to="a",
    of="di",
    cents="{} e {}",
    fractions={
        "1/2": ("un mezzo", "{} e mezzo"),
        "1/4": ("un quarto", "{} e un quarto"),
        "3/4": ("tre quarti", "{} e tre quarti"),
    },
    units={
        "%": Unit(("{} per cento",)),
        "€": unit("euro", "euro", cents=CENT),
        "$": unit("dollaro", "dollari", cents=CENT),
        "£": unit("sterlina", "sterline", "f", unit("penny", "penny")),
        "°C": unit("grado celsius", "gradi celsius"),
        "°": unit("grado", "gradi"),
        "km/h": unit("chilometro orario", "chilometri orari"),
        "km": unit("chilometro", "chilometri"),
        "cm": unit("centimetro", "centimetri"),
        "mm": unit("millimetro", "millimetri"),
        "kg": unit("chilogrammo", "chilogrammi"),
    },
)


def marked(match: re.Match[str]) -> str:
    """`1º 2ª 3°`: an ordinal; ° is read so before a small-letter word or a month (1° maggio), else as degrees."""
    return ordinal(int(match[1]), feminine=match[2] == "ª")


def century(match: re.Match[str]) -> str:
    n = roman(match[1])
    return f"{ordinal(n)} {match[2]}" if n else match[0]


def step(text: str) -> str:
    text = unify(text)
    text = re.sub(r"(?<![\w.,-])(\d{1,3})([ºª]|°(?=\s(?!celsius\b|a?\s?nord\b|sud\b)[a-z]))", marked, text)
    text = re.sub(r"\b([IVXLCDM]+) (secol[oi])\b", century, text)
    # "n." is a number only before one; elsewhere it is an initial.
    text = re.sub(r"(?<![\w.])n(?:r\.|[.º°])\s?(?=\d)", "numero ", text, flags=re.IGNORECASE)
    text = expand(text, TITLES)
    text = initials(expand(text, CLOSING, closing=True))
    text = re.sub(r"(?<=\bore )([01]?\d|2[0-4])[.,]([0-5]\d)(?![\d.,]*\d)", r"\1:\2", text)
    return tidy(say(verbalise(text, NUMERALS), SYMBOLS))


def normalise(text: str) -> str:
    """Italian text as it is spoken, in lower case; what has no rule stays and is `unknown`."""
    return settle(step, text)
