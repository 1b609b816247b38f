"""Which recordings have results of an earlier run: found out aside, since a recording may have to be read for it."""

from __future__ import annotations

import queue
from collections.abc import Callable

from mtasr.threads import start_thread


class Resuming:
    """Asks, in a thread of its own and one after the other, whether recordings have results.

    Hashing a long video takes seconds, in which the dispatcher must not stand still.
    """

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[tuple[int, Callable[[], bool]] | None] = queue.SimpleQueue()
        self._found: queue.SimpleQueue[tuple[int, bool]] = queue.SimpleQueue()
        self._is_started = self._is_closed = False

    def ask(self, index: int, has_results: Callable[[], bool]) -> None:
        """Have that found out for a recording, by its place in the batch."""
        if not self._is_started:
            self._is_started = True
            start_thread(self._answer)
        self._asked.put((index, has_results))

    def answers(self) -> list[tuple[int, bool]]:
        """What has been found out since the last call. Does not wait."""
        found = []
        while not self._found.empty():
            found.append(self._found.get())
        return found

    def close(self) -> None:
        """Ask nothing more."""
        self._is_closed = True
        self._asked.put(None)

    def _answer(self) -> None:
        while (asked := self._asked.get()) is not None and not self._is_closed:
            index, has_results = asked
            try:
                self._found.put((index, has_results()))
            except Exception:  # whoever opens the recording learns what is wrong
                self._found.put((index, False))
