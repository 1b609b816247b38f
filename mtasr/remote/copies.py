"""Copies of recordings in temporary files, as far as the disk has room for all of them."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterable
from typing import BinaryIO, cast

from mtasr.errors import InputError

#: Of the free space of the disk, the part that copies may take.
_SHARE = 0.9

#: Bytes after which the disk is looked at again.
_STEP = 1 << 26


class _Room:
    """What one copy may still write. All copies under way in this process count, and what the disk has free."""

    _promised: dict[_Room, int] = {}  # noqa: RUF012 - one for all
    _lock = threading.Lock()

    def __init__(self, name: str, size: int | None) -> None:
        self._name, self._size = name, size
        self._checked = 0

    def grow(self, written: int) -> None:
        """Raise `InputError` if there is no room for what follows after so many bytes."""
        if written and written < self._checked:
            return
        self._checked = written + _STEP
        left = max(_STEP if self._size is None else self._size - written, 0)
        folder = tempfile.gettempdir()
        with self._lock:
            free = shutil.disk_usage(folder).free
            others = sum(count for room, count in self._promised.items() if room is not self)
            if left + others <= _SHARE * free or not left:
                self._promised[self] = left
                return
        meanwhile = f", {others / 1e9:.1f} GB of it for other copies" if others else ""
        raise InputError(
            f"{self._name}: has to be copied first, and {(written + left) / 1e9:.1f} GB are too many for {folder}, "
            f"which has {free / 1e9:.1f} GB left{meanwhile}; TMPDIR names another folder"
        )

    def leave(self) -> None:
        with self._lock:
            self._promised.pop(self, None)


def spooled(pieces: Iterable[bytes], name: str, size: int | None) -> BinaryIO:
    """The pieces in an unnamed temporary file, which the caller closes; `size` in bytes, None if nobody knows it.

    Raises `InputError` if the disk has no room, and what the pieces raise.
    """
    room = _Room(name, size)
    try:
        room.grow(0)
        target = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115
    except BaseException:
        room.leave()
        raise
    try:
        for piece in pieces:
            _write(target, piece, name)
            room.grow(target.tell())
        target.seek(0)
    except BaseException:
        target.close()
        raise
    finally:
        room.leave()
    return target


def _write(target: BinaryIO, piece: bytes, name: str) -> None:
    try:
        target.write(piece)
        target.flush()
    except OSError as error:
        raise InputError(f"{name}: cannot be copied: {error.strerror or error}") from error
