"""Any recording -> blocks of float32 mono samples at 16 kHz, decoded by an ffmpeg process that runs beside us.

Hours-long recordings pass through in constant memory: ffmpeg waits on its pipe until the next block is read.

Recordings come from strangers, so ffmpeg is fenced in. It opens one file through one protocol, and only as one of the
formats in `ffmpeg.FORMATS`: playlists, which name other files and addresses, are not among them.
"""

from __future__ import annotations

import contextlib
import os
import stat
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from mtasr import system
from mtasr.audio.copied import CopiedStream
from mtasr.audio.ffmpeg import FORMATS, printable, start_ffmpeg
from mtasr.audio.ffmpeg_log import STAMPS
from mtasr.audio.joined import JoinedStreams
from mtasr.audio.route import FileSource, Route, copied_route, route, streaming_route
from mtasr.audio.stream import AudioStream
from mtasr.errors import InputError, InputNotFoundError
from mtasr.remote.file import RemoteFile, examine, open_remote
from mtasr.remote.urls import is_url, name_of
from mtasr.spans import SAMPLE_RATE

# Side branches of the filters print, for `FfmpegLog`, the timestamp and the channels of the first sample, and how loud
# all channels are before they are mixed. STAMPS prints the timestamps of all samples, for `Timeline`. rematrix_maxval=1
# takes the mean of two channels; by default, float output sums them at -3 dB and overshoots.
_FIRST = "[first]atrim=end_sample=1,ashowinfo,anullsink;"
_RESAMPLED = f"aresample={SAMPLE_RATE}:rematrix_maxval=1,{STAMPS}"
_MIXED = f"asplit=3[first][level][all];{_FIRST}[level]volumedetect,anullsink;[all]{_RESAMPLED}"
_ONE_CHANNEL = f"asplit[first][all];{_FIRST}[all]pan=mono|c0=c{{channel}},{_RESAMPLED}"

#: ffmpeg closes holes of more than 10 s in transport streams, unless it is to copy timestamps.
_OWN_TIMES = ("-copyts", "-start_at_zero")


def check_input(source: FileSource) -> None:
    """Raise InputNotFoundError for what shows without decoding: a missing, unreadable or empty file, or a folder.

    Pipes and devices pass, and so does any binary file object. Of a URL, its server is asked; where it does not answer,
    `InputError`.
    """
    if is_url(source):
        examine(source)
        return
    if not isinstance(source, str | os.PathLike):
        return
    name = _name_of(source)
    try:
        info = os.fstat(0) if source == "-" else os.stat(source)  # noqa: PTH116 - Path would lose "./-"
        readable = source == "-" or os.access(source, os.R_OK)
    except (OSError, ValueError) as exc:
        raise InputNotFoundError(f"{name}: {_why_missing(source, exc)}") from exc
    if stat.S_ISDIR(info.st_mode):
        raise InputNotFoundError(f"{name}: is a folder, not a recording")
    if not readable:
        raise InputNotFoundError(f"{name}: may not be read (permission denied)")
    if stat.S_ISREG(info.st_mode) and info.st_size == 0:
        raise InputNotFoundError(f"{name}: is empty")
    if stat.S_ISSOCK(info.st_mode) and source != "-":
        raise InputNotFoundError(f"{name}: is a socket, not a recording")
    if _is_terminal(source):
        raise InputNotFoundError(f"{name}: is a terminal; pipe a recording into it")


def _is_terminal(source: str | os.PathLike[str]) -> bool:
    """Whether it is a terminal, also as /dev/stdin or /dev/tty: the system would stop ffmpeg, a background job."""
    if source == "-":
        return os.isatty(0)
    if not stat.S_ISCHR(os.stat(source).st_mode):  # noqa: PTH116
        return False
    descriptor = system.open_at_once(source)
    try:
        return os.isatty(descriptor)
    finally:
        os.close(descriptor)


def _why_missing(source: str | os.PathLike[str], exc: Exception) -> str:
    if source == "-":
        return "is closed"
    if isinstance(exc, FileNotFoundError | NotADirectoryError):
        if Path(source).is_symlink():
            return "is a link to a file that does not exist"
        return "no such file"
    if isinstance(exc, PermissionError):
        return "may not be read (permission denied)"
    return str(getattr(exc, "strerror", None) or exc)


def check_reopenable(source: FileSource) -> None:
    """Raise InputError for sources that can be read only once: standard input, pipes and file objects."""
    if is_url(source) or (isinstance(source, str | os.PathLike) and source != "-" and Path(source).is_file()):
        return
    raise InputError(
        f"{_name_of(source)}: to split channels, ffmpeg reads the file once per channel; give the path of a file"
    )


def count_channels(source: FileSource, *, track: int = 0) -> int:
    """The number of channels of an audio track; 0 if nothing can be decoded, and then `open_audio` gives the reason.

    Raises InputError for sources that can be read only once, and what `open_audio` raises.
    """
    check_input(source)
    check_reopenable(source)
    with open_audio(source, track=track) as stream:
        return stream.channels


def open_audio(
    source: FileSource, *, track: int = 0, channel: int | None = None
) -> AudioStream | JoinedStreams | CopiedStream:
    """Start decoding `source`: a path, a URL, "-" for standard input, or a binary file object.

    Of several audio tracks, `track` chooses one, and `channel` chooses one of its channels, both counted from 0.
    Without `channel`, all channels are mixed.

    Use the result as a context manager; leaving it early stops ffmpeg. A thread reads a file object; it ends with the
    stream or when its pending `read` returns.

    Raises InputNotFoundError (see `check_input`) and FfmpegNotFoundError; iterating raises AudioDecodeError. Both raise
    MemoryError if we or ffmpeg run out of memory.
    """
    name = _name_of(source)
    if is_url(source):
        return _open_remote(source, name, track, channel)
    check_input(source)
    with contextlib.ExitStack() as opened:
        try:
            way = route(source, opened)
        except OSError as exc:
            raise InputNotFoundError(f"{name}: cannot be opened ({exc.strerror or exc})") from exc
        return _start_all(name, way, track, channel, opened)


def _open_remote(url: str, name: str, track: int, channel: int | None) -> AudioStream | CopiedStream:
    """Its server is asked here, and its beginning is read; where that is not enough, it is copied when it is read."""
    with contextlib.ExitStack() as owned:
        found = open_remote(url)
        owned.callback(found.close)
        try:
            way = streaming_route(found) if isinstance(found, RemoteFile) else None
        except OSError as error:
            raise InputError(f"{name}: reading it failed: {error}") from error
        if way is None:
            owned.pop_all()
            return CopiedStream(found, partial(_start_copy, name, track, channel))
        stream = _start(name, way, track, channel)
        owned.pop_all()
        return stream


def _start_copy(name: str, track: int, channel: int | None, copy: BinaryIO) -> AudioStream | JoinedStreams:
    with contextlib.ExitStack() as opened:
        return _start_all(name, copied_route(copy, opened), track, channel, opened)


def _start_all(
    name: str, way: Route, track: int, channel: int | None, opened: contextlib.ExitStack
) -> AudioStream | JoinedStreams:
    if way.parts:
        starts = [(each, partial(_start, name, way.part(each), track, channel)) for each in way.parts]
        return JoinedStreams(name, starts, opened.pop_all())
    return _start(name, way, track, channel)


def _start(name: str, way: Route, track: int, channel: int | None) -> AudioStream:
    process = start_ffmpeg(_arguments(way, track, channel), stdin=way.stdin, bufsize=0)
    return AudioStream(name, process, way, track=track)


def _arguments(way: Route, track: int, channel: int | None) -> list[str]:
    import ffmpeg  # here, so that --help need not wait for it

    filters = _MIXED if channel is None else _ONE_CHANNEL.format(channel=channel)
    more = {"ignore_length": 1} if way.reads_on else {}
    stream = ffmpeg.input("INPUT", protocol_whitelist=way.protocols, format_whitelist=FORMATS, **more)
    output = stream[f"a:{track}"].output("pipe:1", format="f32le", acodec="pcm_f32le", ac=1, ar=SAMPLE_RATE, af=filters)
    arguments = cast(list[str], ffmpeg.compile(output, cmd=["-nostdin", "-loglevel", "level+info", *_OWN_TIMES]))
    # ffmpeg-python hashes its arguments as UTF-8, which a file name need not be: put the name in afterwards.
    arguments[arguments.index("INPUT")] = way.url
    return arguments


def _name_of(source: FileSource) -> str:
    if source == "-":
        return "standard input"
    if isinstance(source, str | os.PathLike):
        return printable(name_of(source))
    name = getattr(source, "name", None)
    return printable(name) if isinstance(name, str) else "the recording"
