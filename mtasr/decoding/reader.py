"""Reads the recordings of a group one after the other, and cuts them into windows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from mtasr.arrays import Float32Array
from mtasr.audio.clips import Clips
from mtasr.decoding.groups import Group, RecordingState, Slot, Waiting, closed_early
from mtasr.decoding.language import MOST_WINDOWS
from mtasr.decoding.sample_buffer import SampleBuffer
from mtasr.decoding.submission import Audio
from mtasr.decoding.window_input import WindowInput
from mtasr.decoding.windows import Window, WindowOutline, cut_windows, longest_for
from mtasr.engines.engine import LanguageGuess
from mtasr.errors import InputError
from mtasr.spans import SAMPLE_RATE
from mtasr.stopwatch import Stopwatch
from mtasr.vad import MakeDetector

#: Recordings opened ahead of the one being read: their ffmpeg starts meanwhile.
_OPEN_AHEAD = 3


class Put(Protocol):
    """Takes the next slot, and the window for it unless its result is known; may wait."""

    def __call__(self, slot: Slot, waiting: Waiting | None = None) -> None: ...


SettleLanguage = Callable[[RecordingState, Sequence[LanguageGuess] | BaseException], None]


class Reader:
    """Turns the recordings of a group into windows, which it hands to `put`."""

    def __init__(
        self, group: Group, put: Put, settle_language: SettleLanguage, detector: MakeDetector, stopwatch: Stopwatch
    ) -> None:
        self._group, self._put, self._settle_language = group, put, settle_language
        self._detector, self._stopwatch = detector, stopwatch

    def read_next(self) -> RecordingState:
        """Read the next recording to its end. What is wrong with it is kept in its state."""
        unread = self._group.unread
        state = unread.popleft()
        state.open()
        for coming in itertools.islice(unread, _OPEN_AHEAD):
            if coming.recording.opens_at_once:
                coming.open()
        try:
            self._cut(state)
        except Exception as exc:
            state.error = state.error or exc
        finally:
            if state.audio is not None:
                state.audio.close()
        if not state.windows:  # No window will tell the language.
            self._settle_language(state, closed_early() if state.is_cancelled else state.error or [])
        return state

    def _cut(self, state: RecordingState) -> None:
        """Hand on the windows of a recording. The first are held back if its language is judged in them."""
        recording, notes = state.recording, state.recording.notes
        if recording.language is None and (guesses := notes.guesses()):
            self._settle_language(state, guesses)
        windows = windows_of(state, self._detector, self._stopwatch)
        if not state.has_language:
            self._put_first(state, windows)
        for window in windows:
            known = notes.result(window.place)
            shown = self._shown(state, window)
            if known is None:
                self._put_one(state, shown)
            else:
                self._put(Slot(state, window.place, result=known, is_noted=True))

    def _put_first(self, state: RecordingState, windows: Iterator[Window]) -> None:
        """Hand on the windows in which the language is judged: the first brings the others along for that.

        If cutting fails, those that were cut before are handed on.
        """
        first: list[WindowInput] = []
        try:
            for window in itertools.islice(windows, MOST_WINDOWS):
                first.append(self._shown(state, window))
        finally:
            for index, shown in enumerate(first):
                self._put_one(state, shown, () if index else first)

    def _put_one(self, state: RecordingState, shown: WindowInput, first_windows: Sequence[WindowInput] = ()) -> None:
        slot = Slot(state, shown.window.place)
        self._put(slot, Waiting(slot, shown, tuple(first_windows)))

    def _shown(self, state: RecordingState, window: Window) -> WindowInput:
        outlines = state.recording.outlines
        first = outlines[state.windows].first if outlines is not None else state.windows == 0
        state.windows += 1
        return self._group.decoder.input(window, first=first)


def windows_of(state: RecordingState, detector: MakeDetector, stopwatch: Stopwatch) -> Iterator[Window]:
    """The windows of an open recording, until it is cancelled; notes the speech in them.

    What goes wrong while it is read is kept in its state, after the windows before that; anything else is raised.
    """
    if state.audio is None:
        return
    options, decoder = state.group.options, state.group.decoder
    blocks = _blocks(state, state.audio, Clips(options.clip_timestamps), stopwatch)
    if state.recording.outlines is not None:
        windows = windows_at(blocks, state.recording.outlines)
    else:
        windows = cut_windows(
            blocks,
            detector=detector(),
            threshold=options.vad_threshold,
            skip_silence=options.vad_filter,
            longest=longest_for(options, decoder.audio_seconds),
            audio_seconds=decoder.audio_seconds,
            stopwatch=stopwatch,
        )
    for window in windows:
        if state.is_cancelled:
            return
        state.speech.extend((span.start / SAMPLE_RATE, span.end / SAMPLE_RATE) for span in window.speech)
        yield window


def windows_at(blocks: Iterator[Float32Array], outlines: Sequence[WindowOutline]) -> Iterator[Window]:
    """The windows that were found in a stream of samples before; reads no further than to the end of the last.

    Raises `InputError` if the stream ends before that.
    """
    buffer = SampleBuffer(blocks)
    for outline in outlines:
        samples = buffer.window(*outline.place)
        if len(samples) < outline.place.samples:
            end = (buffer.total or 0) / SAMPLE_RATE
            raise InputError(f"the recording ends at {end:.1f} s and was longer when its windows were cut")
        yield Window(outline.place.start, samples.copy(), outline.speech)


def _blocks(state: RecordingState, audio: Audio, clips: Clips, stopwatch: Stopwatch) -> Iterator[Float32Array]:
    """The samples up to the end, or up to where reading fails: what was read before is decoded."""
    blocks = iter(audio)
    while not state.is_cancelled:
        try:
            with stopwatch.measure("decode"):
                block = next(blocks, None)
        except Exception as exc:
            state.error = exc
            return
        if block is None:
            return
        masked = clips.mask(block, state.samples)
        state.samples += len(block)
        if state.recording.listener is not None:
            with stopwatch.measure("speakers"):
                state.recording.listener.add(masked)
        yield masked
