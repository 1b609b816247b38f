"""Windows of a recording, cut at pauses: what can be decoded side by side.

Windows follow each other without overlapping, so no sound is decoded twice, and none but silence is left out.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.features import CHUNK_SECONDS
from mtasr.options import DecodingOptions
from mtasr.spans import SAMPLE_RATE, Interval, Span
from mtasr.stopwatch import Stopwatch
from mtasr.vad import FRAME, SpeechDetector, speech_spans

#: Frames of a second, not rounded.
_FRAMES_PER_SECOND = SAMPLE_RATE / FRAME

#: A window ends at a pause before this, if there is one: what is longer costs more to encode and is not more accurate.
LONGEST = 20.0
#: The same where the language may change from one sentence to the next, ...
_LONGEST_IN_ONE_LANGUAGE = 7.0
#: ... and for translation and in noise, where more is understood of more.
_LONGER = 26.0
#: Sound is noisy if its loudest frames are less than `_NOISY` dB above its softest, and loudly so below `LOUD_NOISE`.
#: Of short recordings in noise 20 dB below the speech 92 % are noisy, of those without noise 7 %, of recordings in a
#: quiet room none. The noise is loud in all of those at 10 dB, and in 1 % of those at 20 dB.
_NOISY, LOUD_NOISE = 26.0, 20.0
#: Which frames count as the loudest and the softest, in percent: no click, and the short pauses of a single sentence.
_LOUDEST, _SOFTEST = 95, 3
#: Speech without a pause is cut at its least speech-like frame, this many seconds before the encoder is full.
_SPARE = 2.0
#: The shortest encoder, in seconds, with which windows are longer than words.
LEAST_SECONDS = _SPARE + 1.0
#: A window always ends at a pause as long as this, so that long silence is not decoded.
_LONG_PAUSE = 2.0
#: Choosing a pause: one of this length or more is as good as any, ...
_FULL_PAUSE = 1.0
#: ... and a full window is preferred to an empty one as much as a pause this much longer.
_WORTH_OF_LENGTH = 0.5
#: Sound before and after speech that belongs to the window, where no other speech is near.
_MARGIN = 0.5
#: How often cuts are decided, in frames. No window exceeds the longest by more than that and the margins.
_DECIDE_EVERY = 25
#: The least seconds of speech in each half of a window, and the frames over which power is averaged to find the cut.
_LEAST_SPEECH, _SMOOTH = 0.5, 3
#: A shorter remainder, in seconds, is not decoded: no word fits into it.
_SHORTEST = 0.1


class Longest(NamedTuple):
    """Seconds before which a window should end."""

    clear: float = LONGEST
    noisy: float = LONGEST


_USUAL = Longest()


def longest_for(options: DecodingOptions, audio_seconds: float) -> Longest:
    """What suits these options, for an encoder that takes `audio_seconds`."""
    clear = _LONGER if options.translates else LONGEST
    longest = Longest(clear, _LONGER)
    if options.multilingual:
        longest = Longest(_LONGEST_IN_ONE_LANGUAGE, _LONGEST_IN_ONE_LANGUAGE)
    return Longest(*(min(seconds, audio_seconds - _SPARE) for seconds in longest))


def is_noisy(samples: Float32Array, within: float) -> bool:
    """Whether there is so much noise that the softest frames are less than `within` dB softer than the loudest."""
    power = _power(samples)
    if not len(power):
        return False
    softest, loudest = np.percentile(power, [_SOFTEST, _LOUDEST])
    return bool(loudest < softest * 10 ** (within / 10))


def _power(samples: Float32Array) -> Float32Array:
    """The mean square of each whole frame, shape (frames,)."""
    count = len(samples) // FRAME
    power: Float32Array = np.square(samples[: count * FRAME].reshape(count, FRAME)).mean(axis=1)
    return power


class Place(NamedTuple):
    """Where a window lies in a recording or a channel of it: its first sample, and how many it has."""

    start: int
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowOutline:
    """A window without its samples; `speech` is in samples of the file."""

    place: Place
    speech: tuple[Span, ...]
    #: Whether the recording begins with it.
    first: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a recording; `start` is its first sample's place in the file, `speech` is in samples of the file."""

    start: int
    samples: Float32Array
    speech: tuple[Span, ...]

    @property
    def place(self) -> Place:
        return Place(self.start, len(self.samples))

    def outline(self, *, first: bool = False) -> WindowOutline:
        return WindowOutline(place=self.place, speech=self.speech, first=first)

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE

    @property
    def offset(self) -> float:
        """Seconds from the start of the file."""
        return self.start / SAMPLE_RATE

    @property
    def speech_seconds(self) -> float:
        """How much speech is in it."""
        return sum(span.end - span.start for span in self.speech) / SAMPLE_RATE

    def speech_intervals(self) -> list[Interval]:
        """Where somebody speaks, in seconds from the start of the window."""
        return [
            ((span.start - self.start) / SAMPLE_RATE, (span.end - self.start) / SAMPLE_RATE) for span in self.speech
        ]

    def speech_between(self, start: float, end: float) -> float:
        """How much speech lies between two times in the window, in seconds."""
        return sum(max(0.0, min(to, end) - max(begin, start)) for begin, to in self.speech_intervals())

    def split(self, sample: int) -> tuple[Window, Window]:
        """What lies before and after a sample of the file."""
        place = sample - self.start
        before = tuple(Span(span.start, min(span.end, sample)) for span in self.speech if span.start < sample)
        after = tuple(Span(max(span.start, sample), span.end) for span in self.speech if span.end > sample)
        return Window(self.start, self.samples[:place], before), Window(sample, self.samples[place:], after)

    def halves(self) -> tuple[Window, Window] | None:
        """Cut at the pause nearest to the middle, without one where it is most quiet; None if that leaves no two parts.

        A part has half a second of speech at least.
        """
        middle = self.start + len(self.samples) // 2
        pauses = [(before.end + after.start) // 2 for before, after in itertools.pairwise(self.speech)]
        places = sorted(pauses, key=lambda place: abs(place - middle)) or [self._most_quiet()]
        parts = self.split(places[0])
        return parts if min(part.speech_seconds for part in parts) >= _LEAST_SPEECH else None

    def _most_quiet(self) -> int:
        """In the middle half of the window, to a frame."""
        power = _power(self.samples)
        count = len(power)
        if not count:
            return self.start
        first, last = count // 4, max(count // 4 + 1, 3 * count // 4)
        smooth = np.convolve(power, np.ones(_SMOOTH), mode="same")
        return self.start + round((first + int(np.argmin(smooth[first:last])) + 0.5) * FRAME)


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a window lies, in frames, and the speech in it."""

    start: int
    end: int
    speech: tuple[Span, ...]


def cut_windows(
    blocks: Iterable[Float32Array],
    *,
    detector: SpeechDetector,
    threshold: float,
    stopwatch: Stopwatch,
    skip_silence: bool = True,
    longest: Longest = _USUAL,
    audio_seconds: float = CHUNK_SECONDS,
) -> Iterator[Window]:
    """Windows of a stream of samples, each as soon as its end is known; holds some `audio_seconds` of it.

    With `skip_silence` the windows are around speech, else they leave nothing out. `threshold` is the probability from
    which a frame counts as speech; a window ends at a pause before the `longest` seconds, if there is one, and in any
    case before the `audio_seconds` that an encoder takes.
    """
    held, first = np.zeros(0, np.float32), 0

    def noisy(start: int, end: int) -> bool:
        return is_noisy(held[start * FRAME - first : end * FRAME - first], _NOISY)

    cutter = Cutter(threshold, skip_silence=skip_silence, longest=longest, audio_seconds=audio_seconds, is_noisy=noisy)

    def window(cut: Cut) -> Window:
        nonlocal held, first
        samples = held[cut.start * FRAME - first : cut.end * FRAME - first].copy()
        held, first = held[cut.end * FRAME - first :], cut.end * FRAME
        speech = tuple(Span(span.start * FRAME, span.end * FRAME) for span in cut.speech)
        return Window(cut.start * FRAME, samples, speech)

    for block in blocks:
        held = np.concatenate([held, block])
        with stopwatch.measure("voice activity"):
            cuts = cutter.add(detector.probabilities(block))
        yield from map(window, cuts)
        unneeded = cutter.needed_from * FRAME - first
        if unneeded > 0:
            held, first = held[unneeded:], first + unneeded
    rest = [*cutter.add(detector.probabilities(np.zeros(0, np.float32), last=True)), *cutter.finish()]
    yield from (each for each in map(window, rest) if each.seconds >= _SHORTEST)


class Cutter:
    """Decides from speech probabilities where windows begin and end; counts in frames.

    `is_noisy` tells of the frames from one up to another, none of them before `needed_from`.
    """

    def __init__(
        self,
        threshold: float,
        *,
        skip_silence: bool = True,
        longest: Longest = _USUAL,
        audio_seconds: float = CHUNK_SECONDS,
        is_noisy: Callable[[int, int], bool] = lambda start, end: False,
    ) -> None:
        self._longest = longest
        self._is_noisy = is_noisy
        self._without_pause = audio_seconds - _SPARE
        self._threshold = threshold
        self._skip_silence = skip_silence
        #: Whether the last window ended in the middle of speech.
        self._inside = False
        #: Probabilities from frame `needed_from` on; everything before is decided.
        self._open = np.zeros(0, np.float32)
        self.needed_from = 0

    def add(self, probabilities: Float32Array) -> list[Cut]:
        """The windows that these frames decide, the same whatever the number of frames in a call."""
        cuts: list[Cut] = []
        while len(probabilities):
            known = self.needed_from + len(self._open)
            taken = min(len(probabilities), _DECIDE_EVERY - known % _DECIDE_EVERY)
            self._open = np.concatenate([self._open, probabilities[:taken]])
            probabilities = probabilities[taken:]
            if (known + taken) % _DECIDE_EVERY == 0:
                cuts.extend(self._cuts(final=False))
        return cuts

    def finish(self) -> list[Cut]:
        """The windows that are left at the end of the recording."""
        return list(self._cuts(final=True))

    def _cuts(self, *, final: bool) -> Iterator[Cut]:
        while cut := self._next(final=final):
            end = cut.end - self.needed_from
            self._inside = any(span.start < end < span.end for span in self._spans())
            self._forget(cut.end)
            yield cut
        if not self._skip_silence:
            return
        # Silence is not needed any longer, but for the margin before speech that may follow.
        spans = self._spans()
        quiet = spans[0].start if spans else len(self._open)
        unneeded = quiet - _frames(_MARGIN) - 1
        if unneeded > 0:
            self._forget(self.needed_from + unneeded)
            self._inside = False

    def _forget(self, frame: int) -> None:
        self._open = self._open[frame - self.needed_from :]
        self.needed_from = frame

    def _spans(self) -> list[Span]:
        return speech_spans(self._open, self._threshold, inside=self._inside)

    def _next(self, *, final: bool) -> Cut | None:
        if not self._skip_silence:
            return self._tile(final=final)
        spans = self._spans()
        if not spans:
            return None
        begin, known = spans[0].start, len(self._open)
        chosen = _choose_pause(spans, known, self._longest.clear, final=final)
        if chosen is not None and self._noise_from(begin):
            chosen = _choose_pause(spans, known, self._longest.noisy, final=final)
        if chosen is None:
            if final or known - begin < _frames(self._without_pause):
                if not final:
                    return None
                chosen = len(spans) - 1
            else:
                end = self._least_like_speech(begin)
                return self._cut(begin, end, [span for span in spans if span.start < end], limit=end)
        limit = (spans[chosen].end + spans[chosen + 1].start) // 2 if chosen + 1 < len(spans) else known
        return self._cut(begin, spans[chosen].end, spans[: chosen + 1], limit=limit)

    def _noise_from(self, begin: int) -> bool:
        """Whether what begins there is noisy, by a window's length of it: more may not be known when it is asked."""
        end = min(len(self._open), begin + _frames(self._longest.clear))
        return self._is_noisy(self.needed_from + begin, self.needed_from + end)

    def _cut(self, begin: int, end: int, spans: Sequence[Span], *, limit: int) -> Cut:
        """A window with margins, that starts no earlier than what is decided and ends by `limit`."""
        start = max(0, begin - _frames(_MARGIN))
        stop = min(end + _frames(_MARGIN), limit)
        first = self.needed_from
        speech = tuple(Span(first + span.start, first + min(span.end, stop)) for span in spans)
        return Cut(first + start, first + stop, speech)

    def _tile(self, *, final: bool) -> Cut | None:
        """Without leaving anything out: as long as a model hears at once, up to where it is most silent."""
        known = len(self._open)
        if known < _frames(self._without_pause):
            end = known
            if not final or not known:
                return None
        else:
            end = self._least_like_speech(0)
        speech = [span for span in self._spans() if span.start < end]
        return Cut(
            self.needed_from,
            self.needed_from + end,
            tuple(Span(self.needed_from + span.start, self.needed_from + min(span.end, end)) for span in speech),
        )

    def _least_like_speech(self, begin: int) -> int:
        """The quietest frame between half and all of the longest stretch from `begin` on."""
        first, last = begin + _frames(self._without_pause / 2), begin + _frames(self._without_pause)
        return first + int(np.argmin(self._open[first:last]))


def _frames(seconds: float) -> int:
    return round(seconds * _FRAMES_PER_SECOND)


def _choose_pause(spans: Sequence[Span], known: int, most: float, *, final: bool) -> int | None:
    """The index of the span that a window from the first one on should end with; None if that is not known yet."""
    begin, longest = spans[0].start, _frames(most)
    best, best_worth = None, -1.0
    for index, span in enumerate(spans):
        if span.end - begin > longest and best is not None:
            break
        following = spans[index + 1].start if index + 1 < len(spans) else known
        pause = (following - span.end) / _FRAMES_PER_SECOND
        if pause >= _LONG_PAUSE:
            return index
        if index + 1 == len(spans):  # The pause may go on, or the speech.
            return None if not final else index
        worth = min(pause, _FULL_PAUSE) + _WORTH_OF_LENGTH * (span.end - begin) / longest
        if worth > best_worth:
            best, best_worth = index, worth
        if span.end - begin > longest:
            break
    return best
