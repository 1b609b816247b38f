"""Recordings on web servers, in ranges of bytes.

fsspec could open them too. But addresses come from lists of somebody else, so what a server may do has to be exact: how
far it may redirect, what it may send, how long it may take.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin

import requests

from mtasr.errors import InputError, InputNotFoundError
from mtasr.remote.patience import TransferError
from mtasr.remote.state import RemoteState
from mtasr.remote.urls import WEB, scheme_of, shown

#: Seconds for a connection, and without a byte on it.
_TIMEOUTS = (10, 30)

_MOST_REDIRECTS = 5

#: Bytes taken from a connection at once: a thread that reads slowly notices within one that nobody waits any more.
_PIECE = 4096

#: Answers that may be others in a moment.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_NO_RANGE = re.compile(r"bytes \*/(\d+)")


class WebObject:
    """A `RemoteObject` of a web server. Opening it raises `InputError`, and `TransferError` for what may pass."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._answer: requests.Response | None = None
        self._answering = threading.Lock()
        #: Whether the server sends ranges of it; if not, it can only be copied whole.
        self.has_ranges = False
        try:
            self.state = self._examine()
        except BaseException:
            self._session.close()
            raise

    def _examine(self) -> RemoteState:
        """Ask for a byte: many servers, and signed addresses, refuse to be asked for nothing."""
        with self._get({"Range": "bytes=0-0"}) as answer:
            found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            if answer.status_code == 416:
                empty = _NO_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
                return RemoteState(int(empty[1]) if empty else None)
            if answer.status_code == 206 and found is not None and found[3] != "*":
                self.has_ranges = True
                return RemoteState(int(found[3]), _tag(answer))
            length = answer.headers.get("Content-Length", "")
            return RemoteState(int(length) if length.isdecimal() and answer.status_code == 200 else None, _tag(answer))

    def read(self, start: int, count: int) -> bytes:
        data = bytearray()
        # Raised here if nothing came: what came before a cut is of use.
        with self._get({"Range": f"bytes={start}-{start + count - 1}"}) as answer, _cut(lambda: bool(data)):
            self._check(answer, start)
            for piece in self._pieces(answer):
                data += piece
                if len(data) >= count:
                    break
        if not data:
            raise TransferError("the connection was cut")
        return bytes(data[:count])

    def _check(self, answer: requests.Response, start: int) -> None:
        """Whether it is the range that was asked for, of the recording that was opened."""
        found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if answer.status_code == 416:
            raise TransferError("the server says that it ends before")
        if answer.status_code != 206 or found is None:
            raise TransferError("the server sends no ranges any more")
        if int(found[1]) != start:
            raise TransferError("the server sent another range than asked for")
        if RemoteState(None if found[3] == "*" else int(found[3]), _tag(answer)) != self.state:
            raise OSError("it was changed while it was read")

    def whole(self) -> Iterator[bytes]:
        """It from its beginning to its end, in pieces. Raises `TransferError` where it ends early."""
        size = 0
        with self._get({}) as answer, _cut(lambda: False):
            if answer.status_code != 200:
                raise TransferError(f"the server answered {answer.status_code}")
            length = answer.headers.get("Content-Length", "")
            for piece in self._pieces(answer):
                size += len(piece)
                yield piece
        if length.isdecimal() and size < int(length):
            raise TransferError("the connection was cut")

    @staticmethod
    def _pieces(answer: requests.Response) -> Iterator[bytes]:
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise OSError("the server sends it compressed, although asked not to")
        return answer.iter_content(_PIECE)

    @contextlib.contextmanager
    def _get(self, headers: dict[str, str]) -> Iterator[requests.Response]:
        """Ask, and follow redirects that lead no worse: from https only to https."""
        # A connection that is kept would be closed when urllib3's objects are collected, which may be much later.
        usual = {"Accept-Encoding": "identity", "User-Agent": "mtasr", "Connection": "close"}
        url, asked = self._url, usual | headers
        for _ in range(_MOST_REDIRECTS + 1):
            with _cut(lambda: False):
                answer = self._session.get(url, headers=asked, stream=True, timeout=_TIMEOUTS, allow_redirects=False)
            with contextlib.closing(answer):
                if not answer.is_redirect:
                    self._refuse(answer.status_code)
                    with self._answering:
                        self._answer = answer
                    yield answer
                    return
                url = self._next(url, answer.headers["Location"])
        raise InputError(f"{shown(self._url)}: the server redirects more than {_MOST_REDIRECTS} times")

    def _next(self, url: str, location: str) -> str:
        target = urljoin(url, location)
        allowed = {"https"} if scheme_of(url) == "https" else WEB
        with contextlib.suppress(ValueError):
            if scheme_of(target) in allowed:
                return target
        raise InputError(f"{shown(self._url)}: the server redirects to {shown(target)}, which is not opened")

    def _refuse(self, status: int) -> None:
        if status in (404, 410):
            raise InputNotFoundError(f"{shown(self._url)}: no such file (HTTP {status})")
        if status in (401, 403, 407):
            raise InputNotFoundError(f"{shown(self._url)}: may not be read (HTTP {status})")
        if status in _PASSING:
            raise TransferError(f"the server answered {status}")
        if status >= 300 and status != 416:
            raise InputError(f"{shown(self._url)}: the server answered {status}")

    def cancel(self) -> None:
        with self._answering, contextlib.suppress(Exception):
            if self._answer is not None:
                connection: Any = self._answer.raw.connection
                connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.cancel()
        self._session.close()


@contextlib.contextmanager
def _cut(is_of_use: Callable[[], bool]) -> Iterator[None]:
    """Raise `TransferError` for what goes wrong on the way, unless what came is of use.

    The errors of requests quote the address, which may have secrets in it.
    """
    try:
        yield
    except requests.exceptions.RequestException as error:
        if not is_of_use():
            raise TransferError(_reason(error)) from None


def _reason(error: requests.exceptions.RequestException) -> str:
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return "it is no address"
    if isinstance(error, requests.exceptions.SSLError):
        return "the certificate of the server is not valid"
    if isinstance(error, requests.exceptions.Timeout) or "timed out" in str(error):
        return "too slow: the server stopped answering"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy cannot be reached"
    if isinstance(error, requests.exceptions.ConnectionError) and "establish" in str(error):
        return "the server cannot be reached"
    return "the connection was cut"


def _tag(answer: requests.Response) -> str | None:
    if etag := answer.headers.get("ETag"):
        return f"ETag {etag}"
    with contextlib.suppress(KeyError, ValueError):
        return f"modified {parsedate_to_datetime(answer.headers['Last-Modified']).isoformat()}"
    return None
