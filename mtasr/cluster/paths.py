"""Paths of recordings, as the driver and the nodes see them."""

from __future__ import annotations

import os
from collections.abc import Sequence

from mtasr.audio.read import check_input
from mtasr.data.shards.archive import file_of
from mtasr.errors import InputNotFoundError
from mtasr.remote.urls import is_url

#: Files of a batch that each node is asked for before it gets work.
_LOOKED_FOR = 16


def absolute(source: str) -> str:
    """What a node gets for a recording, or for the audio of a record."""
    return source if is_url(source) else os.path.abspath(source)  # noqa: PTH100 - links stay what they are


def is_here(source: str) -> bool:
    """Whether this machine has the file of a recording, or of the audio of a record. A URL is on none."""
    if is_url(source):
        return False
    try:
        check_input(file_of(source))
    except InputNotFoundError:
        return False
    return True


def looked_for(sources: Sequence[str]) -> list[str]:
    """Some of the files that this machine has, from the whole list, by which it shows whether a node sees them."""
    step = max(1, -(-len(sources) // _LOOKED_FOR))
    return [absolute(file_of(each)) for each in sources[::step] if is_here(each)]


def bytes_of(path: str) -> int | None:
    """The size of a file, None for one that this machine does not see."""
    try:
        return os.stat(path).st_size  # noqa: PTH116 - names may hold what no path can
    except (OSError, ValueError):
        return None
