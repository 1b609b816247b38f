"""How speakers are told apart, and what they are called."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from mtasr.audio.tracks import Tracks
from mtasr.errors import UsageError
from mtasr.speaker_names import checked_names, speaker_name

if TYPE_CHECKING:
    from mtasr.speakers.voices import KnownVoices

#: Far more than can be told apart in one recording.
MOST_SPEAKERS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerOptions:
    """How to tell speakers apart by voice. Names are for the order in which the speakers first talk.

    Raises `UsageError` on construction for values that make no sense.
    """

    #: How many people speak; None finds the number.
    num_speakers: int | None = None
    #: At least and at most so many, where the number is found.
    min_speakers: int | None = None
    max_speakers: int | None = None
    #: Names in order of appearance. Empty and missing ones become "Speaker 1" and so on.
    speakers: tuple[str, ...] = ()
    #: Voices of known people, or a folder with recordings that are called by their names (`mtasr.speakers.voices`).
    voices: str | os.PathLike[str] | KnownVoices | None = None

    def __post_init__(self) -> None:
        for name in ("num_speakers", "min_speakers", "max_speakers"):
            number = getattr(self, name)
            is_whole = isinstance(number, int) and not isinstance(number, bool)
            if number is not None and not (is_whole and 1 <= number <= MOST_SPEAKERS):
                raise UsageError(f"{name} must be a whole number from 1 to {MOST_SPEAKERS}, not {number!r}")
        least, most = self.min_speakers, self.max_speakers
        if self.num_speakers is not None and (least is not None or most is not None):
            raise UsageError("num_speakers says how many there are: leave out min_speakers and max_speakers")
        if least is not None and most is not None and least > most:
            raise UsageError(f"min_speakers must be at most max_speakers, not {least} and {most}")
        object.__setattr__(self, "speakers", checked_names(self.speakers))
        if self.speakers and self.voices is not None:
            raise UsageError("speakers and voices both name the speakers: give one of them")

    def name(self, place: int) -> str:
        """What the speaker is called who is the first to talk, or the second and so on, counted from 0."""
        return speaker_name(self.speakers, place)


def split_off(
    diarize: bool | SpeakerOptions | None, keywords: Mapping[str, Any]
) -> tuple[SpeakerOptions | None, dict[str, Any]]:
    """How speakers are told apart, None if they are not, and the keywords that say nothing of it.

    Without `diarize`, the names of speakers are those of channels. Raises `UsageError`.
    """
    names = {field.name for field in fields(SpeakerOptions)}
    rest = {name: value for name, value in keywords.items() if name not in names}
    given = {name: value for name, value in keywords.items() if name in names}
    if diarize is not None and not isinstance(diarize, bool | SpeakerOptions):
        raise UsageError(f"diarize must be True, False or a SpeakerOptions, not {diarize!r}")
    if diarize:
        return replace(diarize if isinstance(diarize, SpeakerOptions) else SpeakerOptions(), **given), rest
    if "speakers" in given:
        rest["speakers"] = given.pop("speakers")
    for name in (each for each, value in given.items() if value is not None):
        raise UsageError(f"{name} needs diarize")
    return None, rest


def check_tracks(speakers: SpeakerOptions | None, tracks: Tracks) -> None:
    """Raise `UsageError` if speakers are to be told apart by voice in channels that have one speaker each."""
    if speakers is not None and tracks.channels == "split":
        raise UsageError("diarize cannot be used with channels split, where each channel is a speaker")
