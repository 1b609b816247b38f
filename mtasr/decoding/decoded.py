"""What decoding a window gives: segments in file time."""

from __future__ import annotations

from dataclasses import dataclass

from mtasr.transcript import Alternatives, Segment


@dataclass(frozen=True, slots=True)
class DecodedWindow:
    """The segments of one window, in seconds of the file; their ids count from 0 in each window."""

    segments: tuple[Segment, ...]
    #: Seconds up to which the file is now decoded.
    position: float
    #: Other readings of the window, if they were asked for.
    alternatives: tuple[Alternatives, ...] = ()
    #: The segments of its translation, if both were asked for.
    translation: tuple[Segment, ...] = ()
