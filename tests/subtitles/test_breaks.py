"""The division that is found is the cheapest of all, and what it costs to break here or there."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timed_text import timed

from mtasr.subtitles.breaks import Lines, _Division, divide
from mtasr.subtitles.layout import Layout, Limits
from mtasr.subtitles.units import Unit, units_of


def limits(width: int, count: int = 2, words: int | None = None) -> Limits:
    layout = Layout(
        max_line_width=width, max_line_count=count, max_words_per_line=words, max_duration=4.0, max_cps=15.0
    )
    return layout.limits(cjk=False)


@st.composite
def a_few_units(draw: st.DrawFn) -> list[Unit]:
    clock, words = 0.0, []
    for _ in range(draw(st.integers(1, 7))):
        start = clock + draw(st.sampled_from([0, 0, 0.1, 0.5, 0.9]))
        clock = start + draw(st.floats(0.05, 1.2))
        mark = draw(st.sampled_from(["", "", "", ",", "."]))
        words.append((draw(st.text("abc", min_size=2, max_size=9)) + mark, round(start, 3), round(clock, 3)))
    return units_of([timed(*words)], "en")


@given(a_few_units(), st.integers(8, 20), st.integers(1, 3), st.sampled_from([None, 1, 2, 3]))
def test_no_other_division_is_cheaper(units: list[Unit], width: int, count: int, words: int | None) -> None:
    latest, own = units[-1].end + 500, limits(width, count, words)
    division = _Division(units, own, None, latest)
    costs = {(begin, end): cost for begin in range(len(units)) for end, cost, _ in division._cues_from(begin)}

    def cost(edges: tuple[int, ...]) -> float:
        return sum(costs.get(cue, math.inf) for cue in itertools.pairwise(edges))

    inner = range(1, len(units))
    all_edges = ((0, *cuts, len(units)) for size in range(len(units)) for cuts in itertools.combinations(inner, size))
    found = divide(units, own, None, latest)
    assert [lines.begin for lines in found] == [0, *(lines.end for lines in found[:-1])]
    assert cost((0, *(lines.end for lines in found))) == pytest.approx(min(map(cost, all_edges)))


@given(a_few_units(), st.integers(8, 20), st.sampled_from([None, 2, 3]))
def test_no_other_breaks_of_two_lines_are_cheaper(units: list[Unit], width: int, words: int | None) -> None:
    own = limits(width, 2, words)
    division = _Division(units, own, None, units[-1].end + 500)
    count = len(units)

    def wide(begin: int, end: int) -> float:
        length = len(" ".join(unit.text for unit in units[begin:end]))
        fits = end - begin == 1 or (length <= width and (words is None or end - begin <= words))
        return 8.0 * (length / width) ** 2 if fits else math.inf

    def cost(cut: int) -> float:
        pause = min((units[cut].start - units[cut - 1].end) / 600, 1)
        text = units[cut - 1].text
        end = 0.0 if text[-1] == "." else 4.0 if text[-1] == "," else 18.0 if len(text) <= 3 else 12.0
        alone = (cut == 1) + (count - cut == 1) if words != 2 else 0
        sentence = 2.5 if text[-1] == "." else 0.0
        return wide(0, cut) + wide(cut, count) + 0.4 * max(end - 6 * pause, 0) + 10_000 * alone - sentence

    found, breaks = division._split(0, count, 2)
    expected = min((cost(cut) for cut in range(1, count)), default=math.inf)
    assert found == pytest.approx(expected)
    assert found == math.inf or cost(breaks[0]) == pytest.approx(expected)


def chosen(*words: tuple[str, float, float], width: int = 30, count: int = 2) -> list[Lines]:
    units = units_of([timed(*words)], "en")
    return divide(units, limits(width, count), None, units[-1].end + 5000)


def test_where_cues_and_lines_end_is_told_in_units() -> None:
    assert chosen(("Good", 0, 0.5), ("morning.", 0.5, 1)) == [Lines(0, 2, (), 13, orphan=False)]
    assert chosen(("Good", 0, 0.5), ("morning.", 0.5, 1), ("All", 3, 4), ("day.", 4, 4.5)) == [
        Lines(0, 2, (), 13, orphan=False),
        Lines(2, 4, (), 8, orphan=False),
    ]
    four = (("Good", 0, 0.5), ("morning,", 0.5, 1), ("good", 1, 1.5), ("friends.", 1.5, 2))
    assert chosen(*four, width=15) == [Lines(0, 4, (2,), 27, orphan=False)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("I wanted to say thank you", "for coming to our little party."),
        ("They would be glad to see it", "in the morning after breakfast."),
        ("We would be glad to know", "if you are coming to our party."),
    ],
)
def test_a_pronoun_stays_with_its_verb_or_its_clause(first: str, second: str) -> None:
    words = f"{first} {second}".split()
    lines = chosen(*((word, n * 0.25, n * 0.25 + 0.25) for n, word in enumerate(words)), width=42)
    assert [(each.breaks, each.end) for each in lines] == [((len(first.split()),), len(words))]


def test_a_cue_takes_no_more_than_its_time() -> None:
    words = [(f"word{n}", n * 0.9, n * 0.9 + 0.9) for n in range(8)]
    units = units_of([timed(*words)], "en")
    own = limits(40)
    for lines in divide(units, own, None, units[-1].end + 5000):
        assert units[lines.end - 1].end - units[lines.begin].start <= own.longest


def test_time_that_is_just_enough_costs_nothing() -> None:
    units = units_of([timed(("thirty", 0, 0.5), ("letters", 0.5, 1), ("in", 1, 1.2), ("two", 1.2, 1.5))], "en")
    own = limits(42)
    needed = own.reading_time(len("thirty letters in two"))
    assert needed > own.shortest
    assert _Division(units, own, None, needed)._timing(0, 0, 4) == 0
    assert _Division(units, own, None, needed - 1)._timing(0, 0, 4) > 10_000
    assert _Division(units, own, None, needed - 1)._timing(0, 0, 4) < 10_001


def test_a_word_wider_than_all_lines_together_is_joined_to_others() -> None:
    address = "https://example.org/talks/river/2024"
    assert [lines.end for lines in chosen(("See", 0, 0.3), (address, 0.3, 1), width=10)] == [2]


def test_a_cue_for_which_there_is_no_time_at_all_costs_its_gap_too() -> None:
    units = units_of([timed(("thirty", 0, 0.05), ("letters", 0.05, 1), ("in", 1, 1.2), ("two", 1.2, 1.5))], "en")
    division = _Division(units, limits(42), None, 9000)
    assert division._timing(0, 0, 2) < 20_300 < 40_000 < division._timing(0, 0, 1)
