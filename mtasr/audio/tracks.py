"""Which audio track of a file to transcribe, and whether its channels are separate speakers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from mtasr.errors import UsageError

ChannelUse = Literal["mix", "split"]

#: ffmpeg mistakes greater numbers for others; a transport stream, which can hold the most, has some 8,000 tracks.
_MOST_TRACKS = 10_000
#: Unnamed channels whose names are compared with the given ones.
_MOST_CHANNELS = 64


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
        if isinstance(self.speakers, str) or not all(isinstance(name, str) for name in self.speakers):
            raise UsageError(f"speakers must be a list of names, not {self.speakers!r}")
        object.__setattr__(self, "speakers", tuple(name.strip() for name in self.speakers))
        if self.speakers and self.channels != "split":
            raise UsageError("speakers needs channels split, because each channel is a speaker")
        # A name may be the default name of a channel that has none.
        names = (
            [self.speaker(channel) for channel in range(len(self.speakers) + _MOST_CHANNELS)] if self.speakers else []
        )
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"two speakers are called {name!r}")

    def speaker(self, channel: int) -> str:
        """The name of the speaker on a channel, counted from 0."""
        given = self.speakers[channel] if channel < len(self.speakers) else ""
        return given or f"Speaker {channel + 1}"
