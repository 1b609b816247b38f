"""Times of a translation: those of the transcript, so that both can be shown together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mtasr.transcript import Segment


def at_times_of(transcribed: Sequence[Segment], translated: Sequence[Segment]) -> list[Segment]:
    """The segments of a window's translation, at the times of those of its transcript where that is possible.

    As many segments are taken to be the same sentences. Else a translated segment takes the time of those it overlaps
    most; where one would be left without any, all keep their own times. Both are in order and do not overlap.
    """
    if any(segment.words for segment in translated):  # whose times are those of its words
        return list(translated)
    if len(transcribed) == len(translated):
        groups = [[segment] for segment in transcribed]
    else:
        groups = [[] for _ in translated]
        for segment in transcribed:
            if translated:
                shared = [_overlap(segment, other) for other in translated]
                groups[shared.index(max(shared))].append(segment)
    if not all(groups):
        return list(translated)
    # Without an overlap a segment may have gone to the first of the others: times must ascend all the same.
    starts, ends = [group[0].start for group in groups], [group[-1].end for group in groups]
    if any(end > start for end, start in zip(ends, starts[1:], strict=False)):
        return list(translated)
    return [
        replace(segment, start=start, end=end) for segment, start, end in zip(translated, starts, ends, strict=True)
    ]


def _overlap(one: Segment, other: Segment) -> float:
    return max(0.0, min(one.end, other.end) - max(one.start, other.start))
