"""A recording elsewhere as an open binary file, which survives cut connections and waits only so long."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO, cast

from mtasr.errors import InputError, InputNotFoundError
from mtasr.remote.patience import ClosedError, Limited, Patience, TransferError, persist
from mtasr.remote.state import RemoteObject, RemoteState
from mtasr.remote.urls import WEB, check_known, links, scheme_of, shown

#: Bytes of one read at least, and at most: it grows while reads are quick, and shrinks after one that failed.
LEAST, _MOST = 1 << 16, 1 << 23

#: The beginning is read again by those who find out what it is.
_HEAD = 1 << 18

#: Of the free space of the disk, the part that a copy may take.
_SHARE = 0.9


class RemoteFile(io.RawIOBase):
    """An object that is read in blocks, each asked for anew: nobody holds a connection while a recording is decoded.

    A read that fails is tried again from where it stopped, `Patience.attempts` times; so is one that was cut, but not
    more than once for each MiB read and a few more. Then it raises `OSError`, and from then on always. `close`, in any
    thread, has a pending read raise.
    """

    def __init__(self, name: str, found: RemoteObject, size: int, patience: Patience) -> None:
        super().__init__()
        self.name = name
        self.size = size
        self._object, self._patience = found, patience
        self._position = 0
        self._step = _HEAD
        self._head = self._block = b""
        self._block_start = 0
        self._cuts = self._received = 0
        self._failure: OSError | None = None
        self._stopped = threading.Event()
        self._pending: Limited[bytes] | None = None

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
                data = self._attempt(start, count)
            except TransferError as error:
                attempts += 1
                self._object.cancel()
                self._count_cut(f"{error} ({attempts} times)" if attempts > 1 else str(error), start, attempts)
                count = min(count, max(LEAST, count // 4))
                self._step = max(LEAST, count)
                if self._stopped.wait(self._patience.pause * 2 ** (attempts - 1)):
                    raise self._fail("it was closed") from None
                continue
            self._received += len(data)
            if len(data) < count:
                self._count_cut("the connection was cut again and again", start, 0)
            elif count == self._step:
                self._step = min(2 * self._step, _MOST)
            return data

    def _attempt(self, start: int, count: int) -> bytes:
        if self._failure is not None:
            raise OSError(str(self._failure))
        self._pending = pending = Limited(partial(self._object.read, start, count))
        try:
            if self._stopped.is_set():
                raise ClosedError
            return pending.result(self._patience.seconds)
        except ClosedError:
            raise self._fail("it was closed") from None
        except OSError as error:
            raise self._fail(str(error)) from error
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


def open_remote(url: str, patience: Patience | None = None) -> BinaryIO:
    """Open the object of a URL, as a file that can be searched.

    One of which the server sends no ranges is copied to a temporary file first. Raises `InputError`,
    `InputNotFoundError` where there is none, and `MissingExtraError`.
    """
    patience = patience or Patience.usual()
    found = _object(url, patience)
    size = found.state.size
    if size == 0:
        found.close()
        raise InputNotFoundError(f"{shown(url)}: is empty")
    if size is not None and found.has_ranges:
        return cast(BinaryIO, RemoteFile(shown(url), found, size, patience))
    with contextlib.closing(found):
        return _copied(shown(url), found, size, patience)


def examine(url: str, patience: Patience | None = None) -> RemoteState:
    """What tells whether an object has changed, without reading it. Raises what `open_remote` does."""
    found = _object(url, patience or Patience.usual())
    found.close()
    if found.state.size == 0:
        raise InputNotFoundError(f"{shown(url)}: is empty")
    return found.state


def _object(url: str, patience: Patience) -> RemoteObject:
    check_known(url)
    try:
        return persist(partial(_attempt_to_open, url), patience)
    except TransferError as error:
        raise InputError(f"{shown(url)}: cannot be opened: {error}") from None


class Room:
    """The part of the disk for temporary files that a copy of a recording may take."""

    def __init__(self, name: str) -> None:
        self._name, self._folder = name, tempfile.gettempdir()
        self._free = shutil.disk_usage(self._folder).free

    def check(self, size: int) -> None:
        """Raise `InputError` for a copy of too many bytes."""
        if size > _SHARE * self._free:
            raise InputError(
                f"{self._name}: has to be copied first, and {size / 1e9:.1f} GB are too many for {self._folder}, "
                f"which has {self._free / 1e9:.1f} GB left; TMPDIR names another folder"
            )


def _attempt_to_open(url: str) -> RemoteObject:
    if scheme_of(url) in WEB and len(links(url)) == 1:
        from mtasr.remote.web import WebObject

        return WebObject(url)
    from mtasr.remote.store import StoreObject

    return StoreObject(url)


def _copied(name: str, found: RemoteObject, size: int | None, patience: Patience) -> BinaryIO:
    """A copy in an unnamed temporary file. Each attempt begins anew: nothing tells where the one before stopped."""
    room = Room(name)
    room.check(size or 0)
    target = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - the caller closes it
    try:
        for attempt in range(1, patience.attempts + 1):
            target.seek(0)
            target.truncate()
            try:
                _copy(found.whole(), target, room, patience)
                break
            except TransferError as error:
                found.cancel()
                if attempt == patience.attempts:
                    raise InputError(f"{name}: {error} ({attempt} times)") from None
                threading.Event().wait(patience.pause * 2 ** (attempt - 1))
        if not target.tell():
            raise InputNotFoundError(f"{name}: is empty")
        target.seek(0)
    except BaseException as error:
        target.close()
        if isinstance(error, OSError):
            raise InputError(f"{name}: cannot be copied: {error.strerror or error}") from error
        raise
    return target


def _copy(pieces: Iterator[bytes], target: BinaryIO, room: Room, patience: Patience) -> None:
    while block := Limited(partial(_take, pieces)).result(patience.seconds):
        target.write(block)
        room.check(target.tell())


def _take(pieces: Iterator[bytes]) -> bytes:
    """The next `LEAST` bytes or a few more, fewer at the end."""
    block = bytearray()
    while len(block) < LEAST and (piece := next(pieces, b"")):
        block += piece
    return bytes(block)
