"""Which audio track of a file to transcribe, and whether its channels are separate speakers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from mtasr.errors import UsageError
from mtasr.speaker_names import checked_names, speaker_name

ChannelUse = Literal["mix", "split"]

#: ffmpeg mistakes greater numbers for others; a transport stream, which can hold the most, has some 8,000 tracks.
_MOST_TRACKS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracks:
    """What to transcribe of a recording.

    Raises `UsageError` on construction for a value out of range.
    """

    #: The audio track, counted from 0.
    audio_stream: int = 0
    #: "mix" all channels into one recording, or "split" them, as for a call with a speaker on each channel.
    channels: ChannelUse = "mix"
    #: With "split", the speakers of the channels. Empty and missing names become "Speaker 1" and so on.
    speakers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        number = self.audio_stream
        if not isinstance(number, int) or not 0 <= number < _MOST_TRACKS:
            raise UsageError(f"audio_stream must be a whole number from 0 to {_MOST_TRACKS - 1}, not {number!r}")
        if self.channels not in get_args(ChannelUse):
            raise UsageError(f"channels must be {' or '.join(get_args(ChannelUse))}, not {self.channels!r}")
        object.__setattr__(self, "speakers", checked_names(self.speakers))
        if self.speakers and self.channels != "split":
            raise UsageError("speakers needs diarize, or channels split, where each channel is a speaker")

    def speaker(self, channel: int) -> str:
        """The name of the speaker on a channel, counted from 0."""
        return speaker_name(self.speakers, channel)
