"""How long to wait for a store or a server, and how often to try again."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mtasr.closing import Closing
from mtasr.errors import UsageError
from mtasr.threads import start_thread

_T = TypeVar("_T")

#: Seconds that one read may take, if the environment does not say otherwise.
_SECONDS = 60.0


class TransferError(Exception):
    """A transfer failed in a way that may pass. The message has neither the URL nor secrets."""


class ClosedError(Exception):
    """The one who waits has closed what it waits for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Limits of time and number."""

    #: Seconds that one read of at least `file.LEAST` bytes may take.
    seconds: float = _SECONDS
    #: Attempts at one read.
    attempts: int = 5
    #: Seconds before the second attempt; twice as many before each further one.
    pause: float = 0.25

    @classmethod
    def usual(cls) -> Patience:
        """What the environment says. Raises `UsageError` for what is no number of seconds."""
        given = os.environ.get("MTASR_REMOTE_TIMEOUT")
        if not given:
            return cls()
        try:
            seconds = float(given)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < threading.TIMEOUT_MAX:
            raise UsageError(f"MTASR_REMOTE_TIMEOUT is {given!r}, which is no number of seconds")
        return cls(seconds=seconds)


class TransferAttempt(Closing):
    """One attempt at a transfer. Whoever waits for it closes it at its end, also where it is still under way."""

    def __init__(self) -> None:
        self._closing = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._is_closed

    def hold(self, connection: socket.socket) -> None:
        """End this connection together with the attempt. Raises `TransferError` if that has ended already."""
        with self._closing:
            if not self._is_closed:
                # A descriptor of our own: TLS moves the socket into another object.
                self._sockets.append(connection.dup())
                return
        raise TransferError("nobody waits for it")

    def close(self) -> None:
        with self._closing:
            self._is_closed = True
            sockets, self._sockets = self._sockets, []
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


class Limited(Generic[_T]):
    """A call that is waited for only so long: it runs in a thread of its own, which is left alone at the end."""

    def __init__(self, work: Callable[[TransferAttempt], _T]) -> None:
        self._ended: queue.SimpleQueue[Callable[[], _T]] = queue.SimpleQueue()
        self._work = work

    def result(self, seconds: float, attempt: TransferAttempt | None = None) -> _T:
        """What the call returns or raises; `TransferError` if it takes longer, `ClosedError` after `stop`.

        It is an attempt by itself, or part of one that the caller closes.
        """
        if attempt is None:
            with TransferAttempt() as own:
                return self.result(seconds, own)
        start_thread(self._run, attempt)
        try:
            answer = self._ended.get(timeout=seconds)
        except queue.Empty:
            raise TransferError(f"too slow: no answer within {seconds:g} s") from None
        return answer()

    def stop(self) -> None:
        """Have `result`, in another thread, return at once."""
        self._ended.put(_raiser(ClosedError()))

    def _run(self, attempt: TransferAttempt) -> None:
        try:
            value = self._work(attempt)
        except BaseException as error:
            self._ended.put(_raiser(error))
        else:
            self._ended.put(lambda: value)


def _raiser(error: BaseException) -> Callable[[], Any]:
    def answer() -> Any:
        raise error

    return answer


def persist(work: Callable[[TransferAttempt], _T], patience: Patience) -> _T:
    """Try until it works, at most `patience.attempts` times, then raise the last `TransferError`."""
    wait = threading.Event().wait
    for attempt in range(patience.attempts - 1):
        try:
            return Limited(work).result(patience.seconds)
        except TransferError:
            wait(patience.pause * 2**attempt)
    return Limited(work).result(patience.seconds)
