"""Amharic in the Ethiopic script.

Letters: CLDR's Amharic set (34 rows of seven orders and their labialised forms). Marks: space ። ፣ ፤ ፥ ? ! and the
hyphen; the wordspace ፡ becomes a space, . , ; : become ። ፣ ፤ ፥. A slash between words is not spoken, apostrophes and
quotes go. Times are read as written (2:30 is the Ethiopian clock's, if the text uses it).
"""

import re

from ttslib.text.abbreviations import expand
from ttslib.text.am_words import PREFIX, SLASHED, WHOLE, cardinal, ethiopic, inflected
from ttslib.text.numbers import Numerals, Unit, pointed, say, verbalise
from ttslib.text.surface import settle, tidy, unify

VERSION = "am-1"
ROWS = "ሀለሐመሠረሰሸቀበቨተቸኀነኘአከኸወዐዘዠየደጀገጠጨጰጸፀፈፐ"
LETTERS = (
    "".join(chr(ord(row) + order) for row in ROWS for order in range(7))
    + "ሏሗሟሧሯሷሿቧቯቷቿኗኟኧዟዧዷጇጧጯጷጿፏፗቈቊቋቌቍኈኊኋኌኍኰኲኳኴኵጐጒጓጔጕ"
)
CHARSET = frozenset(LETTERS) | frozenset(" ።፣፤፥?!-")
STRENGTH = "?!።፤፥፣"

SYMBOLS = {
    "*": "ኮከብ", "#": "መሰላል", "&": "እና", "@": "አት", "+": "ሲደመር", "=": "እኩል", "%": "በመቶ", "/": "እዝባር", "€": "ዩሮ",
    "$": "ዶላር", "£": "ፓውንድ", "°": "ዲግሪ",
}  # fmt: skip
JOINER = "\u2060"  # stands between a preposition and its number while the number is read; never in unified text
# Suffixes that belong to the numeral; other letters after digits are a word of their own (5ብር).
SUFFIX = r"(?:ኛ\w*|ዎች\w*|ዎቹ\w*|(?:ቱ|ሩ|ኙ|ው|ዋ)[ንምስ]?|[ንምናስ])(?!\w)"
# ሐ ኀ are said as ሀ, ሠ as ሰ, ዐ as አ, ፀ as ጸ; in the h and glottal rows the first order is said as the fourth.
FOLD = {
    ord(old) + order: chr(ord(new) + order) for old, new in ("ሐሀ", "ኀሀ", "ሠሰ", "ዐአ", "ፀጸ") for order in range(7)
} | str.maketrans("ሃሓኃኣዓሗሧ", "ሀሀሀአአኋሷ")


def time(hours: int, minutes: int, seconds: int | None) -> str:
    """2:30 ሁለት ሰዓት ከሠላሳ ደቂቃ."""
    words = f"{cardinal(hours)} ሰዓት" + (f" ከ{cardinal(minutes)} ደቂቃ" if minutes else "")
    return words + (f" ከ{cardinal(seconds)} ሰከንድ" if seconds else "")


def unit(name: str, cents: str = "") -> Unit:
    return Unit((f"{{}} {name}",), cents=Unit((f"{{}} {cents}",)) if cents else None)


NUMERALS = Numerals(
    cardinal=cardinal,
    decimal=pointed(cardinal, "ነጥብ"),
    time=time,
    group=",",
    point=".",
    dot="ነጥብ",
    minus="አሉታዊ",
    to="እስከ",
    cents="{} ከ{}",
    clock="ሰዓት|ሰአት",
    fractions={"1/2": ("ግማሽ", "{} ተኩል"), "1/4": ("ሩብ", "{} ከሩብ"), "3/4": ("ሦስት አራተኛ", "{} ከሦስት አራተኛ")},
    units={
        "%": unit("በመቶ"),
        "ብር": unit("ብር", "ሳንቲም"),
        "€": unit("ዩሮ", "ሳንቲም"),
        "$": unit("ዶላር", "ሳንቲም"),
        "£": unit("ፓውንድ", "ፔንስ"),
        "°C": unit("ዲግሪ ሴልሺየስ"),
        "°": unit("ዲግሪ"),
    },
)


def separators(text: str) -> str:
    """Ethiopic marks in one form each, before numbers are read; `፡` and `:` between digits are a time's colon."""
    text = re.sub(r"፡፡|::", "።", text).replace("፨", "።").replace("፧", "?")
    text = re.sub(r"[፡:]\s?-|፦", "፥ ", text)
    text = re.sub(r"(?<=\d)[፡:](?=\d)", ":", text).replace("፡", " ")
    return re.sub(r"(?<=[ሀ-ፗ]):(?=[ሀ-ፗ])", " ", text)


def abbreviations(text: str) -> str:
    text = re.sub(r"(?<=\d)(?=ዓ[./])", " ", text)
    text = expand(text, WHOLE, prefix=f"{PREFIX}?")
    for left, right, words in SLASHED:
        text = re.sub(rf"(?<![\w.])({PREFIX}?){left}/\s?(?={right or '[ሀ-ፗ]{2}'})", rf"\g<1>{words}", text)
    # What is left of dotted abbreviations is named letter by letter.
    text = re.sub(r"(?<![\w.])[ሀ-ፗ](?:\.[ሀ-ፗ])+(?:\.(?=\s*\S)|(?![\w.]))", lambda m: m[0].replace(".", " "), text)
    return re.sub(r"(?<=[ሀ-ፗ])/(?=[ሀ-ፗ])", " ", text)


def step(text: str) -> str:
    text = re.sub("[፩-፼]+", lambda m: ethiopic(m[0]), text)
    text = abbreviations(separators(unify(text)))
    text = re.sub(rf"(?<!\w)({PREFIX})-?(?=[\d$€£])", rf"\1{JOINER}", text)
    text = re.sub(
        rf"(?<![\w.,:])(\d{{1,3}}(?:,\d{{3}})+|\d{{1,9}})({SUFFIX})",
        lambda m: inflected(int(m[1].replace(",", "")), m[2]),
        text,
    )
    text = verbalise(text, NUMERALS).replace(JOINER, "")
    text = say(text, SYMBOLS).replace("'", "")
    text = re.sub(r"\.(?![A-Za-z])", "።", text).translate(str.maketrans(",;:", "፣፤፥"))
    return tidy(text, STRENGTH)


def fold(text: str) -> str:
    """Letters that sound alike as one letter each (the `homophones` option)."""
    return text.translate(FOLD)


def normalise(text: str) -> str:
    """Amharic text as it is spoken; what has no rule stays and is `unknown`."""
    return settle(step, text)
