"""The course of a live session without threads, clock or model: samples and drafts go in, events and tasks come out.

    add -> step, step, ... -> events, DraftTask (answered by `drafted` before the next step), FinalTask

Everything is decided frame by frame, so the sizes of blocks change nothing.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.decoding.windows import Window
from mtasr.live.agreement import DraftedWord, best_cut, count_committable, without_echo
from mtasr.live.events import Committed, Draft, Event, SpeechStarted, SpeechStopped
from mtasr.live.policy import LivePolicy
from mtasr.spans import SAMPLE_RATE, Span
from mtasr.vad import FRAME, HYSTERESIS, SpeechDetector, speech_spans

#: Seconds of sound before speech that belong to it.
_MARGIN = 0.5
#: Seconds of silence after which what was said is drafted at once.
_SHORT_PAUSE = 0.2
#: Audio is cut where at least this much is left to hear once more, and at most this part of the window.
_LEAST_LEFT, _MOST_LEFT = 1.5, 0.7
#: From this part of the longest stretch on, a short pause ends it.
_LONG = 0.75
#: Seconds of a stretch in which no word can be committed: the encoder takes 30.
_MOST = 29.0
#: Tokens before the window that a draft is shown.
_MOST_PREVIOUS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftTask:
    """Decode a window fast; its text follows `previous` tokens and begins with the `given` ones."""

    stretch: int
    window: Window
    previous: tuple[int, ...]
    given: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalTask:
    """Decode a whole stretch like the window of a file."""

    stretch: int
    window: Window


@dataclass(slots=True)
class OpenStretch:
    """The state of speech between two pauses. Frames and samples count from the start of the session."""

    number: int
    #: Where its audio begins, in samples.
    start: int
    #: Speech probabilities of the frames from the one that holds `start` on.
    probabilities: list[float]
    #: Where the window of drafts begins.
    cut: int
    #: The frame at which the next draft is due.
    due: int
    #: Silent frames at the end.
    silent: int = 0
    #: Whether all speech so far is drafted, and silence followed it.
    is_drafted: bool = False
    #: Committed words in the window.
    committed: list[DraftedWord] = field(default_factory=list)
    #: Tokens of those before it.
    previous: list[int] = field(default_factory=list)
    #: The uncommitted words of the last draft.
    drafted: list[DraftedWord] = field(default_factory=list)


class Captioner:
    """Decides what is decoded when, and which words are committed."""

    def __init__(self, policy: LivePolicy, detector: SpeechDetector, threshold: float = 0.5) -> None:
        self._policy, self._detector, self._threshold = policy, detector, threshold
        self._trusts_times = policy.trusts_times is not False
        #: Samples from `_first` on that may still be needed.
        self._samples, self._first = np.zeros(0, np.float32), 0
        #: Probabilities of frames that are not decided yet, and the number of those that are.
        self._coming: deque[float] = deque()
        self._frames = 0
        #: Those decided last, for the margin before speech.
        self._recent: deque[float] = deque(maxlen=_frames(_MARGIN) + 2)
        #: Where the last stretch ended, in samples: margins do not overlap.
        self._ended = 0
        self._stretches = 0
        self._stretch: OpenStretch | None = None
        #: The frame before which no further draft is made, and whether that is later than usual.
        self._due, self._is_late = 0, False
        self._out: deque[Event | DraftTask | FinalTask] = deque()

    @property
    def heard(self) -> int:
        """The sample up to which everything is decided."""
        return self._frames * FRAME

    def add(self, samples: Float32Array, *, last: bool = False) -> None:
        """Take the next samples (n,); `last` says that none follow."""
        self._samples = np.concatenate([self._samples, samples])
        self._coming.extend(self._detector.probabilities(samples, last=last).tolist())

    def step(self) -> Event | DraftTask | FinalTask | None:
        """What comes next of what the samples decide; None once all of it has come."""
        while not self._out:
            if not self._coming:
                return None
            self._hear(self._coming.popleft())
        return self._out.popleft()

    def cut(self) -> None:
        """End the stretch that is open, as a pause would; steps follow."""
        if self._stretch is not None:
            self._stop(self._stretch)

    # --- frame by frame ---------------------------------------------------------------------------------------------

    def _hear(self, probability: float) -> None:
        self._frames += 1
        self._recent.append(probability)
        if self._stretch is None:
            if len(self._recent) > 1 and self._recent[-2] >= self._threshold <= probability + HYSTERESIS:
                self._start()
            self._forget()
            return
        stretch, pause = self._stretch, self._policy.pause
        stretch.probabilities.append(probability)
        if probability >= self._threshold - HYSTERESIS:
            stretch.silent, stretch.is_drafted = 0, False
        else:
            stretch.silent += 1
        if self._seconds(stretch) >= self._policy.longest * _LONG:
            pause = min(pause or _SHORT_PAUSE, _SHORT_PAUSE)
        if pause is not None and stretch.silent >= _frames(pause):
            self._stop(stretch)
        elif self._frames >= stretch.due or (stretch.silent == _frames(_SHORT_PAUSE) and not self._is_late):
            self._draft(stretch)
        elif self._seconds(stretch) >= min(self._policy.longest + 5.0, _MOST):
            if stretch.silent:
                self._stop(stretch)
            else:
                self._split(stretch, self.heard)

    def _start(self) -> None:
        """Begin a stretch: this frame and the one before it are speech."""
        spoken = (self._frames - 2) * FRAME
        start = max(self._ended, self._first, (self._frames - len(self._recent)) * FRAME)
        started = self._open(start, list(self._recent)[-(self._frames - start // FRAME) :])
        self._out.append(SpeechStarted(stretch=started.number, at=spoken / SAMPLE_RATE))

    def _open(self, start: int, probabilities: list[float], silent: int = 0) -> OpenStretch:
        due = max(self._frames + _frames(self._policy.step), self._due)
        self._stretch = OpenStretch(self._stretches, start, probabilities, start, due, silent)
        self._stretches += 1
        return self._stretch

    def _draft(self, stretch: OpenStretch) -> None:
        stretch.due = self._frames + _frames(self._policy.step)
        if stretch.is_drafted:
            return
        self._out.append(
            DraftTask(
                stretch=stretch.number,
                window=self._window(stretch, stretch.cut, self.heard),
                previous=tuple(stretch.previous[-_MOST_PREVIOUS:]),
                given=self._given(stretch),
            )
        )

    def _stop(self, stretch: OpenStretch) -> None:
        """End a stretch after the silence that is heard."""
        self._close(stretch, self.heard, (self._frames - stretch.silent) * FRAME)
        self._forget()

    def _close(self, stretch: OpenStretch, end: int, spoken: int) -> None:
        self._out.append(SpeechStopped(stretch=stretch.number, at=spoken / SAMPLE_RATE))
        self._out.append(FinalTask(stretch=stretch.number, window=self._window(stretch, stretch.start, end)))
        self._stretch, self._ended = None, end
        self._recent.clear()  # Speech before a cut starts nothing after it.

    def _split(self, stretch: OpenStretch, sample: int, drafted: Sequence[DraftedWord] = ()) -> None:
        """End a stretch without a pause at a sample, where the next begins with the words `drafted`."""
        first = stretch.start // FRAME
        if stretch.drafted:
            self._out.append(Draft(stretch=stretch.number, words=()))
        rest = stretch.probabilities[sample // FRAME - first :]
        self._close(stretch, sample, sample)
        started = self._open(sample, rest, stretch.silent)
        self._out.append(SpeechStarted(stretch=started.number, at=sample / SAMPLE_RATE))
        if drafted:
            started.drafted = list(drafted)
            self._out.append(Draft(stretch=started.number, words=tuple(piece.word for piece in drafted)))
        self._forget()

    def _window(self, stretch: OpenStretch, start: int, end: int) -> Window:
        first = stretch.start // FRAME
        spans = speech_spans(np.asarray(stretch.probabilities, np.float32), self._threshold)
        speech = [Span((first + span.start) * FRAME, (first + span.end) * FRAME) for span in spans]
        inside = [Span(max(span.start, start), min(span.end, end)) for span in speech]
        samples = self._samples[start - self._first : end - self._first].copy()
        return Window(start, samples, tuple(span for span in inside if span.start < span.end))

    def _forget(self) -> None:
        """Drop the samples that nothing needs."""
        kept = self.heard - len(self._recent) * FRAME if self._stretch is None else self._stretch.start
        if kept > self._first:
            self._samples, self._first = self._samples[kept - self._first :], kept

    # --- drafts -----------------------------------------------------------------------------------------------------

    def drafted(self, task: DraftTask, pieces: Sequence[DraftedWord] | None, lag: float = 0.0) -> None:
        """Take the words of a draft, those of `task.given` first; None if its text could not be trusted.

        `lag` is the seconds from the arrival of its audio until these words.
        """
        late = self._policy.slack * lag
        self._is_late = late > self._policy.step
        self._due = self._frames + _frames(max(self._policy.step, late))
        stretch = self._stretch
        if stretch is None or stretch.number != task.stretch:
            return
        stretch.due = self._due
        if pieces is not None:
            stretch.is_drafted = stretch.silent >= _frames(_SHORT_PAUSE)
            self._commit(stretch, pieces)

    def _given(self, stretch: OpenStretch) -> tuple[int, ...]:
        """What the text of the next draft begins with."""
        return tuple(token for piece in stretch.committed for token in piece.tokens)

    def _commit(self, stretch: OpenStretch, pieces: Sequence[DraftedWord]) -> None:
        """Commit words of a draft."""
        given, new = _divided(pieces, stretch.committed)
        whole = without_echo([*given, *new], len(given))
        given, new = whole[: len(given)], whole[len(given) :]
        count = 0
        if self._policy.commits:
            until = self.heard / SAMPLE_RATE - self._policy.margin if self._trusts_times else math.inf
            count = count_committable(new, stretch.drafted, until=until, complete=stretch.is_drafted)
        self._tell(stretch, new, count)
        stretch.committed.extend(new[:count])
        if self._trusts_times:
            self._shorten(stretch, [*given, *new], len(given) + count)

    def _seconds(self, stretch: OpenStretch) -> float:
        return (self.heard - stretch.start) / SAMPLE_RATE

    def _tell(self, stretch: OpenStretch, new: Sequence[DraftedWord], count: int) -> None:
        """Tell the words after the committed ones, of which so many are committed with this."""
        if count:
            self._out.append(Committed(stretch=stretch.number, words=tuple(piece.word for piece in new[:count])))
        if new[count:] or stretch.drafted:
            self._out.append(Draft(stretch=stretch.number, words=tuple(piece.word for piece in new[count:])))
        stretch.drafted = list(new[count:])

    def _shorten(self, stretch: OpenStretch, pieces: Sequence[DraftedWord], count: int) -> None:
        """Cut the window, or the stretch, at one of the first `count` words, if it has become long.

        `pieces` have the times of the last draft: those of the committed words may be a little off.
        """
        if self._seconds(stretch) >= self._policy.longest and 0 < count < len(pieces):
            self._split(stretch, _between(pieces, count), pieces[count:])
            return
        heard, window = self.heard / SAMPLE_RATE, (self.heard - stretch.cut) / SAMPLE_RATE
        if window <= self._policy.window:
            return
        place = best_cut(pieces, count, heard - _MOST_LEFT * window, heard - _LEAST_LEFT)
        if place is None:
            return
        stretch.cut = _between(pieces, place)
        stretch.previous.extend(token for piece in pieces[:place] for token in piece.tokens)
        stretch.committed = list(pieces[place:count])


def _frames(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE / FRAME)


def _between(pieces: Sequence[DraftedWord], place: int) -> int:
    """The sample between two words."""
    return round((pieces[place - 1].word.end + pieces[place].word.start) / 2 * SAMPLE_RATE)


def _divided(
    pieces: Sequence[DraftedWord], committed: Sequence[DraftedWord]
) -> tuple[list[DraftedWord], list[DraftedWord]]:
    """Words of a draft that are committed, and the others; what was added to the last committed one is a word too."""
    known = sum(len(piece.tokens) for piece in committed)
    text = "".join(piece.word.word for piece in committed)
    given: list[DraftedWord] = []
    for place, piece in enumerate(pieces):
        length = len(piece.tokens)
        if known >= length:
            given.append(piece)
        elif known > 0:
            begun = _overlap(text, piece.word.word)
            first = DraftedWord(replace(piece.word, word=piece.word.word[:begun]), piece.tokens[:known])
            added = DraftedWord(replace(piece.word, word=piece.word.word[begun:]), piece.tokens[known:])
            return [*given, first], [added, *pieces[place + 1 :]]
        else:
            return given, list(pieces[place:])
        known -= length
    return given, []


def _overlap(text: str, word: str) -> int:
    """How many characters of a word end the text."""
    return next((length for length in range(len(word), 0, -1) if text.endswith(word[:length])), 0)
