"""Who says what, as far as it is known: texts of a session get speakers at once, and others once more is heard.

captions thread: add, pause -> a thread: listen, turns at pauses -> SpeakersChanged
captions and finals threads: committed, final                    -> the same with speakers
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from mtasr.arrays import Float32Array
from mtasr.decoding.coverage import coverage
from mtasr.live.events import Committed, Event, Final, SpeakersChanged
from mtasr.spans import SAMPLE_RATE, Interval, merged
from mtasr.speakers.assignment import assign, assign_segments, assign_words
from mtasr.speakers.diarized import SpeakerListener
from mtasr.speakers.speaker_times import AllSpeakerTimes
from mtasr.transcript import Transcript, Turn

#: Turns are found again after this many times as long as it took: it takes a tenth of the time, however much was heard.
_REST = 9.0
#: Seconds that a final text waits for the turns in it.
_PATIENCE = 0.4
#: Seconds that a turn and the words whose speaker depends on it may be apart.
_REACH = 10.0
#: Samples that may wait to be heard.
_MOST_WAITING = 10 * SAMPLE_RATE


class Attribution:
    """Gives the texts of a session speakers, and tells when they become others.

    At each pause the turns so far are found, or later, so that this takes a tenth of the time at most. A text gets the
    speaker whose turn is nearest when it is told.
    """

    def __init__(self, listener: SpeakerListener, tell: Callable[[Event], None], clock: Callable[[], float]) -> None:
        """`tell` is given final texts and corrections."""
        self._listener, self._tell, self._clock = listener, tell, clock
        self._changed = threading.Condition()
        #: Samples, and the numbers of stretches that end after them.
        self._coming: deque[Float32Array | int] = deque()
        self._waiting = self._samples = 0
        #: The last stretch for whose end turns were found or put off.
        self._settled = -1
        self._is_ended = self._is_closed = self._is_done = False
        #: Whether a stretch ended since the turns were found.
        self._is_due = False
        #: The time before which turns are not found again, unless so much sound is heard by then, in seconds.
        self._next = self._next_sound = 0.0
        #: Held while texts are told, so that a correction follows what it corrects.
        self._telling = threading.Lock()
        self._turns: tuple[Turn, ...] = ()
        self._voices = AllSpeakerTimes(())
        #: Final texts without speakers, and as they were told.
        self._finals: list[tuple[Final, Final]] = []

    # --- for the other threads --------------------------------------------------------------------------------------

    def add(self, samples: Float32Array) -> None:
        """Take the next samples (n,); wait while too many wait."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting < _MOST_WAITING or self._is_closed)
            self._coming.append(samples)
            self._waiting += len(samples)
            self._changed.notify_all()

    def pause(self, stretch: int) -> None:
        """The stretch of this number ends with the samples so far."""
        with self._changed:
            self._coming.append(stretch)
            self._changed.notify_all()

    def committed(self, event: Committed) -> Committed:
        """The words with the speakers who are nearest, as far as is known."""
        return replace(event, words=assign_words(event.words, self._voices))

    def final(self, event: Final) -> None:
        """Tell a final text with speakers, soon after its end is heard."""
        with self._changed:
            self._changed.wait_for(lambda: self._settled >= event.stretch or self._is_closed, _PATIENCE)
        with self._telling:
            told = _attributed(event, self._voices)
            self._finals.append((event, told))
            self._tell(told)

    def end(self) -> None:
        """No samples and texts follow; wait until all corrections are told."""
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_done or self._is_closed)

    def close(self) -> None:
        """Hear no more."""
        with self._changed:
            self._is_closed = True
            self._coming.clear()
            self._changed.notify_all()
        self._listener.leave()

    def attributed(self, transcript: Transcript) -> Transcript:
        """The transcript of the session with speakers; after the end."""
        return _with_coverage(assign(transcript, self._turns))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was asked for and cannot be had; complete after the end."""
        return self._listener.warnings

    # --- the thread -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Listen until the end, or until `close`."""
        while True:
            with self._changed:
                wait = max(0.0, self._next - self._clock()) if self._is_due else None
                self._changed.wait_for(lambda: self._coming or self._is_ended or self._is_closed, wait)
                if self._is_closed:
                    return
                coming = self._coming.popleft() if self._coming else None
                is_last = coming is None and self._is_ended
            if isinstance(coming, int):
                self._is_due = True
            elif coming is not None:
                self._listener.add(coming)
            if is_last:
                self._find(is_last=True)
            elif self._is_due and (self._clock() >= self._next or self._samples >= self._next_sound * SAMPLE_RATE):
                self._find()
            with self._changed:
                if isinstance(coming, int):
                    self._settled = coming
                elif coming is not None:
                    self._waiting -= len(coming)
                    self._samples += len(coming)
                self._is_done = is_last
                self._changed.notify_all()
            if is_last:
                return

    def _find(self, *, is_last: bool = False) -> None:
        """Find the turns so far, and tell which texts have other speakers: of those near a change, at last of all."""
        self._is_due, began = False, self._clock()
        turns = self._listener.turns()
        voices = AllSpeakerTimes(turns)
        changes = None if is_last else _changes(self._turns, turns)
        # Texts come meanwhile, and are not kept waiting.
        known = len(self._finals)
        changed = self._others(voices, range(known), changes)
        with self._telling:
            changed += self._others(voices, range(known, len(self._finals)), None)
            self._turns, self._voices = turns, voices
            for place, new in changed:
                event, told = self._finals[place]
                self._finals[place] = event, new
                if _speakers(new) != _speakers(told):
                    self._tell(SpeakersChanged(stretch=new.stretch, segments=new.segments, translation=new.translation))
        rest = _REST * (self._clock() - began)
        self._next, self._next_sound = self._clock() + rest, self._samples / SAMPLE_RATE + rest

    def _others(
        self, voices: AllSpeakerTimes, places: range, changes: Sequence[Interval] | None
    ) -> list[tuple[int, Final]]:
        """Final texts by place with speakers, of those near these changes."""
        finals = [(place, self._finals[place][0]) for place in places]
        return [
            (place, _attributed(event, voices))
            for place, event in finals
            if event.segments and (changes is None or _touches(event, changes))
        ]


def _attributed(event: Final, voices: AllSpeakerTimes) -> Final:
    segments, translation = assign_segments(event.segments, voices), assign_segments(event.translation, voices)
    return replace(event, segments=segments, translation=translation)


def _speakers(event: Final) -> list[tuple[str, str | None]]:
    """Who says what."""
    return [(segment.text, segment.speaker) for segment in (*event.segments, *event.translation)]


def _changes(before: Sequence[Turn], after: Sequence[Turn]) -> tuple[Interval, ...]:
    """Where others speak, in order, with what depends on it."""
    known = {(turn.start, turn.end, turn.speaker) for turn in before}
    found = {(turn.start, turn.end, turn.speaker) for turn in after}
    return merged((start - _REACH, end + _REACH) for start, end, _ in known ^ found)


def _touches(event: Final, changes: Sequence[Interval]) -> bool:
    place = bisect_right(changes, event.segments[-1].end, key=lambda each: each[0])
    return place > 0 and changes[place - 1][1] >= event.segments[0].start


def _with_coverage(transcript: Transcript) -> Transcript:
    """With the coverage of its segments, which were divided."""
    translation = None if transcript.translation is None else _with_coverage(transcript.translation)
    covered = coverage({None: transcript.speech}, transcript.segments)
    return replace(transcript, coverage=covered, translation=translation)
