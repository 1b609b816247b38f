"""The rules of a subtitle layout, and the styles that people choose by name."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mtasr.errors import UsageError

_EVEN_SLOWER = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The rules for cues. Widths are in characters, durations in seconds.

    Chinese, Japanese and Korean have limits of their own (`_cjk`): their characters are wide, and say more.
    The figures of the styles follow the style guides of broadcasters and streaming services.
    Raises `UsageError` on construction for a value out of range.
    """

    max_line_width: int = 42
    max_line_width_cjk: int = 16
    max_line_count: int = 2
    #: None for as many as fit.
    max_words_per_line: int | None = None
    #: Characters per second, spaces included.
    max_cps: float = 20.0
    max_cps_cjk: float = 12.0
    #: 20 frames at 24 per second.
    min_duration: float = 5 / 6
    max_duration: float = 7.0
    #: Between a cue and the next one: 2 frames at 24 per second.
    min_gap: float = 1 / 12

    def __post_init__(self) -> None:
        for name in ("max_line_width", "max_line_width_cjk", "max_line_count", "max_words_per_line"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int) and value >= 1):
                raise UsageError(f"{name} must be a whole number above 0, not {value!r}")
        for name in ("max_cps", "max_cps_cjk"):
            if not getattr(self, name) >= _EVEN_SLOWER:
                raise UsageError(f"{name} must be at least {_EVEN_SLOWER}, not {getattr(self, name)!r}")
        if not 0 <= self.min_duration <= self.max_duration < math.inf or self.max_duration < _EVEN_SLOWER:
            raise UsageError(
                "min_duration must be between 0 and max_duration, and max_duration at least 0.1 and finite"
            )
        if not 0 <= self.min_gap < math.inf:
            raise UsageError(f"min_gap must be a number of at least 0, not {self.min_gap!r}")

    def limits(self, *, cjk: bool) -> Limits:
        """The rules for text of one kind, in whole milliseconds."""
        return Limits(
            width=self.max_line_width_cjk if cjk else self.max_line_width,
            lines=self.max_line_count,
            words=self.max_words_per_line,
            cps=self.max_cps_cjk if cjk else self.max_cps,
            shortest=math.ceil(self.min_duration * 1000),
            longest=math.floor(self.max_duration * 1000),
            gap=math.ceil(self.min_gap * 1000),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A layout for one kind of text; durations in milliseconds, `cps` in characters per second."""

    width: int
    lines: int
    words: int | None
    cps: float
    shortest: int
    longest: int
    gap: int

    def reading_time(self, characters: int) -> int:
        """Milliseconds that people need to read this many characters."""
        return math.ceil(characters * 1000 / self.cps)

    def needed(self, characters: int) -> int:
        """Milliseconds for which a cue of this many characters should be shown."""
        return max(self.shortest, self.reading_time(characters))


#: `raw` leaves the segments as the model wrote them.
STYLES: dict[str, Layout | None] = {
    "broadcast": Layout(max_cps=17.0, max_cps_cjk=9.0),
    "web": Layout(),
    # A few large words over an upright video, in step with the voice.
    "social": Layout(
        max_line_width=20,
        max_line_width_cjk=10,
        max_line_count=1,
        max_words_per_line=4,
        max_cps=25.0,
        max_cps_cjk=14.0,
        min_duration=0.3,
        max_duration=3.0,
        min_gap=0.0,
    ),
    "raw": None,
}
