"""Reads the recordings of a group one after the other, and cuts them into windows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from mtasr.arrays import Float32Array
from mtasr.audio.clips import Clips
from mtasr.decoding.groups import Group, RecordingState, Slot, Waiting, closed_early
from mtasr.decoding.language import MOST_WINDOWS
from mtasr.decoding.submission import Audio
from mtasr.decoding.window_input import WindowInput
from mtasr.decoding.windows import Window, cut_windows, longest_for
from mtasr.engines.engine import LanguageGuess
from mtasr.spans import SAMPLE_RATE
from mtasr.stopwatch import Stopwatch
from mtasr.vad import MakeDetector

#: Recordings opened ahead of the one being read: their ffmpeg starts meanwhile.
_OPEN_AHEAD = 3


class Put(Protocol):
    """Takes the next place among the results, and the window for it unless its result is known; may wait."""

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
            state.error = exc
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
        windows = self._windows(state)
        if not state.has_language:
            self._put_first(state, windows)
        for window in windows:
            known = notes.result(window.place)
            shown = self._shown(state, window)
            if known is None:
                self._put_one(state, shown)
            else:
                self._put(Slot(state, result=known, is_noted=True))

    def _put_first(self, state: RecordingState, windows: Iterator[Window]) -> None:
        """Hand on the windows in which the language is judged: the first brings the others along for that.

        If cutting fails, those that were cut before are handed on.
        """
        first: list[WindowInput] = []
        try:
            for window in itertools.islice(windows, MOST_WINDOWS):
                first.append(self._shown(state, window))
        finally:
            for place, shown in enumerate(first):
                self._put_one(state, shown, () if place else first)

    def _put_one(self, state: RecordingState, shown: WindowInput, first_windows: Sequence[WindowInput] = ()) -> None:
        slot = Slot(state)
        self._put(slot, Waiting(slot, shown, tuple(first_windows)))

    def _shown(self, state: RecordingState, window: Window) -> WindowInput:
        shown = self._group.decoder.input(window, first=state.windows == 0)
        state.windows += 1
        return shown

    def _windows(self, state: RecordingState) -> Iterator[Window]:
        """The windows of a recording, until it is cancelled; notes the speech in them."""
        if state.audio is None:
            return
        options, decoder = self._group.options, self._group.decoder
        windows = cut_windows(
            self._blocks(state, state.audio, Clips(options.clip_timestamps)),
            detector=self._detector(),
            threshold=options.vad_threshold,
            skip_silence=options.vad_filter,
            longest=longest_for(options, decoder.audio_seconds),
            audio_seconds=decoder.audio_seconds,
            stopwatch=self._stopwatch,
        )
        for window in windows:
            if state.is_cancelled:
                return
            state.speech.extend((span.start / SAMPLE_RATE, span.end / SAMPLE_RATE) for span in window.speech)
            yield window

    def _blocks(self, state: RecordingState, audio: Audio, clips: Clips) -> Iterator[Float32Array]:
        """The samples up to the end, or up to where reading fails: what was read before is decoded."""
        blocks = iter(audio)
        while not state.is_cancelled:
            try:
                with self._stopwatch.measure("decode"):
                    block = next(blocks, None)
            except Exception as exc:
                state.error = exc
                return
            if block is None:
                return
            masked = clips.mask(block, state.samples)
            state.samples += len(block)
            if state.recording.listener is not None:
                with self._stopwatch.measure("speakers"):
                    state.recording.listener.add(masked)
            yield masked
