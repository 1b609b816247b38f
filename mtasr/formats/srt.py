"""SubRip, as ffmpeg and VLC read it."""

from __future__ import annotations

import html
import re
from typing import TextIO

from mtasr.formats.cue_text import JOINER, prefix
from mtasr.formats.cues import PLAIN, Style, cues, marked, timestamp
from mtasr.transcript import Transcript

#: SubRip has no escapes: a joiner keeps `<` from beginning a tag and a backslash from beginning a code. Readers that
#: convert to ASS drop what is in braces, so full-width ones stand in, and the joiner after them marks them as ours.
_TEXT = str.maketrans({"<": f"<{JOINER}", "\\": f"\\{JOINER}", "{": f"\uff5b{JOINER}", "}": f"\uff5d{JOINER}"})
_ORIGINALS = {written: chr(code) for code, written in _TEXT.items()} | {f"&{JOINER}": "&"}
_WRITTEN = re.compile(f"[<&\\\\\uff5b\uff5d]{JOINER}")
#: The joiners of `harmless`.
_APART = re.compile(rf"(?<=\d:){JOINER}(?=\d{{1,2}}[.,]\d)|(?<=\n){JOINER}(?=\d+\Z)")


def to_srt_text(text: str) -> str:
    """Text for SubRip, in which no reader takes anything for a tag, a code or an entity."""
    if html.unescape(text) != text:
        text = text.replace("&", f"&{JOINER}")
    return text.translate(_TEXT)


def from_srt_text(text: str) -> str:
    """The inverse of `to_srt_text` for text without joiners; what other programs have written stays as it is."""
    return _WRITTEN.sub(lambda found: _ORIGINALS[found[0]], _APART.sub("", text))


def write(transcript: Transcript, stream: TextIO, style: Style = PLAIN) -> None:
    """Write cues without markup (`to_srt_text`), the speaker before the text."""
    for number, cue in enumerate(cues(transcript, style), start=1):
        times = f"{timestamp(cue.start, ',')} --> {timestamp(cue.end, ',')}"
        stream.write(f"{number}\n{times}\n{marked(cue, to_srt_text(prefix(cue.speaker)), to_srt_text)}\n\n")
