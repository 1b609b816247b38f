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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from weakref import WeakValueDictionary

from mtasr.decoding.checks import Checks
from mtasr.decoding.queue import Pending, Queue, Queued, Recording, closed_early
from mtasr.decoding.reader import Reader
from mtasr.decoding.retries import RETRIES, Decoding, Retry, WindowInput
from mtasr.decoding.submission import DecodedWindow
from mtasr.decoding.window_decoder import WindowDecoder
from mtasr.engines.engine import Engine
from mtasr.options import DecodingOptions
from mtasr.stopwatch import Stopwatch
from mtasr.threads import start_thread
from mtasr.vad import MakeDetector, SileroDetector

#: Batches for each worker that the readers may be ahead, together: more of them fill better, and hold more samples.
_BATCHES_AHEAD = 4

#: Seconds between looks at whether the threads still work: one that dies for want of memory may fail to say so.
_LOOK = 1.0


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
        self._queues: list[Queue] = []
        self._waiting: list[Pending] = []
        self._workers: set[threading.Thread] = set()
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

        Work begins when one is opened, or its results or language are asked for. Windows of a higher `priority` go
        first, and others wait while there are any.
        """
        queue = Queue(self._decoder(options, checks or Checks()), options, priority)
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

    def start(self, queue: Queue) -> None:
        """Begin to read and decode a queue. Does nothing if that has begun.

        One worker is enough. Raises `MemoryError` if there is no room for it or for the reader; a later call may find
        some.
        """
        with self._changed:
            if queue.reader is not None or not queue.submissions:
                return
            self._queues.append(queue)
            try:
                self._workers = {each for each in self._workers if each.is_alive()}
                while len(self._workers) < self._engine.limits.workers:
                    try:
                        self._workers.add(start_thread(self._guarded, self._work, self._queues))
                    except MemoryError:
                        if not self._workers:
                            raise
                        break
                queue.reader = start_thread(self._guarded, self._read, [queue], queue)
            except BaseException:
                self._queues.remove(queue)
                self._changed.notify_all()
                raise

    def _guarded(self, work: Callable[..., None], queues: Sequence[Queue], *arguments: Queue) -> None:
        """Do the work of a thread. If it dies, fail every caller that waits for it."""
        try:
            work(*arguments)
        except BaseException as exc:
            for queue in list(queues):
                queue.broken = queue.broken or exc
                for submission in list(queue.submissions):
                    submission.judged(exc)

    # --- for callers ------------------------------------------------------------------------------------------------

    def results(self, queue: Queue, submission: Queued) -> Iterator[DecodedWindow]:
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

    def cancel(self, queue: Queue, submissions: Sequence[Queued]) -> None:
        """Stop decoding and reading submissions. A batch under way ends, and its result is dropped."""
        cancelled = [each for each in submissions if not each.cancelled]
        with self._changed:
            for submission in cancelled:
                submission.cancelled = True
                queue.ahead -= sum(entry.counts for entry in submission.ordered)
                submission.ordered.clear()
                submission.judged(closed_early())
            self._waiting = [entry for entry in self._waiting if not entry.submission.cancelled]
            self._drop(queue, cancelled)
        for submission in cancelled:
            if submission.audio is not None:
                submission.audio.abort()
        if queue.reader not in (None, threading.current_thread()) and not queue.submissions:
            queue.reader.join(timeout=2.0)  # A named pipe without a writer cannot be interrupted.

    def _drop(self, queue: Queue, submissions: Sequence[Queued]) -> None:
        """Forget submissions that have nothing more to give. Call it with the lock."""
        queue.submissions = [each for each in queue.submissions if each not in submissions]
        if not queue.submissions and queue in self._queues:
            self._queues.remove(queue)
        self._changed.notify_all()

    def _next(self, queue: Queue, submission: Queued) -> Pending | None:
        """The next entry of a submission as soon as there is one; None at its end."""
        with self._changed:
            self._wait(queue, lambda: submission.ordered or submission.all_read or submission.cancelled)
            if submission.cancelled:
                raise closed_early()
            if not submission.ordered:
                return None
            entry = submission.ordered.popleft()
            if entry.counts:
                queue.ahead -= 1
                self._changed.notify_all()
            return entry

    def _outcome(self, queue: Queue, entry: Pending) -> DecodedWindow | Decoding:
        with self._changed:
            self._wait(queue, lambda: entry.is_done or entry.submission.cancelled)
        if entry.error is not None:
            raise entry.error
        if entry.result is None:
            raise closed_early()
        return entry.result

    def _wait(self, queue: Queue, ready: Callable[[], object]) -> None:
        while not self._changed.wait_for(ready, _LOOK):
            if queue.broken is not None:
                raise queue.broken

    # --- readers ----------------------------------------------------------------------------------------------------

    def _read(self, queue: Queue) -> None:
        reader = Reader(queue, self._put, self._detector, self._stopwatch)
        while queue.unread:
            submission = reader.read_next()
            with self._changed:
                submission.all_read = True
                self._changed.notify_all()

    def _put(self, queue: Queue, entry: Pending) -> None:
        """Add an entry once there is room for it."""
        submission = entry.submission
        with self._changed:
            self._changed.wait_for(lambda: queue.ahead < self._room() or submission.cancelled)
            if submission.cancelled:
                return
            submission.ordered.append(entry)
            if entry.counts:
                queue.ahead += 1
                self._waiting.append(entry)
            self._changed.notify_all()

    def _room(self) -> int:
        """Windows that each queue may be ahead: a share, so that memory does not grow with the number of callers."""
        return max(self._engine.limits.batch_size, self._most_ahead // max(1, len(self._queues)))

    # --- workers ----------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while batch := self._take():
            self._decode(batch)

    def _take(self) -> list[Pending]:
        """The windows of the next batch; none once nothing is left to decode, which ends the worker."""
        with self._changed:
            while not self._waiting:
                if all(queue.is_read for queue in self._queues):
                    self._workers.discard(threading.current_thread())
                    return []
                self._changed.wait(_LOOK)
            batch = self._batch(self._due())
            for entry in batch:
                self._waiting.remove(entry)
                entry.submission.queue.served = next(self._turn)
            return batch

    def _due(self) -> list[Pending]:
        """Waiting windows in the order in which they are due: by priority, queues taking turns. Call with the lock."""
        places: dict[int, Iterator[int]] = {}
        turns = [(next(places.setdefault(id(e.submission.queue), itertools.count())), e) for e in self._waiting]
        ranked = sorted(
            turns,
            key=lambda turn: (-turn[1].submission.queue.priority, turn[0], turn[1].submission.queue.served),
        )
        return [entry for _, entry in ranked]

    def _batch(self, due: Sequence[Pending]) -> list[Pending]:
        """The first window that is due, with others of its shape. Call it with the lock.

        A window whose language is judged in one that goes on waiting is left: a worker that took it would wait for the
        language, and all of them could.
        """
        size = self._engine.limits.batch_size
        if all(queue.is_read for queue in self._queues):  # Towards the end, give each worker a share.
            size = min(size, -(-len(due) // self._engine.limits.workers))
        batch: list[Pending] = []
        unjudged: list[Queued] = []
        for entry in due:
            if len(batch) < size and _shape(entry) == _shape(due[0]) and entry.submission not in unjudged:
                batch.append(entry)
            elif entry.judges:
                unjudged.append(entry.submission)
        return batch

    def _decode(self, batch: Sequence[Pending]) -> None:
        decoder = batch[0].submission.queue.decoder
        try:
            inputs = decoder.encoded([entry.input for entry in batch if entry.input is not None])
            for entry, shown in zip(batch, inputs, strict=True):
                if entry.judges and not entry.submission.is_judged:
                    self._judge(decoder, entry, shown)
            wanted = [place for place, entry in enumerate(batch) if not entry.submission.cancelled]
            inputs = [replace(inputs[place], language=batch[place].submission.language()) for place in wanted]
            entries = [batch[place] for place in wanted]
            for place, decoding in decoder.decode(inputs, lambda place: not entries[place].submission.cancelled):
                self._settle(decoder, entries[place], decoding)
        except Exception as exc:
            if len(batch) == 1:
                if batch[0].judges:
                    batch[0].submission.judged(exc)
                self._done(batch[0], error=exc)
            else:  # What is wrong with one recording does not touch the others.
                for entry in batch:
                    if not entry.is_done and not entry.submission.cancelled:
                        self._decode([entry])

    def _judge(self, decoder: WindowDecoder, entry: Pending, shown: WindowInput) -> None:
        submission = entry.submission
        try:
            guesses = decoder.judge_language([shown, *entry.judges[1:]])
            submission.recording.notes.note_guesses(guesses)  # before any result, which is of no use without them
        except Exception as exc:
            submission.judged(exc)
            raise
        submission.judged(guesses)

    def _settle(self, decoder: WindowDecoder, entry: Pending, decoding: Decoding) -> None:
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
        self, entry: Pending, result: DecodedWindow | Decoding | None = None, error: Exception | None = None
    ) -> None:
        with self._changed:
            entry.result, entry.error = result, error
            entry.input = None
            entry.judges = ()
            self._changed.notify_all()


def _shape(entry: Pending) -> tuple[WindowDecoder, float]:
    """Windows of the same decoder and context can be decoded together."""
    return entry.submission.queue.decoder, entry.input.context if entry.input is not None else 0.0
