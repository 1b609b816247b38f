"""Records -> windows of at most 30 s with the captions in them (Whisper paper, section 2.1 and 2.3).

Windows follow each other as they do in decoding: where a caption crosses a window's end, the next begins with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from mtasr.data.records import Cue, Record, Task
from mtasr.features import CHUNK_SECONDS

#: Stretches of less than this are left out; they hold a word at most.
SHORTEST = 0.3
#: Less silence than this is a pause between words.
SHORTEST_SILENCE = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """From `start` to `end` of a recording, after `before` seconds of silence."""

    audio: str
    start: float
    end: float
    before: float = 0.0

    @property
    def seconds(self) -> float:
        return self.before + self.end - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Audio and what is said in it; times in seconds from the window's start.

    Without cues nobody speaks in it. `cut` is where a caption begins that the window's end cuts off. `previous` is the
    text before the window. `whole` tells that it is all of a recording.
    """

    parts: tuple[Part, ...]
    language: str | None
    task: Task
    cues: tuple[Cue, ...]
    cut: float | None = None
    previous: str = ""
    timed: bool = True
    whole: bool = False

    @property
    def seconds(self) -> float:
        return sum(part.seconds for part in self.parts)

    def fits(self, seconds: float) -> bool:
        """Whether it is no longer than that, but for what sums of times are off."""
        return self.seconds <= seconds + 1e-6

    def delayed(self, seconds: float) -> Window:
        """With so much more silence in front."""
        first, *rest = self.parts
        return replace(
            self,
            parts=(replace(first, before=first.before + seconds), *rest),
            cues=tuple(cue.shifted(seconds) for cue in self.cues),
            cut=None if self.cut is None else self.cut + seconds,
        )

    def before_cut(self) -> Window:
        """Without the audio of the caption that is cut off: for targets that cannot say where it begins."""
        if self.cut is None:
            return self
        *rest, last = self.parts
        excess = self.seconds - self.cut
        return replace(self, parts=(*rest, replace(last, end=last.end - excess)), cut=None)


def cut_windows(record: Record, length: Callable[[], float]) -> Iterator[Window]:
    """The windows of a record, in order; `length` gives the most seconds of the next, at most 30.

    What is said where nobody wrote it down, or in a caption longer than a window, is in none of them. A record
    without times makes one window, or none if it is longer than that.
    """
    if not record.timed:
        if SHORTEST <= record.duration <= CHUNK_SECONDS and record.text:
            cue = Cue(start=0.0, end=record.duration, text=record.text)
            yield _window(record, 0.0, record.duration, [cue], None, "")
        return
    cues = sorted((cue for cue in record.cues if cue.end > cue.start), key=lambda cue: (cue.start, cue.end))
    usable = [cue for cue in cues if cue.text.strip() and cue.end - cue.start <= CHUNK_SECONDS]
    walls = [cue for cue in cues if not (cue.text.strip() and cue.end - cue.start <= CHUNK_SECONDS)]
    position = 0.0
    for wall in [*walls, Cue(start=record.duration, end=record.duration, text="")]:
        if wall.start > position:
            between = [cue for cue in usable if cue.start >= position and cue.end <= wall.start]
            yield from _between(record, position, wall.start, between, length)
        position = max(position, wall.end)


def _between(
    record: Record, position: float, end: float, cues: Sequence[Cue], length: Callable[[], float]
) -> Iterator[Window]:
    """The windows of a stretch in which all is known."""
    previous: list[str] = []
    while end - position >= SHORTEST:
        stop = min(position + min(length(), CHUNK_SECONDS), end)
        cues = [cue for cue in cues if cue.start >= position]
        cut = next((cue for cue in cues if cue.start < stop < cue.end), None)
        if cut is not None and cut.start <= position:  # longer than the window was to be
            stop, cut = cut.end, next((cue for cue in cues if cue.start < cut.end < cue.end), None)
        inside = [cue for cue in cues if cue.end <= stop and (cut is None or cue.start <= cut.start)]
        if inside:
            yield _window(record, position, stop, inside, cut, " ".join(previous))
            previous += [cue.text for cue in inside]
        elif (cut.start if cut else stop) - position >= SHORTEST_SILENCE:
            yield _window(record, position, cut.start if cut else stop, [], None, "")
        # Of captions that begin together only the first can be had.
        position = cut.start if cut is not None and cut.start > position else stop


def _window(record: Record, start: float, end: float, cues: Sequence[Cue], cut: Cue | None, previous: str) -> Window:
    return Window(
        parts=(Part(audio=record.audio, start=start, end=end),),
        language=record.language,
        task=record.task,
        cues=tuple(cue.shifted(-start) for cue in cues),
        cut=None if cut is None else cut.start - start,
        previous=previous,
        timed=record.timed,
        whole=start == 0 and end == record.duration,
    )


def joined(windows: Sequence[Window], gaps: Sequence[float]) -> Window:
    """Windows that are whole recordings one after the other, with a gap of so many seconds before each but the first.

    They need the same language, task and `timed`.
    """
    result = windows[0]
    for window, gap in zip(windows[1:], gaps, strict=True):
        later = window.delayed(result.seconds + gap)
        part = replace(later.parts[0], before=window.parts[0].before + gap)
        result = replace(
            result, parts=(*result.parts, part, *later.parts[1:]), cues=(*result.cues, *later.cues), whole=True
        )
    return result
