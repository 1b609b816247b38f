"""How the bytes of a recording reach ffmpeg, which opens one address through one protocol."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import tempfile
from typing import IO, BinaryIO, NamedTuple, cast

from mtasr import system
from mtasr.audio.parts import FilePart, parts
from mtasr.audio.truncation import is_open_cut_short
from mtasr.errors import InputError
from mtasr.remote.file import RemoteFile, Room, open_remote
from mtasr.remote.urls import is_url, shown

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
    """The way of a source. `opened` closes, in this process, what ffmpeg inherits.

    Raises `OSError`, and for a URL `InputError`.
    """
    if is_url(source):
        return _remote(source, opened)
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
    spooled = _spooled(source, opened) if stdin_path else None
    if spooled is None:
        return Route("pipe:0", subprocess.PIPE, feed=source)
    return Route(f"file:{stdin_path}", spooled, parts=_parts_from_start(spooled))


def _remote(url: str, opened: contextlib.ExitStack) -> Route:
    """Through a pipe, or through a temporary file if the format has to be searched."""
    stdin_path = system.standard_input_path()
    with contextlib.ExitStack() as owned:
        file = owned.enter_context(open_remote(url))
        is_cut = is_open_cut_short(file)
        try:
            file.seek(0)
            if stdin_path and isinstance(file, RemoteFile) and not _streams(file):
                file = _copied(file, shown(url), owned)
        except OSError as error:
            raise InputError(f"{shown(url)}: reading it failed: {error.strerror or error}") from error
        if stdin_path and not isinstance(file, RemoteFile):
            opened.push(owned.pop_all())
            return Route(f"file:{stdin_path}", file, parts=_parts_from_start(file), is_cut=is_cut)
        owned.pop_all()
        return Route("pipe:0", subprocess.PIPE, feed=file, owns_feed=True, is_cut=is_cut)


def _streams(file: BinaryIO) -> bool:
    """Whether ffmpeg reads the format from its beginning to its end, as from a pipe."""
    if _parts_from_start(file):
        return False
    head = file.read(12)
    file.seek(0)
    return head.startswith(_STREAMING) or (head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE")


def _copied(file: RemoteFile, name: str, opened: contextlib.ExitStack) -> BinaryIO:
    Room(name).check(file.size)
    copy = cast(BinaryIO, opened.enter_context(tempfile.TemporaryFile()))  # noqa: SIM115
    shutil.copyfileobj(file, copy, 1 << 20)
    copy.seek(0)
    return copy


def _parts_from_start(spooled: BinaryIO) -> tuple[FilePart, ...]:
    found = parts(spooled)
    spooled.seek(0)
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
        head = source.read(8)
        whole = start == 0 and parts(source)
        source.seek(start)
    except (AttributeError, OSError):
        return None
    if not whole and head[4:8] not in (b"ftyp", b"mdat", b"moov", b"wide", b"free", b"skip"):
        return None
    spooled = cast(BinaryIO, opened.enter_context(tempfile.TemporaryFile()))  # noqa: SIM115
    shutil.copyfileobj(source, spooled, 1 << 20)
    spooled.seek(0)
    return spooled
