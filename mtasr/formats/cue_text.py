"""The text of cues: clean lines after the speaker, which no reader takes for the frame around them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from mtasr.writing_systems import join_lines

_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1b\x1f\x7f]")


def lines_of(text: str) -> str:
    """`text` without control characters, space around lines, and blank lines, which would end a cue."""
    lines = (_CONTROLS.sub("", line).strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def one_line(text: str) -> str:
    """`text` on one line, without control characters; writing systems without spaces get none."""
    return join_lines(lines_of(text).split("\n")).replace("\t", " ")


#: Word joiner: a character without width or meaning that keeps others apart.
JOINER = "\u2060"
#: Where a time has its seconds, and before a number that is the last of several lines.
_SECONDS = re.compile(r"(?<=\d:)(?=\d{1,2}[.,]\d)")
_LAST_NUMBER = re.compile(r"(?<=\n)(?=\d+\Z)")


def harmless(text: str) -> str:
    """Escaped cue text that no reader takes for the next cue, for which SubRip has no escape.

    Readers find a cue by two times on one line, and by a line that is only a number. So a joiner parts what would be a
    second time, and another precedes a number on the last line.
    """
    lines = []
    for line in text.split("\n"):
        before, *times = _SECONDS.split(line)
        lines.append(before + JOINER.join(times))
    return _LAST_NUMBER.sub(JOINER, "\n".join(lines))


class Said(Protocol):
    """Text that perhaps has a speaker: a segment or a cue."""

    @property
    def text(self) -> str: ...

    @property
    def speaker(self) -> str | None: ...


SaidT = TypeVar("SaidT", bound=Said)


def turns_of_text(said: Iterable[SaidT]) -> Iterator[list[SaidT]]:
    """What one speaker says until another does, without what has no text; each alone where nobody is known to speak."""
    turn: list[SaidT] = []
    for each in said:
        if not one_line(each.text):
            continue
        if turn and not continues(turn, each):
            yield turn
            turn = []
        turn.append(each)
    if turn:
        yield turn


def continues(turn: Sequence[Said], said: Said) -> bool:
    """Whether this belongs to the turn, which is not empty."""
    return said.speaker is not None and said.speaker == turn[-1].speaker


def joined(said: Iterable[Said]) -> str:
    """The text on one line."""
    return one_line("\n".join(each.text for each in said))


def labelled(*said: Said) -> str:
    """What one speaker says, on one line after the name; empty for segments without text."""
    text = joined(said)
    return f"{prefix(said[0].speaker)}{text}" if text else ""


def prefix(speaker: str | None) -> str:
    """What precedes the text: the speaker, if there is one."""
    return "" if speaker is None else f"{one_line(speaker)}: "
