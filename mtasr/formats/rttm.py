"""Who speaks when, as RTTM: one line per turn (NIST, "The 2009 Rich Transcription Evaluation Plan", appendix A)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TextIO

from mtasr.formats.cues import PLAIN, Style
from mtasr.transcript import Transcript, Turn

#: A field ends at white space.
_SPACES = re.compile(r"[\s\x00-\x1f\x7f]+")
_UNKNOWN = "<NA>"


def write(transcript: Transcript, stream: TextIO, style: Style = PLAIN) -> None:
    """Write the turns, or for a transcript without them its segments, with `<NA>` where the speaker is not known."""
    write_turns(_turns(transcript), stream, style.recording)


def write_turns(turns: Iterable[Turn], stream: TextIO, recording: str) -> None:
    """Write turns of a recording of that name; spaces in names become `_`. Times have milliseconds."""
    file = _field(recording) or "recording"
    for turn in sorted(turns, key=lambda each: (each.start, each.end)):
        start = round(turn.start * 1000)
        length = max(round(turn.end * 1000) - start, 1)
        channel = 1 if turn.channel is None else turn.channel + 1
        speaker = _field(turn.speaker)
        fields = (file, channel, _seconds(start), _seconds(length), _UNKNOWN, _UNKNOWN, speaker or _UNKNOWN)
        sure = f"{turn.confidence:.3f}" if turn.channel is None and speaker else _UNKNOWN
        stream.write(f"SPEAKER {' '.join(map(str, fields))} {sure} {_UNKNOWN}\n")


def _turns(transcript: Transcript) -> Sequence[Turn]:
    if transcript.turns is not None:
        return transcript.turns
    return [Turn(start=each.start, end=each.end, speaker=each.speaker or "") for each in transcript]


def _field(name: str) -> str:
    return _SPACES.sub("_", name.strip())


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds // 1000}.{milliseconds % 1000:03}"
