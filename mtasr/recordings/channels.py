"""Recordings and their channels, ready to be opened."""

from __future__ import annotations

import contextlib
import io
from functools import partial
from typing import Never

from mtasr.audio.read import count_channels, open_audio
from mtasr.audio.sources import LimitedAudio, Open, Opened, SampleBlocks, Source, opener, openers
from mtasr.audio.tracks import Tracks
from mtasr.errors import InputError
from mtasr.remote.file import RemoteFile, open_remote
from mtasr.remote.urls import is_url, shown

#: Bytes at the beginning of a file that tell, in nearly all formats, how many channels it has.
_HEAD = 1 << 20


def channel_openers(source: Source, tracks: Tracks, most_seconds: float | None = None) -> list[Open]:
    """As `openers`; but counts the channels of a URL in its first MiB if that tells, and does not guess if that fails.

    To read all of it, many formats are copied as a whole.
    """
    if tracks.channels != "split" or not is_url(source):
        return openers(source, tracks, most_seconds)
    try:
        track = tracks.audio_stream
        count = _channels_at_beginning(source, track) or count_channels(source, track=track)
    except InputError as error:
        return [partial(_fail, error)]
    return [partial(_open, opener(source, tracks, channel), most_seconds) for channel in range(max(count, 1))]


def _channels_at_beginning(url: str, track: int) -> int:
    """The channels of a track, 0 if the beginning of the file does not tell. Raises `InputError` if that fails."""
    head = b""
    with contextlib.closing(open_remote(url)) as file:
        if not isinstance(file, RemoteFile):
            return 0
        try:
            while len(head) < _HEAD and (block := file.read(_HEAD - len(head))):
                head += block
        except OSError as error:
            raise InputError(f"{shown(url)}: reading it failed: {error.strerror or error}") from error
    with contextlib.suppress(InputError), open_audio(io.BytesIO(head), track=track) as stream:
        return stream.channels
    return 0


def _open(open_: Open, most_seconds: float | None) -> Opened | SampleBlocks | LimitedAudio:
    audio = open_()
    return audio if most_seconds is None or isinstance(audio, LimitedAudio) else LimitedAudio(audio, most_seconds)


def _fail(error: InputError) -> Never:
    raise error.with_traceback(None)
