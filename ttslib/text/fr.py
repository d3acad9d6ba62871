"""French of France: septante-free numerals, `#` is "dièse".

Letters: a-z with the 16 accented letters and ligatures of French spelling. Number words: num2words, whose ordinals are
wrong (quatre-vingtsième) and therefore made here.
"""

import re

from num2words import num2words

from ttslib.text.abbreviations import expand, initials
from ttslib.text.numbers import Numerals, Unit, pointed, roman, say, spaced, verbalise
from ttslib.text.surface import PUNCTUATION, settle, tidy, unify

VERSION = "fr-1"
CHARSET = frozenset("abcdefghijklmnopqrstuvwxyzàâæçéèêëîïôœùûüÿ") | PUNCTUATION

TITLES = {
    "Mme": "madame", "Mme.": "madame", "Mmes": "mesdames", "Mlle": "mademoiselle", "Mlle.": "mademoiselle",
    "Mlles": "mesdemoiselles", "MM.": "messieurs", "Dr": "docteur", "Dr.": "docteur", "Pr": "professeur",
    "Pr.": "professeur", "Mgr": "monseigneur", "St": "saint", "Ste": "sainte",
}  # fmt: skip
OTHERS = {
    "p. ex.": "par exemple", "p.ex.": "par exemple", "c.-à-d.": "c'est-à-dire", "c.à.d.": "c'est-à-dire",
    "av. J.-C.": "avant jésus-christ", "apr. J.-C.": "après jésus-christ", "J.-C.": "jésus-christ", "env.": "environ",
    "av.": "avenue", "éd.": "édition", "s.v.p.": "s'il vous plaît",
    "svp": "s'il vous plaît", "tél.": "téléphone", "cf.": "confer",
}  # fmt: skip
CLOSING = {"etc.": "et cetera", "etc": "et cetera"}
SYMBOLS = {
    "*": "étoile", "#": "dièse", "&": "et", "@": "arobase", "+": "plus", "=": "égale", "%": "pour cent",
    "/": "barre oblique", "_": "tiret bas", "€": "euro", "$": "dollar", "£": "livre", "°": "degrés",
}  # fmt: skip


def cardinal(n: int, gender: str = "") -> str:
    """n >= 0 in words; with gender "f" a final un becomes une (vingt et une heures)."""
    words = num2words(n, lang="fr")
    return words + "e" if gender == "f" and words.endswith("un") else words


def ordinal(n: int, feminine: bool = False) -> str:
    """1 premier, 5 cinquième, 9 neuvième, 80 quatre-vingtième, 200 deux centième; n >= 1."""
    if n == 1:
        return "première" if feminine else "premier"
    stem = cardinal(n)
    stem = stem[:-1] if re.search(r"(e|vingts|cents|millions|milliards)$", stem) else stem
    stem = stem[:-1] + "v" if stem.endswith("neuf") else stem + "u" if stem.endswith("cinq") else stem
    return stem + "ième"


def time(hours: int, minutes: int, seconds: int | None) -> str:
    """14:30 quatorze heures trente, 1:00 une heure."""
    words = f"{cardinal(hours, 'f')} heure{'s' * (hours > 1)}"
    words += f" {cardinal(minutes, 'f')}" if minutes or seconds else ""
    return words + (f" et {cardinal(seconds, 'f')} seconde{'s' * (seconds > 1)}" if seconds else "")


def marked(match: re.Match[str]) -> str:
    """`1er 1re 2nd 3e XXe`: an ordinal, plural with s; what is no number stays."""
    n = int(match[1]) if match[1].isdigit() else roman(match[1])
    suffix = match[2].lower()
    if not n:
        return match[0]
    many = "s" * suffix.endswith("s")
    if suffix.startswith("nd") or (n == 2 and suffix.startswith("de")):
        return ("seconde" if "e" in suffix else "second") + many
    return ordinal(n, feminine=n == 1 and suffix.startswith(("re", "ère", "ere"))) + many


def unit(one: str, many: str = "", gender: str = "m", cents: Unit | None = None) -> Unit:
    return Unit((f"{{}} {one}", f"{{}} {many or one + 's'}"), gender, cents)


CENT = unit("centime")
NUMERALS = Numerals(
    cardinal=cardinal,
    decimal=pointed(cardinal, "virgule", number=True),
    time=time,
    plural=lambda n: int(n is not None and n > 1),  # 0 euro, 1,5 euro, 2 euros
    group="\u202f",
    point=",",
    dot="point",
    minus="moins",
    to="à",
    of="de",
    clock="heures?|h",
    fractions={
        "1/2": ("un demi", "{} et demi"),
        "1/4": ("un quart", "{} et quart"),
        "3/4": ("trois quarts", "{} trois quarts"),
    },
    units={
        "%": unit("pour cent", "pour cent"),
        "€": unit("euro", cents=CENT),
        "$": unit("dollar", cents=unit("cent")),
        "£": unit("livre", gender="f", cents=unit("penny", "pence")),
        "°C": unit("degré celsius", "degrés celsius"),
        "°": unit("degré"),
        "km/h": unit("kilomètre heure", "kilomètres heure"),
        "km": unit("kilomètre"),
        "cm": unit("centimètre"),
        "mm": unit("millimètre"),
        "kg": unit("kilogramme"),
    },
)


def step(text: str) -> str:
    text = unify(text)
    text = re.sub(r"(?<![\w.])M\.(?=\s+[A-ZÀ-Ý])", "monsieur", text)  # M. is also an initial: only before a name
    text = re.sub(r"(?<!\w)[nN][°º]\s?(?=\d)", "numéro ", text)
    # A rule about small letters must ask for something that lower-casing takes away: the text is passed again.
    text = re.sub(r"(?<![\w.])[bB]d\.?(?=\s+[A-ZÀ-Ý])", "boulevard", text)
    text = expand(text, TITLES, exact=True)
    text = initials(expand(expand(text, OTHERS), CLOSING, closing=True))
    text = re.sub(r"(?<!\w)(\d{1,15})(ers?|res?|ères?|eres?|nde?s?|des?|i?[eè]mes?|es?|è)(?!\w)", marked, text)
    # Roman numerals of centuries and reigns; of one letter only I, V and X: Ce, De, Le and Me are words.
    text = re.sub(r"(?<!\w)([IVXLCDM]{2,}|[VX](?=e)|I(?=er|re))(ers?|res?|ère|i?[eè]mes?|es?)(?!\w)", marked, text)
    text = re.sub(r"(?<![\w.,:])([01]?\d|2[0-4])\s?h\s?([0-5]\d)?(?!\w)", lambda m: f"{m[1]}:{m[2] or '00'}", text)
    text = say(verbalise(spaced(text), NUMERALS), SYMBOLS)
    return tidy(re.sub(r"\bde (?=euro)", "d'", text))


def normalise(text: str) -> str:
    """French text as it is spoken, in lower case; what has no rule stays and is `unknown`."""
    return settle(step, text)
