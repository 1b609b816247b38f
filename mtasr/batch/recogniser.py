"""What a batch needs of whatever recognises speech: one machine's `Model`, or many machines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from mtasr.audio.tracks import Tracks
from mtasr.options import DecodingOptions

if TYPE_CHECKING:
    from mtasr.decoding.submission import ResumeNotes
    from mtasr.decoding.transcription import Transcriptions
    from mtasr.speakers.options import SpeakerOptions


class Recogniser(Protocol):
    """Recognises speech in many recordings. The methods are those of `Model`, with the same errors."""

    @property
    def fingerprint(self) -> Callable[[], str]:
        """Returns a text that differs for every model and way of computing."""

    def enrolled(self, speakers: SpeakerOptions) -> SpeakerOptions:
        """The options with voices in place of a folder with recordings of them."""

    def stream_all(
        self,
        sources: Sequence[str],
        options: DecodingOptions | None = None,
        *,
        tracks: Tracks | None = None,
        notes: Sequence[Callable[[int], ResumeNotes]] = (),
        priority: int = 0,
        most_seconds: float | None = None,
        diarize: bool | SpeakerOptions = False,
    ) -> Transcriptions:
        """The transcriptions of recordings, to be iterated in their order."""
