"""Reads the recordings of a queue one after the other, and cuts them into windows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from mtasr.arrays import Float32Array
from mtasr.audio.clips import Clips
from mtasr.decoding.language import MOST_WINDOWS
from mtasr.decoding.queue import Pending, Queue, Queued, closed_early
from mtasr.decoding.submission import Audio
from mtasr.decoding.windows import cut_windows, longest_for
from mtasr.spans import SAMPLE_RATE
from mtasr.stopwatch import Stopwatch
from mtasr.vad import MakeDetector

#: Recordings opened ahead of the one being read: their ffmpeg starts meanwhile.
_OPEN_AHEAD = 3


class Reader:
    """Turns the recordings of a queue into entries, which it hands to `put`; that may wait."""

    def __init__(
        self, queue: Queue, put: Callable[[Queue, Pending], None], detector: MakeDetector, stopwatch: Stopwatch
    ) -> None:
        self._queue, self._put, self._detector, self._stopwatch = queue, put, detector, stopwatch

    def read_next(self) -> Queued:
        """Read the next recording to its end. What is wrong with it is kept in its submission."""
        unread = self._queue.unread
        submission = unread.popleft()
        submission.try_to_open()
        for coming in itertools.islice(unread, _OPEN_AHEAD):
            if coming.recording.quick:
                coming.try_to_open()
        try:
            self._cut(submission)
        except Exception as exc:
            submission.error = exc
        finally:
            if submission.audio is not None:
                submission.audio.close()
        if not submission.speaks:  # No window will tell the language.
            submission.judged(closed_early() if submission.cancelled else submission.error or [])
        return submission

    def _cut(self, submission: Queued) -> None:
        """Read a recording to its end, and queue its windows."""
        if submission.audio is None:
            return
        queue, recording, decoder = self._queue, submission.recording, self._queue.decoder
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
        first: list[Pending] = []
        for window in windows:
            if submission.cancelled:
                return
            submission.heard([(span.start / SAMPLE_RATE, span.end / SAMPLE_RATE) for span in window.speech])
            entry = Pending(submission, decoder.input(window, first=submission.windows == 0))
            submission.windows += 1
            if submission.speaks or recording.language is not None:
                if (known := recording.notes.result(window)) is not None:
                    entry = Pending(submission, counts=False, result=known)
                self._put(self._queue, entry)
                continue
            first.append(entry)
            if len(first) == MOST_WINDOWS:
                self._put_first(submission, first)
        if not submission.speaks and first:
            self._put_first(submission, first)

    def _put_first(self, submission: Queued, entries: Sequence[Pending]) -> None:
        """Queue the windows in which the language is judged: the first of them brings the others along for that."""
        submission.speaks = True
        entries[0].judges = tuple(each.input for each in entries if each.input is not None)
        for entry in entries:
            self._put(self._queue, entry)

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
