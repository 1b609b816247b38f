"""Times as people read them."""

from __future__ import annotations


def timestamp(seconds: float) -> str:
    """MM:SS.mmm, after an hour H:MM:SS.mmm."""
    milliseconds = round(seconds * 1000)
    rest, milliseconds = divmod(milliseconds, 1000)
    return f"{clock(rest, minute_digits=2)}.{milliseconds:03}"


def clock(seconds: float, *, minute_digits: int = 1) -> str:
    """M:SS, after an hour H:MM:SS."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute:0{minute_digits}}:{second:02}"
