"""Random samples, for windows whose text at temperature 0 does not pass the checks."""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
from collections.abc import Iterator

from mtasr.decoding.groups import RecordingState, closed_early
from mtasr.decoding.retries import Decoding
from mtasr.decoding.submission import DecodedWindow
from mtasr.engines.engine import Engine

#: Seconds between looks whether a recording was cancelled.
_LOOK = 1.0
#: Seeds are below this.
_SEEDS = 2**32


class Draws:
    """Draws for one window at a time, those of a higher priority first.

    The engine may load the model once more for it. Several draws at a time would need as many models, and would slow
    down what is decoded meanwhile. Each window begins a sequence of random numbers, so that what is drawn for it does
    not depend on other windows.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._changed = threading.Condition()
        self._count = itertools.count()
        #: The negative priorities of the windows that wait, with numbers in the order in which they came.
        self._waiting: list[tuple[int, int]] = []
        self._is_drawing = False

    def finish(self, decoding: Decoding, state: RecordingState) -> DecodedWindow:
        """The window, with samples if it needs any. Raises `ValueError` once its recording is cancelled."""
        seed = (state.group.options.seed + decoding.input.window.place.start) % _SEEDS
        with contextlib.ExitStack() as stack:

            @functools.cache
            def taken() -> Engine:
                stack.enter_context(self._turn(state))
                return stack.enter_context(self._engine.sampler(seed))

            def sampler() -> Engine:
                if state.is_cancelled:
                    raise closed_early()
                return taken()

            return state.group.decoder.finish(decoding, sampler)

    @contextlib.contextmanager
    def _turn(self, state: RecordingState) -> Iterator[None]:
        turn = -state.group.priority, next(self._count)
        with self._changed:
            self._waiting.append(turn)
            while not (state.is_cancelled or (not self._is_drawing and turn == min(self._waiting))):
                self._changed.wait(_LOOK)
            self._waiting.remove(turn)
            if state.is_cancelled:
                self._changed.notify_all()
                raise closed_early()
            self._is_drawing = True
        try:
            yield
        finally:
            with self._changed:
                self._is_drawing = False
                self._changed.notify_all()
