"""Which version of a recording a path or a URL leads to, so that windows of two versions are not mixed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from mtasr.audio.sources import LimitedAudio, Open, Opened, SampleBlocks, Source
from mtasr.errors import InputError, UsageError
from mtasr.remote.file import examine
from mtasr.remote.urls import is_url, name_of


def version_of(source: Source) -> str | None:
    """What differs once a recording changes and is the same on all machines; None if nothing tells.

    Of a file: size and time modified, in microseconds, since not all shares know finer ones. Not the time of the last
    change of its state, which copies on several machines do not share. Of a URL: what its store says. Raises `OSError`
    if a file cannot be examined, and what `open_remote` raises.
    """
    if is_url(source):
        return examine(source).identity
    if not isinstance(source, str | os.PathLike) or source == "-":
        return None
    status = Path(source).stat()
    return f"{status.st_size} {status.st_mtime_ns // 1000}" if stat.S_ISREG(status.st_mode) else None


def version_if_known(source: Source) -> str | None:
    """The same, None for what cannot be examined: opening it will tell why."""
    try:
        return version_of(source)
    except (InputError, OSError, UsageError, ValueError):
        return None


def opening_version(open_: Open, source: Source, version: str | None) -> Open:
    """Opens a source, and raises `InputError` if it has another version than this; None stands for any."""
    if version is None:
        return open_

    def opened() -> Opened | SampleBlocks | LimitedAudio:
        audio = open_()
        try:
            found = version_of(source)
        except OSError:
            found = None
        except BaseException:
            audio.close()
            raise
        if found != version:
            audio.close()
            name = name_of(source) if isinstance(source, str | os.PathLike) else "the recording"
            raise InputError(f"{name}: has changed since its windows were cut, or is not the same on all machines")
        return audio

    return opened
