"""Decodes the windows of all recordings of a model together, and gives each recording its results in order.

    submit -> a reader thread for each queue: open, cut windows -> waiting windows
           -> workers: take a batch, encode, judge the language, decode -> results in order, for who asks

Recordings submitted together form a queue: they are read one after the other. A worker takes the window that is due
and fills its batch with windows of the same shape, whatever recordings and callers they come from. Queues take turns,
so a short recording does not wait behind a long one; a higher priority goes first. What a window becomes does not
depend on its batch, so neither the number of workers nor other callers change a result. A reader stays a bounded
number of windows ahead of what is asked for: memory does not grow with the length of a recording.

Threads exist only while there is something to decode.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field, replace
from weakref import WeakValueDictionary

from mtasr.arrays import Float32Array
from mtasr.decoding.checks import Checks
from mtasr.decoding.clips import Clips
from mtasr.decoding.decoded import DecodedWindow
from mtasr.decoding.language import MOST_WINDOWS
from mtasr.decoding.resume import NoNotes, ResumeNotes
from mtasr.decoding.retries import RETRIES, Decoding, Retry, WindowInput
from mtasr.decoding.submission import Audio
from mtasr.decoding.window_decoder import WindowDecoder
from mtasr.decoding.windows import cut_windows, longest_for
from mtasr.engines.engine import Engine, LanguageGuess
from mtasr.options import DecodingOptions
from mtasr.spans import SAMPLE_RATE, Interval
from mtasr.stopwatch import Stopwatch
from mtasr.threads import start_thread
from mtasr.vad import MakeDetector, SileroDetector

#: Batches for each worker that a reader may be ahead: more of them fill better, and hold more samples.
_BATCHES_AHEAD = 4

#: Seconds between looks at whether the threads still work: one that dies for want of memory may fail to say so.
_LOOK = 1.0

#: Recordings opened ahead of the one being read: their ffmpeg starts meanwhile.
_OPEN_AHEAD = 3


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
class _Entry:
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


class Queued:
    """A submitted recording whose windows are decoded side by side; the `Submission` of the scheduler."""

    def __init__(self, scheduler: Scheduler, queue: _Queue, recording: Recording) -> None:
        self._scheduler, self.queue = scheduler, queue
        self.recording = recording
        self.audio: Audio | None = None
        self.samples = 0
        self.cancelled = False
        #: What went wrong while it was opened or read.
        self.error: BaseException | None = None
        #: Entries in file order; the scheduler's lock guards them.
        self.ordered: deque[_Entry] = deque()
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
        self._scheduler.start(self.queue)

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
        self._scheduler.start(self.queue)
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
        return self._scheduler.results(self.queue, self)

    def close(self) -> None:
        self._scheduler.cancel(self.queue, [self])


@dataclass(eq=False, slots=True)
class _Queue:
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


class Scheduler:
    """Decodes recordings with one engine; `submit` may be called from any thread at any time."""

    def __init__(
        self,
        engine: Engine,
        stopwatch: Stopwatch,
        detector: MakeDetector = SileroDetector,
        retries: tuple[Retry, ...] = RETRIES,
    ) -> None:
        self._engine, self._stopwatch, self._detector, self._retries = engine, stopwatch, detector, retries
        limits = engine.limits
        self._most_ahead = _BATCHES_AHEAD * limits.batch_size * limits.workers
        self._turn = itertools.count(1)
        # All that follows is guarded by this condition.
        self._changed = threading.Condition()
        self._queues: list[_Queue] = []
        self._waiting: list[_Entry] = []
        self._workers = 0
        self._decoders: WeakValueDictionary[tuple[DecodingOptions, Checks], WindowDecoder] = WeakValueDictionary()

    def submit(
        self,
        recordings: Sequence[Recording],
        options: DecodingOptions,
        *,
        checks: Checks | None = None,
        priority: int = 0,
    ) -> list[Queued]:
        """Queue recordings, which are read one after the other; ask for their results in that order.

        Work begins when the first result, or the language, is asked for. Windows of a higher `priority` go first.
        """
        queue = _Queue(self._decoder(options, checks or Checks()), options, priority)
        queue.submissions = [Queued(self, queue, recording) for recording in recordings]
        queue.unread.extend(queue.submissions)
        return list(queue.submissions)

    def _decoder(self, options: DecodingOptions, checks: Checks) -> WindowDecoder:
        """The same for equal options, so that windows of several callers can share a batch."""
        options = replace(options, language=None, clip_timestamps=(), seed=0)
        with self._changed:
            decoder = self._decoders.get((options, checks))
            if decoder is None:
                decoder = WindowDecoder(self._engine, options, self._stopwatch, checks, self._retries)
                self._decoders[options, checks] = decoder
            return decoder

    def start(self, queue: _Queue) -> None:
        """Begin to read and decode a queue. Does nothing if that has begun.

        One worker is enough. Raises `MemoryError` if there is no room for it or for the reader; a later call may find
        some.
        """
        with self._changed:
            if queue.reader is not None or not queue.submissions:
                return
            self._queues.append(queue)
            try:
                while self._workers < self._engine.limits.workers:
                    try:
                        start_thread(self._guarded, self._work, self._queues)
                    except MemoryError:
                        if not self._workers:
                            raise
                        break
                    self._workers += 1
                queue.reader = start_thread(self._guarded, self._read, [queue], queue)
            except BaseException:
                self._queues.remove(queue)
                self._changed.notify_all()
                raise

    def _guarded(self, work: Callable[..., None], queues: Sequence[_Queue], *arguments: _Queue) -> None:
        """Do the work of a thread. If it dies, fail every caller that waits for it."""
        try:
            work(*arguments)
        except BaseException as exc:
            for queue in list(queues):
                queue.broken = queue.broken or exc
                for submission in list(queue.submissions):
                    submission.judged(exc)

    # --- for callers ------------------------------------------------------------------------------------------------

    def results(self, queue: _Queue, submission: Queued) -> Iterator[DecodedWindow]:
        """The results of a submission, in file order. Submissions before it in its queue are cancelled.

        Raises what went wrong with it after its other results, what `start` raises, and `ValueError` once it is
        cancelled.
        """
        if submission in queue.submissions:
            self.cancel(queue, queue.submissions[: queue.submissions.index(submission)])
        self.start(queue)
        with contextlib.ExitStack() as stack:
            # Of its own, so that what is drawn does not depend on other recordings.
            sampler = functools.cache(lambda: stack.enter_context(self._engine.sampler(queue.options.seed)))
            while (entry := self._next(queue, submission)) is not None:
                result = self._outcome(queue, entry)
                yield queue.decoder.finish(result, sampler) if isinstance(result, Decoding) else result
        with self._changed:
            self._drop(queue, [submission])
        if submission.error is not None:
            raise submission.error

    def cancel(self, queue: _Queue, submissions: Sequence[Queued]) -> None:
        """Stop decoding and reading submissions. A batch under way ends, and its result is dropped."""
        cancelled = [each for each in submissions if not each.cancelled]
        with self._changed:
            for submission in cancelled:
                submission.cancelled = True
                queue.ahead -= sum(entry.counts for entry in submission.ordered)
                submission.ordered.clear()
                submission.judged(_closed_early())
            self._waiting = [entry for entry in self._waiting if not entry.submission.cancelled]
            self._drop(queue, cancelled)
        for submission in cancelled:
            if submission.audio is not None:
                submission.audio.abort()
        if queue.reader is not None and not queue.submissions:
            queue.reader.join(timeout=2.0)  # A named pipe without a writer cannot be interrupted.

    def _drop(self, queue: _Queue, submissions: Sequence[Queued]) -> None:
        """Forget submissions that have nothing more to give. Call it with the lock."""
        queue.submissions = [each for each in queue.submissions if each not in submissions]
        if not queue.submissions and queue in self._queues:
            self._queues.remove(queue)
        self._changed.notify_all()

    def _next(self, queue: _Queue, submission: Queued) -> _Entry | None:
        """The next entry of a submission as soon as there is one; None at its end."""
        with self._changed:
            self._wait(queue, lambda: submission.ordered or submission.all_read or submission.cancelled)
            if submission.cancelled:
                raise _closed_early()
            if not submission.ordered:
                return None
            entry = submission.ordered.popleft()
            if entry.counts:
                queue.ahead -= 1
                self._changed.notify_all()
            return entry

    def _outcome(self, queue: _Queue, entry: _Entry) -> DecodedWindow | Decoding:
        with self._changed:
            self._wait(queue, lambda: entry.is_done or entry.submission.cancelled)
        if entry.error is not None:
            raise entry.error
        if entry.result is None:
            raise _closed_early()
        return entry.result

    def _wait(self, queue: _Queue, ready: Callable[[], object]) -> None:
        while not self._changed.wait_for(ready, _LOOK):
            if queue.broken is not None:
                raise queue.broken

    # --- readers ----------------------------------------------------------------------------------------------------

    def _read(self, queue: _Queue) -> None:
        while queue.unread:
            submission = queue.unread.popleft()
            submission.try_to_open()
            for coming in itertools.islice(queue.unread, _OPEN_AHEAD):
                if coming.recording.quick:
                    coming.try_to_open()
            try:
                self._cut(queue, submission)
            except Exception as exc:
                submission.error = exc
            finally:
                if submission.audio is not None:
                    submission.audio.close()
            if not submission.speaks:  # No window will tell the language.
                submission.judged(_closed_early() if submission.cancelled else submission.error or [])
            with self._changed:
                submission.all_read = True
                self._changed.notify_all()

    def _cut(self, queue: _Queue, submission: Queued) -> None:
        """Read a recording to its end, and queue its windows."""
        if submission.audio is None:
            return
        recording, decoder = submission.recording, queue.decoder
        if recording.language is None and (guesses := recording.notes.guesses()):
            submission.judged(guesses)
            submission.speaks = True
        windows = cut_windows(
            self._blocks(submission, submission.audio, Clips(queue.options.clip_timestamps)),
            detector=self._detector(),
            threshold=queue.options.vad_threshold,
            skip_silence=queue.options.vad_filter,
            longest=longest_for(queue.options, decoder.audio_seconds),
            audio_seconds=decoder.audio_seconds,
            stopwatch=self._stopwatch,
        )
        first: list[_Entry] = []
        for window in windows:
            if submission.cancelled:
                return
            submission.heard([(span.start / SAMPLE_RATE, span.end / SAMPLE_RATE) for span in window.speech])
            entry = _Entry(submission, decoder.input(window, first=submission.windows == 0))
            submission.windows += 1
            if submission.speaks or recording.language is not None:
                if (known := recording.notes.result(window)) is not None:
                    entry = _Entry(submission, counts=False, result=known)
                self._put(queue, entry)
                continue
            first.append(entry)
            if len(first) == MOST_WINDOWS:
                self._put_first(queue, submission, first)
        if not submission.speaks and first:
            self._put_first(queue, submission, first)

    def _put_first(self, queue: _Queue, submission: Queued, entries: Sequence[_Entry]) -> None:
        """Queue the windows in which the language is judged: the first of them brings the others along for that."""
        submission.speaks = True
        entries[0].judges = tuple(each.input for each in entries if each.input is not None)
        for entry in entries:
            self._put(queue, entry)

    def _blocks(self, submission: Queued, audio: Audio, clips: Clips) -> Iterator[Float32Array]:
        blocks = iter(audio)
        while not submission.cancelled:
            with self._stopwatch.measure("decode"):
                block = next(blocks, None)
            if block is None:
                return
            masked = clips.mask(block, submission.samples)
            submission.samples += len(block)
            yield masked

    def _put(self, queue: _Queue, entry: _Entry) -> None:
        """Add an entry once there is room for it."""
        submission = entry.submission
        with self._changed:
            self._changed.wait_for(lambda: queue.ahead < self._most_ahead or submission.cancelled)
            if submission.cancelled:
                return
            submission.ordered.append(entry)
            if entry.counts:
                queue.ahead += 1
                self._waiting.append(entry)
            self._changed.notify_all()

    # --- workers ----------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while batch := self._take():
                self._decode(batch)
        except BaseException:
            with self._changed:
                self._workers -= 1
            raise

    def _take(self) -> list[_Entry]:
        """The windows of the next batch; none once nothing is left to decode, which ends the worker."""
        with self._changed:
            while not self._waiting:
                if all(queue.is_read for queue in self._queues):
                    self._workers -= 1
                    return []
                self._changed.wait(_LOOK)
            batch = self._batch(self._due())
            for entry in batch:
                self._waiting.remove(entry)
                entry.submission.queue.served = next(self._turn)
            return batch

    def _due(self) -> list[_Entry]:
        """Waiting windows in the order in which they are due: by priority, queues taking turns. Call with the lock."""
        places: dict[int, Iterator[int]] = {}
        turns = [(next(places.setdefault(id(e.submission.queue), itertools.count())), e) for e in self._waiting]
        ranked = sorted(
            turns,
            key=lambda turn: (-turn[1].submission.queue.priority, turn[0], turn[1].submission.queue.served),
        )
        return [entry for _, entry in ranked]

    def _batch(self, due: Sequence[_Entry]) -> list[_Entry]:
        """The first window that is due, with others of its shape. Call it with the lock.

        A window whose language is judged in one that goes on waiting is left: a worker that took it would wait for the
        language, and all of them could.
        """
        size = self._engine.limits.batch_size
        if all(queue.is_read for queue in self._queues):  # Towards the end, give each worker a share.
            size = min(size, -(-len(due) // self._engine.limits.workers))
        batch: list[_Entry] = []
        unjudged: list[Queued] = []
        for entry in due:
            if len(batch) < size and _shape(entry) == _shape(due[0]) and entry.submission not in unjudged:
                batch.append(entry)
            elif entry.judges:
                unjudged.append(entry.submission)
        return batch

    def _decode(self, batch: Sequence[_Entry]) -> None:
        decoder = batch[0].submission.queue.decoder
        try:
            inputs = decoder.encoded([entry.input for entry in batch if entry.input is not None])
            for entry, shown in zip(batch, inputs, strict=True):
                if entry.judges and not entry.submission.is_judged:
                    self._judge(decoder, entry, shown)
            inputs = [
                replace(shown, language=entry.submission.language()) for entry, shown in zip(batch, inputs, strict=True)
            ]
            for place, decoding in decoder.decode(inputs):
                self._settle(decoder, batch[place], decoding)
        except Exception as exc:
            if len(batch) == 1:
                if batch[0].judges:
                    batch[0].submission.judged(exc)
                self._done(batch[0], error=exc)
            else:  # What is wrong with one recording does not touch the others.
                for entry in batch:
                    if not entry.is_done:
                        self._decode([entry])

    def _judge(self, decoder: WindowDecoder, entry: _Entry, shown: WindowInput) -> None:
        submission = entry.submission
        try:
            guesses = decoder.judge_language([shown, *entry.judges[1:]])
            submission.recording.notes.note_guesses(guesses)  # before any result, which is of no use without them
        except Exception as exc:
            submission.judged(exc)
            raise
        submission.judged(guesses)

    def _settle(self, decoder: WindowDecoder, entry: _Entry, decoding: Decoding) -> None:
        """Keep what became of a window. One that needs the temperatures is finished in order, by the caller."""
        if not decoder.is_settled(decoding):
            self._done(entry, decoding)
            return
        result = decoder.finish(decoding, lambda: self._engine)
        # What is drawn is not noted: samples come in a sequence, which a resumed run begins anew.
        if entry.input is not None:
            entry.submission.recording.notes.note_result(entry.input.window, result)
        self._done(entry, result)

    def _done(
        self, entry: _Entry, result: DecodedWindow | Decoding | None = None, error: Exception | None = None
    ) -> None:
        with self._changed:
            entry.result, entry.error = result, error
            entry.input = None
            entry.judges = ()
            self._changed.notify_all()


def _shape(entry: _Entry) -> tuple[WindowDecoder, float]:
    """Windows of the same decoder and context can be decoded together."""
    return entry.submission.queue.decoder, entry.input.context if entry.input is not None else 0.0


def _closed_early() -> ValueError:
    return ValueError("the recording was closed before its end")
