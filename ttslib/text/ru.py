"""Russian; `#` is "решётка", ё and е stay as written.

Letters: the 33 of the alphabet. Number words: num2words, with the cases and genders written Russian asks for: years
(в 1998 г.), days of the month (5 мая), ordinal endings (2-го), counted units (2 рубля, 5 рублей), decimals (целых).
"""

import re

from num2words import num2words

from ttslib.text.abbreviations import expand, initials
from ttslib.text.numbers import Numerals, Unit, pointed, say, spaced, verbalise
from ttslib.text.surface import PUNCTUATION, settle, tidy, unify

VERSION = "ru-1"
CHARSET = frozenset("абвгдеёжзийклмнопрстуфхцчшщъыьэюя") | PUNCTUATION

OTHERS = {
    "т.е.": "то есть", "т.к.": "так как", "т.н.": "так называемый", "т.о.": "таким образом", "в т.ч.": "в том числе",
    "ул.": "улица", "пр-т": "проспект", "просп.": "проспект", "пл.": "площадь", "пер.": "переулок", "обл.": "область",
    "стр.": "страница", "проф.": "профессор", "акад.": "академик",
    "н.э.": "нашей эры", "до н.э.": "до нашей эры", "гг.": "годы", "вв.": "века",
}  # fmt: skip
CLOSING = {
    "и т.д.": "и так далее", "и т.п.": "и тому подобное", "и др.": "и другие", "и пр.": "и прочее",
    "руб.": "рублей", "коп.": "копеек", "тыс.": "тысяч", "млн.": "миллионов", "млрд.": "миллиардов",
}  # fmt: skip
COUNTED = ["см", "мм", "км", "кг", "руб", "коп", "тыс", "млн", "млрд", "чел"]  # units, often with a stop
# Elsewhere these are other words: рис. is rice at the end of a sentence.
BEFORE_NUMBER = {
    "д.": "дом", "кв.": "квартира", "рис.": "рисунок", "Рис.": "рисунок", "тел.": "телефон", "Тел.": "телефон",
    "№№": "номера", "№": "номер",
}  # fmt: skip
SYMBOLS = {
    "*": "звёздочка", "#": "решётка", "&": "и", "@": "собака", "+": "плюс", "=": "равно", "%": "процентов", "/": "слэш",
    "_": "подчёркивание", "€": "евро", "$": "доллар", "£": "фунт", "₽": "рубль", "°": "градусов", "№": "номер",
}  # fmt: skip
MONTHS = "января|февраля|марта|апреля|мая|июня|июля|августа|сентября|октября|ноября|декабря"
ENDINGS = {
    "й": {}, "ый": {}, "ий": {}, "ой": {"gender": "f", "case": "g"}, "я": {"gender": "f"}, "ая": {"gender": "f"},
    "е": {"gender": "n"}, "ое": {"gender": "n"}, "го": {"case": "g"}, "ого": {"case": "g"}, "му": {"case": "d"},
    "ому": {"case": "d"}, "м": {"case": "p"}, "ом": {"case": "p"}, "ю": {"gender": "f", "case": "a"},
    "ую": {"gender": "f", "case": "a"}, "х": {"plural": True, "case": "g"}, "ых": {"plural": True, "case": "g"},
}  # fmt: skip


def cardinal(n: int, gender: str = "") -> str:
    """n >= 0 in words; "f" agrees (две тысячи одна). 1000-1999 begin with тысяча, as they are spoken."""
    words = num2words(n, lang="ru", gender=gender or "m")
    return words.removeprefix("одна ") if 1000 <= n < 2000 else words


def ordinal(n: int, **form: object) -> str:
    """num2words' ordinal; `form` is gender m f n, case n g d a i p, plural."""
    return num2words(n, lang="ru", to="ordinal", **{"animate": False, **form})


def plural(n: int | None) -> int:
    """0 for 1 21 101 (рубль), 1 for 2-4 and decimals (рубля), 2 for the rest (рублей)."""
    if n is None:
        return 1
    if n % 10 == 1 and n % 100 != 11:
        return 0
    return 1 if n % 10 in (2, 3, 4) and n % 100 not in (12, 13, 14) else 2


def decimal(whole: str, part: str) -> str:
    """3,5 три целых пять десятых; more than three places are read digit by digit after запятая."""
    if len(part) > 3 or len(whole) > 15:
        return pointed(cardinal, "запятая")(whole, part)
    n, rest = int(whole), int(part)
    names = [("десятая", "десятых"), ("сотая", "сотых"), ("тысячная", "тысячных")][len(part) - 1]
    wholes = "целая" if plural(n) == 0 else "целых"
    return f"{cardinal(n, 'f')} {wholes} {cardinal(rest, 'f')} {names[plural(rest) != 0]}"


def time(hours: int, minutes: int, seconds: int | None) -> str:
    """14:30 четырнадцать тридцать, 9:05 девять ноль пять, 14:00 четырнадцать ноль ноль."""
    words = [
        cardinal(value) if value > 9 else f"ноль {cardinal(value)}" for value in (minutes, seconds) if value is not None
    ]
    return " ".join([cardinal(hours), *words])


def unit(*forms: str, gender: str = "m", cents: Unit | None = None) -> Unit:
    return Unit(tuple(f"{{}} {form}" for form in forms), gender, cents)


CENT = unit("цент", "цента", "центов")
KOPECK = unit("копейка", "копейки", "копеек", gender="f")
ROUBLE = unit("рубль", "рубля", "рублей", cents=KOPECK)
NUMERALS = Numerals(
    cardinal=cardinal,
    decimal=decimal,
    time=time,
    plural=plural,
    group="\u202f",
    point=",",
    dot="точка",
    minus="минус",
    to=" - ",
    before="€$£₽",
    fractions={
        "1/2": ("одна вторая", "{} с половиной"),
        "1/4": ("одна четверть", "{} с четвертью"),
        "3/4": ("три четверти", "{} и три четверти"),
    },
    units={
        "%": unit("процент", "процента", "процентов"),
        "€": unit("евро", cents=CENT),
        "$": unit("доллар", "доллара", "долларов", cents=CENT),
        "£": unit("фунт", "фунта", "фунтов", cents=unit("пенс", "пенса", "пенсов")),
        "₽": ROUBLE,
        "руб": ROUBLE,
        "коп": KOPECK,
        "тыс": unit("тысяча", "тысячи", "тысяч", gender="f"),
        "млн": unit("миллион", "миллиона", "миллионов"),
        "млрд": unit("миллиард", "миллиарда", "миллиардов"),
        "чел": unit("человек", "человека", "человек"),
        "°C": unit("градус цельсия", "градуса цельсия", "градусов цельсия"),
        "°": unit("градус", "градуса", "градусов"),
        "км/ч": unit("километр в час", "километра в час", "километров в час"),
        "км": unit("километр", "километра", "километров"),
        "см": unit("сантиметр", "сантиметра", "сантиметров"),
        "мм": unit("миллиметр", "миллиметра", "миллиметров"),
        "кг": unit("килограмм", "килограмма", "килограммов"),
    },
)


def years(text: str) -> str:
    """`в 1998 г.` в ... восьмом году; `1998 г.` ... восьмой год; genitive after с до от после and months."""
    text = re.sub(
        r"\b(в|о|при) (\d{4})\s?(?:г\.|году)(?!\w)", lambda m: f"{m[1]} {ordinal(int(m[2]), case='p')} году", text
    )
    text = re.sub(rf"(\d{{1,2}}) ({MONTHS})\b", lambda m: f"{ordinal(int(m[1]), case='g')} {m[2]}", text)
    genitive = rf"\b(с|со|до|от|после|около|{MONTHS}) (\d{{4}})\s?(?:г\.|года)(?!\w)"
    text = re.sub(genitive, lambda m: f"{m[1]} {ordinal(int(m[2]), case='g')} года", text)
    text = re.sub(r"(?<!\d)(\d{4}) года(?!\w)", lambda m: f"{ordinal(int(m[1]), case='g')} года", text)
    return re.sub(r"(?<!\d)(\d{4})\s?(?:г\.|год)(?!\w)", lambda m: f"{ordinal(int(m[1]))} год", text)


def marked(match: re.Match[str]) -> str:
    n, ending = int(match[1]), match[2]
    if ending == "х" and n in (2, 3, 4):
        return num2words(n, lang="ru", case="g")  # 2-х is двух, 90-х девяностых
    return ordinal(n, **ENDINGS[ending])


def step(text: str) -> str:
    text = unify(text)
    text = re.sub(rf"(?<![\w.,])(\d{{1,15}})-({'|'.join(sorted(ENDINGS, key=len, reverse=True))})(?!\w)", marked, text)
    # "см." after a number is a unit, elsewhere "see".
    text = re.sub(r"(?<!\w)(?<!\d )см\.\s?(?=\w)", "смотри ", text, flags=re.IGNORECASE)
    # The prefix is bounded: `1,1,1,1,...` would take a second for every thousand.
    text = expand(text, {f"{short}.": short for short in COUNTED}, closing=True, prefix=r"\d[\d,]{0,60}\s?")
    for short, word in BEFORE_NUMBER.items():
        text = re.sub(rf"(?<![\w.]){re.escape(short)}\s?(?=\d)", f"{word} ", text)
    text = re.sub(r"(?<![\w.])г\.\s?(?=[А-ЯЁ])(?<!\d )", "город ", years(text))
    text = initials(expand(expand(text, OTHERS), CLOSING, closing=True))
    return tidy(say(verbalise(spaced(text), NUMERALS), SYMBOLS))


def normalise(text: str) -> str:
    """Russian text as it is spoken, in lower case; what has no rule stays and is `unknown`."""
    return settle(step, text)
