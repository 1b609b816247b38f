"""A live session: samples come in as they are recorded, events come out.

    add -> Intake -> captions thread: Captioner, drafts -> finals thread -> Outbox -> events
           Intake -> Model.stream: the transcript of the whole, in the background
                     captions thread -> Attribution: who speaks, if speakers are told apart

All decoding is done by the model's scheduler, beside that of recordings and other sessions.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.audio.sources import finite_samples
from mtasr.closing import Closing
from mtasr.decoding.transcription import Transcription, put_together
from mtasr.engines.engine import LanguageGuess
from mtasr.errors import LiveError, MtasrError, UsageError
from mtasr.live.attribution import Attribution
from mtasr.live.captioner import Captioner, DraftTask, FinalTask
from mtasr.live.decoding import LiveDecoder
from mtasr.live.events import Committed, Event, Final, Lag, LanguageFound
from mtasr.live.intake import Block, Intake
from mtasr.live.outbox import Outbox
from mtasr.live.policy import LivePolicy
from mtasr.options import DecodingOptions, merge_options
from mtasr.spans import SAMPLE_RATE, Interval
from mtasr.speakers.options import SpeakerOptions, split_off
from mtasr.threads import start_thread
from mtasr.transcribe import Model
from mtasr.transcript import Segment, Transcript

#: The whole is decoded after everything that somebody waits for.
_WHOLE_PRIORITY = -1
#: A lag is told if it differs from the last by so many seconds.
_LAG_STEP = 0.5
#: Seconds between looks whether the session was closed.
_LOOK = 1.0
#: Stretches that may wait for their final text before the captions wait for it, ...
_MOST_FINALS = 8
#: ... and before texts that fail the checks are taken as they are.
_PATIENT_FINALS = 1


class LiveSession(Closing):
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
        diarize: bool | SpeakerOptions = False,
        clock: Callable[[], float] = time.monotonic,
        **changes: Any,
    ) -> None:
        """`options`, `diarize` and `changes` are as for `Model.transcribe`; `clock` gives the time in seconds.

        With `diarize`, words and segments name their speakers, and have times. Who is who shows as more is heard: then
        `SpeakersChanged` corrects final texts.

        Raises `UsageError` for options that make no sense, or make none live: `condition_on_previous_text`,
        `clip_timestamps`; with `diarize` also what `Model.transcribe` raises for the models and known voices.
        """
        speakers, changes = split_off(diarize, changes)
        options = merge_options(options or DecodingOptions(), changes)
        self._options = options = replace(options, word_timestamps=options.word_timestamps or speakers is not None)
        if options.condition_on_previous_text or options.clip_timestamps:
            raise UsageError("condition_on_previous_text and clip_timestamps cannot be used live")
        self._policy = policy or LivePolicy()
        if options.task == "translate":
            self._policy = replace(self._policy, commits=False)
        if self._policy.trusts_times is None:
            self._policy = replace(self._policy, trusts_times=model.engine.limits.reliable_alignment)
        self._clock = clock
        self._decoder = LiveDecoder(model, options)
        self._captioner = Captioner(self._policy, model.new_detector(), options.vad_threshold)
        self._intake = Intake(self._policy.most_waiting, whole=self._policy.exact)
        self._outbox = Outbox(self._policy.most_unread)
        self._attribution: Attribution | None = None
        if speakers is not None:
            self._attribution = Attribution(model.listener(speakers), self._outbox.put, clock)
        self._finals: queue.Queue[FinalTask | None] = queue.Queue(_MOST_FINALS)
        self._is_closed = False
        self._failure: BaseException | None = None
        self._told_language, self._told_lag = "", 0.0
        #: What the transcript is made of if it is not that of the whole.
        self._segments: list[Segment] = []
        self._translation: list[Segment] = []
        self._speech: list[Interval] = []
        self._whole: Transcription | None = None
        self._transcript: Transcript | None = None
        if self._policy.exact:
            self._whole = model.stream(self._intake.whole(), options, priority=_WHOLE_PRIORITY)
        self._captions_done, self._done = threading.Event(), threading.Event()
        listens = () if self._attribution is None else (self._attribution.run,)
        for work in (self._caption, self._finalise, self._transcribe, *listens):
            start_thread(self._watched, work)

    # --- for callers ------------------------------------------------------------------------------------------------

    def add(self, samples: Float32Array, *, position: int | None = None) -> None:
        """Take the next samples: 16 kHz, mono, float from -1 to 1, shape (n,), any n.

        `position` counts the samples of the source before these, if the source counts them: samples that came before
        are dropped (`Repeated`), and silence stands for those that are missing (`Skipped`).

        Returns at once, unless `policy.most_waiting` seconds wait to be heard: then it waits too, so that a source
        faster than the machine does not fill the memory. Raises `ValueError` after `end` or `close`, `InputError` for
        what are no samples or no position, and whatever error ended the session: `LiveError`, `ModelError`.
        """
        samples = finite_samples(samples)
        try:
            notice = self._intake.add(samples, self._clock(), position)
        except ValueError:
            if self._failure is not None:
                raise self._failure from None
            raise
        if notice is not None:
            self._outbox.put(notice)

    def cut(self) -> None:
        """End the stretch of speech here, as a pause would. Raises `ValueError` after `end` or `close`."""
        self._intake.cut(self._clock())

    def end(self) -> None:
        """Say that no samples follow. Events go on until everything said is final. A second call does nothing."""
        self._intake.end()

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        """Events as they come, each once, until the session has ended or is closed.

        With a `timeout` in seconds, the iterator ends when nothing came for so long, and can be asked for anew. Raises
        the error that ended the session, after what came before it.
        """
        return self._outbox.read(timeout)

    def transcript(self) -> Transcript:
        """The whole transcript, once the session has ended; waits for that.

        With `policy.exact` it is what `Model.transcribe` gives for the same samples and options. Raises the error that
        ended the session, and `ValueError` if it was closed.
        """
        self._done.wait()
        if self._failure is not None:
            raise self._failure
        if self._transcript is None:
            raise ValueError("the session was closed before its end")
        return self._transcript

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was asked for and cannot be had; complete after the end."""
        return () if self._attribution is None else self._attribution.warnings

    def close(self) -> None:
        """Stop at once, and drop what is not decoded. After the end, and a second time, it does nothing."""
        if not self._done.is_set():
            self._stop()
        self._outbox.discard()

    # --- threads ----------------------------------------------------------------------------------------------------

    def _watched(self, work: Callable[[], None]) -> None:
        """Do the work of a thread. If it fails, so does the session."""
        try:
            work()
        except BaseException as exc:
            if not self._is_closed:
                self._failure = exc
                if not isinstance(exc, MtasrError | MemoryError):  # of the engine, or of a model that was closed
                    self._failure = LiveError(f"the session cannot go on: {exc}")
                    self._failure.__cause__ = exc
                self._outbox.close(self._failure)
                self._stop()

    def _stop(self) -> None:
        self._is_closed = True
        self._intake.close()
        self._decoder.close()
        if self._whole is not None:
            self._whole.close()
        if self._attribution is not None:
            self._attribution.close()
        self._captions_done.set()
        self._done.set()

    def _caption(self) -> None:
        """Hear samples and draft."""
        for block in self._intake.blocks():
            if self._attribution is not None:
                self._attribution.add(block.samples)
            self._captioner.add(block.samples)
            self._steps(block)
            if block.is_cut:
                self._captioner.cut()
                self._steps(block)
        end = Block(np.zeros(0, np.float32), self._clock())
        self._captioner.add(end.samples, last=True)
        self._steps(end)
        self._captioner.cut()
        self._steps(end)
        self._put_final(None)

    def _steps(self, block: Block) -> None:
        while not self._is_closed and (step := self._captioner.step()) is not None:
            if isinstance(step, DraftTask):
                pieces = self._decoder.draft(step)
                lag = self._clock() - block.arrived
                self._tell_language()
                self._tell_lag(lag)
                self._captioner.drafted(step, pieces, lag)
            elif isinstance(step, FinalTask):
                if self._attribution is not None:
                    self._attribution.pause(step.stretch)
                self._put_final(step)
            elif isinstance(step, Committed) and self._attribution is not None:
                self._outbox.put(self._attribution.committed(step))
            else:
                self._outbox.put(step)

    def _put_final(self, task: FinalTask | None) -> None:
        while not self._is_closed:
            with contextlib.suppress(queue.Full):
                self._finals.put(task, timeout=_LOOK)
                break

    def _finalise(self) -> None:
        """Decode stretches that have ended."""
        ids, translated_ids = itertools.count(), itertools.count()
        while (task := self._next_final()) is not None:
            decoded, language = self._decoder.final(task, hurried=self._finals.qsize() > _PATIENT_FINALS)
            self._tell_language()
            segments, translation = _numbered(decoded.segments, ids), _numbered(decoded.translation, translated_ids)
            if not self._policy.exact:
                self._segments.extend(segments)
                self._translation.extend(translation)
                self._speech.extend((span.start / SAMPLE_RATE, span.end / SAMPLE_RATE) for span in task.window.speech)
            final = Final(stretch=task.stretch, segments=segments, language=language, translation=translation)
            if self._attribution is not None:
                self._attribution.final(final)
            else:
                self._outbox.put(final)
        if self._attribution is not None:
            self._attribution.end()
        self._outbox.close()
        self._captions_done.set()

    def _next_final(self) -> FinalTask | None:
        while not self._is_closed:
            with contextlib.suppress(queue.Empty):
                return self._finals.get(timeout=_LOOK)
        return None

    def _transcribe(self) -> None:
        """Transcribe the whole, or put the final texts together."""
        if self._whole is not None:
            transcript = self._whole.transcript()
            self._whole.close()
        self._captions_done.wait()
        if not self._is_closed:
            transcript = transcript if self._whole is not None else self._of_finals()
            self._transcript = transcript if self._attribution is None else self._attribution.attributed(transcript)
            self._done.set()

    # --- events and transcript --------------------------------------------------------------------------------------

    def _tell_language(self) -> None:
        language = self._decoder.language
        if language is not None and language.probability < 1.0 and language.code != self._told_language:
            self._told_language = language.code
            self._outbox.put(LanguageFound(language=language.code, probability=language.probability))

    def _tell_lag(self, lag: float) -> None:
        if abs(lag - self._told_lag) >= _LAG_STEP:
            self._told_lag = lag
            self._outbox.put(Lag(seconds=lag))

    def _of_finals(self) -> Transcript:
        whole = self._transcript_of(self._segments, self._options.task)
        if self._options.also_translate:
            whole = replace(whole, translation=self._transcript_of(self._translation, "translate"))
        return whole

    def _transcript_of(self, segments: list[Segment], task: str) -> Transcript:
        language = self._decoder.language or LanguageGuess("en", 0.0)
        speech: dict[str | None, list[Interval]] = {None: self._speech}
        return put_together(segments, task, language=language, samples=self._intake.taken, speech=speech)


def _numbered(segments: Iterable[Segment], ids: Iterator[int]) -> tuple[Segment, ...]:
    return tuple(replace(segment, id=next(ids)) for segment in segments)
