"""How far a batch is, in files, in audio and in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """Counts what is done.

    How long recordings are is known only once they are open, so what is left is told from their sizes in bytes: as
    long as they are of one kind, that is as good.
    """

    sizes: Mapping[str, int]
    files: int = 0
    #: Of audio, in what is done.
    seconds: float = 0.0
    _bytes: float = 0.0
    _dropped: float = 0.0
    _began: float = field(default_factory=time.monotonic)
    _clock: Callable[[], float] = time.monotonic

    def end(self, name: str, seconds: float) -> None:
        """A recording is at its end. What failed took hardly any time, and tells nothing of what is left."""
        self.files += 1
        self.seconds += seconds
        if seconds:
            self._bytes += self.sizes.get(name, 0)
        else:
            self._dropped += self.sizes.get(name, 0)

    def took(self) -> float:
        return self._clock() - self._began

    def speed(self, position: float = 0.0) -> float | None:
        """Seconds of audio in a second, of all so far; `position` is how far the recording at work is."""
        done, took = self.seconds + position, self.took()
        return done / took if done > 0 and took > 0 else None

    def fraction(self, name: str = "", position: float = 0.0, total: float | None = None) -> float:
        """How much is done of all, from 0 to 1."""
        whole = sum(self.sizes.values()) - self._dropped
        here = self.sizes.get(name, 0) * min(position / total, 1.0) if total else 0.0
        return min((self._bytes + here) / whole, 1.0) if whole else self.files / max(len(self.sizes), 1)

    def left(self, name: str = "", position: float = 0.0, total: float | None = None) -> float | None:
        """Seconds until all is done, None while that cannot be told."""
        fraction = self.fraction(name, position, total)
        return self.took() * (1 - fraction) / fraction if fraction > 0 and self.speed(position) is not None else None
