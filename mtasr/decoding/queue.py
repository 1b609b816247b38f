"""Recordings on their way through the scheduler."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Protocol

from mtasr.decoding.resume import NoNotes, ResumeNotes
from mtasr.decoding.retries import Decoding, WindowInput
from mtasr.decoding.submission import Audio, DecodedWindow
from mtasr.decoding.window_decoder import WindowDecoder
from mtasr.engines.engine import LanguageGuess
from mtasr.options import DecodingOptions
from mtasr.spans import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A recording to submit."""

    opens: Callable[[], Audio]
    #: Whether `opens` returns at once, so that it can be called ahead of time.
    quick: bool = False
    #: Code of the language; None detects it.
    language: str | None = None
    notes: ResumeNotes = field(default_factory=NoNotes)


@dataclass(eq=False, slots=True)
class Pending:
    """A window of a submission, in its place among the results."""

    submission: Queued
    input: WindowInput | None = None
    #: The first windows, in which the language is judged together with this one.
    judges: tuple[WindowInput, ...] = ()
    #: Whether it counts as read ahead; what earlier runs noted does not.
    counts: bool = True
    #: What the window became: settled, or still to be decoded at the temperatures.
    result: DecodedWindow | Decoding | None = None
    error: Exception | None = None

    @property
    def is_done(self) -> bool:
        return self.result is not None or self.error is not None


class Host(Protocol):
    """What a submission asks of the scheduler."""

    def start(self, queue: Queue) -> None:
        """Begin to read and decode a queue."""

    def results(self, queue: Queue, submission: Queued) -> Iterator[DecodedWindow]:
        """The results of a submission, in file order."""

    def cancel(self, queue: Queue, submissions: Sequence[Queued]) -> None:
        """Stop decoding and reading submissions."""


class Queued:
    """A submitted recording whose windows are decoded side by side; the `Submission` of the scheduler."""

    def __init__(self, host: Host, queue: Queue, recording: Recording) -> None:
        self._host, self.queue = host, queue
        self.recording = recording
        self.audio: Audio | None = None
        self.samples = 0
        self.cancelled = False
        #: What went wrong while it was opened or read.
        self.error: BaseException | None = None
        #: Entries in file order; the scheduler's lock guards them.
        self.ordered: deque[Pending] = deque()
        self.all_read = False
        self.windows = 0
        self.speaks = False
        self._speech: list[Interval] = []
        self._judged: Future[list[LanguageGuess]] = Future()
        self._opening = threading.Lock()

    def open(self) -> None:
        self.try_to_open()
        if self.error is not None:
            raise self.error
        self._host.start(self.queue)

    def try_to_open(self) -> None:
        """Open it, unless that has been done; a failure is kept for the caller that asks for results."""
        with self._opening:  # The reader opens it, and a caller may.
            if self.audio is None and self.error is None and not self.cancelled:
                try:
                    self.audio = self.recording.opens()
                except Exception as exc:
                    self.error = exc

    def guesses(self) -> list[LanguageGuess] | None:
        if self.recording.language is not None:
            return None
        self._host.start(self.queue)
        return self._judged.result()

    def language(self) -> str:
        if self.recording.language is not None:
            return self.recording.language
        guesses = self.guesses()
        return guesses[0].code if guesses else "en"

    def judged(self, guesses: list[LanguageGuess] | BaseException) -> None:
        """Settle the language, or why it will not be known. The first call counts."""
        with contextlib.suppress(InvalidStateError):
            if isinstance(guesses, BaseException):
                self._judged.set_exception(guesses)
            else:
                self._judged.set_result(guesses)

    @property
    def is_judged(self) -> bool:
        return self.recording.language is not None or self._judged.done()

    def heard(self, speech: Sequence[Interval]) -> None:
        self._speech.extend(speech)

    def speech(self) -> dict[str | None, list[Interval]]:
        return {None: list(self._speech)}

    def results(self) -> Iterator[DecodedWindow]:
        return self._host.results(self.queue, self)

    def close(self) -> None:
        self._host.cancel(self.queue, [self])


@dataclass(eq=False, slots=True)
class Queue:
    """Recordings submitted together: read one after the other, with one decoder and one priority."""

    decoder: WindowDecoder
    options: DecodingOptions
    priority: int
    #: Submissions that still have results to give; what is done is dropped, so that thousands take little memory.
    submissions: list[Queued] = field(default_factory=list)
    unread: deque[Queued] = field(default_factory=deque)
    reader: threading.Thread | None = None
    #: Windows read and not yet asked for.
    ahead: int = 0
    #: When a worker last took one of its windows; queues served longer ago go first.
    served: int = 0
    #: Why its reader or a worker ended early.
    broken: BaseException | None = None

    @property
    def is_read(self) -> bool:
        return not self.unread and all(each.all_read or each.cancelled for each in self.submissions)


def closed_early() -> ValueError:
    """The error for a caller that waits for a cancelled recording."""
    return ValueError("the recording was closed before its end")
