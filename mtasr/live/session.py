"""A live session: samples come in as they are recorded, events come out."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.live.events import Event, Final
from mtasr.live.policy import LivePolicy
from mtasr.options import DecodingOptions
from mtasr.threads import start_thread
from mtasr.transcribe import Model
from mtasr.transcript import Transcript


class LiveSession:
    """Captions of one source of sound. Any number of sessions and recordings share a `Model`.

    One thread adds samples and another reads events; every method may be called from any thread. Use it in a `with`
    block, or call `close`.
    """

    def __init__(
        self,
        model: Model,
        options: DecodingOptions | None = None,
        policy: LivePolicy | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        **changes: Any,
    ) -> None:
        """`options` and `changes` are as for `Model.transcribe`; `clock` gives the time in seconds.

        Raises `UsageError` for options that make no sense, or none live: `condition_on_previous_text`,
        `clip_timestamps`, split channels.
        """
        self._policy = policy or LivePolicy()
        self._blocks: queue.Queue[Float32Array | None] = queue.Queue()
        self._events: queue.Queue[Event | None] = queue.Queue()
        self._done = threading.Event()
        self._transcript: Transcript | None = None
        self._failure: BaseException | None = None
        self._transcription = model.stream(self._samples(), options, **changes)
        start_thread(self._work)

    def add(self, samples: Float32Array, *, position: int | None = None) -> None:
        """Take the next samples: 16 kHz, mono, float32 from -1 to 1, shape (n,), any n.

        `position` counts the samples of the source before these, if the source counts them: samples that came before
        are dropped (`Repeated`), and silence stands for those that are missing (`Skipped`).

        Returns at once, unless `policy.most_waiting` seconds wait to be heard: then it waits too, so that a source
        faster than the machine does not fill the memory. Raises `ValueError` after `end` or `close`, `InputError` for
        what are no samples, and whatever error ended the session: `LiveError`, `ModelError`.
        """
        self._blocks.put(np.asarray(samples, np.float32))

    def cut(self) -> None:
        """End the stretch here, as a pause would."""

    def end(self) -> None:
        """Say that no samples follow. Events go on until everything said is final. A second call does nothing."""
        self._blocks.put(None)

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        """Events as they come, each once, until the session has ended or is closed.

        With a `timeout` in seconds, the iterator ends when nothing came for so long, and can be asked for anew. Raises
        the error that ended the session, after what came before it.
        """
        while True:
            try:
                event = self._events.get(timeout=timeout)
            except queue.Empty:
                return
            if event is None:
                self._events.put(None)
                if self._failure is not None:
                    raise self._failure
                return
            yield event

    def transcript(self) -> Transcript:
        """The whole transcript, once the session has ended; waits for that.

        With `policy.exact` it is what `Model.transcribe` gives for the same samples. Raises the error that ended the
        session, and `ValueError` if it was closed.
        """
        self._done.wait()
        if self._failure is not None:
            raise self._failure
        if self._transcript is None:
            raise ValueError("the session was closed before its end")
        return self._transcript

    def close(self) -> None:
        """Stop at once, and drop what is not decoded; after the end, do nothing."""
        self._transcription.close()
        self._blocks.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _samples(self) -> Iterator[Float32Array]:
        while (block := self._blocks.get()) is not None:
            yield block

    def _work(self) -> None:
        try:
            for number, segment in enumerate(self._transcription):
                self._events.put(Final(stretch=number, segments=(segment,), language=self._transcription.language))
            self._transcript = self._transcription.transcript()
        except BaseException as exc:
            self._failure = exc
        finally:
            self._events.put(None)
            self._done.set()
