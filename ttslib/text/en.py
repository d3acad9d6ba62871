"""English, read the American way: no "and" inside numbers, years in pairs, `#` is "pound".

Letters: a-z; the accents of loanwords (café, naïve) are spelling variants in English and go. Number words: num2words.
"""

import re

from num2words import num2words

from ttslib.text.abbreviations import expand, initials
from ttslib.text.numbers import Numerals, Unit, pointed, say, verbalise
from ttslib.text.surface import PUNCTUATION, settle, tidy, unify

VERSION = "en-1"
CHARSET = frozenset("abcdefghijklmnopqrstuvwxyz") | PUNCTUATION

TITLES = {
    "Dr.": "doctor", "Mr.": "mister", "Mrs.": "missus", "Ms.": "miz", "Prof.": "professor", "Gen.": "general",
    "Capt.": "captain", "Lt.": "lieutenant", "Col.": "colonel", "Sgt.": "sergeant", "Rev.": "reverend",
    "Hon.": "honorable", "Gov.": "governor", "Sen.": "senator",
    "e.g.": "for example", "i.e.": "that is", "vs.": "versus", "approx.": "approximately",
}  # fmt: skip
CLOSING = {
    "etc.": "et cetera", "Jr.": "junior", "Sr.": "senior", "Inc.": "incorporated", "Ltd.": "limited", "Co.": "company",
    "Corp.": "corporation", "Ave.": "avenue", "Blvd.": "boulevard", "Dept.": "department", "a.m.": "a m", "p.m.": "p m",
}  # fmt: skip
BEFORE_NUMBER = {  # No. with a capital: "I said no. 5 people came."
    "No.": "number", "Nos.": "numbers", "ext.": "extension", "Ext.": "extension", "p.": "page", "pp.": "pages",
    "vol.": "volume", "Vol.": "volume",
}  # fmt: skip
SYMBOLS = {
    "*": "star", "#": "pound", "&": "and", "@": "at", "+": "plus", "=": "equals", "%": "percent", "/": "slash",
    "_": "underscore", "€": "euro", "$": "dollar", "£": "pound", "°": "degrees",
}  # fmt: skip
ACCENTS = str.maketrans(
    "àáâäãåçèéêëìíîïñòóôöõøùúûüÀÁÂÄÃÅÇÈÉÊËÌÍÎÏÑÒÓÔÖÕØÙÚÛÜ", "aaaaaaceeeeiiiinoooooouuuuAAAAAACEEEEIIIINOOOOOOUUUU"
)
LIGATURES = {"æ": "ae", "œ": "oe", "Æ": "Ae", "Œ": "Oe"}


def plain(words: str) -> str:
    return words.replace(",", "").replace(" and ", " ")


def cardinal(n: int, gender: str = "") -> str:
    """n >= 0 in words, `gender` is ignored."""
    return plain(num2words(n, lang="en"))


def ordinal(n: int) -> str:
    return plain(num2words(n, lang="en", to="ordinal"))


def year(n: int) -> str | None:
    """1998 nineteen ninety-eight, 1905 nineteen oh five, 1900 nineteen hundred; None for 2000-2009 and before 1100."""
    century, rest = divmod(n, 100)
    if not (1100 <= n <= 1999 or 2010 <= n <= 2099):
        return None
    return f"{cardinal(century)} {'hundred' if not rest else f'oh {cardinal(rest)}' if rest < 10 else cardinal(rest)}"


def plural(words: str) -> str:
    """1990s: nineteen nineties; 747s: ... forty-sevens."""
    return words[:-1] + "ies" if words.endswith("y") else words + ("es" if words.endswith("x") else "s")


def time(hours: int, minutes: int, seconds: int | None) -> str:
    """14:30 fourteen thirty, 9:05 nine oh five, 9:00 nine o'clock, 14:00 fourteen hundred."""
    past = "o'clock" if 1 <= hours <= 12 else "hundred"
    minute = past if not minutes else f"oh {cardinal(minutes)}" if minutes < 10 else cardinal(minutes)
    return f"{cardinal(hours)} {minute}" + (f" and {cardinal(seconds)} seconds" if seconds else "")


def unit(one: str, many: str, cents: Unit | None = None) -> Unit:
    return Unit((f"{{}} {one}", f"{{}} {many}"), cents=cents)


CENT = unit("cent", "cents")
NUMERALS = Numerals(
    cardinal=cardinal,
    decimal=pointed(cardinal, "point"),
    time=time,
    year=year,
    group=",",
    point=".",
    dot="point",
    minus="minus",
    to="to",
    cents="{} and {}",
    scales="hundred|thousand|million|billion|trillion",
    fractions={
        "1/2": ("one half", "{} and a half"),
        "1/4": ("one quarter", "{} and a quarter"),
        "3/4": ("three quarters", "{} and three quarters"),
    },
    units={
        "%": unit("percent", "percent"),
        "€": unit("euro", "euros", CENT),
        "$": unit("dollar", "dollars", CENT),
        "£": unit("pound", "pounds", unit("penny", "pence")),
        "°C": unit("degree celsius", "degrees celsius"),
        "°F": unit("degree fahrenheit", "degrees fahrenheit"),
        "°": unit("degree", "degrees"),
        "km/h": unit("kilometer per hour", "kilometers per hour"),
        "km": unit("kilometer", "kilometers"),
        "cm": unit("centimeter", "centimeters"),
        "mm": unit("millimeter", "millimeters"),
        "kg": unit("kilogram", "kilograms"),
    },
)


def saint_or_street(match: re.Match[str]) -> str:
    """`St.` is a saint before a name (In St. Louis), else a street; a street's stop may also end the sentence.

    Main St. Then: a name before it, in mid-sentence, makes it a street even though a capital follows.
    """
    before, following = match.string[: match.start()], match.string[match.end() :].lstrip(" '\"")
    if following[:1].isupper() and not re.search(r"\w[ ,]+[A-Z]\w+ $", before):
        return "saint"
    return "street" + ("." if not following or following[0].isupper() else "")


def step(text: str) -> str:
    text = unify(text).translate(ACCENTS)
    for ligature, letters in LIGATURES.items():
        text = text.replace(ligature, letters)
    text = expand(text, TITLES)
    text = re.sub(r"\bSt\.", saint_or_street, text)
    for short, word in BEFORE_NUMBER.items():
        text = re.sub(rf"(?<![\w.]){re.escape(short)}\s?(?=\d)", f"{word} ", text)
    text = re.sub(r"(?<=\d)\s?([ap])m\b", r" \1 m", text, flags=re.IGNORECASE)
    text = re.sub(r"(\d):00\s?(?=[ap](?:\.m\.| m\b))", r"\1 ", text, flags=re.IGNORECASE)
    text = initials(expand(text, CLOSING, closing=True))
    text = re.sub(
        r"(?<![\d.,])(\d{1,3}(?:,\d{3}){1,4}|\d{1,15})(?:st|nd|rd|th)\b",
        lambda m: ordinal(int(m[1].replace(",", ""))),
        text,
        flags=re.IGNORECASE,
    )
    text = re.sub(r"(?<![\w.,])'?(\d{2,4})'?s\b", lambda m: plural(year(int(m[1])) or cardinal(int(m[1]))), text)
    return tidy(say(verbalise(text, NUMERALS), SYMBOLS))


def normalise(text: str) -> str:
    """English text as it is spoken, in lower case; what has no rule stays and is `unknown`."""
    return settle(step, text)
