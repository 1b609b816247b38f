"""Channels that are transcribed each by itself, put together."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Generic, Protocol, TypeVar

from mtasr.decoding.longform import WindowResult
from mtasr.decoding.pauses import Stretch
from mtasr.transcript import Coverage


class _Timed(Protocol):
    @property
    def start(self) -> float: ...


_T = TypeVar("_T", bound=_Timed)


class _Held(Generic[_T]):
    """What the channels before the last hold of one kind."""

    def __init__(self, items: Iterable[_T]) -> None:
        # Of those that start together, those of the first channel come first: sorting keeps their order.
        self._waiting = deque(sorted(items, key=lambda item: item.start))

    def among(self, items: Sequence[_T]) -> tuple[_T, ...]:
        """These of the last channel, and what is held and does not start after them."""
        due: list[_T] = []
        for item in items:
            while self._waiting and self._waiting[0].start <= item.start:
                due.append(self._waiting.popleft())
            due.append(item)
        return tuple(due)

    def rest(self) -> tuple[_T, ...]:
        return tuple(self._waiting)


def in_order_of_time(channels: Sequence[Iterable[WindowResult]]) -> Iterator[WindowResult]:
    """The results of one or more channels as those of one recording, all in them in the order it starts.

    The channels are asked one after the other. Segments come from when the last is asked: then none can come that
    starts earlier. Until then results without segments tell how far the work is, as a share of the recording.
    """
    *before, last = channels
    held: list[WindowResult] = []
    decoded = 0.0
    for channel in before:
        position = 0.0
        for result in channel:
            held.append(result)
            position = result.position
            yield WindowResult((), (decoded + position) / len(channels))
        decoded += position
    segments = _Held(each for result in held for each in result.segments)
    alternatives = _Held(each for result in held for each in result.alternatives)
    translation = _Held(each for result in held for each in result.translation)
    position = 0.0
    for result in last:
        position = result.position
        yield WindowResult(
            segments.among(result.segments),
            (decoded + position) / len(channels),
            alternatives.among(result.alternatives),
            translation.among(result.translation),
        )
    yield WindowResult(segments.rest(), (decoded + position) / len(channels), alternatives.rest(), translation.rest())


def spoken_by(speaker: str, result: WindowResult) -> WindowResult:
    """The result with the name of who speaks in all that it holds."""
    return replace(
        result,
        segments=tuple(replace(each, speaker=speaker) for each in result.segments),
        alternatives=tuple(replace(each, speaker=speaker) for each in result.alternatives),
        translation=tuple(replace(each, speaker=speaker) for each in result.translation),
    )


def together(channels: Sequence[Coverage]) -> Coverage:
    """Where anybody's speech has no text, or text no speech; `speech` is the sum over the channels."""
    return Coverage(
        speech=round(sum(each.speech for each in channels), 3),
        speech_without_text=_joined(place for each in channels for place in each.speech_without_text),
        text_without_speech=_joined(place for each in channels for place in each.text_without_speech),
    )


def _joined(places: Iterable[Stretch]) -> tuple[Stretch, ...]:
    """In order, those that overlap as one."""
    joined: list[Stretch] = []
    for start, end in sorted(places):
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return tuple(joined)
