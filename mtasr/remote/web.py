"""Recordings on web servers, in ranges of bytes.

fsspec could open them too. But addresses come from lists of somebody else, so what a server may do has to be exact: how
far it may redirect, what it may send, how long it may take.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from mtasr.errors import InputError, InputNotFoundError
from mtasr.remote.connections import PrivateNetworkError, Way
from mtasr.remote.patience import TransferAttempt, TransferError
from mtasr.remote.state import ByteRange, RemoteState
from mtasr.remote.urls import WEB, name_of, scheme_of, shown

#: Seconds for a connection, and without a byte on it.
_TIMEOUTS = (10, 30)

_MOST_REDIRECTS = 5

#: Bytes taken from a connection at once: a thread that reads slowly notices within one that nobody waits any more.
_PIECE = 4096

#: Answers that may be others in a moment.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})

#: No server has an object of 10^18 bytes, and Python reads no number of thousands of digits.
_NUMBER = r"([0-9]{1,18})"
_RANGE = re.compile(rf"bytes {_NUMBER}-{_NUMBER}/(?:{_NUMBER}|\*)")
_NO_RANGE = re.compile(rf"bytes \*/{_NUMBER}")
_LENGTH = re.compile(_NUMBER)


class WebObject:
    """A `RemoteObject` of a web server."""

    def __init__(self, url: str) -> None:
        self._url = url

    def examine(self, attempt: TransferAttempt) -> tuple[RemoteState, bool]:
        """Ask for a byte: many servers, and signed addresses, refuse to be asked for nothing."""
        with self._get({"Range": "bytes=0-0"}, attempt) as answer:
            found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            if answer.status_code == 416:
                empty = _NO_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
                return RemoteState(int(empty[1]) if empty else None), False
            if answer.status_code == 206 and found is not None and found[3]:
                return RemoteState(int(found[3]), _tag(answer)), True
            return RemoteState(_length(answer) if answer.status_code == 200 else None, _tag(answer)), False

    def read(self, start: int, count: int, expected: RemoteState, attempt: TransferAttempt) -> ByteRange:
        data = bytearray()
        # Raised here if nothing came: what came before a cut is of use.
        with (
            self._get({"Range": f"bytes={start}-{start + count - 1}"}, attempt) as answer,
            _cut(lambda: bool(data)),
        ):
            sent = min(self._sent(answer, start, expected), count)
            for piece in self._pieces(answer):
                data += piece
                if len(data) >= sent:
                    break
        if not data:
            raise TransferError("the connection was cut")
        return ByteRange(bytes(data[:sent]), is_cut=len(data) < sent)

    @staticmethod
    def _sent(answer: requests.Response, start: int, expected: RemoteState) -> int:
        """The bytes that the server sends; fewer than asked for, if it likes.

        Checks that they are from the range that was asked for, of the recording that was opened.
        """
        found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if answer.status_code == 416:
            raise TransferError("the server says that it ends before")
        if answer.status_code != 206 or found is None:
            raise TransferError("the server sends no ranges any more")
        if int(found[1]) != start or int(found[2]) < start:
            raise TransferError("the server sent another range than asked for")
        if RemoteState(int(found[3]) if found[3] else None, _tag(answer)) != expected:
            raise OSError("it was changed while it was read")
        return int(found[2]) + 1 - start

    def whole(self, attempt: TransferAttempt) -> Iterator[bytes]:
        """The whole object, in pieces. Raises `TransferError` where it ends early."""
        size = 0
        with self._get({}, attempt) as answer, _cut(lambda: False):
            if answer.status_code != 200:
                raise TransferError(f"the server answered {answer.status_code}")
            length = _length(answer)
            for piece in self._pieces(answer):
                size += len(piece)
                yield piece
        if length is not None and size < length:
            raise TransferError("the connection was cut")

    @staticmethod
    def _pieces(answer: requests.Response) -> Iterator[bytes]:
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise OSError("the server sends it compressed, although asked not to")
        return answer.iter_content(_PIECE)

    @contextlib.contextmanager
    def _get(self, headers: dict[str, str], attempt: TransferAttempt) -> Iterator[requests.Response]:
        """Ask, and follow redirects that lead no worse: from https only to https, and not into a private network."""
        # A connection that is kept would be closed when urllib3's objects are collected, which may be much later.
        usual = {"Accept-Encoding": "identity", "User-Agent": "mtasr", "Connection": "close"}
        url, way = self._url, Way(attempt)
        for _ in range(_MOST_REDIRECTS + 1):
            with _Session() as session:
                answer = self._ask(session, url, usual | headers, way)
                with contextlib.closing(answer):
                    if not answer.is_redirect:
                        self._refuse(answer.status_code)
                        yield answer
                        return
                    url = self._next(url, answer.headers["Location"])
        raise InputError(f"{shown(self._url)}: the server redirects more than {_MOST_REDIRECTS} times")

    def _ask(self, session: requests.Session, url: str, headers: dict[str, str], way: Way) -> requests.Response:
        with _cut(lambda: False):
            adapter = way.adapter(urlsplit(url).hostname or "")
            for scheme in WEB:
                session.mount(f"{scheme}://", adapter)
            try:
                return session.get(
                    url, headers=headers, stream=True, timeout=_TIMEOUTS, allow_redirects=False, auth=_auth(url)
                )
            except PrivateNetworkError:
                raise self._not_followed(url) from None

    def _next(self, url: str, location: str) -> str:
        allowed = {"https"} if scheme_of(url) == "https" else WEB
        target = ""
        with contextlib.suppress(ValueError):
            target = urljoin(url, location)
            if scheme_of(target) in allowed:
                return target
        raise self._not_followed(target or "what is no address")

    def _not_followed(self, target: str) -> InputError:
        return InputError(f"{shown(self._url)}: the server redirects to {name_of(target)}, which is not opened")

    def _refuse(self, status: int) -> None:
        if status in (404, 410):
            raise InputNotFoundError(f"{shown(self._url)}: no such file (HTTP {status})")
        if status in (401, 403, 407):
            raise InputNotFoundError(f"{shown(self._url)}: may not be read (HTTP {status})")
        if status in _PASSING:
            raise TransferError(f"the server answered {status}")
        if status >= 300 and status != 416:
            raise InputError(f"{shown(self._url)}: the server answered {status}")

    def close(self) -> None:
        """Each attempt has connections of its own."""


class _Session(requests.Session):
    """Leaves redirects to us: requests would parse their addresses, and read all that comes with them."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


def _auth(url: str) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    """User and password in an address. Given to requests, so that it looks for none in ~/.netrc.

    The entries there are for programs that the user points at a host, and not for those that a redirect may point.
    """
    user, password = requests.utils.get_auth_from_url(url)
    return requests.auth.HTTPBasicAuth(user, password) if user or password else lambda request: request


@contextlib.contextmanager
def _cut(is_of_use: Callable[[], bool]) -> Iterator[None]:
    """Raise `TransferError` for what goes wrong on the way, unless what came is of use.

    The errors of requests quote the address, which may have secrets in it.
    """
    try:
        yield
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
        if not is_of_use():
            raise TransferError(_reason(error)) from None


def _reason(error: Exception) -> str:
    if isinstance(error, ValueError) and not isinstance(error, requests.exceptions.ContentDecodingError):
        return "it is no address"
    if isinstance(error, requests.exceptions.SSLError):
        return "the certificate of the server is not valid"
    if isinstance(error, requests.exceptions.Timeout) or "timed out" in str(error):
        return "too slow: the server stopped answering"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy cannot be reached"
    if "NameResolutionError(" in str(error):
        return "the name of the server is not known"
    no_way = isinstance(error, requests.exceptions.ConnectionError) and "establish" in str(error)
    return "the server cannot be reached" if no_way else "the connection was cut"


def _length(answer: requests.Response) -> int | None:
    """The size that a server states of all that it sends."""
    found = _LENGTH.fullmatch(answer.headers.get("Content-Length", ""))
    return int(found[1]) if found else None


def _tag(answer: requests.Response) -> str | None:
    if etag := answer.headers.get("ETag"):
        return f"ETag {etag}"
    with contextlib.suppress(KeyError, ValueError):
        return f"modified {parsedate_to_datetime(answer.headers['Last-Modified']).isoformat()}"
    return None
