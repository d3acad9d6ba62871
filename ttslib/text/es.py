"""Spanish as written with a decimal comma (Spain, most of South America); `#` is "almohadilla".

Letters: a-z, á é í ó ú ü ñ. The opening ¿ ¡ go: writers often omit them and the closing mark says the same. Number
words: num2words, whose apocope (veintiuno mil) and ordinals (décimoprimero) are wrong and made here.
"""

import re

from num2words import num2words

from ttslib.text.abbreviations import expand, initials
from ttslib.text.numbers import Numerals, Unit, pointed, roman, say, verbalise
from ttslib.text.surface import PUNCTUATION, settle, tidy, unify

VERSION = "es-1"
CHARSET = frozenset("abcdefghijklmnopqrstuvwxyzáéíóúüñ") | PUNCTUATION

TITLES = {
    "Sr.": "señor", "Sra.": "señora", "Sres.": "señores", "Sras.": "señoras", "Srta.": "señorita", "Dr.": "doctor",
    "Dra.": "doctora", "Prof.": "profesor", "Profa.": "profesora", "Lic.": "licenciado", "Ing.": "ingeniero",
    "D.ª": "doña", "Ud.": "usted", "Uds.": "ustedes", "Vd.": "usted", "Vds.": "ustedes", "Avda.": "avenida",
    "Av.": "avenida", "C/": "calle ", "p. ej.": "por ejemplo", "p.ej.": "por ejemplo", "núm.": "número",
    "n.º": "número ", "nº": "número ", "tel.": "teléfono", "pág.": "página", "págs.": "páginas",
    "aprox.": "aproximadamente",
    "a. C.": "antes de cristo", "a.C.": "antes de cristo", "d. C.": "después de cristo", "d.C.": "después de cristo",
    "EE. UU.": "estados unidos", "EE.UU.": "estados unidos", "EEUU": "estados unidos",
}  # fmt: skip
CLOSING = {"etc.": "etcétera", "a. m.": "a eme", "a.m.": "a eme", "p. m.": "pe eme", "p.m.": "pe eme"}
SYMBOLS = {
    "*": "asterisco", "#": "almohadilla", "&": "y", "@": "arroba", "+": "más", "=": "igual a", "%": "por ciento",
    "/": "barra", "_": "guion bajo", "€": "euro", "$": "dólar", "£": "libra", "°": "grados", "¿": "", "¡": "",
}  # fmt: skip

UNITS_ORDINAL = ["", "primero", "segundo", "tercero", "cuarto", "quinto", "sexto", "séptimo", "octavo", "noveno"]
TENS_ORDINAL = [
    "", "décimo", "vigésimo", "trigésimo", "cuadragésimo", "quincuagésimo", "sexagésimo", "septuagésimo",
    "octogésimo", "nonagésimo",
]  # fmt: skip


def cardinal(n: int, gender: str = "") -> str:
    """n >= 0 in words; gender "m" shortens a final uno (veintiún euros), "f" agrees (doscientas una libras)."""
    words = num2words(n, lang="es")
    words = shorten(words, r"(?= mil\b| \w*ill(?:ón|ones)\b)")
    if gender == "m":
        return shorten(words, "$")
    if gender == "f":
        head, millions, tail = words.rpartition("illones ")
        tail = re.sub(r"cientos\b", "cientas", tail).replace("quinientos", "quinientas")
        return head + millions + re.sub(r"uno$", "una", tail)
    return words


def shorten(words: str, where: str) -> str:
    return re.sub(rf"\buno{where}", "un", re.sub(rf"veintiuno{where}", "veintiún", words))


def ordinal(n: int, feminine: bool = False, short: bool = False) -> str:
    """1 primero, 11 undécimo, 21 vigésimo primero, `short` 3 tercer; from 100 on the cardinal, as it is spoken."""
    if not 1 <= n <= 99:
        return cardinal(n)
    tens, ones = divmod(n, 10)
    words = {11: "undécimo", 12: "duodécimo"}.get(n) or f"{TENS_ORDINAL[tens]} {UNITS_ORDINAL[ones]}".strip()
    if 13 <= n <= 19:
        words = f"decimo{UNITS_ORDINAL[ones]}"  # one word keeps one accent: decimoséptimo
    if short:
        return re.sub(r"(primer|tercer)o$", r"\1", words)
    return re.sub(r"o\b", "a", words) if feminine else words


def time(hours: int, minutes: int, seconds: int | None) -> str:
    """14:30 catorce treinta, 14:00 catorce horas, 3:00 tres en punto, 1:05 una cero cinco."""
    words = cardinal(hours, "f")
    if minutes:
        words += f" {'cero ' * (minutes < 10)}{cardinal(minutes)}"
    else:
        words += " en punto" if 1 <= hours <= 12 else " horas"
    return words + (f" y {cardinal(seconds)} segundos" if seconds else "")


def unit(one: str, many: str, gender: str = "m", cents: Unit | None = None) -> Unit:
    return Unit((f"{{}} {one}", f"{{}} {many}"), gender, cents)


CENT = unit("céntimo", "céntimos")
NUMERALS = Numerals(
    cardinal=cardinal,
    decimal=pointed(cardinal, "coma", number=True),
    time=time,
    group=".",
    point=",",
    dot="punto",
    minus="menos",
    to="a",
    of="de",
    cents="{} con {}",
    clock="horas?|h",
    fractions={
        "1/2": ("un medio", "{} y medio"),
        "1/4": ("un cuarto", "{} y cuarto"),
        "3/4": ("tres cuartos", "{} y tres cuartos"),
    },
    units={
        "%": Unit(("{} por ciento",)),
        "€": unit("euro", "euros", cents=CENT),
        "$": unit("dólar", "dólares", cents=unit("centavo", "centavos")),
        "£": unit("libra", "libras", "f", unit("penique", "peniques")),
        "°C": unit("grado celsius", "grados celsius"),
        "°": unit("grado", "grados"),
        "km/h": unit("kilómetro por hora", "kilómetros por hora"),
        "km": unit("kilómetro", "kilómetros"),
        "cm": unit("centímetro", "centímetros"),
        "mm": unit("milímetro", "milímetros"),
        "kg": unit("kilogramo", "kilogramos"),
    },
)


def marked(match: re.Match[str]) -> str:
    """`1.º 2ª 3.er 1a`: an ordinal."""
    return ordinal(int(match[1]), feminine=match[2] in "aª", short=match[2] == "er")


def century(match: re.Match[str]) -> str:
    """Centuries and chapters are counted, not ordered: siglo XX is siglo veinte."""
    n = roman(match[2])
    return f"{match[1]} {cardinal(n)}" if n else match[0]


def step(text: str) -> str:
    text = unify(text)
    text = re.sub(r"(?<![\w.,])(\d{1,3})\.?(er|[oaºª])(?!\w)", marked, text)
    text = re.sub(r"(?<![\w.])D\.(?=\s+[A-ZÁÉÍÓÚÑ])", "don", expand(text, TITLES))
    text = initials(expand(text, CLOSING, closing=True))
    text = re.sub(r"(?i:\b(siglos?|capítulo|tomo)) ([IVXLCDM]+)\b", century, text)
    return tidy(say(verbalise(text, NUMERALS), SYMBOLS))


def normalise(text: str) -> str:
    """Spanish text as it is spoken, in lower case; what has no rule stays and is `unknown`."""
    return settle(step, text)
