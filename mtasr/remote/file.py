"""A recording elsewhere as an open binary file, which survives cut connections and waits only so long."""

from __future__ import annotations

import io
import itertools
import os
import threading
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO, cast

from mtasr.errors import InputError, InputNotFoundError, UsageError
from mtasr.remote.copies import spooled
from mtasr.remote.patience import ClosedError, Limited, Patience, TransferAttempt, TransferError, persist
from mtasr.remote.state import ByteRange, RemoteObject, RemoteState
from mtasr.remote.urls import WEB, check_known, links, scheme_of, shown

#: Bytes of one read at least, and at most: it grows while reads are quick, and shrinks after one that failed.
LEAST, _MOST = 1 << 16, 1 << 23

#: The beginning is read again by those who find out what it is.
_HEAD = 1 << 18

#: Bytes that are copied at a time.
_PIECE = 1 << 20


class RemoteFile(io.RawIOBase):
    """An object that is read in blocks, each asked for anew: nobody holds a connection while a recording is decoded.

    A read that fails is tried again from where it stopped, `Patience.attempts` times. Reads that end early are
    continued, up to 10 times and once more for each MiB received. Then it raises `OSError`, and from then on always.
    `close`, in any thread, has a pending read raise.
    """

    def __init__(self, name: str, found: RemoteObject, state: RemoteState, size: int, patience: Patience) -> None:
        super().__init__()
        self.name = name
        self.size = size
        self._object, self._state, self._patience = found, state, patience
        self._position = 0
        #: Bytes of the next read, and what they grow to at most.
        self._step, self._most = _HEAD, _MOST
        self._head = self._block = b""
        self._block_start = 0
        self._cuts = self._received = 0
        self._failure: OSError | None = None
        self._stopped = threading.Event()
        self._pending: Limited[ByteRange] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        begins = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}
        self._position = max(0, begins[whence] + offset)
        return self._position

    def readinto(self, buffer: object) -> int:
        """Fill the buffer, unless the end comes first."""
        view = memoryview(cast(bytearray, buffer)).cast("B")
        filled = 0
        while filled < len(view) and (piece := self._at_position()):
            count = min(len(piece), len(view) - filled)
            view[filled : filled + count] = piece[:count]
            filled += count
            self._position += count
        return filled

    def _at_position(self) -> memoryview:
        """What is known from the position on; fetches it first if nothing is."""
        position = self._position
        if position >= self.size:
            return memoryview(b"")
        if position < len(self._head):
            return memoryview(self._head)[position:]
        if not self._block_start <= position < self._block_start + len(self._block):
            follows = position == self._block_start + len(self._block)
            self._block = self._fetch(position, self._step if follows or not position else LEAST)
            self._block_start = position
            if not position:
                self._head = self._block
        return memoryview(self._block)[position - self._block_start :]

    def _fetch(self, start: int, most: int) -> bytes:
        count, attempts = min(most, self.size - start), 0
        while True:
            try:
                data, is_cut = self._attempt(start, count)
            except TransferError as error:
                attempts += 1
                self._count_cut(f"{error} ({attempts} times)" if attempts > 1 else str(error), start, attempts)
                count = min(count, max(LEAST, count // 4))
                self._step = max(LEAST, count)
                if self._stopped.wait(self._patience.pause * 2 ** (attempts - 1)):
                    raise self._fail("it was closed") from None
                continue
            self._received += len(data)
            if is_cut or len(data) < min(count, LEAST):
                self._count_cut("the connection was cut again and again", start, 0)
            elif len(data) < count:  # it sends no more at once
                self._step = self._most = len(data)
            elif count == self._step:
                self._step = min(2 * self._step, self._most)
            return data

    def _attempt(self, start: int, count: int) -> ByteRange:
        if self._failure is not None:
            raise OSError(str(self._failure))
        self._pending = pending = Limited(partial(self._object.read, start, count, self._state))
        try:
            if self._stopped.is_set():
                raise ClosedError
            return pending.result(self._patience.seconds)
        except ClosedError:
            raise self._fail("it was closed") from None
        except (OSError, InputError, UsageError) as error:
            raise self._fail(str(error).removeprefix(f"{self.name}: ")) from error
        finally:
            self._pending = None

    def _count_cut(self, reason: str, start: int, attempts: int) -> None:
        self._cuts += 1
        allowed = 2 * self._patience.attempts + (self._received >> 20)
        if attempts >= self._patience.attempts or self._cuts > allowed:
            raise self._fail(f"{reason}, at byte {start} of {self.size}")

    def _fail(self, reason: str) -> OSError:
        """Whoever takes a failure for the end of the file learns of it at the next read."""
        self._failure = OSError(reason)
        return self._failure

    def close(self) -> None:
        if self.closed:
            return
        self._stopped.set()
        if (pending := self._pending) is not None:
            pending.stop()
        self._object.close()
        super().close()

    def copied(self) -> BinaryIO:
        """A copy in an unnamed temporary file, from its beginning. Raises `InputError`."""
        self.seek(0)
        try:
            return spooled(iter(partial(self.read, _PIECE), b""), self.name, self.size)
        except (OSError, ValueError) as error:  # ValueError: another thread has closed it
            raise InputError(f"{self.name}: reading it failed: {error}") from error


class WholeObject:
    """An object of which the server sends no ranges: all that can be done with it is to copy it."""

    def __init__(self, name: str, found: RemoteObject, size: int | None, patience: Patience) -> None:
        self.name = name
        self._object, self._size, self._patience = found, size, patience
        self._stopped = threading.Event()
        self._pending: Limited[bytes] | None = None

    def copied(self) -> BinaryIO:
        """A copy in an unnamed temporary file. Raises `InputError`, also after `close` in another thread.

        Each attempt begins anew: nothing tells where the one before stopped.
        """
        for attempts in itertools.count(1):
            try:
                with TransferAttempt() as attempt:
                    copy = spooled(self._pieces(attempt), self.name, self._size)
                break
            except TransferError as error:
                if attempts == self._patience.attempts:
                    raise InputError(f"{self.name}: {error} ({attempts} times)") from None
                self._stopped.wait(self._patience.pause * 2 ** (attempts - 1))
            except ClosedError:
                raise InputError(f"{self.name}: reading it failed: it was closed") from None
            except OSError as error:
                raise InputError(f"{self.name}: reading it failed: {error}") from error
        if not copy.read(1):
            copy.close()
            raise InputNotFoundError(f"{self.name}: is empty")
        copy.seek(0)
        return copy

    def _pieces(self, attempt: TransferAttempt) -> Iterator[bytes]:
        coming = self._object.whole(attempt)
        while True:
            self._pending = pending = Limited(lambda _: _take(coming))
            if self._stopped.is_set():
                raise ClosedError
            block = pending.result(self._patience.seconds, attempt)
            if not block:
                return
            yield block

    def close(self) -> None:
        self._stopped.set()
        if (pending := self._pending) is not None:
            pending.stop()
        self._object.close()


def open_remote(url: str, patience: Patience | None = None) -> RemoteFile | WholeObject:
    """Open the object of a URL, without reading it.

    Raises `InputError`, `InputNotFoundError` where there is none, and `MissingExtraError`.
    """
    patience = patience or Patience.usual()
    found, state, has_ranges = _examined(url, patience)
    if state.size is not None and has_ranges:
        return RemoteFile(shown(url), found, state, state.size, patience)
    return WholeObject(shown(url), found, state.size, patience)


def examine(url: str, patience: Patience | None = None) -> RemoteState:
    """What tells whether an object has changed, without reading it. Raises what `open_remote` does."""
    found, state, _ = _examined(url, patience or Patience.usual())
    found.close()
    return state


def _examined(url: str, patience: Patience) -> tuple[RemoteObject, RemoteState, bool]:
    check_known(url)
    try:
        found, (state, has_ranges) = persist(partial(_examine, url), patience)
    except TransferError as error:
        raise InputError(f"{shown(url)}: cannot be opened: {error}") from None
    if state.size == 0:
        raise InputNotFoundError(f"{shown(url)}: is empty")
    return found, state, has_ranges


def _examine(url: str, attempt: TransferAttempt) -> tuple[RemoteObject, tuple[RemoteState, bool]]:
    found: RemoteObject
    if scheme_of(url) in WEB and len(links(url)) == 1:
        from mtasr.remote.web import WebObject

        found = WebObject(url)
    else:
        from mtasr.remote.store import StoreObject

        found = StoreObject(url)
    return found, found.examine(attempt)


def _take(pieces: Iterator[bytes]) -> bytes:
    """The next `LEAST` bytes or a few more, fewer at the end."""
    block = bytearray()
    while len(block) < LEAST and (piece := next(pieces, b"")):
        block += piece
    return bytes(block)
