"""Text to read: plain, and as CommonMark (https://spec.commonmark.org)."""

from __future__ import annotations

import re
from typing import TextIO

from mtasr.formats.cue_text import labelled, one_line, prefix
from mtasr.formats.cues import PLAIN, Style, cues, timestamp
from mtasr.transcript import Transcript


def write_txt(transcript: Transcript, stream: TextIO, style: Style = PLAIN) -> None:
    """Write one line for each segment, after its speaker if there is one."""
    for segment in transcript:
        if text := labelled(segment):
            stream.write(f"{text}\n")


_MARKDOWN = re.compile(r"([\\`*_\[\]<>&~|#$])")


def write_md(transcript: Transcript, stream: TextIO, style: Style = PLAIN) -> None:
    """Write one paragraph for each segment, times and speaker in bold; markup in the text is escaped."""
    for number, cue in enumerate(cues(transcript)):
        bold = f"{timestamp(cue.start, '.')} – {timestamp(cue.end, '.')} {prefix(cue.speaker)}".rstrip()
        blank = "\n" if number else ""
        stream.write(f"{blank}**{_unmarked(bold)}** {_unmarked(one_line(cue.text))}\n")


def _unmarked(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text)
