"""Who speaks when, as RTTM (Rich Transcription Time Marked): one turn per line, written and read.

Source: NIST, "The 2009 (RT-09) Rich Transcription Meeting Recognition Evaluation Plan", appendix A. A line has the
fields type, file, channel, start, duration, orthography, subtype, speaker, confidence and, in later versions,
signal look-ahead time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from mtasr.errors import InputError
from mtasr.formats.cues import PLAIN, Style
from mtasr.speaker_names import renamed
from mtasr.text_files import read_text
from mtasr.transcript import Transcript, Turn

#: A field ends at white space.
_SPACES = re.compile(r"[\s\x00-\x1f\x7f]+")
_UNKNOWN = "<NA>"
#: What a speaker without a name is called in RTTM, where a field has no spaces.
_NUMBERED = re.compile(r"Speaker_(\d+)")
#: Types of lines that say nothing about turns.
_OTHER_TYPES = frozenset(
    "SEGMENT NOSCORE NO_RT_METADATA LEXEME NON-LEX NON-SPEECH FILLER EDIT IP SU CB A/P SPKR-INFO".split()  # noqa: SIM905
)

# Writing


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


# Reading


@dataclass(frozen=True, slots=True)
class Rttm:
    """An RTTM file: the turns of each of its files, by name.

    `speakers` are names for those of each recording, in the order in which they first talk (`renamed`).
    """

    path: Path
    files: dict[str, tuple[Turn, ...]]
    speakers: tuple[str, ...] = ()

    def turns(self, recording: str, *, is_alone: bool) -> tuple[Turn, ...]:
        """Those of the recording of that name, as `turns_of`, which raises `InputError`.

        Raises `UsageError` if two of its speakers would have the same name.
        """
        turns = turns_of(recording, self.path, self.files, is_alone=is_alone)
        called = renamed(list(dict.fromkeys(turn.speaker for turn in turns)), self.speakers)
        return tuple(replace(turn, speaker=called[turn.speaker]) for turn in turns)


def read_rttm(path: Path) -> dict[str, tuple[Turn, ...]]:
    """The turns of each file that the RTTM names, in order of start; all channels of a file together.

    Reads the lines of type SPEAKER and ignores the other types of the specification, comments (`;;` or `#`) and turns
    without duration. Raises `InputError` with the number of a line that is none of these.
    """
    turns: dict[str, list[Turn]] = {}
    for number, line in enumerate(read_text(path, InputError, any_encoding=True).split("\n"), start=1):
        fields = line.split()
        if not fields or fields[0].startswith((";;", "#")) or fields[0] in _OTHER_TYPES:
            continue
        turn = _turn(fields, f"{path}: line {number}")
        own = turns.setdefault(fields[1], [])
        if turn.end > turn.start:
            own.append(turn)
    return {
        file: tuple(sorted(own, key=lambda turn: (turn.start, turn.end, turn.speaker))) for file, own in turns.items()
    }


def turns_of(
    recording: str, path: Path, files: dict[str, tuple[Turn, ...]], *, is_alone: bool = True
) -> tuple[Turn, ...]:
    """The turns of a recording, by its name without a suffix, among the `files` that `read_rttm` found at `path`.

    An empty RTTM says that nobody speaks. One with a single file is about the recording, whatever it calls it, if the
    recording `is_alone`: else it is about one of many. Raises `InputError` if the RTTM is about other recordings.
    """
    if not files or (is_alone and len(files) == 1):
        return next(iter(files.values()), ())
    for name in _names(recording) & files.keys():
        return files[name]
    if len(files) == 1:
        raise InputError(f"{path}: is about {next(iter(files))!r}, not {recording!r}")
    raise InputError(f"{path}: has {len(files)} files, and none is named {recording!r}")


def _names(recording: str) -> set[str]:
    """What an RTTM may call it: a field cannot have spaces."""
    return {recording, "_".join(recording.split())}


def _turn(fields: list[str], place: str) -> Turn:
    if fields[0] != "SPEAKER":
        raise InputError(f"{place}: {fields[0][:40]!r} is not a type of RTTM line")
    if not 8 <= len(fields) <= 10:
        raise InputError(f"{place}: has {len(fields)} fields instead of 9 or 10")
    start, duration = (_read_seconds(fields[at], name, place) for at, name in ((3, "start"), (4, "duration")))
    speaker = _NUMBERED.sub(r"Speaker \1", fields[7]) if _NUMBERED.fullmatch(fields[7]) else fields[7]
    return Turn(start=start, end=start + duration, speaker=speaker, confidence=_confidence(fields))


def _read_seconds(text: str, name: str, place: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise InputError(f"{place}: the {name} {text!r} is not a number of seconds")
    return value


def _confidence(fields: list[str]) -> float:
    """1 where the field is missing, `<NA>` or no probability, as with tools that write distances into it."""
    try:
        value = float(fields[8])
    except (IndexError, ValueError):
        return 1.0
    return value if 0 <= value <= 1 else 1.0
