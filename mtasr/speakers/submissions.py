"""How a recording becomes one `Transcription`: its channels and voices put together, decoded here or elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from mtasr.audio.tracks import Tracks
from mtasr.decoding.channels import SplitChannels
from mtasr.decoding.submission import DecodedWindow, Submission
from mtasr.decoding.survey import Survey
from mtasr.decoding.transcription import Transcription
from mtasr.options import DecodingOptions
from mtasr.speakers.diarized import Diarized, SpeakerListener, TellsApart


def transcription_of(
    channels: Sequence[Submission], tracks: Tracks, options: DecodingOptions, listener: SpeakerListener | None
) -> Transcription:
    """The transcription of a recording, or of its channels put together; `listener` hears its only channel."""
    submission = _together(channels, tracks, listener)
    if listener is not None:
        return Transcription(submission, options, lambda: listener.warnings, lambda: listener.is_telling_apart)
    return Transcription(submission, options, lambda: _without_channel(tracks, len(channels)))


def _together(channels: Sequence[Submission], tracks: Tracks, listener: TellsApart | None) -> Submission:
    if listener is not None:
        return Diarized(channels[0], listener)
    if tracks.channels == "mix":
        return channels[0]
    return SplitChannels({tracks.speaker(channel): each for channel, each in enumerate(channels)})


def _without_channel(tracks: Tracks, count: int) -> list[str]:
    """A warning, if more speakers were named than the recording has channels."""
    idle = ", ".join(map(repr, filter(None, tracks.speakers[count:])))
    channels = "1 channel" if count == 1 else f"{count} channels"
    return [f"no channel for {idle}: the recording has {channels}"] if idle else []


class Elsewhere(Protocol):
    """A recording that others read and decode. Any thread may call `close`, one thread the rest."""

    def survey(self) -> Survey:
        """What reading the recording told. Waits until that is known, and raises why it will not be."""

    def results(self, channel: int) -> Iterator[DecodedWindow]:
        """What the windows of a channel became, in file order; waits for each. Asked of one channel after the other.

        Raises what went wrong with a window in its turn; the error in the channel's survey is for the caller to raise.
        """

    def close(self) -> None:
        """Nobody wants the recording any more; who waits for it gets a `ValueError`. A second call does nothing."""


def received(elsewhere: Elsewhere, tracks: Tracks, options: DecodingOptions) -> Transcription:
    """The transcription of a recording that is decoded elsewhere, as it would be if it were decoded here."""
    raise NotImplementedError
