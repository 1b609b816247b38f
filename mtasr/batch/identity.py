"""What tells whether a recording or a result is still the same: hashes of files, and what stores say of objects."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from mtasr.batch.inputs import STDIN
from mtasr.errors import InputError, UsageError
from mtasr.remote.file import examine
from mtasr.remote.folder import RemotePath
from mtasr.remote.state import RemoteState
from mtasr.remote.urls import is_url

#: Size and times of a file, or size and tag of an object.
State = tuple[int, int, int] | tuple[int | None, str]


def can_be_read_again(source: str) -> bool:
    """Whether it is a file or a URL, and no pipe."""
    return source != STDIN and (is_url(source) or Path(source).is_file())


def size_of(source: str, known: RemoteState | None = None) -> int:
    """Bytes of a recording, 0 for a pipe: what is known of its length before it is opened.

    Of a URL, `known` is what its store said; without it, the store is asked.
    """
    if is_url(source):
        known = known or _asked(source)
        return (known and known.size) or 0
    with contextlib.suppress(OSError):
        return Path(source).stat().st_size
    return 0


def state_of(source: str, known: RemoteState | None = None) -> State | None:
    """What differs once a recording changes, without reading it; None if nothing tells. `known` as in `size_of`.

    Of a file: size, time modified and time of that change. A program that replaces a file by one of the same size can
    set the time modified, but not the last of these.
    """
    if is_url(source):
        known = known or _asked(source)
        return None if known is None or known.tag is None else (known.size, known.tag)
    with contextlib.suppress(OSError):
        status = Path(source).stat()
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns
    return None


def content_of(place: str | Path | RemotePath, known: RemoteState | None = None) -> str | None:
    """The SHA-256 of a file, None if it cannot be read or memory is short.

    Of a URL, size and tag, since a hash would be a download; None if its store tells nothing.
    """
    if isinstance(place, RemotePath):
        place = place.url
    if is_url(place):
        known = known or _asked(place)
        return None if known is None else known.identity
    try:
        with Path(place).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, MemoryError):
        return None


def _asked(url: str) -> RemoteState | None:
    with contextlib.suppress(InputError, UsageError):
        return examine(url)
    return None
