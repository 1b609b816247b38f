"""Records -> excerpts of at most 30 s with the captions in them (Whisper paper, sections 2.1 and 2.3).

Excerpts follow each other like windows in decoding: if a caption crosses the end of one, the next begins with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from mtasr.data.records import Caption, Record
from mtasr.features import CHUNK_SECONDS
from mtasr.options import Task

#: Seconds below which audio is left out; it would hold a word at most.
SHORTEST = 0.3
#: Seconds from which silence is an excerpt of its own, and not a pause between words.
SHORTEST_SILENCE = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """`before` seconds of silence, then a recording from `start` to `end`."""

    audio: str
    start: float
    end: float
    before: float = 0.0

    @property
    def seconds(self) -> float:
        return self.before + self.end - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """Audio of at most 30 s and what is said in it, with times in seconds from its start.

    Without captions it is silence. `cut` is where a caption begins that the excerpt's end cuts off. `previous` is the
    text before the excerpt. `whole` means that it is all of a recording.
    """

    parts: tuple[Part, ...]
    language: str | None
    task: Task
    captions: tuple[Caption, ...]
    cut: float | None = None
    previous: str = ""
    timed: bool = True
    whole: bool = False

    @property
    def seconds(self) -> float:
        return sum(part.seconds for part in self.parts)

    @property
    def text(self) -> str:
        return " ".join(caption.text for caption in self.captions)

    def fits(self, seconds: float) -> bool:
        """Whether it lasts at most this long, apart from rounding errors."""
        return self.seconds <= seconds + 1e-6

    def delayed(self, seconds: float) -> Excerpt:
        """The excerpt with more silence before it."""
        first, *rest = self.parts
        return replace(
            self,
            parts=(replace(first, before=first.before + seconds), *rest),
            captions=tuple(caption.shifted(seconds) for caption in self.captions),
            cut=None if self.cut is None else self.cut + seconds,
        )

    def before_cut(self) -> Excerpt:
        """The excerpt without the caption that is cut off, for targets that cannot say where it begins."""
        if self.cut is None:
            return self
        *rest, last = self.parts
        excess = self.seconds - self.cut
        return replace(self, parts=(*rest, replace(last, end=last.end - excess)), cut=None)


def cut_excerpts(record: Record, length: Callable[[], float]) -> Iterator[Excerpt]:
    """The excerpts of a record, in order. `length` is called for the most seconds of the next one, at most 30.

    Speech of unknown words, and captions longer than 30 s, are in none of them. A record without times makes one
    excerpt, or none if it is longer than 30 s.
    """
    if not record.timed:
        if SHORTEST <= record.duration <= CHUNK_SECONDS and record.text:
            caption = Caption(start=0.0, end=record.duration, text=record.text)
            yield _excerpt(record, 0.0, record.duration, [caption], None, "")
        return
    # Containers round their duration, so the last caption may end a moment after the recording.
    captions = sorted(
        (
            replace(caption, end=min(caption.end, record.duration))
            for caption in record.captions
            if caption.start < min(caption.end, record.duration)
        ),
        key=lambda caption: (caption.start, caption.end),
    )
    usable = [caption for caption in captions if caption.text.strip() and caption.end - caption.start <= CHUNK_SECONDS]
    walls = [
        caption for caption in captions if not (caption.text.strip() and caption.end - caption.start <= CHUNK_SECONDS)
    ]
    position = 0.0
    for wall in [*walls, Caption(start=record.duration, end=record.duration, text="")]:
        if wall.start > position:
            between = [caption for caption in usable if caption.start >= position and caption.end <= wall.start]
            yield from _between(record, position, wall.start, between, length)
        position = max(position, wall.end)


def _between(
    record: Record, position: float, end: float, captions: Sequence[Caption], length: Callable[[], float]
) -> Iterator[Excerpt]:
    """The excerpts between two times, between which all speech has captions."""
    previous: list[str] = []
    while end - position >= SHORTEST:
        stop = min(position + min(length(), CHUNK_SECONDS), end)
        captions = [caption for caption in captions if caption.start >= position]
        cut = next((caption for caption in captions if caption.start < stop < caption.end), None)
        if cut is not None and cut.start <= position:  # longer than the excerpt should be
            stop, cut = cut.end, next((caption for caption in captions if caption.start < cut.end < caption.end), None)
        inside = [
            caption for caption in captions if caption.end <= stop and (cut is None or caption.start <= cut.start)
        ]
        if inside:
            yield _excerpt(record, position, stop, inside, cut, " ".join(previous))
            previous += [caption.text for caption in inside]
        elif (cut.start if cut else stop) - position >= SHORTEST_SILENCE:
            yield _excerpt(record, position, cut.start if cut else stop, [], None, "")
        # Of captions that begin together, only the first can begin an excerpt.
        position = cut.start if cut is not None and cut.start > position else stop


def _excerpt(
    record: Record, start: float, end: float, captions: Sequence[Caption], cut: Caption | None, previous: str
) -> Excerpt:
    return Excerpt(
        parts=(Part(audio=record.audio, start=start, end=end),),
        language=record.language,
        task=record.task,
        captions=tuple(caption.shifted(-start) for caption in captions),
        cut=None if cut is None else cut.start - start,
        previous=previous,
        timed=record.timed,
        whole=start == 0 and end == record.duration,
    )


def joined(excerpts: Sequence[Excerpt], gaps: Sequence[float]) -> Excerpt:
    """Whole recordings one after the other as one excerpt, with silence of `gaps` seconds between them.

    They must have the same language, task and `timed`.
    """
    result = excerpts[0]
    for excerpt, gap in zip(excerpts[1:], gaps, strict=True):
        later = excerpt.delayed(result.seconds + gap)
        part = replace(later.parts[0], before=excerpt.parts[0].before + gap)
        result = replace(
            result,
            parts=(*result.parts, part, *later.parts[1:]),
            captions=(*result.captions, *later.captions),
            whole=True,
        )
    return result
