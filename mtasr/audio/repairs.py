"""What was repaired of a recording, in a line for each kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mtasr.transcript import Repair


def repair_lines(repairs: Sequence[Repair]) -> Iterator[str]:
    """One line for each kind of repair."""
    for kind, line in (("hole", _holes), ("restart", _restarts), ("drift", _drift), ("resumed", _resumed)):
        if found := [repair for repair in repairs if repair.kind == kind]:
            yield line(found)


def _holes(holes: Sequence[Repair]) -> str:
    seconds = sum(hole.seconds for hole in holes)
    if len(holes) == 1:
        return f"{seconds:.1f} s of sound are missing at {holes[0].start:.1f} s: they are silence"
    return f"{len(holes)} stretches of sound are missing from {holes[0].start:.1f} s on: {seconds:.1f} s are silence"


def _restarts(restarts: Sequence[Repair]) -> str:
    first = restarts[0]
    where = f"by {abs(first.seconds):.1f} s at {first.start:.1f} s"
    more = (
        ""
        if len(restarts) == 1
        else ", and once more"
        if len(restarts) == 2
        else f", and {len(restarts) - 1} more times"
    )
    return f"timestamps jump {'back' if first.seconds < 0 else 'ahead'} {where}{more}: what follows is joined on"


def _drift(drifts: Sequence[Repair]) -> str:
    seconds = sum(drift.seconds for drift in drifts)
    what = "stretched" if seconds > 0 else "squeezed"
    return f"timestamps and sound drift apart from {drifts[0].start:.1f} s on: it is {what} by {abs(seconds):.1f} s"


def _resumed(resumed: Sequence[Repair]) -> str:
    seconds = sum(each.seconds for each in resumed)
    return f"its header ends at {resumed[0].start:.1f} s: the {seconds:.1f} s after it were read as well"
