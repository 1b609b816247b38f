"""LRC as music players and ffmpeg read it."""

from __future__ import annotations

import itertools
from typing import TextIO

from mtasr.formats.cue_text import JOINER, one_line, prefix
from mtasr.formats.cues import PLAIN, Style, cues_in_centiseconds
from mtasr.transcript import Transcript


def write(transcript: Transcript, stream: TextIO, style: Style = PLAIN) -> None:
    """Write a line for each cue. It lasts until the next line, so an empty one follows where nobody speaks."""
    lines = cues_in_centiseconds(transcript)
    silent = itertools.accumulate((cue.end for cue in lines), max)
    for cue, end, after in itertools.zip_longest(lines, silent, lines[1:]):
        text = f"{prefix(cue.speaker)}{one_line(cue.text)}"
        # Players would read a bracket at the start as one more time.
        apart = JOINER if text.startswith("[") else ""
        stream.write(f"[{_time(cue.start)}]{apart}{text}\n")
        if after is None or after.start > end:
            stream.write(f"[{_time(end)}]\n")


def _time(centiseconds: int) -> str:
    minutes, rest = divmod(centiseconds, 6000)
    return f"{minutes:02}:{rest // 100:02}.{rest % 100:02}"
