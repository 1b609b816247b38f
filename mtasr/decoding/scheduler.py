"""Everything at once: one thread reads recordings and cuts windows, workers decode them, results come out in order.

A worker takes the first window that waits and others that the encoder is shown at the same length. What a window
becomes does not depend on its company, so neither the number of workers nor their pace changes the result. The reader
stays so many windows ahead and no more: that bounds memory, whatever the length of a recording.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError, wait
from dataclasses import dataclass, field, replace
from typing import Protocol, cast

from mtasr.audio.read import SAMPLE_RATE
from mtasr.decoding.clips import Clips
from mtasr.decoding.language import MOST_WINDOWS
from mtasr.decoding.longform import WindowResult
from mtasr.decoding.notes import Memory, Oblivious
from mtasr.decoding.pauses import Stretch
from mtasr.decoding.window_decoder import Outcome, Task, WindowDecoder
from mtasr.decoding.windows import cut_windows, longest_for
from mtasr.engines.engine import Engine, Float32Array, LanguageGuess
from mtasr.options import DecodingOptions
from mtasr.stopwatch import Stopwatch
from mtasr.threads import start_thread

#: Batches that each worker may have waiting; more of them fill better, and hold more samples.
_BATCHES_AHEAD = 4

#: Seconds between looks at whether the threads are still at work.
_LOOK = 1.0

#: Recordings opened ahead: their decoders start meanwhile.
_OPEN_AHEAD = 3


class Audio(Protocol):
    """An open recording."""

    warnings: tuple[str, ...]

    @property
    def duration(self) -> float | None: ...

    def __iter__(self) -> Iterator[Float32Array]: ...

    def abort(self) -> None:
        """Make iterating end soon, from another thread."""

    def close(self) -> None: ...


@dataclass(eq=False, slots=True)
class Recording:
    """One recording on its way through the pipeline."""

    opens: Callable[[], Audio]
    #: Whether `opens` returns at once, so that it can be called ahead.
    quick: bool = False
    #: None: to be detected.
    language: str | None = None
    audio: Audio | None = None
    error: BaseException | None = None
    #: Samples read so far.
    samples: int = 0
    #: Where somebody speaks in them, in seconds.
    speech: list[Stretch] = field(default_factory=list)
    abandoned: bool = False
    #: Windows cut so far.
    windows: int = 0
    #: Whether there has been a window, in which the language is detected then.
    spoke: bool = False
    #: What the language is detected as; nothing for a recording in which nobody speaks.
    guesses: Future[list[LanguageGuess]] = field(default_factory=Future)
    opening: threading.Lock = field(default_factory=threading.Lock)
    memory: Memory = field(default_factory=Oblivious)

    def spoken(self) -> str:
        """The language, as soon as it is known."""
        if self.language is not None:
            return self.language
        guesses = self.guesses.result()
        return guesses[0].code if guesses else "en"

    def give_up_language(self, error: BaseException) -> None:
        """Nobody will find it out, if nobody has."""
        with contextlib.suppress(InvalidStateError):
            self.guesses.set_exception(error)

    def open(self) -> None:
        """Open it, unless that has been done; a failure is kept for whoever asks for the results."""
        with self.opening:  # The reader does this, and so may whoever wants to know at once whether it can be done.
            if self.audio is None and self.error is None and not self.abandoned:
                try:
                    self.audio = self.opens()
                except Exception as exc:
                    self.error = exc

    def abandon(self) -> None:
        """Nobody wants its results any longer."""
        self.abandoned = True
        if self.audio is not None:
            self.audio.abort()


@dataclass(eq=False, slots=True)
class _Entry:
    """A place in the order of results: a window, or the end of its recording."""

    recording: Recording
    task: Task | None = None
    #: What is known to have become of the window, in the place of a task.
    known: WindowResult | None = None
    #: The windows in which the language is detected, if that is done together with this one.
    detects: tuple[Task, ...] = ()
    outcome: Future[Outcome] = field(default_factory=Future)

    @property
    def is_end(self) -> bool:
        return self.task is None and self.known is None


class Pipeline:
    """Transcribes recordings; ask for the results of each in turn."""

    def __init__(
        self, engine: Engine, options: DecodingOptions, recordings: Sequence[Recording], stopwatch: Stopwatch
    ) -> None:
        self._engine, self._options = engine, options
        #: Those whose results are to come. What is done is let go of, so that thousands take no more memory than a few.
        self._recordings = list(recordings)
        self._unread = deque(recordings)
        self._stopwatch = stopwatch
        self._clips = Clips(options.clip_timestamps)
        self._decoder = WindowDecoder(engine, options, stopwatch)
        self._most_ahead = _BATCHES_AHEAD * engine.batch_size * engine.workers
        # All that follows is guarded by this condition.
        self._changed = threading.Condition()
        self._waiting: deque[_Entry] = deque()
        self._ordered: deque[_Entry] = deque()
        self._ahead = 0
        self._all_read = self._closed = False
        self._reader: threading.Thread | None = None
        self._workers: list[threading.Thread] = []
        #: What one of them has ended of: without memory, even waiting for the next window can fail.
        self._broken: BaseException | None = None

    def start(self) -> None:
        """Begin to work. Does nothing the second time.

        One worker is enough. Raises `MemoryError` where there is no room for it or for the reader; the next recording
        may find some.
        """
        if self._reader is not None:
            return
        while len(self._workers) < self._engine.workers:
            try:
                self._workers.append(start_thread(self._guarded, self._work))
            except MemoryError:
                if not self._workers:
                    raise
                break
        self._reader = start_thread(self._guarded, self._read)

    def _guarded(self, work: Callable[[], None]) -> None:
        """Nobody shall wait for ever for what a thread would have done that has ended before."""
        try:
            work()
        except BaseException as exc:
            self._broken = self._broken or exc
            for recording in list(self._recordings):
                recording.give_up_language(exc)

    def close(self) -> None:
        """Stop reading. Nothing happens the second time."""
        for recording in self._recordings:
            recording.abandon()
        with self._changed:
            self._closed = True
            self._drop_abandoned()
            self._changed.notify_all()
        if self._reader is not None:
            self._reader.join(timeout=2.0)  # A named pipe without a writer cannot be interrupted.

    def results(self, recording: Recording) -> Iterator[WindowResult]:
        """The results of a recording, in file order. Recordings before it are abandoned.

        Raises what went wrong with it, when its other results are out, what `start` raises, and `ValueError` once it is
        abandoned or the pipeline closed.
        """
        if recording in self._recordings:
            while self._recordings[0] is not recording:
                self._recordings.pop(0).abandon()
        self.start()
        # Of its own, so that what is drawn for it does not depend on the recordings before.
        sampler = functools.cache(lambda: self._engine.sampler(self._options.seed))
        while (entry := self._next(recording)).recording is not recording or not entry.is_end:
            if entry.recording is recording:
                yield entry.known or self._decoder.finish(self._outcome(entry), sampler)
        self._recordings.remove(recording)
        if recording.error is not None:
            raise recording.error

    def _next(self, recording: Recording) -> _Entry:
        """The next entry in order, as soon as there is one, for whoever wants the results of this recording."""
        with self._changed:
            # An abandoned recording must not take away entries of those after it.
            while not self._changed.wait_for(lambda: self._ordered or self._closed or recording.abandoned, _LOOK):
                if self._broken is not None:
                    raise self._broken
            if self._closed or recording.abandoned:
                raise _closed_early()
            entry = self._ordered.popleft()
            if entry.task is not None:
                self._ahead -= 1
                self._changed.notify_all()
            return entry

    def _outcome(self, entry: _Entry) -> Outcome:
        """What has become of a window, as soon as it is known."""
        while not wait([entry.outcome], _LOOK).done:
            if self._broken is not None:
                raise self._broken
        return entry.outcome.result()

    # --- the reader -------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        while self._unread:
            recording = self._unread.popleft()
            recording.open()
            for coming in itertools.islice(self._unread, _OPEN_AHEAD):
                if coming.quick:
                    coming.open()
            try:
                self._cut(recording)
            except Exception as exc:
                recording.error = exc
            finally:
                if recording.audio is not None:
                    recording.audio.close()
            if not recording.spoke and recording.language is None:
                _settle_language(recording)
            self._put(_Entry(recording))
        with self._changed:
            self._all_read = True
            self._changed.notify_all()

    def _cut(self, recording: Recording) -> None:
        """Read a recording to its end."""
        if recording.audio is None:
            return
        windows = cut_windows(
            self._blocks(recording, recording.audio),
            threshold=self._options.vad_threshold,
            skip_silence=self._options.vad_filter,
            longest=longest_for(self._options, self._decoder.audio_seconds),
            audio_seconds=self._decoder.audio_seconds,
            stopwatch=self._stopwatch,
        )
        first: list[Task] = []
        self._remember_language(recording)
        for window in windows:
            if recording.abandoned:
                return
            recording.speech.extend((span.start / SAMPLE_RATE, span.end / SAMPLE_RATE) for span in window.speech)
            task = self._decoder.task(window, recording.spoken, first=recording.windows == 0)
            recording.windows += 1
            if recording.spoke or recording.language is not None:
                known = recording.memory.result(window)
                self._put(_Entry(recording, known=known) if known is not None else _Entry(recording, task))
                continue
            first.append(task)
            if len(first) == MOST_WINDOWS:
                self._put_first(recording, first)
        if not recording.spoke and first:
            self._put_first(recording, first)

    def _remember_language(self, recording: Recording) -> None:
        """Take the language from memory, where it is to be detected and was before."""
        if recording.language is None and (guesses := recording.memory.guesses()):
            recording.guesses.set_result(guesses)
            recording.spoke = True

    def _put_first(self, recording: Recording, tasks: Sequence[Task]) -> None:
        """The windows that the language is detected in: with the first of them, before the others are decoded."""
        recording.spoke = True
        for index, task in enumerate(tasks):
            self._put(_Entry(recording, task, detects=() if index else tuple(tasks)))

    def _blocks(self, recording: Recording, audio: Audio) -> Iterator[Float32Array]:
        blocks = iter(audio)
        while not recording.abandoned:
            with self._stopwatch.measure("decode"):
                block = next(blocks, None)
            if block is None:
                return
            masked = self._clips.mask(block, recording.samples)
            recording.samples += len(block)
            yield masked

    def _put(self, entry: _Entry) -> None:
        """Add to what waits, when there is room."""
        with self._changed:
            self._changed.wait_for(lambda: self._ahead < self._most_ahead or self._closed)
            self._ordered.append(entry)
            if entry.task is not None:
                self._ahead += 1
                self._waiting.append(entry)
                self._drop_abandoned()
            self._changed.notify_all()

    # --- the workers ------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while batch := self._take():
            self._decode(batch)

    def _decode(self, batch: Sequence[_Entry]) -> None:
        try:
            tasks = [self._detected(entry) for entry in batch]
            for outcome in self._decoder.run(tasks):
                entry = next(entry for entry in batch if entry.task is outcome.task)
                # What is still to be drawn is not: samples come in a sequence, and whoever goes on begins it anew.
                if outcome.is_settled:
                    entry.recording.memory.decoded(outcome.task.window, self._decoder.result(outcome))
                entry.outcome.set_result(outcome)
        except Exception as exc:
            if len(batch) == 1:
                batch[0].outcome.set_exception(exc)
            else:  # What is wrong with one recording does not touch the others.
                for entry in batch:
                    if not entry.outcome.done():
                        self._decode([entry])

    def _take(self) -> list[_Entry]:
        """The first window that waits, with others of its context; nothing when all are done."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting or self._all_read or self._closed)
                if self._closed or not self._waiting:
                    return []
                self._drop_abandoned()
                if self._waiting:
                    break
            fitting = self._fitting()
            # Towards the end, nobody shall be idle while another works through a full batch.
            share = -(-len(self._waiting) // self._engine.workers) if self._all_read else self._engine.batch_size
            batch = fitting[: min(self._engine.batch_size, share)]
            for entry in batch:
                self._waiting.remove(entry)
            return batch

    def _fitting(self) -> list[_Entry]:
        """What waits and has the context of the first. Call it with the lock.

        Not a window whose language is to be detected in one that would go on waiting: a worker that took it would wait
        for the language, and all of them could.
        """
        context = cast(Task, self._waiting[0].task).context
        fitting: list[_Entry] = []
        undetected: list[Recording] = []
        for entry in self._waiting:
            if cast(Task, entry.task).context == context and entry.recording not in undetected:
                fitting.append(entry)
            elif entry.detects:
                undetected.append(entry.recording)
        return fitting

    def _drop_abandoned(self) -> None:
        """Forget what waits and nobody wants. Call it with the lock."""
        for entry in [entry for entry in self._waiting if entry.recording.abandoned]:
            self._waiting.remove(entry)
            entry.outcome.cancel()
            if entry.detects:
                entry.recording.give_up_language(_closed_early())

    def _detected(self, entry: _Entry) -> Task:
        """The task of an entry, after finding out the language if this is the window for it."""
        task = cast(Task, entry.task)
        guesses = entry.recording.guesses
        if entry.detects and not guesses.done():
            try:
                # Another worker may be at work on the later windows: copies of them are judged.
                mine, *others = entry.detects
                judged = self._decoder.judge_language([mine, *map(replace, others)])
                entry.recording.memory.judged(judged)  # before any window can be noted, which is of no use without
                guesses.set_result(judged)
            except Exception as exc:
                guesses.set_exception(exc)
                raise
        return task


def _closed_early() -> ValueError:
    return ValueError("the recording was closed before its end")


def _settle_language(recording: Recording) -> None:
    """There was no window, so nothing will tell the language."""
    if recording.error is not None:
        recording.guesses.set_exception(recording.error)
    elif recording.abandoned:
        recording.guesses.set_exception(_closed_early())
    else:
        recording.guesses.set_result([])
