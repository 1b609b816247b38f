"""Numbers, signs and abbreviations as words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtasr.speech.phonemes.numbers import TOO_LARGE, cardinal, digits, ordinal, year
from mtasr.speech.phonemes.spoken_text import spoken_text

_VALUES = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60,
    "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}


def heard(words: str) -> int:
    """The number that somebody hears."""
    total = group = 0
    for word in words.split():
        if word == "hundred":
            group *= 100
        elif word in _SCALES:
            total, group = total + group * _SCALES[word], 0
        elif word != "and":
            group += _VALUES[word]
    return total + group


@given(st.one_of(st.integers(0, TOO_LARGE - 1), st.integers(0, 2_000)))
def test_a_cardinal_is_heard_as_its_number(number: int) -> None:
    assert heard(cardinal(number)) == number


def test_numbers() -> None:
    assert cardinal(TOO_LARGE) == "one" + " zero" * 15
    assert [ordinal(each) for each in (1, 2, 3, 12, 20, 21, 100)] == [
        "first", "second", "third", "twelfth", "twentieth", "twenty first", "one hundredth",
    ]  # fmt: skip
    assert [year(each) for each in (1066, 1900, 1905, 1984, 2000, 2005, 2026)] == [
        "ten sixty six", "nineteen hundred", "nineteen oh five", "nineteen eighty four", "two thousand",
        "two thousand five", "twenty twenty six",
    ]  # fmt: skip
    assert digits("007") == "zero zero seven"
    with pytest.raises(ValueError, match="below zero"):
        cardinal(-1)


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Dr. Smith paid $5.50.", "doctor Smith paid five dollars and fifty cents."),
        ("$1 and £1.01, €0.99", "one dollar and one pound and one penny, ninety nine cents"),
        ("$3 million, $2.5", "three million dollars, two point five dollars"),
        ("3 kg at 100 km/h, 5°C", "three kilograms at one hundred kilometres per hour, five degrees Celsius"),
        ("1 km, 52.5%", "one kilometre, fifty two point five percent"),
        ("at 10:30, 9:05 or 12:00", "at ten thirty, nine oh five or twelve o'clock"),
        ("on 2026-11-30", "on November thirtieth, twenty twenty six"),
        ("on 2026-13-01", "on twenty twenty six thirteen zero one"),
        ("the 1990s, in 1984-85", "the nineteen nineties, in nineteen eighty four to eighty five"),
        ("the 3rd of 1,234,567", "the third of one million two hundred and thirty four thousand five hundred and "
         "sixty seven"),
        ("call 0171 5551234", "call zero one seven one five five five one two three four"),
        ("-5 to +3", "minus five to plus three"),
        ("1/2, 3/4, 2/3 of it", "one half, three quarters, two thirds of it"),
        ("A & B, #5", "A and B, number five"),
        ("pages 3-5", "pages three to five"),
        ("e.g. apples, etc.", "for example apples, et cetera"),
        ("It’s ½", "It's one half"),
        ("No numbers here.", "No numbers here."),
    ],
)  # fmt: skip
def test_as_it_is_read(text: str, spoken: str) -> None:
    assert spoken_text(text) == spoken


@given(st.text())
def test_any_text_is_spoken_without_digits(text: str) -> None:
    assert not any(each in "0123456789" for each in spoken_text(text))


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("9" * 5_000 + "th", "nine", "ninth"),
        ("1" + ",000" * 1_500, "one", "zero"),
        ("$" + "9" * 5_000, "nine", "dollars"),
    ],
    ids=["ordinal", "commas", "money"],
)
def test_numbers_too_long_for_an_int_are_read_digit_by_digit(text: str, first: str, last: str) -> None:
    words = spoken_text(text).split()
    assert (words[0], words[-1]) == (first, last)
    assert len(words) - (last == "dollars") == sum(each.isdigit() for each in text)
