"""Numerals to words, one reader for all languages: a `Numerals` tells how a language writes and says its numbers.

Integers with the language's thousands separators (or no-break spaces), decimals, signs, currencies, percentages, units,
fractions, times, ranges and lists. Integers with leading zeros, of more than 9 digits without or of more than 15 with
separators are identifiers and read digit by digit. Numeric dates (12.05.2024, 2024-05-12) are read as three numbers, in
the order written: no language module guesses which is the month. A bare number is said as one counts: gender and case
are not inferred from the noun after it (es: 1 persona), only from units, signs and endings written with it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

LONGEST, LONGEST_BARE = 15, 9  # digits
SPACES = "\u00a0\u2009\u202f"  # no-break, thin and narrow no-break space: thousands separators everywhere
VULGAR = str.maketrans({"½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3", "⁄": "/"})
ROMAN = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}


@dataclass(frozen=True)
class Unit:
    """What is counted: forms chosen by `Numerals.plural`, `{}` standing for the number; its gender; its hundredth."""

    forms: tuple[str, ...]
    gender: str = ""
    cents: "Unit | None" = None


@dataclass(frozen=True, eq=False)
class Numerals:
    """How a language writes and says numbers.

    `cardinal(n, gender)` says n >= 0, in the form that stands before a noun of `gender` ("" = counting).
    `decimal(whole, part)` says a decimal from its digits, `time(h, m, s)` a time of day, `year(n)` a bare four-digit
    number (None = as a cardinal). `group` and `point` are the thousands and decimal separators, `dot` the word for a
    stop that is neither. `plural(n)` is the index of a unit's form (None = a decimal). `of` links millions to a unit,
    `scales` are words between a number and the currency written before it, `before` the signs written before a
    number. `fractions` gives 1/2, 1/4 and 3/4 alone and with a whole number `{}`; `clock` is what may follow a time
    and is already said in it.
    """

    cardinal: Callable[[int, str], str]
    decimal: Callable[[str, str], str]
    time: Callable[[int, int, int | None], str]
    group: str
    point: str
    dot: str
    minus: str
    to: str
    units: Mapping[str, Unit]
    fractions: Mapping[str, tuple[str, str]]
    plural: Callable[[int | None], int] = lambda n: int(n != 1)
    year: Callable[[int], str | None] = lambda n: None
    cents: str = "{} {}"
    of: str = ""
    scales: str = "(?!)"
    before: str = "€$£"
    clock: str = "(?!)"

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        units = "|".join(re.escape(sign) for sign in sorted(self.units, key=len, reverse=True))
        return re.compile(
            rf"(?P<sign>(?<![\w)\]%-])-(?=[{self.before}]?\d)|−\s?)?(?P<before>[{self.before}]\s?)?"
            rf"(?P<whole>\d{{1,3}}(?:[{self.group}{SPACES}]\d{{3}})+(?!\d)|\d+)(?:{re.escape(self.point)}(?P<part>\d+))?"
            rf"(?(before)(?:\s(?P<scale>{self.scales})\b)?|(?:\s?(?P<after>{units})(?![^\W\d_]))?)"
        )

    def spell(self, digits: str) -> str:
        return " ".join(self.cardinal(int(digit), "") for digit in digits)

    def integer(self, digits: str, gender: str = "", longest: int = LONGEST) -> str:
        if len(digits) > longest or (digits[0] == "0" and len(digits) > 1):
            return self.spell(digits)
        return self.cardinal(int(digits), gender)

    def counted(self, digits: str, unit: Unit) -> str:
        n = int(digits[-LONGEST:]) + 10**LONGEST * (len(digits) > LONGEST)  # enough to choose a form
        form = unit.forms[min(self.plural(n), len(unit.forms) - 1)]
        words = self.integer(digits, unit.gender)
        millions = self.of and n and n % 10**6 == 0
        return form.format(f"{words} {self.of}" if millions else words)

    def amount(self, digits: str, part: str, unit: Unit) -> str:
        if not part:
            return self.counted(digits, unit)
        if unit.cents and len(part) == 2:
            whole = [self.counted(digits, unit)] if digits.strip("0") or not int(part) else []
            cents = [self.counted(str(int(part)), unit.cents)] if int(part) else []
            return self.cents.format(*whole, *cents) if whole and cents else (whole + cents)[0]
        return unit.forms[min(self.plural(None), len(unit.forms) - 1)].format(self.decimal(digits, part))

    def read(self, match: re.Match[str]) -> str:
        digits, part = re.sub(r"\D", "", match["whole"]), match["part"] or ""
        bare = digits == match["whole"] and not part and not match["sign"]
        unit = self.units.get((match["before"] or match["after"] or "").strip())
        if match["scale"]:
            words = self.decimal(digits, part) if part else self.integer(digits)
            words = unit.forms[-1].format(f"{words} {match['scale']}")
        elif unit:
            words = self.amount(digits, part, unit)
        elif part:
            words = self.decimal(digits, part)
        else:
            year = self.year(int(digits)) if bare and len(digits) == 4 and digits[0] != "0" else None
            words = year or self.integer(digits, longest=LONGEST_BARE if bare else LONGEST)
        return apart(match, f"{self.minus} {words}" if match["sign"] else words)


def apart(match: re.Match[str], words: str) -> str:
    """`words` in the place of `match`, with a space towards letters and digits it would run into (A4, 5kg)."""
    before, after = match.string[: match.start()][-1:], match.string[match.end() :][:1]
    return " " * before.isalnum() + words + " " * after.isalnum()


def verbalise(text: str, lang: Numerals) -> str:
    """Every ASCII digit of `text` as words; what stands around numbers is read by the rules of `lang`."""
    text = re.sub(r"(?<![\w.])([^\W\d_])\.(?=\d)", r"\1 ", text)  # H.323
    text = re.sub(r"(?<=[^\W\d_])\.(?=\d)", ". ", text)
    text = re.sub(r"(?<=\d)\s?([½¼¾⅓⅔])", r" \1", text).translate(VULGAR)
    text = re.sub(r"(?<=\d)٬(?=\d{3})", lang.group, re.sub(r"(?<=\d)٫(?=\d)", lang.point, text))
    text = re.sub(r"(?<![\w.,/-])(\d{1,2})([./-])(\d{1,2})\2(\d{4})(?![\w/-]|[.,]\d)", date, text)
    text = re.sub(r"(?<![\w.,/-])(\d{4})([/-])(\d{1,2})\2(\d{1,2})(?![\w/-]|[.,]\d)", date, text)
    text = re.sub(r"(?<![\d/.,])(?:(\d+) )?(1/2|1/4|3/4)(?![\d/]|[.,]\d)", lambda m: fraction(m, lang), text)
    text = re.sub(
        rf"(?<![\d:.,])([01]?\d|2[0-4]):([0-5]\d)(?::([0-5]\d))?(?![\d:])(?:\s?(?:{lang.clock})\b)?",
        lambda m: apart(m, lang.time(int(m[1]), int(m[2]), int(m[3]) if m[3] else None)),
        text,
    )
    for separator, between in ((".", f" {lang.dot} "), (",", ", ")):
        text = re.sub(
            rf"(?<![\d.,])\d+(?:\{separator}\d+)+(?!\d|[.,]\d)",
            lambda m, separator=separator, between=between: chain(m[0], separator, between, lang),
            text,
        )
    text = re.sub(r"(?<![\w.,-])\d+(?:-\d+){2,}(?![\w-]|[.,]\d)", lambda m: spelt(m[0], lang), text)
    text = re.sub(
        rf"(?<![\w.,/{SPACES}-])(\d+(?:[.,{SPACES}]\d+)*)(-|\s-\s)(\d+(?:[.,{SPACES}]\d+)*)(?!-?\d)",
        lambda m: between_two(m, lang),
        text,
    )
    if lang.point == ".":
        text = re.sub(r"(?<![\w.,])\.(?=\d)", "0.", text)
    return lang.pattern.sub(lang.read, text)


def spaced(text: str) -> str:
    """Plain spaces that group thousands (12 500) as no-break ones, unless digits continue the row (01 234 567 89)."""
    row = r"(?<![\d.,])(?<!\d )[1-9]\d{0,2}(?: \d{3})+(?![\d]| \d)"
    return re.sub(row, lambda m: m[0].replace(" ", "\u202f"), text)


def date(match: re.Match[str]) -> str:
    return " ".join(str(int(match[group])) for group in (1, 3, 4))


def fraction(match: re.Match[str], lang: Numerals) -> str:
    alone, mixed = lang.fractions[match[2]]
    return apart(match, mixed.format(lang.integer(match[1])) if match[1] else alone)


def chain(numbers: str, separator: str, between: str, lang: Numerals) -> str:
    """`1.2.3` and `1,2,3` taken apart; thousands and the language's own decimals are left for `Numerals.read`."""
    if separator == lang.group and re.fullmatch(rf"\d{{1,3}}(?:\{separator}\d{{3}})+", numbers):
        return numbers
    if separator == lang.point and numbers.count(separator) == 1:
        return numbers
    return numbers.replace(separator, between)


def spelt(numbers: str, lang: Numerals) -> str:
    return ", ".join(lang.spell(group) for group in numbers.split("-"))


def between_two(match: re.Match[str], lang: Numerals) -> str:
    """`3-5` is a range when it rises; `555-1234` and `06-12` are digits; `3-1` is a score or a code; ` - ` a dash."""
    low, dash, high = match.groups()
    plain = low.isdigit() and high.isdigit()
    if plain and ((len(low), len(high)) == (3, 4) or any(n[0] == "0" and len(n) > 1 for n in (low, high))):
        return apart(match, f"{lang.spell(low)}, {lang.spell(high)}")
    values = [re.sub(f"[{lang.group}{SPACES}]", "", n).replace(lang.point, ".") for n in (low, high)]
    if any(value.count(".") > 1 for value in values):  # 733,41.2 is a number in no language
        return match[0]
    below, above = map(float, values)
    if below < above:
        return f"{low} {lang.to} {high}"
    return match[0] if dash.strip() != dash else f"{low}, {high}"


def say(text: str, symbols: Mapping[str, str]) -> str:
    """Each symbol of the table as its word; `*` and `#` are called what the language's telephone voices call them."""
    return re.sub("|".join(map(re.escape, symbols)), lambda m: f" {symbols[m[0]]} ", text)


def pointed(cardinal: Callable[[int, str], str], word: str, number: bool = False) -> Callable[[str, str], str]:
    """A `Numerals.decimal`: whole, `word`, then the digits one by one, or up to three of them as a `number`."""

    def decimal(whole: str, part: str) -> str:
        spell = [cardinal(int(digit), "") for digit in part]
        zeros = len(part) - len(part.lstrip("0"))
        if number and len(part) <= 3 and zeros < len(part):
            spell = [*spell[:zeros], cardinal(int(part), "")]
        plain = len(whole) <= LONGEST and (whole[0] != "0" or whole == "0")
        first = cardinal(int(whole), "") if plain else " ".join(cardinal(int(digit), "") for digit in whole)
        return " ".join([first, word, *spell])

    return decimal


def roman(numeral: str) -> int | None:
    """Value of an upper-case Roman numeral in its regular form, None for anything else."""
    if not re.fullmatch(r"(?=.)M{0,3}(C[MD]|D?C{0,3})(X[CL]|L?X{0,3})(I[XV]|V?I{0,3})", numeral):
        return None
    values = [ROMAN[sign] for sign in numeral]
    return sum(-v if v < after else v for v, after in zip(values, [*values[1:], 0], strict=True))
