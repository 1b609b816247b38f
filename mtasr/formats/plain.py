"""Text to read: plain, and as CommonMark (https://spec.commonmark.org)."""

from __future__ import annotations

import re
from typing import TextIO

from mtasr.formats.cue_text import joined, labelled, prefix, turns_of_text
from mtasr.formats.cues import PLAIN, Style, cues, timestamp
from mtasr.transcript import Transcript


def write_txt(transcript: Transcript, stream: TextIO, style: Style = PLAIN) -> None:
    """Write one line for each turn, after its speaker; without speakers, one line for each segment."""
    for segments in turns_of_text(transcript):
        stream.write(f"{labelled(*segments)}\n")


_MARKDOWN = re.compile(r"([\\`*_\[\]<>&~|#$])")


def write_md(transcript: Transcript, stream: TextIO, style: Style = PLAIN) -> None:
    """Write one paragraph for each turn, or without speakers for each segment; markup in the text is escaped.

    Its times and its speaker precede it in bold.
    """
    for number, said in enumerate(turns_of_text(cues(transcript))):
        start, end = said[0].start, max(cue.end for cue in said)
        bold = f"{timestamp(start, '.')} – {timestamp(end, '.')} {prefix(said[0].speaker)}".rstrip()
        blank = "\n" if number else ""
        stream.write(f"{blank}**{_unmarked(bold)}** {_unmarked(joined(said))}\n")


def _unmarked(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text)
