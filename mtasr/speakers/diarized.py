"""A recording whose speakers are told apart while it is decoded."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from mtasr.arrays import Float32Array
from mtasr.decoding.submission import AudioFacts, DecodedWindow, Submission
from mtasr.engines.engine import LanguageGuess
from mtasr.spans import Interval
from mtasr.speakers.assignment import assign_alternatives, assign_segments
from mtasr.speakers.options import SpeakerOptions
from mtasr.speakers.speaker_times import AllSpeakerTimes
from mtasr.speakers.voices import Diarizes, Hears, KnownVoices, enrolled
from mtasr.transcript import Turn


class SpeakerListener:
    """Hears one recording. It begins with the first samples: thousands of recordings may wait to be read."""

    def __init__(self, diarizer: Diarizes, options: SpeakerOptions) -> None:
        """`options` are those that `enrolled` returns."""
        self._diarizer, self._options = diarizer, options
        self._known = options.voices if isinstance(options.voices, KnownVoices) else None
        self._hearing: Hears | None = None
        self._has_left = False
        #: What of the speakers asked for was lacking when the turns were last asked for.
        self._lacking: tuple[str, ...] = ()
        # A recording that fails is asked for its turns while its reader may still be adding to it.
        self._using = threading.Lock()
        #: Whether all is heard, and who spoke is being found out.
        self.is_telling_apart = False

    @property
    def position(self) -> float:
        """Seconds whose voices have been heard."""
        hearing = self._hearing
        return 0.0 if hearing is None else hearing.position

    def add(self, samples: Float32Array) -> None:
        with self._using:
            hearing = self._hearing
            if hearing is None and not self._has_left:
                hearing = self._hearing = self._diarizer.listen()
            if self._has_left:  # another thread may close the recording at any time
                self._hearing = None
            elif hearing is not None:
                hearing.add(samples)

    def turns(self) -> tuple[Turn, ...]:
        """Who spoke when in all that was heard so far."""
        with self._using:
            hearing = self._hearing
            if hearing is None:
                return ()
            self.is_telling_apart = True
            try:
                heard = hearing.heard(self._options)
            finally:
                self.is_telling_apart = False
        count, wanted = len({turn.speaker for turn in heard.turns}), self._options.num_speakers
        wanted = wanted or self._options.min_speakers or 1
        self._lacking = (f"only {count} of {wanted} speakers could be told apart",) if 0 < count < wanted else ()
        return heard.turns if self._known is None else self._known.named(heard)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was asked for and cannot be had; complete when the turns are known."""
        return (*(self._known.warnings if self._known is not None else ()), *self._lacking)

    def leave(self) -> None:
        """Hear no more, and free what was heard."""
        self._has_left, self._hearing = True, None


def listeners(diarizer: Diarizes, options: SpeakerOptions, count: int) -> list[SpeakerListener]:
    """One for each of so many recordings. Known voices are heard first, which raises `InputError`."""
    options = enrolled(options, diarizer)
    return [SpeakerListener(diarizer, options) for _ in range(count)]


class TellsApart(Protocol):
    """Knows who speaks in a recording once all of it is read."""

    def turns(self) -> tuple[Turn, ...]:
        """Who spoke when in all that was read; raises what went wrong."""

    def leave(self) -> None:
        """Nobody will ask again."""


class Diarized:
    """A submission whose segments name their speakers: the `Submission` of `diarize`.

    Who is who shows only at the end of a recording. So results report progress until then, and the last one has all
    segments. If a recording fails half-way, it has those so far, before the error is raised. `listener` has heard what
    `submission` reads.
    """

    def __init__(self, submission: Submission, listener: TellsApart) -> None:
        self._submission, self._listener = submission, listener
        self._turns: tuple[Turn, ...] | None = None

    @property
    def audio(self) -> AudioFacts | None:
        return self._submission.audio

    @property
    def samples(self) -> int:
        return self._submission.samples

    @property
    def priority(self) -> int:
        return self._submission.priority

    @priority.setter
    def priority(self, priority: int) -> None:
        self._submission.priority = priority

    def open(self) -> None:
        self._submission.open()

    def guesses(self) -> list[LanguageGuess] | None:
        return self._submission.guesses()

    def language(self) -> str:
        return self._submission.language()

    def results(self) -> Iterator[DecodedWindow]:
        held: list[DecodedWindow] = []
        try:
            for result in self._submission.results():
                held.append(result)
                yield DecodedWindow((), result.position)
        except Exception:
            with contextlib.suppress(Exception):  # of the two errors, the first is told
                self._turns = self._listener.turns()
                if held:
                    yield self._assigned(held, self._turns)
            raise
        self._turns = self._listener.turns()
        self._listener.leave()
        yield self._assigned(held, self._turns)

    def _assigned(self, held: Sequence[DecodedWindow], turns: Sequence[Turn]) -> DecodedWindow:
        voices = AllSpeakerTimes(turns)
        return DecodedWindow(
            assign_segments([each for result in held for each in result.segments], voices),
            held[-1].position if held else 0.0,
            assign_alternatives([each for result in held for each in result.alternatives], voices),
            assign_segments([each for result in held for each in result.translation], voices),
        )

    def speech(self) -> Mapping[str | None, Sequence[Interval]]:
        return self._submission.speech()

    def turns(self) -> tuple[Turn, ...] | None:
        return self._turns

    def close(self) -> None:
        self._submission.close()
        self._listener.leave()
