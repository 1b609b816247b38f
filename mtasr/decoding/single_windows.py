"""Windows that their caller cuts, such as those of a live session: decoded in turn with the windows of recordings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Protocol

from mtasr.decoding.draws import Draws
from mtasr.decoding.groups import Group, Recording, RecordingState, Slot, Waiting, closed_early
from mtasr.decoding.retries import Decoding
from mtasr.decoding.submission import Audio, DecodedWindow
from mtasr.decoding.window_decoder import WindowDecoder
from mtasr.decoding.window_input import WindowInput


class _Scheduler(Protocol):
    def put(self, waiting: Waiting) -> None: ...

    def result(self, slot: Slot) -> DecodedWindow | Decoding: ...

    def language(self, state: RecordingState) -> str: ...

    def cancel(self, states: Sequence[RecordingState]) -> None: ...

    @property
    def draws(self) -> Draws: ...


class SingleWindows:
    """Decodes one window at a time, from any thread; windows of equal options share batches."""

    def __init__(self, scheduler: _Scheduler, group: Group) -> None:
        self._scheduler, self._group = scheduler, group
        self._is_closed = False

    @property
    def decoder(self) -> WindowDecoder:
        """Makes the inputs of windows."""
        return self._group.decoder

    def decode(self, shown: WindowInput) -> tuple[DecodedWindow, str]:
        """Decode a window and wait for it; with the code of its language, which is judged in it unless it is given.

        Raises what went wrong, and `ValueError` after `close`.
        """
        with self._until_done(shown) as state:
            result, language = self._decoded(shown, state)
            return result if isinstance(result, DecodedWindow) else self._scheduler.draws.finish(
                result, state
            ), language

    def attempt(self, shown: WindowInput) -> DecodedWindow | None:
        """The same, or None if no attempt passes the checks without random samples."""
        with self._until_done(shown) as state:
            result, _ = self._decoded(shown, state)
            return result if isinstance(result, DecodedWindow) else None

    @contextlib.contextmanager
    def _until_done(self, shown: WindowInput) -> Iterator[RecordingState]:
        """A recording of this window alone, which `close` and the end of the scheduler cancel in the block."""
        state = RecordingState(self._group, Recording(open=_unread, language=shown.language or None), is_read=True)
        try:
            yield state
        finally:
            self._scheduler.cancel([state])

    def _decoded(self, shown: WindowInput, state: RecordingState) -> tuple[DecodedWindow | Decoding, str]:
        if self._is_closed:
            raise closed_early()
        slot = Slot(state, shown.window.place)
        self._scheduler.put(Waiting(slot, shown, () if shown.language else (shown,)))
        return self._scheduler.result(slot), self._scheduler.language(state)

    def close(self) -> None:
        """Cancel the windows that wait, and draw nothing more for those that do not pass."""
        self._is_closed = True
        self._scheduler.cancel(list(self._group.unfinished))


def _unread() -> Audio:
    raise AssertionError("no reader opens a window that a caller cut")
