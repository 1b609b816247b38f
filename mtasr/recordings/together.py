"""How a recording becomes one `Transcription`: its channels and speakers put together."""

from __future__ import annotations

from collections.abc import Sequence

from mtasr.audio.tracks import Tracks
from mtasr.decoding.channels import SplitChannels
from mtasr.decoding.submission import Submission
from mtasr.decoding.transcription import Transcription
from mtasr.options import DecodingOptions
from mtasr.speakers.diarized import Diarized, SpeakerListener, TellsApart


def transcription_of(
    channels: Sequence[Submission], tracks: Tracks, options: DecodingOptions, listener: SpeakerListener | None
) -> Transcription:
    """The transcription of a recording, or of its channels put together; `listener` hears its only channel."""
    submission = together(channels, tracks, listener)
    if listener is not None:
        return Transcription(submission, options, lambda: listener.warnings, lambda: listener.is_telling_apart)
    return Transcription(submission, options, lambda: without_channel(tracks, len(channels)))


def together(channels: Sequence[Submission], tracks: Tracks, listener: TellsApart | None) -> Submission:
    """The channels of a recording as one submission."""
    if listener is not None:
        return Diarized(channels[0], listener)
    if tracks.channels == "mix":
        return channels[0]
    return SplitChannels({tracks.speaker(channel): each for channel, each in enumerate(channels)})


def without_channel(tracks: Tracks, count: int) -> list[str]:
    """A warning, if more speakers were named than the recording has channels."""
    idle = ", ".join(map(repr, filter(None, tracks.speakers[count:])))
    channels = "1 channel" if count == 1 else f"{count} channels"
    return [f"no channel for {idle}: the recording has {channels}"] if idle else []
