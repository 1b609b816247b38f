"""What the styles allow, in the units that cues are counted in, and where values that make no sense begin."""

from __future__ import annotations

import pytest

from mtasr.errors import UsageError
from mtasr.subtitles.layout import STYLES, Layout, Limits

_MILLISECONDS = {"shortest": 834, "longest": 7000, "gap": 84}


@pytest.mark.parametrize(
    ("style", "cjk", "limits"),
    [
        ("web", False, Limits(width=42, lines=2, words=None, cps=20.0, **_MILLISECONDS)),
        ("web", True, Limits(width=16, lines=2, words=None, cps=12.0, **_MILLISECONDS)),
        ("broadcast", False, Limits(width=42, lines=2, words=None, cps=17.0, **_MILLISECONDS)),
        ("broadcast", True, Limits(width=16, lines=2, words=None, cps=9.0, **_MILLISECONDS)),
        ("social", False, Limits(width=20, lines=1, words=4, cps=25.0, shortest=300, longest=3000, gap=0)),
        ("social", True, Limits(width=10, lines=1, words=4, cps=14.0, shortest=300, longest=3000, gap=0)),
    ],
)
def test_what_the_styles_allow(style: str, cjk: bool, limits: Limits) -> None:
    layout = STYLES[style]
    assert layout is not None
    assert layout.limits(cjk=cjk) == limits


def test_times_are_rounded_to_the_side_that_keeps_the_rule() -> None:
    limits = Layout(min_duration=0.5001, max_duration=1.0009, min_gap=0.0501, max_cps=7.0).limits(cjk=False)
    assert (limits.shortest, limits.longest, limits.gap) == (501, 1000, 51)
    assert [limits.reading_time(count) for count in (0, 1, 7)] == [0, 143, 1000]


@pytest.mark.parametrize(
    "fields",
    [
        {"max_line_width": 1, "max_line_width_cjk": 1, "max_line_count": 1, "max_words_per_line": 1},
        {"max_cps": 0.1, "max_cps_cjk": 0.1},
        {"min_duration": 0.0, "max_duration": 0.1},
        {"min_duration": 7.0},
        {"min_gap": 0.0},
    ],
    ids=str,
)
def test_the_least_that_makes_sense(fields: dict[str, float]) -> None:
    Layout(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"max_line_width_cjk": 0}, "max_line_width_cjk must be a whole number above 0, not 0"),
        ({"max_words_per_line": 1.5}, "max_words_per_line must be a whole number above 0, not 1.5"),
        ({"max_cps_cjk": 0.09}, "max_cps_cjk must be at least 0.1, not 0.09"),
        ({"min_duration": 0.0, "max_duration": 0.09}, "min_duration must be between 0 and max_duration"),
        ({"min_duration": -0.1}, "min_duration must be between 0 and max_duration"),
        ({"min_gap": float("inf")}, "min_gap must be a number of at least 0, not inf"),
        ({"min_gap": float("nan")}, "min_gap must be a number of at least 0, not nan"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_named(fields: dict[str, float], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        Layout(**fields)  # type: ignore[arg-type]
