"""When lines are spoken: in order, never before their source, never over each other, never too fast."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtasr.dubbing.fitting import GAP, Line, SpokenLine, fitted
from mtasr.speech.voice import Speech

_RATE = 100


def say(text: str, speed: float) -> Speech:
    """A second for each letter, and a pause that no speed shortens."""
    return Speech(np.zeros(round((len(text) / speed + 0.05 * bool(text)) * _RATE), np.float32), _RATE)


def _fitted(lines: list[Line], max_speed: float = 1.3, duration: float = 100) -> list[SpokenLine]:
    return [line for line, _ in fitted(lines, say, max_speed=max_speed, duration=duration)]


def _lines(*stretches: tuple[float, float, str]) -> list[Line]:
    return [Line(start=start, end=end, text=text) for start, end, text in stretches]


def test_a_line_uses_the_silence_after_it() -> None:
    first, second = _fitted(_lines((1, 2, "xxx"), (5, 6, "x")))
    assert (first.start, first.end, first.speed) == (1, 4.05, 1)
    assert (second.start, second.speed, second.late) == (5, 1, 0)


def test_only_then_the_voice_speaks_faster() -> None:
    first, second = _fitted(_lines((0, 2, "xxxx"), (3.5, 6, "x")))
    assert 1 < first.speed < 1.3
    assert first.end <= 3.5 - GAP
    assert second.start == 3.5


def test_what_is_still_too_long_makes_the_next_line_late() -> None:
    first, second = _fitted(_lines((0, 1, "xxxx"), (1, 2, "x")))
    assert first.speed == 1.3
    assert second.start == pytest.approx(first.end + GAP)
    assert second.late == pytest.approx(4 / 1.3 + 0.05 + GAP - 1, abs=0.01)


def test_the_last_line_lasts_until_the_end_of_the_recording() -> None:
    (fits,), (hurried,) = _fitted(_lines((1, 2, "xxx")), duration=4.1), _fitted(_lines((1, 2, "xxx")), duration=3.8)
    assert fits.speed == 1
    assert 1 < hurried.speed < 1.3
    assert hurried.end <= 3.8


def test_without_words_there_is_no_line() -> None:
    assert [each.line.text for each in _fitted(_lines((0, 1, "x"), (1, 2, ""), (2, 3, "x")))] == ["x", "x"]
    assert _fitted([]) == []


@given(
    st.lists(st.tuples(st.floats(0, 5), st.floats(0.01, 5), st.text("xyz", max_size=6)), max_size=12),
    st.floats(1, 2),
)
def test_any_lines(stretches: list[tuple[float, float, str]], max_speed: float) -> None:
    at, lines = 0.0, []
    for silence, length, text in stretches:
        lines.append(Line(start=at + silence, end=at + silence + length, text=text))
        at += silence + length
    found = _fitted(lines, max_speed)
    assert [each.line for each in found] == [each for each in lines if each.text]
    for each in found:
        assert each.late >= 0
        assert 1 <= each.speed <= max_speed
        assert each.end - each.start == pytest.approx(say(each.line.text, each.speed).seconds)
    for before, after in itertools.pairwise(found):
        assert before.end < after.start
        if after.late > 0:  # only because the line before it could not be faster
            assert before.speed == max_speed or before.end + GAP - after.line.start < 0.2
