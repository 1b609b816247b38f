"""Events on their way to whoever reads them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from mtasr.errors import LiveError
from mtasr.live.events import Draft, Event, Lag, SpeakersChanged


class Outbox:
    """Keeps events until they are read, each once: of unread drafts, corrections of speakers and lags, the latest.

    Threads may put and read at the same time. More than `most` events that are not read are an error: they would fill
    the memory.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._changed = threading.Condition()
        self._events: list[Event] = []
        self._is_closed = False
        self._error: BaseException | None = None

    def put(self, event: Event) -> None:
        """Add an event; after `close`, drop it. Raises `LiveError` if too many wait."""
        with self._changed:
            if self._is_closed:
                return
            self._events = [each for each in self._events if not _is_replaced(each, event)]
            if len(self._events) >= self._most:
                raise LiveError(f"nobody has read the last {self._most:,} events of the session")
            self._events.append(event)
            self._changed.notify_all()

    def close(self, error: BaseException | None = None) -> None:
        """No event follows; readers get the `error` after those that are left. The first call counts."""
        with self._changed:
            if not self._is_closed:
                self._is_closed, self._error = True, error
                self._changed.notify_all()

    def discard(self) -> None:
        """Close, and drop what was not read."""
        self.close()
        with self._changed:
            self._events.clear()
            self._changed.notify_all()

    def read(self, timeout: float | None = None) -> Iterator[Event]:
        """Events as they come, until the end or until none came for `timeout` seconds."""
        while True:
            with self._changed:
                if not self._changed.wait_for(lambda: self._events or self._is_closed, timeout):
                    return
                if not self._events:
                    if self._error is not None:
                        raise self._error
                    return
                event = self._events.pop(0)
            yield event


def _is_replaced(old: Event, new: Event) -> bool:
    match old, new:
        case (Draft(stretch=one), Draft(stretch=other)) | (
            SpeakersChanged(stretch=one),
            SpeakersChanged(stretch=other),
        ):
            return one == other
        case Lag(), Lag():
            return True
    return False
