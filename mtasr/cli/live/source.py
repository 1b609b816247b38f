"""Sound that comes while it is heard."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from mtasr.arrays import Float32Array
from mtasr.errors import MtasrError
from mtasr.live import LiveSession
from mtasr.spans import SAMPLE_RATE
from mtasr.threads import start_thread

#: Seconds after which what waits for sound looks whether it is to stop.
LOOK = 0.1


class LiveSource(Protocol):
    """Something to listen to."""

    #: What messages call it.
    name: str

    def blocks(self, stopped: threading.Event, note: Callable[[str], None]) -> Iterator[Float32Array]:
        """Samples at 16 kHz, mono, shape (n,), any n, until the sound ends or soon after `stopped` is set.

        `note` takes warnings. Raises `InputError` if there is no more sound although it has not ended.
        """
        ...


class SoundFeed:
    """Passes sound on to a session, in a thread, until it ends, `stop` is called or `most` seconds have passed."""

    def __init__(
        self, source: LiveSource, session: LiveSession, note: Callable[[str], None], most: float | None = None
    ) -> None:
        self._source, self._session, self._note = source, session, note
        self._left = None if most is None else round(most * SAMPLE_RATE)
        self._stopped = threading.Event()
        #: Seconds passed on.
        self.seconds = 0.0
        #: Why the sound broke off.
        self.error: BaseException | None = None

    def start(self) -> None:
        self._thread = start_thread(self._run)

    def stop(self) -> None:
        """End the sound here; may be called by a signal handler."""
        self._stopped.set()

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        try:
            for block in self._source.blocks(self._stopped, self._note):
                samples = block[: self._left]
                if samples.size:
                    self._session.add(samples)
                    self.seconds += samples.size / SAMPLE_RATE
                if self._left is not None:
                    self._left -= samples.size
                    if self._left <= 0:
                        break
        except ValueError as error:  # the session is closed already
            self.error = error
        except MtasrError as error:
            self.error = None if self._stopped.is_set() else error
        except BaseException as error:
            self.error = error
        finally:
            self._session.end()
