"""How the bytes of a recording reach ffmpeg, which opens one address through one protocol."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
from functools import partial
from typing import IO, BinaryIO, NamedTuple, cast

from mtasr import system
from mtasr.audio.parts import FilePart, parts
from mtasr.audio.truncation import is_open_cut_short
from mtasr.remote.copies import spooled
from mtasr.remote.file import RemoteFile

#: A path, a URL, "-" for standard input, or a binary file object.
FileSource = str | os.PathLike[str] | BinaryIO


#: How the formats begin that need no searching, besides WAV: FLAC, Ogg, Matroska, transport streams, AAC. Of an MP3,
#: ffmpeg leaves out the padding at the end only if it can search.
_STREAMING = (b"fLaC", b"OggS", b"\x1aE\xdf\xa3", b"G", b"\xff\xf0", b"\xff\xf1", b"\xff\xf8", b"\xff\xf9")


class Route(NamedTuple):
    """The address that ffmpeg opens, and its standard input."""

    url: str
    stdin: int | IO[bytes] = subprocess.DEVNULL
    #: A file object that has to be copied to ffmpeg's standard input.
    feed: BinaryIO | None = None
    #: Whether we have opened `feed`, and have to close it.
    owns_feed: bool = False
    #: Whether its end is missing, if that is known without `file`.
    is_cut: bool = False
    #: The path of a file that can be read again.
    file: str | None = None
    #: The recordings in it, if ffmpeg would not read all of them by itself.
    parts: tuple[FilePart, ...] = ()
    #: Whether the sound continues after the end that the header of a WAV file states.
    reads_on: bool = False

    def part(self, part: FilePart) -> Route:
        """The way to one of `parts`."""
        url = f"subfile,,start,{part.start},end,{part.end},,:{self.url}"
        return self._replace(url=url, file=None, parts=(), reads_on=part.stated is not None)

    @property
    def protocols(self) -> str:
        """All that ffmpeg may use to get there."""
        return "subfile,file" if self.url.startswith("subfile,") else self.url.partition(":")[0]


def route(source: FileSource, opened: contextlib.ExitStack) -> Route:
    """The way of a source that is no URL. `opened` closes, in this process, what ffmpeg inherits.

    Raises `OSError`, and `InputError` for a file object that the disk has no room for.
    """
    if not isinstance(source, str | os.PathLike):
        return _open_file(source, opened)
    if source == "-":
        url = _descriptor_url(0)
        return Route(url, 0, parts=_parts_of(url.removeprefix("file:")) if url.startswith("file:") else ())
    path = os.path.abspath(source)  # noqa: PTH100 - Path.absolute keeps ".."
    if stat.S_ISREG(os.stat(path).st_mode) and not system.is_system_path(path):  # noqa: PTH116
        # The prefix makes ffmpeg take any name literally: "-x.wav", "concat:a", "a%03d.wav".
        return Route(f"file:{path}", file=path, parts=_parts_of(path))
    # A FIFO, or /dev/stdin and the /dev/fd/63 of a shell's <(command), which mean our descriptors and not ffmpeg's.
    stream = opened.enter_context(open(path, "rb", buffering=0))  # noqa: PTH123, SIM115
    url = _descriptor_url(stream.fileno())
    if url.startswith("file:"):
        return Route(url, stream, file=path, parts=_parts_of(path))
    return Route(url, stream)


def _open_file(source: BinaryIO, opened: contextlib.ExitStack) -> Route:
    stdin_path = system.standard_input_path()
    copy = _spooled(source, opened) if stdin_path else None
    if copy is None:
        return Route("pipe:0", subprocess.PIPE, feed=source)
    return Route(f"file:{stdin_path}", copy, parts=_parts_from_start(copy))


def streaming_route(file: RemoteFile) -> Route | None:
    """The way through a pipe; None for a recording that has to be searched. Raises `OSError`."""
    head = file.read(12)
    is_wav = head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE"
    # Of the others, several in one file are found only by reading all of it.
    if system.standard_input_path() and not (
        head.startswith(_STREAMING) or (is_wav and not parts(cast(BinaryIO, file)))
    ):
        return None
    is_cut = is_open_cut_short(cast(BinaryIO, file))
    file.seek(0)
    return Route("pipe:0", subprocess.PIPE, feed=cast(BinaryIO, file), owns_feed=True, is_cut=is_cut)


def copied_route(copy: BinaryIO, opened: contextlib.ExitStack) -> Route:
    """The way of a copy in a temporary file. Raises `OSError`."""
    opened.enter_context(copy)
    is_cut = is_open_cut_short(copy)
    copy.seek(0)
    if stdin_path := system.standard_input_path():
        return Route(f"file:{stdin_path}", copy, parts=_parts_from_start(copy), is_cut=is_cut)
    opened.pop_all()
    return Route("pipe:0", subprocess.PIPE, feed=copy, owns_feed=True, is_cut=is_cut)


def _parts_from_start(copy: BinaryIO) -> tuple[FilePart, ...]:
    found = parts(copy)
    copy.seek(0)
    return found


def _parts_of(path: str) -> tuple[FilePart, ...]:
    with open(path, "rb") as file:  # noqa: PTH123 - any name
        return parts(file)


def _descriptor_url(descriptor: int) -> str:
    """A redirected file, unlike a pipe, can be searched, which mp4 needs."""
    path = system.standard_input_path()
    is_file = stat.S_ISREG(os.fstat(descriptor).st_mode) and os.lseek(descriptor, 0, os.SEEK_CUR) == 0
    return f"file:{path}" if path and is_file else "pipe:0"


def _spooled(source: BinaryIO, opened: contextlib.ExitStack) -> BinaryIO | None:
    """A copy in an unnamed temporary file, if no pipe will do: phones write the index of mp4 at the end."""
    try:
        if not source.seekable():
            return None
        start = source.tell()
        size = source.seek(0, os.SEEK_END) - start
        source.seek(start)
        head = source.read(8)
        whole = start == 0 and parts(source)
        source.seek(start)
    except (AttributeError, OSError):
        return None
    if not whole and head[4:8] not in (b"ftyp", b"mdat", b"moov", b"wide", b"free", b"skip"):
        return None
    name = getattr(source, "name", None)
    pieces = iter(partial(source.read, 1 << 20), b"")
    return opened.enter_context(spooled(pieces, name if isinstance(name, str) else "the recording", size))
