"""Places: how many requests the server takes, and whose recording is transcribed next.

A request is taken or refused (429) before its body is received. Once it is received it waits for its turn. Short
recordings do not wait for long ones: of the turns, only some are for long ones. Clients take turns, so whoever sends
many requests waits for them, and others do not.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial

from mtasr.server.problems import busy
from mtasr.server.settings import Settings

#: How much the time that requests took counts less with each later one.
_FORGET = 0.9
#: Seconds after which a live session may have ended.
_LIVE_WAIT = 30.0


@dataclass(eq=False, slots=True)
class _Waiter:
    client: str
    long: bool
    ready: asyncio.Future[None]


class Admission:
    """Counts requests. All calls come from one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        #: Requests taken, by client.
        self.taken: Counter[str] = Counter()
        #: Event streams of jobs and of recordings, by client.
        self.streams: Counter[str] = Counter()
        #: Live sessions, by client.
        self.live: Counter[str] = Counter()
        #: Recordings being transcribed, by client; and how many of them are long.
        self.active: Counter[str] = Counter()
        self.active_long = 0
        self._waiting: list[_Waiter] = []
        #: Seconds that a turn takes on average.
        self._seconds = 1.0

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return len(self._waiting)

    @contextlib.contextmanager
    def place(self, client: str) -> Iterator[None]:
        """Take a request of a client. Raises `Problem` 429 if there is no place."""
        settings = self._settings
        if self.taken[client] >= settings.client_requests:
            most = settings.client_requests
            raise busy(f"you have {most} requests here already, as many as a client may have", self._wait())
        if self.taken.total() >= settings.requests:
            raise busy("the server has as many requests as it takes; send this one again later", self._wait())
        with self._counted(self.taken, client):
            yield

    @contextlib.contextmanager
    def stream(self, client: str) -> Iterator[None]:
        """Count a stream of events of a client. Raises `Problem` 429 if it has too many."""
        most = self._settings.client_requests
        if self.streams[client] >= most:
            raise busy(f"you have {most} streams of events open, as many as a client may have", self._wait())
        with self._counted(self.streams, client):
            yield

    @contextlib.contextmanager
    def live_session(self, client: str) -> Iterator[None]:
        """Count a live session of a client. Raises `Problem` 429 if there are too many."""
        settings = self._settings
        if self.live[client] >= settings.client_live_sessions:
            most = settings.client_live_sessions
            raise busy(f"you have {most} live sessions here already, as many as a client may have", _LIVE_WAIT)
        if self.live.total() >= settings.live_sessions:
            raise busy("the server has as many live sessions as it takes; come back later", _LIVE_WAIT)
        with self._counted(self.live, client):
            yield

    @contextlib.contextmanager
    def _counted(self, counts: Counter[str], client: str) -> Iterator[None]:
        counts[client] += 1
        try:
            yield
        finally:
            self._subtract(counts, client)

    def _wait(self) -> float:
        """Seconds after which a place will probably be free."""
        return min(60.0, self._seconds * (self.waiting + 1) / self._settings.at_once)

    @contextlib.asynccontextmanager
    async def turn(self, client: str, *, long: bool) -> AsyncIterator[Callable[[], None]]:
        """Wait until a recording of the client may be transcribed.

        Call what is yielded if a recording that counted as short turns out to be long.
        """
        waiter = _Waiter(client, long, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        self._call()
        try:
            await waiter.ready
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            else:  # called and cancelled at once
                self._leave(waiter)
            raise
        began = time.monotonic()
        try:
            yield partial(self._lengthen, waiter)
        finally:
            self._seconds = _FORGET * self._seconds + (1 - _FORGET) * (time.monotonic() - began)
            self._leave(waiter)

    def _call(self) -> None:
        """Call those whose turn it is: of the clients the one with the fewest turns now, of its requests the oldest."""
        while self.active.total() < self._settings.at_once:
            may_be_long = self.active_long < self._settings.long_at_once
            able = [each for each in self._waiting if may_be_long or not each.long]
            if not able:
                return
            order = itertools.count()
            _, _, waiter = min((self.active[each.client], next(order), each) for each in able)
            self._waiting.remove(waiter)
            self.active[waiter.client] += 1
            self.active_long += waiter.long
            waiter.ready.set_result(None)

    def _lengthen(self, waiter: _Waiter) -> None:
        self.active_long += not waiter.long
        waiter.long = True

    def _leave(self, waiter: _Waiter) -> None:
        self._subtract(self.active, waiter.client)
        self.active_long -= waiter.long
        self._call()

    @staticmethod
    def _subtract(counts: Counter[str], client: str) -> None:
        counts[client] -= 1
        if not counts[client]:
            del counts[client]
