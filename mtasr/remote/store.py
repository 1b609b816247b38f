"""Object stores and whatever else fsspec opens. Only this module imports fsspec."""

from __future__ import annotations

import contextlib
import difflib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

from mtasr.errors import InputError, InputNotFoundError, MissingExtraError, UsageError
from mtasr.extras import extras, install_extra
from mtasr.remote.patience import Limited, Patience, TransferAttempt, TransferError, persist
from mtasr.remote.state import ByteRange, RemoteState
from mtasr.remote.urls import LITERAL, WEB, check_known, links, scheme_of, shown

_T = TypeVar("_T")

_S3 = frozenset({"s3", "s3a"})

#: Seconds for a connection, and without a byte on it.
_CONNECT, _SILENCE = 10, 30

#: Where botocore looks for another store than Amazon's.
_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")

#: Keys of one page of a listing, of which S3 sends no more.
_PAGE = 1000

#: By the names of botocore's exceptions, which is not imported for it.
_NO_CREDENTIALS = frozenset({"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"})

#: Names under which stores give what changes with an object.
_TAGS = ("ETag", "etag", "md5Hash", "content_md5", "VersionId", "generation", "LastModified", "mtime", "modified")

_shared: dict[tuple[int, str], Any] = {}
_sharing = threading.Lock()


def opened(url: str) -> tuple[Any, str]:
    """The file system of fsspec, and the path in it. Raises `InputError`, and `MissingExtraError` without fsspec."""
    check_known(url)
    scheme = scheme_of(url)
    try:
        with extras():
            import fsspec
    except MissingExtraError as error:
        raise MissingExtraError(f"{error}{_meant(scheme)}") from error
    try:
        if scheme in _S3:
            # One for all threads: fsspec's own cache has one for each, and each has connections of its own.
            with _sharing:
                file_system = _shared.get((os.getpid(), scheme)) or _shared.setdefault((os.getpid(), scheme), _s3())
            return file_system, file_system._strip_protocol(url)
        if scheme in LITERAL:
            kind = fsspec.get_filesystem_class(scheme)  # fsspec would take "::" for a chain
            return kind(use_listings_cache=False, **kind._get_kwargs_from_urls(url)), str(kind._strip_protocol(url))
        file_system, path = fsspec.url_to_fs(url, **({} if len(links(url)) > 1 else {"use_listings_cache": False}))
    except ImportError as error:
        # fsspec's words: "Install gcsfs to access Google Storage".
        raise UsageError(
            f"{scheme}:// needs a package of its own: {error}; {install_extra('remote')} brings what S3 needs"
        ) from error
    except ValueError as error:
        if "rotocol not known" in str(error):
            raise InputError(
                f"{shown(url)}: addresses that begin with {scheme}:// are not known{_meant(scheme)}"
            ) from error
        raise InputError(f"{shown(url)}: is no address") from None  # the reason may quote a password
    return file_system, str(path)


def _meant(scheme: str) -> str:
    """A question about the scheme of a web server that somebody may have meant, or nothing."""
    close = difflib.get_close_matches(scheme, WEB, n=1, cutoff=0.75)
    return f"; did you mean {close[0]}://?" if close else ""


def is_s3(url: str) -> bool:
    return scheme_of(url) in _S3 and len(links(url)) == 1


def _s3() -> Any:
    with extras():
        import s3fs

    for name in _ENDPOINTS:
        if not os.environ.get(name, "http://").lower().startswith(("http://", "https://")):
            raise UsageError(f"{name} must begin with http:// or https://")  # without it: it may hold a password

    # We try again ourselves, and know when to stop.
    settings = {"connect_timeout": _CONNECT, "read_timeout": _SILENCE, "retries": {"total_max_attempts": 1}}
    file_system = s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True, config_kwargs=settings)
    file_system.retries = 1
    return file_system


def call(url: str, work: Callable[[], _T]) -> _T:
    """One call of fsspec. Raises `InputNotFoundError`, `InputError`, or `TransferError` for what may pass."""
    try:
        return work()
    except (InputError, UsageError, TransferError):
        raise
    except FileNotFoundError as error:
        bucket = " (no such bucket)" if "bucket" in str(error) and "exist" in str(error) else ""
        raise InputNotFoundError(f"{shown(url)}: no such file{bucket}") from error
    except PermissionError as error:
        raise InputNotFoundError(f"{shown(url)}: may not be read (permission denied)") from error
    except (IsADirectoryError, NotADirectoryError) as error:
        raise InputNotFoundError(f"{shown(url)}: is a folder, not a recording") from error
    except (MemoryError, AttributeError, TypeError, NotImplementedError, AssertionError):
        raise
    except Exception as error:
        if type(error).__name__ in _NO_CREDENTIALS:
            advice = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or FSSPEC_S3_ANON=true for a public bucket"
            raise InputNotFoundError(f"{shown(url)}: may not be read without credentials: {advice}") from error
        if type(error).__name__ == "FileExpired":
            raise InputError(f"{shown(url)}: it was changed while it was read") from error
        raise TransferError(_reason(error)) from None  # the error of a server may quote the address


def _reason(error: Exception) -> str:
    """An error in few words, without the address, which may have secrets in it."""
    name = type(error).__name__
    if name == "EndpointConnectionError" and (server := _server_in(error)):
        return f"the server {server} cannot be reached"
    if name == "EndpointConnectionError" or isinstance(error, ConnectionRefusedError):
        return "the server cannot be reached"
    if "Timeout" in name:
        return "too slow: the server stopped answering"
    code = getattr(error, "response", None)
    if isinstance(code, dict) and (said := code.get("Error", {}).get("Code")):
        return f"the store answered {said}"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return f"the connection failed ({name})"


def _server_in(error: Exception) -> str | None:
    """The host and port that botocore could not reach: a URL of S3 does not tell them."""
    with contextlib.suppress(AttributeError, KeyError, ValueError):
        return urlsplit(str(error.kwargs["endpoint_url"])).netloc.rpartition("@")[2]  # type: ignore[attr-defined]
    return None


def state_in(found: dict[str, Any]) -> RemoteState:
    """What an entry of a listing, or of an examination, says."""
    tag = next((f"{name} {found[name]}" for name in _TAGS if found.get(name)), None)
    size = found.get("size")
    return RemoteState(size if isinstance(size, int) else None, tag)


def examined(url: str) -> RemoteState:
    """One attempt. Raises what `call` does, and `InputNotFoundError` for a folder."""
    file_system, path = opened(url)
    found = call(url, lambda: file_system.info(path))
    if found.get("type") == "directory":
        raise InputNotFoundError(f"{shown(url)}: is a folder, not a recording")
    return state_in(found)


class StoreObject:
    """A `RemoteObject` of a store."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._file_system, self._path = opened(url)
        #: Opened by the attempt before. An attempt takes it, so that one that is late has a file to itself.
        self._file: Any = None
        self._handing_over = threading.Lock()

    def examine(self, attempt: TransferAttempt) -> tuple[RemoteState, bool]:
        found = examined(self._url)
        return found, found.size is not None

    def read(self, start: int, count: int, expected: RemoteState, attempt: TransferAttempt) -> ByteRange:
        return call(self._url, lambda: self._read(start, count, expected, attempt))

    def _read(self, start: int, count: int, expected: RemoteState, attempt: TransferAttempt) -> ByteRange:
        with self._handing_over:
            file, self._file = self._file, None
        try:
            if file is None:
                # fsspec's own read-ahead would fetch 50 MB.
                file = self._file_system.open(self._path, "rb", cache_type="none", block_size=1 << 16)
                self._check(getattr(file, "details", None) or self._file_system.info(self._path), expected)
            file.seek(start)
            data = bytes(file.read(count))
            if not data:
                raise TransferError("the connection was cut")
            # S3 compares at each read.
            if expected.size is not None and start + len(data) >= expected.size and not is_s3(self._url):
                self._check(self._file_system.info(self._path), expected)
        except BaseException:
            _close(file)  # of some kinds the connection is gone
            raise
        with self._handing_over:
            unwanted = file
            if not attempt.is_closed and self._file is None:
                self._file, unwanted = file, None
        _close(unwanted)
        return ByteRange(data, is_cut=len(data) < count)

    def _check(self, info: dict[str, Any], expected: RemoteState) -> None:
        if state_in(info) != expected:
            raise InputError(f"{shown(self._url)}: it was changed while it was read")

    def whole(self, attempt: TransferAttempt) -> Iterator[bytes]:
        """The whole object, in pieces, for stores that do not tell its size."""
        with call(self._url, lambda: self._file_system.open(self._path, "rb")) as file:
            while piece := call(self._url, lambda: file.read(1 << 16)):
                yield bytes(piece)

    def close(self) -> None:
        with self._handing_over:
            file, self._file = self._file, None
        _close(file)


def _close(file: Any) -> None:
    with contextlib.suppress(Exception):
        if file is not None:
            file.close()


def pages(url: str, *, recursive: bool, patience: Patience) -> Iterator[list[tuple[str, RemoteState]]]:
    """What is below a prefix, page by page: paths below it, and their states. A bucket may hold millions.

    Raises `InputError`.
    """
    file_system, path = opened(url)
    if is_s3(url):
        yield from _s3_pages(url, file_system, path, recursive=recursive, patience=patience)
        return
    prefix = path.rstrip("/")
    walked = file_system.walk(prefix, maxdepth=None if recursive else 1, detail=True, on_error="raise")
    # Tried once: after an error, a generator looks as if it had come to its end.
    while (step := Limited(lambda _: call(url, lambda: next(walked, None))).result(patience.seconds)) is not None:
        folder, _, files = step
        below = str(folder).rstrip("/")[len(prefix) :].lstrip("/")
        yield [(f"{below}/{name}" if below else name, state_in(info)) for name, info in sorted(files.items())]


def _s3_pages(
    url: str, file_system: Any, path: str, *, recursive: bool, patience: Patience
) -> Iterator[list[tuple[str, RemoteState]]]:
    """What fsspec would list whole: the store gives a thousand keys at a time, in the order of their bytes."""
    bucket, _, prefix = path.rstrip("/").partition("/")
    prefix = f"{prefix}/" if prefix else ""
    more: dict[str, str] = {} if recursive else {"Delimiter": "/"}
    while True:
        page = persist(
            lambda _: call(
                url,
                lambda: file_system.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=_PAGE, **more),
            ),
            patience,
        )
        keys = [each for each in page.get("Contents", []) if not each["Key"].endswith("/")]
        yield [(each["Key"][len(prefix) :], state_in({**each, "size": each["Size"]})) for each in keys]
        if not page.get("IsTruncated"):
            return
        more["ContinuationToken"] = page["NextContinuationToken"]
