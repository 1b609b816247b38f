"""A recording whose speakers are told apart while it is decoded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from mtasr.arrays import Float32Array
from mtasr.decoding.submission import Audio, DecodedWindow, Submission
from mtasr.engines.engine import LanguageGuess
from mtasr.spans import Interval
from mtasr.speakers.assignment import assign_alternatives, assign_segments
from mtasr.speakers.options import SpeakerOptions
from mtasr.speakers.voices import Heard, KnownVoices, known_voices
from mtasr.transcript import Turn


class Hears(Protocol):
    """What hears a recording, and knows at the end who spoke when."""

    def add(self, samples: Float32Array) -> None: ...

    def turns(self, options: SpeakerOptions) -> Sequence[Turn]: ...

    def heard(self, options: SpeakerOptions) -> Heard: ...


class Diarizes(Protocol):
    """What tells speakers apart, in any number of recordings."""

    def listen(self) -> Hears: ...


class SpeakerListener:
    """Hears one recording. It begins with the first samples: thousands of recordings may wait to be read."""

    def __init__(self, diarizer: Diarizes, options: SpeakerOptions, known: KnownVoices | None = None) -> None:
        self._diarizer, self._options, self._known = diarizer, options, known
        self._hearing: Hears | None = None
        self._has_left = False

    def add(self, samples: Float32Array) -> None:
        if not self._has_left:
            self._hearing = self._hearing or self._diarizer.listen()
            self._hearing.add(samples)

    def turns(self) -> tuple[Turn, ...]:
        """Who spoke when in all that was heard."""
        if self._hearing is None:
            return ()
        if self._known is not None:
            return self._known.named(self._hearing.heard(self._options))
        return tuple(self._hearing.turns(self._options))

    def leave(self) -> None:
        """Hear no more, and free what was heard."""
        self._has_left, self._hearing = True, None


def listeners(diarizer: Diarizes, options: SpeakerOptions, count: int) -> list[SpeakerListener]:
    """One for each of so many recordings. Known voices are heard first, which raises `InputError` (`known_voices`)."""
    known = options.voices
    if known is not None and not isinstance(known, KnownVoices):
        known = known_voices(known, diarizer)
    return [SpeakerListener(diarizer, options, known) for _ in range(count)]


class Diarized:
    """A submission whose segments name their speakers: the `Submission` of `diarize`.

    Who is who shows only at the end of a recording. So results report progress until then, and the last one has all
    segments. `listener` hears what `submission` reads.
    """

    def __init__(self, submission: Submission, listener: SpeakerListener) -> None:
        self._submission, self._listener = submission, listener
        self._turns: tuple[Turn, ...] | None = None

    @property
    def audio(self) -> Audio | None:
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
        for result in self._submission.results():
            held.append(result)
            yield DecodedWindow((), result.position)
        self._turns = self._listener.turns()
        self._listener.leave()
        yield DecodedWindow(
            assign_segments([each for result in held for each in result.segments], self._turns),
            held[-1].position if held else 0.0,
            assign_alternatives([each for result in held for each in result.alternatives], self._turns),
            assign_segments([each for result in held for each in result.translation], self._turns),
        )

    def speech(self) -> Mapping[str | None, Sequence[Interval]]:
        return self._submission.speech()

    def turns(self) -> tuple[Turn, ...] | None:
        return self._turns

    def close(self) -> None:
        self._submission.close()
        self._listener.leave()
