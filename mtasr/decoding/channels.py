"""Channels decoded separately, one speaker each, put together."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Generic, Protocol, TypeVar

from mtasr.decoding.submission import AudioFacts, DecodedWindow, Submission
from mtasr.engines.engine import LanguageGuess
from mtasr.spans import Interval
from mtasr.transcript import Turn


class _Timed(Protocol):
    @property
    def start(self) -> float: ...


_T = TypeVar("_T", bound=_Timed)


class _Held(Generic[_T]):
    """Segments, or other timed values, of the channels before the last one."""

    def __init__(self, items: Iterable[_T]) -> None:
        # Of those that start together, those of the first channel come first: sorting keeps their order.
        self._waiting = deque(sorted(items, key=lambda item: item.start))

    def among(self, items: Sequence[_T]) -> tuple[_T, ...]:
        """Items of the last channel, and held ones that start no later."""
        due: list[_T] = []
        for item in items:
            while self._waiting and self._waiting[0].start <= item.start:
                due.append(self._waiting.popleft())
            due.append(item)
        return tuple(due)

    def rest(self) -> tuple[_T, ...]:
        return tuple(self._waiting)


def in_order_of_time(channels: Sequence[Iterable[DecodedWindow]]) -> Iterator[DecodedWindow]:
    """The results of several channels as those of one recording, with segments in order of their start.

    The channels are decoded one after the other. Segments come once the last one is being decoded, because until then
    an earlier one could follow; results without segments report progress meanwhile.
    """
    *before, last = channels
    held: list[DecodedWindow] = []
    decoded = 0.0
    for channel in before:
        position = 0.0
        for result in channel:
            held.append(result)
            position = result.position
            yield DecodedWindow((), (decoded + position) / len(channels))
        decoded += position
    segments = _Held(each for result in held for each in result.segments)
    alternatives = _Held(each for result in held for each in result.alternatives)
    translation = _Held(each for result in held for each in result.translation)
    position = 0.0
    for result in last:
        position = result.position
        yield DecodedWindow(
            segments.among(result.segments),
            (decoded + position) / len(channels),
            alternatives.among(result.alternatives),
            translation.among(result.translation),
        )
    yield DecodedWindow(segments.rest(), (decoded + position) / len(channels), alternatives.rest(), translation.rest())


def spoken_by(speaker: str, result: DecodedWindow) -> DecodedWindow:
    """The result with the name of who speaks in all that it holds."""
    return replace(
        result,
        segments=tuple(replace(each, speaker=speaker) for each in result.segments),
        alternatives=tuple(replace(each, speaker=speaker) for each in result.alternatives),
        translation=tuple(replace(each, speaker=speaker) for each in result.translation),
    )


class SplitChannels:
    """The channels of a recording, each a submission of its own, put together: the `Submission` of split channels.

    `channels` maps the name of the speaker to the submission of the channel.
    """

    def __init__(self, channels: Mapping[str, Submission]) -> None:
        self._channels = dict(channels)

    @property
    def audio(self) -> AudioFacts | None:
        """The channel opened last: all are one file, with one duration and the same faults."""
        return next((each.audio for each in reversed(self._channels.values()) if each.audio is not None), None)

    @property
    def samples(self) -> int:
        return max(each.samples for each in self._channels.values())

    @property
    def priority(self) -> int:
        return next(iter(self._channels.values())).priority

    @priority.setter
    def priority(self, priority: int) -> None:
        for each in self._channels.values():
            each.priority = priority

    def open(self) -> None:
        next(iter(self._channels.values())).open()

    def _first_heard(self) -> Submission:
        """The first channel with speech. A channel without a window is done, so the next one may be asked."""
        *before, last = self._channels.values()
        return next((each for each in before if each.guesses() != []), last)

    def guesses(self) -> list[LanguageGuess] | None:
        return self._first_heard().guesses()

    def language(self) -> str:
        return self._first_heard().language()

    def results(self) -> Iterator[DecodedWindow]:
        return in_order_of_time(
            [map(partial(spoken_by, speaker), each.results()) for speaker, each in self._channels.items()]
        )

    def speech(self) -> dict[str | None, Sequence[Interval]]:
        return {speaker: each.speech()[None] for speaker, each in self._channels.items()}

    def turns(self) -> list[Turn] | None:
        """The speech of each channel, None if nobody speaks."""
        turns = [
            Turn(start=start, end=end, speaker=speaker, channel=channel)
            for channel, (speaker, each) in enumerate(self._channels.items())
            for start, end in each.speech()[None]
        ]
        return sorted(turns, key=lambda turn: turn.start) or None

    def close(self) -> None:
        for each in self._channels.values():
            each.close()
