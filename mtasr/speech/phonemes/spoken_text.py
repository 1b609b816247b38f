"""Text as it is read aloud: numbers, signs and abbreviations become words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable

from mtasr.speech.phonemes.numbers import TOO_LARGE, cardinal, digits, ordinal, year

_MONTHS = [
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
]
#: Sign -> one of the units and a hundredth of it, then several.
_CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "¥": ("yen", "yen", "sen", "sen"),
}
#: Read as words after a number only: one, then several.
_UNITS = {
    "km/h": ("kilometre per hour", "kilometres per hour"),
    "mph": ("mile per hour", "miles per hour"),
    "km": ("kilometre", "kilometres"),
    "cm": ("centimetre", "centimetres"),
    "mm": ("millimetre", "millimetres"),
    "m": ("metre", "metres"),
    "ft": ("foot", "feet"),
    "kg": ("kilogram", "kilograms"),
    "mg": ("milligram", "milligrams"),
    "g": ("gram", "grams"),
    "lb": ("pound", "pounds"),
    "lbs": ("pound", "pounds"),
    "ml": ("millilitre", "millilitres"),
    "l": ("litre", "litres"),
    "kHz": ("kilohertz", "kilohertz"),
    "Hz": ("hertz", "hertz"),
    "GB": ("gigabyte", "gigabytes"),
    "MB": ("megabyte", "megabytes"),
    "kB": ("kilobyte", "kilobytes"),
    "h": ("hour", "hours"),
    "min": ("minute", "minutes"),
    "s": ("second", "seconds"),
    "ms": ("millisecond", "milliseconds"),
    "°C": ("degree Celsius", "degrees Celsius"),
    "°F": ("degree Fahrenheit", "degrees Fahrenheit"),
    "°": ("degree", "degrees"),
    "%": ("percent", "percent"),
}
#: With the point that belongs to them; upper and lower case as they stand.
_ABBREVIATIONS = {
    "Mr.": "mister",
    "Mrs.": "missus",
    "Ms.": "miz",
    "Dr.": "doctor",
    "Prof.": "professor",
    "St.": "saint",
    "Jr.": "junior",
    "Sr.": "senior",
    "Capt.": "captain",
    "Gen.": "general",
    "vs.": "versus",
    "etc.": "et cetera",
    "e.g.": "for example",
    "i.e.": "that is",
    "approx.": "approximately",
}
_SIGNS = {"&": " and ", "+": " plus ", "@": " at ", "=": " equals ", "×": " times ", "%": " percent ", "№": " number "}
#: Marks that other scripts and word processors write for those that phonemes have.
_MARKS = str.maketrans(
    {
        "’": "'",
        "‘": "'",
        "`": "'",
        "´": "'",
        "–": "—",
        "⁄": "/",
        "―": "—",
        "¡": None,
        "¿": None,
        "\u00ad": None,
        "\u200b": None,
    }
)

#: Longer numbers are read digit by digit.
_MOST_DIGITS = len(str(TOO_LARGE)) - 1
_NUMBER = r"\d{1,3}(?:,\d{3})+|\d+"
_DECIMAL = rf"(?:{_NUMBER})(?:\.\d+)?"


def spoken_text(text: str) -> str:
    """The text with words for its numbers, signs and abbreviations; one that has none of them stays as it is."""
    text = unicodedata.normalize("NFKC", text).translate(_MARKS)
    for pattern, replace in _RULES:
        text = pattern.sub(replace, text)
    return re.sub(r"[ \t]+", " ", text).strip()


def _whole(number: str) -> str:
    plain = number.replace(",", "")
    # A zero in front, or many digits without commas: a telephone number, say.
    counted = len(plain) <= _MOST_DIGITS if "," in number else len(plain) < 7
    return cardinal(int(plain)) if counted and (plain[0] != "0" or len(plain) == 1) else digits(plain)


def _ordinal(match: re.Match[str]) -> str:
    plain = match[1].replace(",", "").lstrip("0") or "0"
    if len(plain) <= _MOST_DIGITS:
        return ordinal(int(plain))
    return f"{digits(plain[:-1])} {ordinal(int(plain[-1]))}"


def _decimal(number: str) -> str:
    whole, point, rest = number.partition(".")
    return f"{_whole(whole)} point {digits(rest)}" if point else _whole(whole)


def _date(match: re.Match[str]) -> str:
    years, month, day = (int(each) for each in match.groups())
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match[0].replace("-", " ")
    return f"{_MONTHS[month - 1]} {ordinal(day)}, {year(years)}"


def _time(match: re.Match[str]) -> str:
    hours, minutes = int(match[1]), int(match[2])
    if hours > 24 or minutes > 59:
        return f"{cardinal(hours)} {cardinal(minutes)}"
    if not minutes:
        return f"{cardinal(hours)} o'clock" if 0 < hours <= 12 else f"{cardinal(hours)} hundred hours"
    return f"{cardinal(hours)} {'oh ' if minutes < 10 else ''}{cardinal(minutes)}"


def _money(match: re.Match[str]) -> str:
    sign, number, scale = match[1], match[2], match[3]
    one, many, cent, cents = _CURRENCIES[sign]
    if scale:
        return f"{_decimal(number)} {scale} {many}"
    whole, _, rest = number.partition(".")
    # Not as an int: Python converts no more than 4,300 digits.
    units = whole.replace(",", "").lstrip("0")
    if len(rest) not in (0, 2):
        return f"{_decimal(number)} {many}"
    name = one if units == "1" else many
    words = [f"{_whole(whole)} {name}"] if units or not rest or not int(rest) else []
    if rest and int(rest):
        words.append(f"{cardinal(int(rest))} {cent if int(rest) == 1 else cents}")
    return " and ".join(words)


def _measure(match: re.Match[str]) -> str:
    one, many = _UNITS[match[2]]
    return f"{_decimal(match[1])} {one if match[1] == '1' else many}"


def _fraction(match: re.Match[str]) -> str:
    above, below = int(match[1]), int(match[2])
    if not above or below < 2:
        return f"{cardinal(above)} over {cardinal(below)}"
    name = {2: "half", 4: "quarter"}.get(below) or ordinal(below)
    return f"{cardinal(above)} {name if above == 1 else _several(name)}"


def _several(words: str) -> str:
    """One half -> halves, nineteen eighty -> nineteen eighties."""
    if words == "half":
        return "halves"
    return f"{words[:-1]}ies" if words.endswith("ty") else f"{words}s"


def _longest_first(names: Iterable[str]) -> str:
    return "|".join(re.escape(each) for each in sorted(names, key=len, reverse=True))


_Replace = Callable[[re.Match[str]], str]
#: In this order: what a rule writes, later rules find no number in.
_RULES: tuple[tuple[re.Pattern[str], _Replace], ...] = (
    (re.compile(rf"(?<![\w.])(?:{_longest_first(_ABBREVIATIONS)})(?!\w)"), lambda m: _ABBREVIATIONS[m[0]]),
    (re.compile(r"\b(\d{4})-(\d\d)-(\d\d)\b"), _date),
    (re.compile(r"(?<=\d)[-—](?=\d)"), lambda m: " to "),
    (re.compile(r"(?<![\w.])[-−](?=[\d$€£¥])"), lambda m: "minus "),
    (re.compile(r"(?<![\d:.])(\d{1,2}):(\d\d)(?![\d:])"), _time),
    (re.compile(r"(?<![\d/.,])(\d{1,2})/(\d{1,2})(?![\d/]|[.,]\d)"), _fraction),
    (re.compile(r"(?<![\d.,])(1[1-9]\d\d|20\d\d)s\b"), lambda m: _several(year(int(m[1])))),
    (
        re.compile(rf"([{''.join(_CURRENCIES)}]) ?({_DECIMAL})(?: (thousand|million|billion|trillion)\b)?"),
        _money,
    ),
    (re.compile(rf"(?<![\w.])({_DECIMAL}) ?({_longest_first(_UNITS)})(?![\w°])"), _measure),
    (re.compile(rf"\b({_NUMBER})(?:st|nd|rd|th)\b"), _ordinal),
    (re.compile(r"(?<![\d.,])(1[1-9]\d\d|20\d\d)(?![\d,]|\.\d|\w)"), lambda m: year(int(m[1]))),
    (re.compile(r"#(?=\d)"), lambda m: "number "),
    (re.compile(_DECIMAL), lambda m: f" {_decimal(m[0])} "),
    (re.compile(f"[{re.escape(''.join(_SIGNS))}]"), lambda m: _SIGNS[m[0]]),
    (re.compile(r"[ \t]+([,.;:!?])"), lambda m: m[1]),
)
