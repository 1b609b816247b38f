"""Recordings on their way through the scheduler, and which of their windows are decoded next."""

from __future__ import annotations

import itertools
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from mtasr.decoding.retries import Decoding
from mtasr.decoding.submission import Audio, DecodedWindow, Listener, NoNotes, ResumeNotes
from mtasr.decoding.window_decoder import WindowDecoder
from mtasr.decoding.window_input import WindowInput
from mtasr.decoding.windows import Place, WindowOutline
from mtasr.engines.engine import LanguageGuess
from mtasr.errors import ModelError
from mtasr.options import DecodingOptions
from mtasr.spans import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A recording to submit."""

    open: Callable[[], Audio]
    #: Whether `open` returns at once, so that it can be called ahead of time.
    opens_at_once: bool = False
    #: Code of the language; None detects it.
    language: str | None = None
    notes: ResumeNotes = field(default_factory=NoNotes)
    #: Hears the samples that are decoded, in their order.
    listener: Listener | None = None
    #: The windows to decode, in file order; None for all that voice activity detection finds.
    outlines: Sequence[WindowOutline] | None = None


@dataclass(eq=False, slots=True)
class Group:
    """Recordings submitted together: read one after the other, with one decoder and one priority.

    The scheduler's lock guards it and all that belongs to it.
    """

    decoder: WindowDecoder
    options: DecodingOptions
    priority: int
    #: Those that still have results to give, in their order. What is done is dropped: thousands take little memory.
    unfinished: dict[RecordingState, None] = field(default_factory=dict)
    unread: deque[RecordingState] = field(default_factory=deque)
    reader: threading.Thread | None = None
    is_read: bool = False
    #: Windows read and not yet asked for.
    ahead: int = 0
    #: When a worker last took one of its windows; groups served longer ago go first.
    served: int = 0
    #: Why its reader, or a worker with its windows, ended early.
    broken: BaseException | None = None


@dataclass(eq=False, slots=True)
class RecordingState:
    """How far a submitted recording is."""

    group: Group
    recording: Recording
    audio: Audio | None = None
    #: Samples read.
    samples: int = 0
    #: Windows cut.
    windows: int = 0
    speech: list[Interval] = field(default_factory=list)
    is_read: bool = False
    is_cancelled: bool = False
    #: What went wrong while it was opened or read.
    error: Exception | None = None
    #: Of its windows, in file order.
    slots: deque[Slot] = field(default_factory=deque)
    #: The languages it may be in, none if nobody speaks; or why they will not be known; None until that is settled.
    guesses: list[LanguageGuess] | BaseException | None = None
    _opening: threading.Lock = field(default_factory=threading.Lock)

    def open(self) -> None:
        """Open it, unless that has been done; a failure is kept for the caller that asks for results."""
        with self._opening:  # The reader opens it, and a caller may.
            if self.audio is None and self.error is None and not self.is_cancelled:
                try:
                    self.audio = self.recording.open()
                except Exception as exc:
                    self.error = exc
            if self.is_cancelled and self.audio is not None and self.group.reader is None:
                self.audio.close()  # The recording was cancelled meanwhile, so no reader will close it.

    @property
    def has_language(self) -> bool:
        return self.recording.language is not None or self.guesses is not None

    def settle_language(self, guesses: Sequence[LanguageGuess] | BaseException) -> None:
        """Keep the languages, or why they will not be known. The first call counts."""
        if self.guesses is None:
            self.guesses = guesses if isinstance(guesses, BaseException) else list(guesses)


@dataclass(eq=False, slots=True)
class Slot:
    """The position of a window among the results of its recording."""

    state: RecordingState
    place: Place
    #: What the window became: settled, or still to be decoded at the temperatures.
    result: DecodedWindow | Decoding | None = None
    error: BaseException | None = None
    #: Whether the result comes from an earlier run. Such a window does not count as read ahead.
    is_noted: bool = False

    @property
    def is_done(self) -> bool:
        return self.result is not None or self.error is not None


@dataclass(frozen=True, eq=False, slots=True)
class Waiting:
    """A window that waits for a worker."""

    slot: Slot
    input: WindowInput
    #: The first windows of the recording, this one first, if its language has to be judged in them.
    first_windows: tuple[WindowInput, ...] = ()

    @property
    def state(self) -> RecordingState:
        return self.slot.state


def next_batch(waiting: Sequence[Waiting], size: int, *, by_priority: bool = True) -> list[Waiting]:
    """The window that is due, with others like it, up to `size` in all.

    Windows are due by priority (unless `by_priority` is False), groups taking turns. Below priority 0, a batch has half
    the size: what comes meanwhile waits half as long. Groups with a batch or more waiting do not fill the batches of
    the others: a short recording need not wait for the windows of a long one. A window whose language is judged in one
    that goes on waiting is left: a worker that took it would wait for the language, and all of them could.
    """
    due = _in_order(waiting, by_priority=by_priority)
    if due[0].state.group.priority < 0:
        size = -(-size // 2)
    counts = Counter(each.state.group for each in waiting)
    batch: list[Waiting] = []
    unjudged: list[RecordingState] = []

    def kind(each: Waiting) -> tuple[WindowDecoder, float, bool]:
        """Windows of one kind can and should be decoded together."""
        group = each.state.group
        return group.decoder, each.input.context, counts[group] < size

    for each in due:
        if len(batch) < size and kind(each) == kind(due[0]) and each.state not in unjudged:
            batch.append(each)
        elif each.first_windows:
            unjudged.append(each.state)
    return batch


def _in_order(waiting: Sequence[Waiting], *, by_priority: bool) -> list[Waiting]:
    """Windows in the order in which they are due."""
    rounds: defaultdict[Group, Iterator[int]] = defaultdict(itertools.count)
    turns = [(next(rounds[each.state.group]), each) for each in waiting]

    def due(turn: tuple[int, Waiting]) -> tuple[int, int, int]:
        round_, each = turn
        group = each.state.group
        return -group.priority if by_priority else 0, round_, group.served

    return [each for _, each in sorted(turns, key=due)]


def loaded_before_fork() -> ModelError:
    """The error in a forked process, where the threads of the model are missing and waiting for them would not end."""
    return ModelError("the model was loaded before this process was forked; load it in the process that uses it")


def closed_early() -> ValueError:
    """The error for a caller that waits for a cancelled recording."""
    return ValueError("the recording was closed before its end")
