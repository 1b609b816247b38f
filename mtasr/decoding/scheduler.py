"""Decodes the windows of all recordings of a model together, and gives each recording its results in order.

    submit -> a reader thread for each group: open, cut windows -> waiting windows
           -> workers: take a batch, encode, judge the language, decode -> results in order, for the caller

Recordings submitted together form a group: they are read one after the other. A worker takes the window that is due
and fills its batch with windows of the same shape, whatever recordings and callers they come from. Groups take turns,
so a short recording does not wait behind a long one; a higher priority goes first, but for every fourth batch. What a
window becomes does not depend on its batch, so neither the number of workers nor other callers change a result. A
reader stays a bounded number of windows ahead of what is asked for: memory does not grow with the length of a
recording.

Threads exist only while recordings are open or windows wait.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from mtasr.decoding import exits
from mtasr.decoding.checks import Checks
from mtasr.decoding.draws import Draws
from mtasr.decoding.groups import (
    Group,
    Recording,
    RecordingState,
    Slot,
    Waiting,
    closed_early,
    loaded_before_fork,
    next_batch,
)
from mtasr.decoding.reader import Reader
from mtasr.decoding.retries import RETRIES, Decoding, Retry
from mtasr.decoding.single_windows import SingleWindows
from mtasr.decoding.submission import DecodedWindow, PlacedResult
from mtasr.decoding.window_decoder import WindowDecoders
from mtasr.decoding.window_input import WindowInput
from mtasr.engines.engine import Engine, LanguageGuess
from mtasr.options import DecodingOptions
from mtasr.stopwatch import Stopwatch
from mtasr.threads import start_thread
from mtasr.vad import MakeDetector, SileroDetector

#: Batches for each worker that the readers may be ahead, together: more of them fill better, and hold more samples.
_BATCHES_AHEAD = 4

#: Batches in a row that a higher priority may have; then the group that has waited longest gets one.
_BATCHES_FIRST = 3

#: Seconds between looks at what nobody reports: a thread that died for want of memory, a recording nobody holds.
_LOOK = 1.0

#: Seconds to wait for a reader to close a recording.
_CLOSING = 2.0


class Scheduler:
    """Decodes recordings with one engine; `submit` may be called from any thread at any time."""

    def __init__(
        self,
        engine: Engine,
        stopwatch: Stopwatch,
        detector: MakeDetector = SileroDetector,
        retries: tuple[Retry, ...] = RETRIES,
    ) -> None:
        self._engine, self._stopwatch, self._detector = engine, stopwatch, detector
        #: Makes what decodes windows, the same for equal options.
        self.decoder = WindowDecoders(engine, stopwatch, retries)
        self.draws = Draws(engine)
        limits = engine.limits
        self._most_ahead = _BATCHES_AHEAD * limits.batch_size * limits.workers
        self._turn = itertools.count(1)
        #: Batches in a row taken before windows of a lower priority.
        self._taken_first = 0
        self._stopped = False
        #: Recordings that nobody can ask for results any more; appended to without the lock.
        self._abandoned: deque[RecordingState] = deque()
        # This condition guards all that follows.
        self._changed = threading.Condition()
        self._groups: list[Group] = []
        self._waiting: list[Waiting] = []
        self._workers: set[threading.Thread] = set()

    def submit(
        self,
        recordings: Sequence[Recording],
        options: DecodingOptions,
        *,
        checks: Checks | None = None,
        priority: int = 0,
    ) -> list[RecordingState]:
        """Take recordings, which are read one after the other; ask for their results in that order.

        Work begins when one is opened, or its results or language are asked for. Windows of a higher `priority` go
        first, and others wait while there are any, but for every fourth batch.
        """
        group = Group(self.decoder(options, checks), options, priority)
        states = [RecordingState(group, recording) for recording in recordings]
        group.unfinished = dict.fromkeys(states)
        group.unread.extend(states)
        return states

    def single_windows(
        self, options: DecodingOptions, *, priority: int = 0, retries: tuple[Retry, ...] | None = None
    ) -> SingleWindows:
        """For windows that callers cut, with other `retries` than those of recordings if they are given."""
        group = Group(self.decoder(options, retries=retries), options, priority, is_read=True)
        return SingleWindows(self, group)

    def put(self, waiting: Waiting) -> None:
        """Take a window that no reader cut; its group is one of `single_windows`."""
        group = waiting.state.group
        with self._changed:
            self._forget_abandoned()
            group.unfinished[waiting.state] = None
            if group not in self._groups:
                self._serve(group)
            self._waiting.append(waiting)
            self._changed.notify_all()

    # --- for callers ------------------------------------------------------------------------------------------------

    def start(self, group: Group) -> None:
        """Begin to read and decode a group. Does nothing if that has begun.

        One worker is enough. Raises `MemoryError` if there is no room for it or for the reader; a later call may find
        some.
        """
        with self._changed:
            self._forget_abandoned()
            if group.reader is not None or group.is_read or not group.unfinished:
                return
            self._serve(group)
            try:
                group.reader = start_thread(self._read, group)
            except BaseException:
                self._groups.remove(group)
                self._changed.notify_all()
                raise

    def _serve(self, group: Group) -> None:
        """Let a group take turns with the others, and start workers. Call it with the lock."""
        if self._stopped:
            raise RuntimeError("the interpreter is exiting")
        exits.watch(self)
        while len(self._workers) < self._engine.limits.workers:
            try:
                self._workers.add(start_thread(self._work))
            except MemoryError:
                if not self._workers:
                    raise
                break
        group.served = next(self._turn)  # Newcomers stand behind all that wait.
        self._groups.append(group)

    def guesses(self, state: RecordingState) -> list[LanguageGuess]:
        """The languages that a recording may be in; waits until they are known. Empty if nobody speaks.

        Raises what went wrong before that, and `ValueError` once it is cancelled.
        """
        self.start(state.group)
        with self._changed:
            self._wait(state.group, lambda: state.guesses is not None or state.is_cancelled)
        if state.guesses is None:
            raise closed_early()
        if isinstance(state.guesses, BaseException):
            raise state.guesses
        return state.guesses

    def language(self, state: RecordingState) -> str:
        """The code of the language given or judged; "en" if nobody speaks. Waits and raises as `guesses` does."""
        if state.recording.language is not None:
            return state.recording.language
        guesses = self.guesses(state)
        return guesses[0].code if guesses else "en"

    def results(self, state: RecordingState, *, draws: bool = True) -> Iterator[PlacedResult]:
        """The results of a recording, in file order. Those before it in its group are cancelled.

        Without `draws`, windows that need the temperatures have none. Raises what went wrong with it after its other
        results, what `start` raises, and `ValueError` once it is cancelled.
        """
        group = state.group
        with self._changed:
            states = list(group.unfinished)
        if state in states:
            self.cancel(states[: states.index(state)])
        self.start(group)
        while (slot := self._next(state)) is not None:
            result = self.result(slot)
            if isinstance(result, DecodedWindow):
                yield PlacedResult(slot.place, result, to_note=not slot.is_noted)
            else:
                yield PlacedResult(slot.place, self.draws.finish(result, state) if draws else None)
        with self._changed:
            self._drop(state)
        if state.error is not None:
            raise state.error

    def cancel(self, states: Sequence[RecordingState]) -> None:
        """Stop decoding and reading recordings. A batch under way ends, and its result is dropped."""
        with self._changed:
            self._forget(states)
        for state in states:
            reader = state.group.reader
            if reader is None and state.audio is not None:  # opened, and without a reader to close it
                state.audio.close()
                continue
            # A reader that waits for live audio cannot be interrupted: it ends when the next block comes.
            is_closing = state.audio is not None and state.audio.abort()
            if is_closing and reader not in (None, threading.current_thread()) and not state.group.unfinished:
                reader.join(timeout=_CLOSING)

    def abandon(self, state: RecordingState) -> None:
        """Cancel a recording, some time soon. Takes no lock: garbage collection may call it anywhere."""
        if state in state.group.unfinished:
            state.is_cancelled = True
            self._abandoned.append(state)

    def _forget(self, states: Iterable[RecordingState]) -> None:
        """Drop recordings and their windows. Call it with the lock."""
        for state in states:
            state.is_cancelled = True
            state.group.ahead -= sum(not slot.is_noted for slot in state.slots)
            state.slots.clear()
            self._drop(state)
        self._waiting = [each for each in self._waiting if not each.state.is_cancelled]

    def _forget_abandoned(self) -> None:
        """Drop what nobody can ask for. Call it with the lock."""
        while self._abandoned:
            state = self._abandoned.popleft()
            self._forget([state])
            if state.audio is not None:
                state.audio.abort()

    def _drop(self, state: RecordingState) -> None:
        """Forget a recording that has nothing more to give. Call it with the lock."""
        group = state.group
        group.unfinished.pop(state, None)
        if not group.unfinished and group in self._groups:
            self._groups.remove(group)
        self._changed.notify_all()

    def _next(self, state: RecordingState) -> Slot | None:
        """The next slot of a recording as soon as there is one; None at its end."""
        with self._changed:
            self._wait(state.group, lambda: state.slots or state.is_read or state.is_cancelled)
            if state.is_cancelled:
                raise closed_early()
            if not state.slots:
                return None
            slot = state.slots.popleft()
            if not slot.is_noted:
                state.group.ahead -= 1
                self._changed.notify_all()
            return slot

    def result(self, slot: Slot) -> DecodedWindow | Decoding:
        """What a window became; waits. Raises what went wrong, and `ValueError` once it is cancelled."""
        with self._changed:
            self._wait(slot.state.group, lambda: slot.is_done or slot.state.is_cancelled)
        if slot.error is not None:
            raise slot.error
        if slot.result is None:
            raise closed_early()
        return slot.result

    def _wait(self, group: Group, ready: Callable[[], object]) -> None:
        """Wait for a group. Call it with the lock. Raises why the group broke, if what is waited for will not come."""
        while not self._changed.wait_for(lambda: ready() or group.broken is not None, _LOOK):
            pass
        if not ready() and group.broken is not None:
            raise group.broken.with_traceback(None)  # of the thread that died, whose frames hold its windows

    # --- readers ----------------------------------------------------------------------------------------------------

    def _read(self, group: Group) -> None:
        """Read a group, in a thread of its own."""
        reader = Reader(group, self._put, self._settle_language, self._detector, self._stopwatch)
        try:
            while group.unread:
                state = reader.read_next()
                with self._changed:
                    state.is_read = True
                    self._changed.notify_all()
        except BaseException as exc:
            group.broken = exc
        finally:
            with self._changed:
                group.is_read = True
                self._changed.notify_all()

    def _put(self, slot: Slot, waiting: Waiting | None = None) -> None:
        """Add a slot, and the window that waits for it, once there is room."""
        state, group = slot.state, slot.state.group
        with self._changed:
            while not self._changed.wait_for(lambda: group.ahead < self._room() or state.is_cancelled, _LOOK):
                pass
            if state.is_cancelled:
                return
            state.slots.append(slot)
            if waiting is not None:
                group.ahead += 1
                self._waiting.append(waiting)
            self._changed.notify_all()

    def _room(self) -> int:
        """Windows that each group may be ahead: its share, and at least a batch."""
        return max(self._engine.limits.batch_size, self._most_ahead // max(1, len(self._groups)))

    # --- workers ----------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        """Decode batches until nothing is left, in a thread of its own."""
        batch: list[Waiting] = []
        try:
            while batch := self._take():
                self._decode(batch)
                batch = []  # What is done is neither kept nor blamed while the next batch is awaited.
        except BaseException as exc:
            with self._changed:
                self._workers.discard(threading.current_thread())
                # The other workers go on with the other groups.
                for group in {each.state.group for each in batch} if self._workers else list(self._groups):
                    group.broken = exc
                self._changed.notify_all()

    def _take(self) -> list[Waiting]:
        """The windows of the next batch; none once nothing is left to decode, which ends the worker."""
        with self._changed:
            self._forget_abandoned()
            while not self._waiting:
                if self._stopped or all(group.is_read for group in self._groups):
                    self._workers.discard(threading.current_thread())
                    return []
                self._changed.wait(_LOOK)
                self._forget_abandoned()
            size = self._engine.limits.batch_size
            if all(group.is_read for group in self._groups):  # Towards the end, give each worker a share.
                size = min(size, -(-len(self._waiting) // self._engine.limits.workers))
            batch = next_batch(self._waiting, size, by_priority=self._taken_first < _BATCHES_FIRST)
            lowest = min(each.state.group.priority for each in self._waiting)
            is_first = lowest < batch[0].state.group.priority
            self._taken_first = self._taken_first + 1 if is_first else 0
            for waiting in batch:
                waiting.state.group.served = next(self._turn)
            self._waiting = [each for each in self._waiting if each not in batch]
            return batch

    def _decode(self, batch: Sequence[Waiting]) -> None:
        decoder = batch[0].state.group.decoder
        try:
            inputs = decoder.encoded([each.input for each in batch])
            for waiting, shown in zip(batch, inputs, strict=True):
                if waiting.first_windows and not waiting.state.has_language:
                    self._judge_language(waiting, shown)
            known = self._in_their_languages(batch, inputs)
            slots = [slot for slot, _ in known]
            inputs = [shown for _, shown in known]
            for index, decoding in decoder.decode(inputs, lambda index: not slots[index].state.is_cancelled):
                self._settle(slots[index], decoding)
        except Exception as exc:
            if len(batch) == 1:
                if batch[0].first_windows:
                    self._settle_language(batch[0].state, exc)
                self._done(batch[0].slot, error=exc)
            else:  # What is wrong with one recording does not touch the others.
                for each in batch:
                    if not each.slot.is_done and not each.state.is_cancelled:
                        self._decode([each])

    def _in_their_languages(
        self, batch: Sequence[Waiting], inputs: Sequence[WindowInput]
    ) -> list[tuple[Slot, WindowInput]]:
        """Inputs with their languages, which other workers may still be judging, without those that have none."""
        known = []
        for waiting, shown in zip(batch, inputs, strict=True):
            if waiting.state.is_cancelled:
                continue
            try:
                known.append((waiting.slot, replace(shown, language=self.language(waiting.state))))
            except BaseException as exc:  # It concerns that recording, which may have lost its worker, alone.
                self._done(waiting.slot, error=exc)
        return known

    def _judge_language(self, waiting: Waiting, shown: WindowInput) -> None:
        """Judge the language of a recording in its first windows, the first of which is encoded."""
        state, inputs = waiting.state, [shown, *waiting.first_windows[1:]]
        guesses = state.group.decoder.judge_language(inputs, lambda: not state.is_cancelled)
        if not state.is_cancelled:  # else they may not be judged to the end
            state.recording.notes.note_guesses(guesses)  # before any result, which is of no use without them
            self._settle_language(state, guesses)

    def _settle_language(self, state: RecordingState, guesses: Sequence[LanguageGuess] | BaseException) -> None:
        with self._changed:
            state.settle_language(guesses)
            self._changed.notify_all()

    def _settle(self, slot: Slot, decoding: Decoding) -> None:
        """Keep what became of a window. One that needs the temperatures is finished in order, by the caller."""
        decoder = slot.state.group.decoder
        if not decoder.is_settled(decoding):
            self._done(slot, decoding)
            return
        result = decoder.finish(decoding, lambda: self._engine)
        # What is drawn is not noted: a resumed run draws the same.
        slot.state.recording.notes.note_result(decoding.input.window.place, result)
        self._done(slot, result)

    def _done(
        self, slot: Slot, result: DecodedWindow | Decoding | None = None, error: BaseException | None = None
    ) -> None:
        with self._changed:
            slot.result, slot.error = result, error
            self._changed.notify_all()

    def stop(self) -> None:
        """Cancel everything, refuse what is new, and wait for the batches under way."""
        with self._changed:
            self._stopped = True
            for group in list(self._groups):
                self._forget(list(group.unfinished))
            workers = list(self._workers)
        for worker in workers:
            worker.join()

    def fail(self) -> None:
        """Fail everything, as after a fork."""
        self._changed = threading.Condition()
        self._workers.clear()
        for group in self._groups:
            group.broken = loaded_before_fork()
