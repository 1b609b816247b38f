"""A recording that is being transcribed, and several of them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self
from weakref import finalize

from mtasr.closing import Closing
from mtasr.decoding.coverage import coverage
from mtasr.decoding.groups import RecordingState
from mtasr.decoding.scheduler import Scheduler
from mtasr.decoding.submission import AudioFacts, DecodedWindow, PlacedResult, Submission
from mtasr.engines.engine import LanguageGuess
from mtasr.errors import UsageError
from mtasr.options import DecodingOptions
from mtasr.spans import SAMPLE_RATE, Interval, merged
from mtasr.transcript import Alternatives, Segment, Transcript

#: Called with the seconds decoded so far and the seconds in all, None if the recording does not state its duration.
OnProgress = Callable[[float, float | None], None]


class Scheduled:
    """A recording in the scheduler's hands; the `Submission` of windows that are decoded side by side."""

    def __init__(self, scheduler: Scheduler, state: RecordingState) -> None:
        self._scheduler, self._state = scheduler, state
        # The threads hold the state alone, so that a recording its caller has forgotten does not keep them.
        finalize(self, scheduler.abandon, state).atexit = False

    @property
    def audio(self) -> AudioFacts | None:
        return self._state.audio

    @property
    def samples(self) -> int:
        return self._state.samples

    @property
    def priority(self) -> int:
        return self._state.group.priority

    @priority.setter
    def priority(self, priority: int) -> None:
        self._state.group.priority = priority

    def open(self) -> None:
        self._state.open()
        if self._state.error is not None:
            raise self._state.error
        self._scheduler.start(self._state.group)

    def guesses(self) -> list[LanguageGuess] | None:
        return None if self._state.recording.language is not None else self._scheduler.guesses(self._state)

    def language(self) -> str:
        return self._scheduler.language(self._state)

    def results(self) -> Iterator[DecodedWindow]:
        for each in self.placed():
            if each.result is not None:
                yield each.result

    def placed(self, *, draws: bool = True) -> Generator[PlacedResult]:
        """The results with their places; without `draws`, windows that need random samples have none."""
        yield from self._scheduler.results(self._state, draws=draws)

    def speech(self) -> dict[str | None, list[Interval]]:
        return {None: list(self._state.speech)}

    def turns(self) -> None:
        return None

    def close(self) -> None:
        if not self._state.is_cancelled:
            self._scheduler.cancel([self._state])


class Transcription(Closing):
    """A recording that is being transcribed: iterate for its segments, each as soon as it is decoded.

    Close it, or use it in a `with` block.
    """

    def __init__(
        self,
        submission: Submission,
        options: DecodingOptions,
        warnings: Callable[[], Sequence[str]] = tuple,
        tells_apart: Callable[[], bool] = bool,
        came: Callable[[], float] = float,
    ) -> None:
        """`warnings` returns further ones, which are complete at the end; `tells_apart` is `is_telling_apart`.

        `came` returns the seconds decoded so far where they are not decoded in order.
        """
        self._position, self._came = 0.0, came
        #: Called after each window.
        self.on_progress: OnProgress | None = None
        self._further_warnings, self._tells_apart = warnings, tells_apart
        self._submission, self._options = submission, options
        self._segments: list[Segment] = []
        self._translation: list[Segment] = []
        self._alternatives: list[Alternatives] = []
        self._pending: Generator[Segment] = self._decode()
        self._closed = self._complete = False
        self._failure: BaseException | None = None
        self._asking = threading.RLock()

    def open(self) -> None:
        """Open the recording now rather than when it is needed. Raises `InputError` if it cannot be opened."""
        self._submission.open()

    @property
    def priority(self) -> int:
        """Windows of a higher priority are decoded first, those below 0 in smaller batches; it may change any time."""
        return self._submission.priority

    @priority.setter
    def priority(self, priority: int) -> None:
        self._submission.priority = priority

    @property
    def language(self) -> str:
        """Code of the language, given or detected; "en" if nobody speaks.

        Waits until it is known. Of several recordings, ask the first before the next: the reader stays only a bounded
        distance ahead of what is asked for.
        """
        return self._submission.language()

    @property
    def guesses(self) -> list[LanguageGuess]:
        """All languages with their probabilities, if they were detected and somebody speaks."""
        return self._submission.guesses() or []

    @property
    def language_probability(self) -> float:
        """1 for a language that was given, 0 if nobody speaks."""
        guesses = self._submission.guesses()
        return 1.0 if guesses is None else guesses[0].probability if guesses else 0.0

    @property
    def position(self) -> float:
        """How far the file is decoded, in seconds; or how much of it, where later parts come first."""
        return max(self._position, self._came())

    @property
    def total(self) -> float | None:
        """The duration in seconds that the file states, None if it states none or is not open."""
        audio = self._submission.audio
        return audio.duration if audio is not None else None

    @property
    def is_telling_apart(self) -> bool:
        """Whether all is decoded, and another thread waits for who spoke."""
        return self._tells_apart()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was wrong with the recording, or was asked for and is not in it; complete at the end."""
        audio = self._submission.audio
        end = self._submission.samples / SAMPLE_RATE
        beyond = [start for start in self._options.clip_timestamps[::2] if start >= end]
        clips = [f"clips from {beyond[0]:g} s on begin after the end at {end:.1f} s"] if beyond else []
        return (*(audio.warnings if audio is not None else ()), *clips, *self._further_warnings())

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Segment:
        with self._asking:  # Several threads may share the segments.
            return self._next()

    def _next(self) -> Segment:
        if self._failure is not None:  # What is incomplete does not become complete by asking once more.
            raise self._failure
        if not self._complete:
            self._require_open()
        try:
            return next(self._pending)
        except StopIteration:
            raise
        except BaseException as exc:
            self._failure = exc
            raise

    def _decode(self) -> Generator[Segment]:
        for result in self._submission.results():
            self._position = result.position
            if self.on_progress is not None:
                self.on_progress(self.position, self.total)
            self._alternatives.extend(result.alternatives)
            for kept, new in ((self._translation, result.translation), (self._segments, result.segments)):
                kept.extend(replace(segment, id=number) for number, segment in enumerate(new, start=len(kept)))
            yield from self._segments[len(self._segments) - len(result.segments) :]
            self._require_open()
        self._require_open()
        end = self._submission.samples / SAMPLE_RATE
        if self._options.clip_timestamps and min(self._options.clip_timestamps[::2]) >= end:
            raise UsageError(f"no clip begins before the end of the recording, at {end:.1f} s")
        self._complete = True

    def _require_open(self) -> None:
        if self._closed:
            raise ValueError("the recording was closed before its end")

    def transcript(self) -> Transcript:
        """Decode the rest and return the whole. Raises `ValueError` if it was closed before the end."""
        for _ in self:
            pass
        whole = self._transcript_of(self._segments, self._options.task)
        if self._options.n_best > 1:
            whole = replace(whole, alternatives=tuple(self._alternatives))
        if self._options.also_translate:
            whole = replace(whole, translation=self._transcript_of(self._translation, "translate"))
        return whole

    def _transcript_of(self, segments: Sequence[Segment], task: str) -> Transcript:
        audio, turns = self._submission.audio, self._submission.turns()
        transcript = put_together(
            segments,
            task,
            language=LanguageGuess(self.language, self.language_probability),
            samples=self._submission.samples,
            speech=self._submission.speech(),
        )
        return replace(
            transcript,
            repairs=audio.repairs if audio is not None else (),
            turns=None if turns is None else tuple(turns),
        )

    def close(self) -> None:
        """Stop decoding and reading the recording. A second call does nothing."""
        if not self._closed:
            self._closed = True
            self._submission.close()
            with contextlib.suppress(ValueError):  # closed from within, as by a progress callback
                self._pending.close()  # which gives back the model that samples were drawn with


def put_together(
    segments: Sequence[Segment],
    task: str,
    *,
    language: LanguageGuess,
    samples: int,
    speech: Mapping[str | None, Sequence[Interval]],
) -> Transcript:
    """The transcript of so many samples, of these segments and this speech, which is by speaker."""
    written = {"en" if task == "translate" else segment.language or language.code for segment in segments}
    return Transcript(
        language=language.code,
        language_probability=language.probability,
        duration=round(samples / SAMPLE_RATE, 3),
        segments=tuple(segments),
        speech=merged(interval for spoken in speech.values() for interval in spoken),
        coverage=coverage(speech, segments),
        text_language=written.pop() if len(written) == 1 else None,
    )


class Transcriptions(Sequence[Transcription], Closing):
    """Several recordings that are being transcribed."""

    def __init__(self, items: Iterable[Transcription]) -> None:
        self._items = list(items)

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def drain(self) -> Iterator[Transcription]:
        """Each in turn, for the caller to close. None is kept: thousands together would take much memory."""
        while self._items:
            yield self._items.pop(0)

    def close(self) -> None:
        for item in self._items:
            item.close()
