"""Turns without text: the formats of `mtasr diarize`, by name."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from mtasr.formats import rttm
from mtasr.formats.cue_text import one_line
from mtasr.formats.cues import timestamp
from mtasr.formats.transcript_json import turn_document
from mtasr.transcript import Turn

#: Writes the turns of a recording: turns in order of start, seconds of the recording, its name, where to.
WriteTurns = Callable[[Sequence[Turn], float, str, TextIO], None]


def speakers_of(turns: Sequence[Turn]) -> list[str]:
    """The speakers in the order in which they first talk."""
    return list(dict.fromkeys(turn.speaker for turn in turns))


def line_of(turn: Turn) -> str:
    """A turn for people to read."""
    times = " – ".join(timestamp(round(seconds * 1000), ".") for seconds in (turn.start, turn.end))
    return f"{times} {one_line(turn.speaker)}"


def to_dict(turns: Sequence[Turn], duration: float) -> dict[str, Any]:
    """The document of the format json: times in seconds."""
    return {
        "duration": round(duration, 6),
        "speakers": speakers_of(turns),
        "turns": [turn_document(turn) for turn in turns],
    }


def _write_rttm(turns: Sequence[Turn], duration: float, recording: str, stream: TextIO) -> None:
    rttm.write_turns(turns, stream, recording)


def _write_json(turns: Sequence[Turn], duration: float, recording: str, stream: TextIO) -> None:
    json.dump(to_dict(turns, duration), stream, ensure_ascii=False, allow_nan=False, indent=2)
    stream.write("\n")


def _write_csv(turns: Sequence[Turn], duration: float, recording: str, stream: TextIO) -> None:
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(("start", "end", "speaker", "confidence"))
    for turn in turns:
        start, end = round(turn.start * 1000), round(turn.end * 1000)
        table.writerow((start, end, one_line(turn.speaker), f"{turn.confidence:.3f}"))


def _write_txt(turns: Sequence[Turn], duration: float, recording: str, stream: TextIO) -> None:
    stream.writelines(f"{line_of(turn)}\n" for turn in turns)


TURN_FORMATS: dict[str, WriteTurns] = {
    "rttm": _write_rttm,
    "json": _write_json,
    "csv": _write_csv,
    "txt": _write_txt,
}
