"""What a live session has told, kept for clients that come back: the shortest tale with the same end.

A draft goes when another replaces it, and so does a correction of speakers. All of a stretch but its final text goes
when that comes. So the log grows with the text alone.
"""

from __future__ import annotations

import asyncio
import bisect
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class _Entry:
    text: str
    kind: str
    stretch: int | None


class EventLog:
    """Events as texts of JSON, numbered from 1. All calls come from one event loop."""

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}
        self._numbers: list[int] = []
        #: The numbers of the entries that a later event may replace: by their stretch, or None for lags.
        self._of: dict[int | None, list[int]] = {}
        self._last = 0
        self._is_complete = False
        self._changed = asyncio.Event()

    @property
    def is_complete(self) -> bool:
        """Whether nothing follows."""
        return self._is_complete

    def add(self, document: Mapping[str, Any], *, last: bool = False) -> None:
        """Number an event and keep it; with `last`, nothing follows."""
        kind, stretch = document["type"], document.get("stretch")
        self._last += 1
        text = json.dumps({**document, "event": self._last}, ensure_ascii=False, allow_nan=False)
        self._forget(kind, stretch)
        self._entries[self._last] = _Entry(text, kind, stretch)
        if stretch is not None or kind == "lag":
            self._of.setdefault(stretch, []).append(self._last)
        self._numbers.append(self._last)
        self._is_complete = last
        self._changed.set()
        self._changed = asyncio.Event()

    def _forget(self, kind: str, stretch: int | None) -> None:
        """Drop what an event of this kind stands in place of."""
        of_stretch = self._of.get(stretch, [])
        for number in [number for number in of_stretch if _replaces(kind, stretch, self._entries[number])]:
            of_stretch.remove(number)
            del self._entries[number]
            del self._numbers[bisect.bisect_left(self._numbers, number)]

    async def after(self, number: int) -> AsyncIterator[str]:
        """The events after the one of that number, and those to come, to the last."""
        while True:
            place = bisect.bisect_right(self._numbers, number)
            if place < len(self._numbers):
                number = self._numbers[place]
                yield self._entries[number].text
            elif self._is_complete:
                return
            else:
                await self._changed.wait()


def _replaces(kind: str, stretch: int | None, old: _Entry) -> bool:
    if kind == "lag":
        return old.kind == "lag"
    if stretch is None or old.stretch != stretch:
        return False
    if kind == "speakers_changed":
        return old.kind == kind
    return kind == "final" or (kind in ("draft", "committed") and old.kind == "draft")
