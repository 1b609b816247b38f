"""How far a batch is, in files, audio and time; and times as people read them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Pace:
    """Counts what is done of recordings of these sizes in bytes.

    Durations are known only once recordings are open, so the time left is estimated from bytes, which is as good for
    recordings of one kind.
    """

    sizes: Mapping[str, int]
    files: int = 0
    #: Seconds of audio done.
    seconds: float = 0.0
    _bytes: float = 0.0
    _dropped: float = 0.0
    _began: float = field(default_factory=time.monotonic)
    _clock: Callable[[], float] = time.monotonic

    def end(self, name: str, seconds: float) -> None:
        """Count a recording. One without seconds failed, took hardly any time, and does not count for the estimate."""
        self.files += 1
        self.seconds += seconds
        if seconds:
            self._bytes += self.sizes.get(name, 0)
        else:
            self._dropped += self.sizes.get(name, 0)

    def took(self) -> float:
        return self._clock() - self._began

    def speed(self, position: float = 0.0) -> float | None:
        """Seconds of audio per second so far, with `position` seconds of the current recording."""
        done, took = self.seconds + position, self.took()
        return done / took if done > 0 and took > 0 else None

    def fraction(self, name: str = "", position: float = 0.0, total: float | None = None) -> float:
        """How much of the batch is done, from 0 to 1, with `position` of `total` seconds of the recording `name`."""
        whole = sum(self.sizes.values()) - self._dropped
        here = self.sizes.get(name, 0) * min(position / total, 1.0) if total else 0.0
        return min((self._bytes + here) / whole, 1.0) if whole else self.files / max(len(self.sizes), 1)

    def left(self, name: str = "", position: float = 0.0, total: float | None = None) -> float | None:
        """Seconds until the end of the batch, None while there is no estimate."""
        fraction = self.fraction(name, position, total)
        return self.took() * (1 - fraction) / fraction if fraction > 0 and self.speed(position) is not None else None


def timestamp(seconds: float) -> str:
    """MM:SS.mmm, after an hour H:MM:SS.mmm."""
    rest, milliseconds = divmod(round(seconds * 1000), 1000)
    return f"{clock(rest, minute_digits=2)}.{milliseconds:03}"


def clock(seconds: float, *, minute_digits: int = 1) -> str:
    """M:SS, after an hour H:MM:SS."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute:0{minute_digits}}:{second:02}"
