"""A recording that is being decoded, in whatever way: what `Transcription` sees of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mtasr.arrays import Float32Array
from mtasr.decoding.windows import Place
from mtasr.engines.engine import LanguageGuess
from mtasr.spans import Interval
from mtasr.transcript import Alternatives, Repair, Segment, Turn


@dataclass(frozen=True, slots=True)
class DecodedWindow:
    """The segments of one window, in seconds of the file; their ids count from 0 in each window."""

    segments: tuple[Segment, ...]
    #: Seconds up to which the file is now decoded.
    position: float
    #: Other readings of the window, if they were asked for.
    alternatives: tuple[Alternatives, ...] = ()
    #: The segments of its translation, if both were asked for.
    translation: tuple[Segment, ...] = ()


@dataclass(frozen=True, slots=True)
class PlacedResult:
    """What the window at a place became."""

    #: None for windows of `condition_on_previous_text`, which nothing can find again.
    place: Place | None
    #: None if the window needs random samples, and these were not to be drawn.
    result: DecodedWindow | None
    #: Whether the result is news for `ResumeNotes`: neither noted before, nor drawn at random.
    to_note: bool = False


class AudioFacts(Protocol):
    """What is known of an open recording."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is wrong with it; complete at the end."""

    @property
    def repairs(self) -> tuple[Repair, ...]:
        """What was done about it; complete at the end."""

    @property
    def duration(self) -> float | None:
        """Seconds that the file states, None if it states none."""


class Audio(AudioFacts, Protocol):
    """An open recording: iterate for its samples (16 kHz, mono) in blocks."""

    def __iter__(self) -> Iterator[Float32Array]: ...

    def abort(self) -> bool:
        """Make iterating in another thread end soon. False if it ends only when the next block comes."""

    def close(self) -> None: ...


class Listener(Protocol):
    """Hears a recording beside the recogniser."""

    def add(self, samples: Float32Array) -> None:
        """The next samples (n,) of the recording, 16 kHz, silent outside of clips; a block of any size."""


class Submission(Protocol):
    """One recording on its way to text."""

    #: Windows of a higher priority are decoded first; those of recordings submitted together share theirs.
    priority: int

    @property
    def audio(self) -> AudioFacts | None:
        """What is known of the recording, None before it is open."""

    @property
    def samples(self) -> int:
        """How many samples have been read."""

    def open(self) -> None:
        """Open the recording now rather than when it is needed. Raises what is wrong with it."""

    def guesses(self) -> list[LanguageGuess] | None:
        """The languages it may be in, None if the language was given. Waits until they are known."""

    def language(self) -> str:
        """The language given or detected; "en" if nobody speaks. Waits until it is known."""

    def results(self) -> Iterator[DecodedWindow]:
        """Its windows in file order, each as soon as it is decoded."""

    def speech(self) -> Mapping[str | None, Sequence[Interval]]:
        """Speech in what has been read, in seconds, by speaker; the speaker is None unless channels are split."""

    def turns(self) -> Sequence[Turn] | None:
        """Who speaks when, known once all windows have come; None if speakers are not distinguished."""

    def close(self) -> None:
        """Stop decoding and reading. A second call does nothing."""


class ChannelSubmission(Submission, Protocol):
    """A recording that has one channel, or one of its channels."""

    def placed(self) -> Iterator[PlacedResult]:
        """Its results with their places; ask either for these or for `results`."""


class ResumeNotes(Protocol):
    """What an earlier run noted of a recording or one of its channels, so that no window is decoded twice.

    Several threads may read and add notes.
    """

    @property
    def has_results(self) -> bool:
        """Whether the result of any window is noted."""

    @property
    def may_have_results(self) -> bool:
        """Whether `has_results` is worth asking, which may take seconds. This takes none."""

    def guesses(self) -> list[LanguageGuess] | None:
        """The languages it may be in, None if they are not noted."""

    def result(self, place: Place) -> DecodedWindow | None:
        """The result of the window there, None if it is not noted."""

    def note_guesses(self, guesses: Sequence[LanguageGuess]) -> None:
        """Note the languages. They are known before the first result is."""

    def note_result(self, place: Place, result: DecodedWindow) -> None:
        """Note the result of the window there. Windows come in any order."""


class NoNotes:
    """For a recording of which nothing is noted, and nothing needs to be."""

    has_results = may_have_results = False

    def guesses(self) -> None:
        return None

    def result(self, place: Place) -> None:
        return None

    def note_guesses(self, guesses: Sequence[LanguageGuess]) -> None:
        pass

    def note_result(self, place: Place, result: DecodedWindow) -> None:
        pass
