"""What is said of repairs: one line for each kind, however many there are."""

from __future__ import annotations

import pytest

from mtasr.audio.repairs import repair_lines
from mtasr.transcript import Repair, RepairKind


def repairs(kind: RepairKind, *seconds: float) -> list[Repair]:
    return [Repair(kind=kind, start=2.0 * number, seconds=each) for number, each in enumerate(seconds, start=1)]


@pytest.mark.parametrize(
    ("made", "line"),
    [
        (repairs("hole", 1.5), "1.5 s of sound are missing at 2.0 s: they are silence"),
        (repairs("hole", 1.5, 0.5), "2 stretches of sound are missing from 2.0 s on: 2.0 s are silence"),
        (repairs("restart", -2), "timestamps jump back by 2.0 s at 2.0 s: what follows is joined on"),
        (repairs("restart", 90), "timestamps jump ahead by 90.0 s at 2.0 s: what follows is joined on"),
        (
            repairs("restart", -2, -2),
            "timestamps jump back by 2.0 s at 2.0 s, and once more: what follows is joined on",
        ),
        (
            repairs("restart", -2, -2, -2),
            "timestamps jump back by 2.0 s at 2.0 s, and 2 more times: what follows is joined on",
        ),
        (repairs("drift", 1, -0.25), "timestamps and sound drift apart from 2.0 s on: it is stretched by 0.8 s"),
        (repairs("drift", -1), "timestamps and sound drift apart from 2.0 s on: it is squeezed by 1.0 s"),
        (repairs("resumed", 60), "its header ends at 2.0 s: the 60.0 s after it were read as well"),
    ],
)
def test_one_line_for_a_kind(made: list[Repair], line: str) -> None:
    assert list(repair_lines(made)) == [line]


def test_all_kinds_at_once() -> None:
    assert len(list(repair_lines([*repairs("resumed", 1), *repairs("hole", 1, 2), *repairs("drift", 1, 2)]))) == 3
    assert list(repair_lines([])) == []
