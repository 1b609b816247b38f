"""WebVTT (https://www.w3.org/TR/webvtt1/)."""

from __future__ import annotations

from typing import TextIO

from mtasr.formats.cue_text import one_line
from mtasr.formats.cues import PLAIN, Style, cues, marked, timestamp
from mtasr.transcript import Transcript


def write(transcript: Transcript, stream: TextIO, style: Style = PLAIN) -> None:
    """Write cues with the speaker in a voice tag and `&`, `<` and `>` as entities: no text becomes markup or `-->`."""
    stream.write("WEBVTT\n\n")
    for cue in cues(transcript, style):
        voice = "" if cue.speaker is None else f"<v {_entities(one_line(cue.speaker))}>"
        text = marked(cue, voice, _entities)
        stream.write(f"{timestamp(cue.start, '.')} --> {timestamp(cue.end, '.')}\n{text}\n\n")


def _entities(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
