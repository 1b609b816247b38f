"""What a live session tells: frozen values, with times in seconds from the start of the session.

A stretch is speech between two pauses, numbered from 0. Its events come in this order:

    SpeechStarted, (Draft | Committed)*, SpeechStopped, Final, SpeakersChanged*

`Final` may come after the first events of later stretches; stretches get theirs in order. What is known of a stretch
at any moment is its `Final`, or else the words of all its `Committed` and of its last `Draft`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mtasr.transcript import Segment, Word


def _joined(parts: Iterable[str]) -> str:
    return "".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechStarted:
    """Somebody begins to speak."""

    stretch: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechStopped:
    """Nobody speaks any longer. A stretch that is too long ends without a pause, where the next one starts."""

    stretch: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """Words of a stretch."""

    stretch: int
    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        return _joined(word.word for word in self.words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft(_Words):
    """What was said after the committed words of the stretch, as far as that is heard; replaces its last draft."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed(_Words):
    """The next words of the stretch, which no later `Committed` or `Draft` changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """The text of a stretch that has ended, decoded like a file; stands in place of its committed words and draft.

    `segments` is empty if nothing was said; if speakers are told apart, ids count from 0 in each stretch. `language` is
    the code of the language spoken. `translation` holds the same in English if the options ask for both.
    """

    stretch: int
    segments: tuple[Segment, ...]
    language: str
    translation: tuple[Segment, ...] = ()

    @property
    def text(self) -> str:
        return _joined(segment.text for segment in self.segments)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakersChanged:
    """Others say parts of a final text than was known when it was told, if speakers are told apart.

    `segments` and `translation` stand in place of those of the stretch's `Final`. The text is the same; segments may be
    divided otherwise, where the speaker changes.
    """

    stretch: int
    segments: tuple[Segment, ...]
    translation: tuple[Segment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageFound:
    """The language in which the next texts are written, as detected: the first one, and whenever that changes."""

    language: str
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """How many seconds the session is late: from the arrival of audio to the draft of it. Sent when that changes."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Audio is missing by the positions that the caller gave; silence stands for `seconds` of it from `at` on."""

    at: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """Audio came twice by the positions that the caller gave; its second `seconds`, from `at` on, were dropped."""

    at: float
    seconds: float


#: All of them.
Event = (
    SpeechStarted | SpeechStopped | Draft | Committed | Final | SpeakersChanged | LanguageFound | Lag | Skipped
    | Repeated
)  # fmt: skip
