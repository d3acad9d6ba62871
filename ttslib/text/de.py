"""German; `#` is "raute".

Letters: a-z ä ö ü ß; the accents of loanwords (Café, à) are rare and go, as their pronunciation is not regular either
way. Number words: num2words, whose ordinals (eine million erste) and thousands (einhunderteinstausend) are corrected.
"""

import re

from num2words import num2words

from ttslib.text.abbreviations import expand, initials
from ttslib.text.numbers import Numerals, Unit, pointed, say, verbalise
from ttslib.text.surface import PUNCTUATION, settle, tidy, unify

VERSION = "de-1"
CHARSET = frozenset("abcdefghijklmnopqrstuvwxyzäöüß") | PUNCTUATION

OTHERS = {
    "Dr.": "doktor", "Prof.": "professor", "Hr.": "herr", "Fr.": "frau", "Nr.": "nummer", "z.B.": "zum beispiel",
    "d.h.": "das heißt", "u.a.": "unter anderem", "bzw.": "beziehungsweise", "ca.": "circa", "vgl.": "vergleiche",
    "ggf.": "gegebenenfalls", "evtl.": "eventuell", "inkl.": "inklusive", "exkl.": "exklusive", "z.T.": "zum teil",
    "z.Zt.": "zur zeit", "i.d.R.": "in der regel", "o.g.": "oben genannt",
    "bspw.": "beispielsweise",
    "St.": "sankt", "Str.": "straße", "Tel.": "telefon", "Mio.": "millionen", "Mrd.": "milliarden", "Std.": "stunden",
    "Min.": "minuten", "v.Chr.": "vor christus", "n.Chr.": "nach christus", "v.a.": "vor allem",
    "m.E.": "meines erachtens", "mind.": "mindestens", "Abb.": "abbildung", "Bd.": "band",
}  # fmt: skip
CLOSING = {"usw.": "und so weiter", "etc.": "et cetera", "u.ä.": "und ähnliches", "u.v.m.": "und vieles mehr"}
SYMBOLS = {
    "*": "stern", "#": "raute", "&": "und", "@": "at", "+": "plus", "=": "gleich", "%": "prozent", "/": "schrägstrich",
    "_": "unterstrich", "€": "euro", "$": "dollar", "£": "pfund", "°": "grad", "§": "paragraf",
}  # fmt: skip
ACCENTS = str.maketrans(
    "áàâãåçéèêëíìîïñóòôõøúùûÁÀÂÃÅÇÉÈÊËÍÌÎÏÑÓÒÔÕØÚÙÛ", "aaaaaceeeeiiiinooooouuuAAAAACEEEEIIIINOOOOOUUU"
)

MONTHS = "Januar Februar März April Mai Juni Juli August September Oktober November Dezember"
STRONG = "am im vom zum zur beim dem den des einem einen eines einer bis seit ab vor nach"  # ask for -en
WEAK = "der die das dieser diese dieses jeder jede jedes"  # ask for -e


def cardinal(n: int, gender: str = "") -> str:
    """n >= 0 in words; before a noun eins is ein ("m") or eine ("f")."""
    words = num2words(n, lang="de").lower().replace("einstausend", "eintausend")
    if gender and words.endswith("eins"):
        return words[:-1] + "e" * (gender == "f")
    return words


def ordinal(n: int, ending: str) -> str:
    """Stem and ending: 1 erst-e, 3 dritt-en, 21 einundzwanzigst-er, 101 einhunderterst-e; n >= 0."""
    rest = n % 100
    if 1 <= rest <= 19:
        head = cardinal(n - rest) if n > rest else ""
        tail = {1: "erst", 3: "dritt", 7: "siebt", 8: "acht"}.get(rest, cardinal(rest) + "t")
        return head + " " * (n >= 10**6 and bool(head)) + tail + ending
    return cardinal(n) + ("t" if n == 0 else "st") + ending


def year(n: int) -> str | None:
    """1998 neunzehnhundertachtundneunzig, also the usual way to say bare 1100 to 1999 as a number."""
    century, rest = divmod(n, 100)
    return cardinal(century) + "hundert" + (cardinal(rest) if rest else "") if 11 <= century <= 19 else None


def time(hours: int, minutes: int, seconds: int | None) -> str:
    """14:30 vierzehn uhr dreißig, 1:00 ein uhr."""
    words = f"{cardinal(hours, 'm')} uhr" + (f" {cardinal(minutes)}" if minutes or seconds else "")
    return words + (f" und {cardinal(seconds)} sekunden" if seconds else "")


def marked(match: re.Match[str]) -> str:
    """`3.` before a month or a small letter, or after an article: am dritten, der dritte, 3. Oktober dritter."""
    article = (match[1] or "").strip().lower()
    ending = "en" if article in STRONG.split() else "e" if article in WEAK.split() else "er"
    return (match[1] or "") + ordinal(int(match[2]), ending)


def unit(one: str, many: str = "", gender: str = "m", cents: Unit | None = None) -> Unit:
    return Unit((f"{{}} {one}", f"{{}} {many or one}"), gender, cents)


NUMERALS = Numerals(
    cardinal=cardinal,
    decimal=pointed(cardinal, "komma"),
    time=time,
    year=year,
    group=".",
    point=",",
    dot="punkt",
    minus="minus",
    to="bis",
    cents="{} und {}",
    clock="Uhr|uhr",
    fractions={
        "1/2": ("ein halb", "{}einhalb"),
        "1/4": ("ein viertel", "{}einviertel"),
        "3/4": ("drei viertel", "{}dreiviertel"),
    },
    units={
        "%": unit("prozent"),
        "€": unit("euro", cents=unit("cent")),
        "$": unit("dollar", cents=unit("cent")),
        "£": unit("pfund", cents=unit("penny", "pence")),
        "°C": unit("grad celsius"),
        "°": unit("grad"),
        "km/h": unit("kilometer pro stunde"),
        "km": unit("kilometer"),
        "cm": unit("zentimeter"),
        "mm": unit("millimeter"),
        "kg": unit("kilogramm"),
    },
)


def step(text: str) -> str:
    text = unify(text).translate(ACCENTS)
    text = re.sub(r"(?<![\w.,:])([01]?\d|2[0-4])(?:[.:]([0-5]\d))?\s?(?=uhr\b)", clock, text, flags=re.IGNORECASE)
    months, articles = MONTHS.replace(" ", "|"), f"{STRONG} {WEAK}".replace(" ", "|")
    text = re.sub(rf"((?i:\b(?:{articles}))\s+)(\d{{1,4}})\.(?=\s+[A-ZÄÖÜa-zäöüß])", marked, text)
    text = re.sub(rf"(?<![\w.,-])()(\d{{1,4}})\.(?=\s+(?:{months})\b|\s+[a-zäöüß])", marked, text)
    text = re.sub(r"(?<=[a-zäöü])str\.(?=\s?\d|\s?$)", "straße", text)
    text = expand(text, OTHERS)
    # Max, Sog and S are also words or initials at the end of a sentence.
    text = re.sub(r"(?<![\w.])S\.\s?(?=\d)", "seite ", text)
    text = re.sub(r"(?<![\w.])[mM]ax\.\s?(?=\d)", "maximal ", text)
    text = re.sub(r"(?<![\w.])sog\.(?=\s+[A-ZÄÖÜ])", "sogenannte", text)
    text = initials(expand(text, CLOSING, closing=True))
    text = re.sub(r"\beins(?=ein|drei)", "ein", verbalise(text, NUMERALS))  # 1½ is eineinhalb
    return tidy(say(text, SYMBOLS))


def clock(match: re.Match[str]) -> str:
    # "14.30 Uhr" is a time too; "14 Uhr" becomes 14:00 so that 1 Uhr is "ein Uhr".
    return f"{match[1]}:{match[2] or '00'} "


def normalise(text: str) -> str:
    """German text as it is spoken, in lower case; what has no rule stays and is `unknown`."""
    return settle(step, text)
