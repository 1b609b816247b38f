"""A live session without threads and without a model: sound that is loud is speech, half a second of it is a word."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.live import Committed, Draft, Event, Final, LivePolicy, SpeechStarted, SpeechStopped
from mtasr.options import DecodingOptions
from mtasr.speakers.options import SpeakerOptions
from mtasr.transcribe import Model
from mtasr.transcript import Segment, Transcript, Word

RATE = 16_000
#: Samples that are loud or not.
_PIECE = 800
#: Pieces of a word.
_WORD = 10


class FakeSession:
    """Word n is the number of the half second, from the start of the session, in which it was heard."""

    #: If set, adding waits for it.
    gate: threading.Event | None = None
    warnings: tuple[str, ...] = ()
    #: Raised by what is added.
    failure: Exception | None = None

    def __init__(
        self, model: Model, options: DecodingOptions, policy: LivePolicy, *, diarize: bool | SpeakerOptions = False
    ) -> None:
        self.options, self.policy, self.diarize = options, policy, diarize
        self._events: queue.Queue[Event | Exception | None] = queue.Queue()
        self._held = np.zeros(0, np.float32)
        self._pieces = self._quiet = 0
        self._stretch = -1
        self._began: int | None = None
        self._loud: list[int] = []
        self._finals: list[Segment] = []
        self._is_ended = self._is_closed = False

    def add(self, samples: Float32Array, *, position: int | None = None) -> None:
        if self.gate is not None:
            self.gate.wait(20)
        if self._is_ended or self._is_closed:
            raise ValueError("the session has ended")
        if self.failure is not None:
            self._events.put(self.failure)
            raise self.failure
        held = np.concatenate([self._held, samples])
        while len(held) >= _PIECE:
            self._hear(bool(np.abs(held[:_PIECE]).mean() > 0.01))
            held = held[_PIECE:]
        self._held = held

    def cut(self) -> None:
        if self._began is not None:
            self._stop()

    def end(self) -> None:
        if not self._is_ended and not self._is_closed:
            self._is_ended = True
            self.cut()
            self._events.put(None)

    def close(self) -> None:
        self._is_closed = True
        self._events.put(None)

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        while (event := self._events.get()) is not None:
            if isinstance(event, Exception):
                raise event
            yield event

    def transcript(self) -> Transcript:
        if not self._is_ended:
            raise ValueError("the session was closed before its end")
        seconds = (self._pieces * _PIECE + len(self._held)) / RATE
        return Transcript(language="en", language_probability=1.0, duration=seconds, segments=tuple(self._finals))

    def _hear(self, loud: bool) -> None:
        self._pieces += 1
        self._quiet = 0 if loud else self._quiet + 1
        if loud and self._began is None:
            self._stretch += 1
            self._began = self._pieces - 1
            self._events.put(SpeechStarted(stretch=self._stretch, at=self._at(self._began)))
        if self._began is None:
            return
        if loud:
            self._loud.append(self._pieces)
            if len(self._loud) % _WORD == 0:
                self._events.put(Committed(stretch=self._stretch, words=(self._word(self._loud[-1]),)))
            else:
                self._events.put(Draft(stretch=self._stretch, words=(self._word(self._loud[-1]),)))
        elif self.policy.pause is not None and self._quiet * _PIECE / RATE >= self.policy.pause:
            self._stop()

    def _stop(self) -> None:
        began, end = self._began or 0, self._loud[-1]
        words = tuple(self._word(each) for each in self._loud[_WORD - 1 :: _WORD]) or (self._word(end),)
        self._events.put(SpeechStopped(stretch=self._stretch, at=self._at(end)))
        segment = Segment(
            id=len(self._finals), start=self._at(began), end=self._at(end), text="".join(word.word for word in words),
            tokens=(), avg_logprob=-0.2, compression_ratio=1.0, no_speech_prob=0.0, temperature=0.0,
        )  # fmt: skip
        self._finals.append(segment)
        self._events.put(Final(stretch=self._stretch, segments=(segment,), language="en"))
        self._began, self._loud = None, []

    def _word(self, piece: int) -> Word:
        at = self._at(piece)
        return Word(word=f" {round(at * 2)}", start=max(0.0, at - 0.5), end=at, probability=0.9)

    @staticmethod
    def _at(piece: int) -> float:
        return piece * _PIECE / RATE


class EndlessSession(FakeSession):
    """Is never done with what it has heard."""

    def end(self) -> None:
        self._is_ended = True
