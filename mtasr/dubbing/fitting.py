"""When each line is spoken, and how fast.

A line starts when its source does, or when the line before it has ended. It may use the silence after its source; only
if that does not suffice, the voice speaks faster, up to a limit. What is still too long makes the next line late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mtasr.speech.voice import Speech

#: Seconds between two lines.
GAP = 0.05
#: Pauses shrink less than speech, so that a speed is a little too low at first.
_TRIES, _MORE = 3, 1.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What is to be said, and from when to when its source is said, in seconds."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokenLine:
    """A line with the seconds in which it is spoken, and how many times faster than the voice does by itself."""

    line: Line
    start: float
    end: float
    speed: float

    @property
    def late(self) -> float:
        """Seconds after the start of its source."""
        return self.start - self.line.start


def fitted(
    lines: Sequence[Line], say: Callable[[str, float], Speech], *, max_speed: float, duration: float
) -> Iterator[tuple[SpokenLine, Speech]]:
    """Each line, as it is spoken; the lines are in order of their starts. A line of which no sound comes is left out.

    `say` gets the text and the speed. The last line may last until the recording ends, after `duration` seconds.
    """
    free = 0.0
    for number, line in enumerate(lines):
        start = max(line.start, free)
        until = lines[number + 1].start - GAP if number + 1 < len(lines) else duration
        speech, speed = _said(line.text, until - start, say, max_speed)
        if len(speech.samples):
            end = start + speech.seconds
            yield SpokenLine(line=line, start=start, end=end, speed=speed), speech
            free = end + GAP


def _said(text: str, room: float, say: Callable[[str, float], Speech], max_speed: float) -> tuple[Speech, float]:
    speech, speed = say(text, 1.0), 1.0
    for _ in range(_TRIES):
        if speech.seconds <= room or speed >= max_speed or not len(speech.samples):
            break
        wanted = speed * speech.seconds / room * _MORE if room > 0 else max_speed
        speed = min(max_speed, wanted)
        speech = say(text, speed)
    return speech, speed
