"""Amharic number words, Ethiopic numerals and abbreviations: the data and the grammar behind `am`.

Spelling follows the dictionaries' letters (ሦስት, አሥር, ሠላሳ) and today's forms (ሃምሳ, ስልሳ, ሰማንያ, ሺህ); num2words' Amharic
is not used: it fails from 1100 on and mixes scripts in the millions (አንድ mሚሊዮን).
"""

import re

ONES = ["ዜሮ", "አንድ", "ሁለት", "ሦስት", "አራት", "አምስት", "ስድስት", "ሰባት", "ስምንት", "ዘጠኝ"]
TENS = ["", "አሥር", "ሃያ", "ሠላሳ", "አርባ", "ሃምሳ", "ስልሳ", "ሰባ", "ሰማንያ", "ዘጠና"]
SCALES = [(10**12, "ትሪሊዮን"), (10**9, "ቢሊዮን"), (10**6, "ሚሊዮን"), (1000, "ሺህ"), (100, "መቶ")]
ETHIOPIC = {chr(0x1369 + i): v for i, v in enumerate([*range(1, 10), *range(10, 100, 10), 100, 10_000])}

# Left part, how the right part begins, words. The right part keeps its own ending: ት/ቤቱ is ትምህርት ቤቱ.
SLASHED = [
    ("ት", "ቤ", "ትምህርት "), ("መ", "ቤ", "መሥሪያ "), ("ፍ", "ቤ", "ፍርድ "), ("ጽ", "ቤ", "ጽሕፈት "), ("ፅ", "ቤ", "ጽሕፈት "),
    ("ም", "ቤ", "ምክር "), ("ክ", "ከተማ", "ክፍለ "), ("ክ", "ሀገር", "ክፍለ "), ("ክ", "ሃገር", "ክፍለ "), ("ክ", "አገር", "ክፍለ "),
    ("ቤ", "ክርስ", "ቤተ "), ("ቤ", "መንግ", "ቤተ "), ("ጠ", "ሚኒስ", "ጠቅላይ "), ("ም", "ፕሬዝ", "ምክትል "), ("ም", "ፕሬዚ", "ምክትል "),
    ("ጠ", "አቃቤ", "ጠቅላይ "), ("ብ", "ጄኔ", "ብርጋዴር "), ("ሜ", "ጄኔ", "ሜጀር "), ("ሌ", "ጄኔ", "ሌተናንት "), ("ሌ", "ኮሎ", "ሌተናንት "),
    ("ገ", "", "ገብረ "), ("ወ", "", "ወልደ "), ("ኃ", "", "ኃይለ "), ("ኀ", "", "ኃይለ "),
    ("ተ", "ሃይ", "ተክለ "), ("ተ", "ሀይ", "ተክለ "),
]  # fmt: skip
WHOLE = {
    "ዶ/ር": "ዶክተር", "ፕ/ር": "ፕሮፌሰር", "ወ/ሮ": "ወይዘሮ", "ወ/ት": "ወይዘሪት", "ወ/ሪት": "ወይዘሪት", "ኢ/ር": "ኢንጂነር", "መ/ር": "መምህር",
    "አ/አ": "አዲስ አበባ", "አ.አ.": "አዲስ አበባ", "ቤ/ክ": "ቤተ ክርስቲያን", "ቤ/ክን": "ቤተ ክርስቲያን", "ጠ/ሚ": "ጠቅላይ ሚኒስትር",
    "ጠ/ሚር": "ጠቅላይ ሚኒስትር", "ሚ/ር": "ሚኒስትር", "ጄ/ል": "ጄኔራል", "ኮ/ል": "ኮሎኔል", "ሻ/ቃ": "ሻለቃ", "ሻ/ል": "ሻምበል", "ዲ/ን": "ዲያቆን",
    "መ/አ": "መቶ አለቃ", "ሃ/አ": "ሃምሳ አለቃ", "ሊ/መ": "ሊቀ መንበር", "ሆ/ል": "ሆስፒታል", "ዓ.ም.": "ዓመተ ምሕረት", "ዓ.ም": "ዓመተ ምሕረት",
    "ዓ/ም": "ዓመተ ምሕረት", "አ.ም.": "ዓመተ ምሕረት", "ዓ.ዓ.": "ዓመተ ዓለም", "ዓ.ዓ": "ዓመተ ዓለም", "እ.ኤ.አ.": "እንደ ኤውሮፓውያን አቆጣጠር",
    "እ.ኤ.አ": "እንደ ኤውሮፓውያን አቆጣጠር", "እ.አ.አ.": "እንደ አውሮፓውያን አቆጣጠር", "እ.አ.አ": "እንደ አውሮፓውያን አቆጣጠር",
    "ቅ.ል.ክ.": "ቅድመ ልደተ ክርስቶስ", "ቅ.ል.ክ": "ቅድመ ልደተ ክርስቶስ", "ክ.ል.በ.": "ክርስቶስ ልደት በፊት", "ክ.ል.በ": "ክርስቶስ ልደት በፊት",
    "ፖ.ሣ.ቁ.": "የፖስታ ሣጥን ቁጥር", "ፖ.ሳ.ቁ.": "የፖስታ ሣጥን ቁጥር", "ስ.ቁ.": "ስልክ ቁጥር", "ኪ.ሜ.": "ኪሎ ሜትር", "ኪ.ሜ": "ኪሎ ሜትር",
    "ኪ.ግ.": "ኪሎ ግራም", "ኪ.ግ": "ኪሎ ግራም", "ሴ.ሜ.": "ሴንቲ ሜትር", "ሴ.ሜ": "ሴንቲ ሜትር", "ሚ.ሜ.": "ሚሊ ሜትር", "ሚ.ሜ": "ሚሊ ሜትር",
    "ወ.ዘ.ተ.": "ወዘተ", "ወ.ዘ.ተ": "ወዘተ", "ወዘተ.": "ወዘተ",
}  # fmt: skip
# Prepositions and the relative marker, written together with the numeral or abbreviation they govern.
PREFIX = "(?:እስከ|እንደ|ስለ|ወደ|ያለ|በየ|ለየ|ከነ|እነ|የ|በ|ለ|ከ)"


def cardinal(n: int, gender: str = "") -> str:
    """n >= 0 in words: 100 መቶ, 101 አንድ መቶ አንድ, 1998 አንድ ሺህ ዘጠኝ መቶ ዘጠና ስምንት. `gender` is ignored."""
    if n < 10:
        return ONES[n]
    if n < 100:
        ten = "አሥራ" if 10 < n < 20 else TENS[n // 10]  # አሥር becomes አሥራ before a digit
        return ten + (f" {ONES[n % 10]}" if n % 10 else "")
    if n == 100:
        return "መቶ"
    value, name = next(scale for scale in SCALES if scale[0] <= n)
    count, rest = divmod(n, value)
    # 100 is መቶ alone and before a larger scale (መቶ ሺህ), but አንድ መቶ after one (1100).
    tail = "አንድ መቶ" if rest == 100 else cardinal(rest) if rest else ""
    return f"{cardinal(count)} {name} {tail}".strip()


def ordinal(n: int) -> str:
    """-ኛ after the cardinal, whose last letter turns from the sixth order to the first: አምስት, አምስተኛ; ዘጠኝ, ዘጠነኛ."""
    words = cardinal(n)
    if words.endswith("ኝ"):
        return words[:-1] + "ነኛ"
    # A row of the Ethiopic block holds eight orders; ሺህ keeps its weak h.
    if ord(words[-1]) % 8 == 5 and not words.endswith("ህ"):
        words = words[:-1] + chr(ord(words[-1]) - 5)
    return words + "ኛ"


def inflected(n: int, suffix: str) -> str:
    """Cardinal with what is written after the digits: 5ቱ አምስቱ, 10ሩ አሥሩ, 3ን ሦስትን, 20ኛው ሃያኛው, 1990ዎቹ ... ዘጠናዎቹ.

    The article -u replaces the sixth order of its own consonant.
    """
    if suffix.startswith("ኛ"):
        return ordinal(n) + suffix[1:]
    words, last, first = cardinal(n), ord(cardinal(n)[-1]), ord(suffix[0])
    merged = last // 8 == first // 8 and last % 8 == 5 and first % 8 == 1
    return (words[:-1] if merged else words) + suffix


def ethiopic(numeral: str) -> str:
    """Value of a row of Ethiopic numerals, as ASCII digits: ፲፱፻፺፰ is 1998, ፪፼ is 20000.

    A tens sign and a ones sign make a pair; ፻ multiplies the pair before it by 100, ፼ all before it by 10000. A row
    that does not follow this order (፩፪ for 12) is no number: its signs are given one by one, spaced.
    """
    if not re.fullmatch(r"(?:[፲-፺]?[፩-፱]?(?:[፻፼]|$))+", numeral):
        return " ".join(str(ETHIOPIC[sign]) for sign in numeral)
    total = hundreds = pair = 0
    for sign in numeral:
        if sign == "፻":
            hundreds, pair = hundreds + (pair or 1) * 100, 0
        elif sign == "፼":
            total, hundreds, pair = (total + hundreds + pair or 1) * 10_000, 0, 0
        else:
            pair += ETHIOPIC[sign]
    return str(total + hundreds + pair)
