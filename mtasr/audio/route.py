"""How the bytes of a recording reach ffmpeg, which opens one address through one protocol."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import tempfile
from typing import IO, BinaryIO, NamedTuple

from mtasr import system

#: A path, "-" for standard input, or a binary file object.
FileSource = str | os.PathLike[str] | BinaryIO


class Route(NamedTuple):
    """The address that ffmpeg opens, and its standard input."""

    url: str
    stdin: int | IO[bytes] = subprocess.DEVNULL
    #: A file object that has to be copied to ffmpeg's standard input.
    feed: BinaryIO | None = None
    #: The path of a file that can be read again.
    file: str | None = None


def route(source: FileSource, opened: contextlib.ExitStack) -> Route:
    """The way of a source. `opened` closes, in this process, what ffmpeg inherits. Raises `OSError`."""
    if not isinstance(source, str | os.PathLike):
        stdin_path = system.standard_input_path()
        spooled = _spool_if_mp4(source, opened) if stdin_path else None
        if spooled is None:
            return Route("pipe:0", subprocess.PIPE, feed=source)
        return Route(f"file:{stdin_path}", spooled)
    if source == "-":
        return Route(_descriptor_url(0), 0)
    path = os.path.abspath(source)  # noqa: PTH100 - Path.absolute keeps ".."
    if stat.S_ISREG(os.stat(path).st_mode) and not system.is_system_path(path):  # noqa: PTH116
        # The prefix makes ffmpeg take any name literally: "-x.wav", "concat:a", "a%03d.wav".
        return Route(f"file:{path}", file=path)
    # A FIFO, or /dev/stdin and the /dev/fd/63 of a shell's <(command), which mean our descriptors and not ffmpeg's.
    stream = opened.enter_context(open(path, "rb", buffering=0))  # noqa: PTH123, SIM115
    url = _descriptor_url(stream.fileno())
    return Route(url, stream, file=path if url.startswith("file:") else None)


def _descriptor_url(descriptor: int) -> str:
    """A redirected file, unlike a pipe, can be searched, which mp4 needs."""
    path = system.standard_input_path()
    is_file = stat.S_ISREG(os.fstat(descriptor).st_mode) and os.lseek(descriptor, 0, os.SEEK_CUR) == 0
    return f"file:{path}" if path and is_file else "pipe:0"


def _spool_if_mp4(source: BinaryIO, opened: contextlib.ExitStack) -> IO[bytes] | None:
    """Copy mp4 and its kin into an unnamed temporary file: phones write the index at the end, so no pipe will do."""
    try:
        if not source.seekable():
            return None
        start = source.tell()
        head = source.read(8)
        source.seek(start)
    except (AttributeError, OSError):
        return None
    if head[4:8] not in (b"ftyp", b"mdat", b"moov", b"wide", b"free", b"skip"):
        return None
    spooled = opened.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    shutil.copyfileobj(source, spooled, 1 << 20)
    spooled.seek(0)
    return spooled
