"""Local voices of overlapping windows, joined into strands: one voice, followed for as long as windows agree on it.

Shape suffixes: F frames of a window, S voices of a window.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mtasr.arrays import Float32Array
from mtasr.spans import Span
from mtasr.speakers.networks.segmentation import POWERSET, WINDOW, frame_count

#: Frames of a window, and from the start of one window to the next: 2.5 s.
FRAMES = frame_count(WINDOW)
HOP = 148

#: A voice that never reaches this probability in a window is not in it.
_HEARD = 0.25
#: How far two windows must agree on a voice to be sure that it is the same: shared activity over all activity.
_AGREEMENT = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Which strands speak in frames `start` to `end` of the recording: all windows that cover them have been heard.

    `activity` holds the mean probability (end - start,) that the strand speaks, for each strand heard there.
    """

    start: int
    end: int
    activity: dict[int, Float32Array]


class Stitcher:
    """Takes the windows of one recording in order."""

    def __init__(self) -> None:
        self._next = 0
        # Windows that may still cover frames to come: first frame, marginals (F, S), strands (S,).
        self._windows: list[tuple[int, Float32Array, list[int]]] = []
        self._done = 0

    def copy(self) -> Stitcher:
        """A stitcher that goes on from here by itself."""
        other = Stitcher()
        other._next, other._windows, other._done = self._next, list(self._windows), self._done
        return other

    def add(self, start: int, log_probabilities_FK: Float32Array) -> None:  # noqa: N803
        """The window whose first frame is `start`, with the log-probability of each set of voices."""
        activity_FS = np.exp(log_probabilities_FK) @ POWERSET.astype(np.float32)
        self._windows.append((start, activity_FS, self._strands(start, activity_FS)))

    def regions(self, end: int) -> Iterator[Region]:
        """The regions up to frame `end` that have not been returned yet, of at most `HOP` frames each."""
        while self._done < end:
            stop = min(self._done + HOP, end)
            yield self._region(self._done, stop)
            self._done = stop
            self._windows = [
                each for each in self._windows if each[0] + len(each[1]) > stop or each is self._windows[-1]
            ]

    def _region(self, start: int, end: int) -> Region:
        total: dict[int, Float32Array] = {}
        count = np.zeros(end - start, np.float32)
        for first, activity_FS, strands in self._windows:
            begin, stop = max(start, first), min(end, first + len(activity_FS))
            if begin >= stop:
                continue
            count[begin - start : stop - start] += 1
            for voice, strand in enumerate(strands):
                if strand >= 0:
                    sums = total.setdefault(strand, np.zeros(end - start, np.float32))
                    sums[begin - start : stop - start] += activity_FS[begin - first : stop - first, voice]
        count = np.maximum(count, 1)
        return Region(start=start, end=end, activity={strand: sums / count for strand, sums in sorted(total.items())})

    def _strands(self, start: int, activity_FS: Float32Array) -> list[int]:  # noqa: N803
        """The strand of each voice of a window, -1 for voices that are not heard."""
        strands = [-1] * activity_FS.shape[1]
        if self._windows:
            first, before_FS, known = self._windows[-1]
            shared = slice(start - first, None)
            before_FS = before_FS[shared]
            after_FS = activity_FS[: len(before_FS)]
            before_FS = before_FS[: len(after_FS)]
            common = np.minimum(before_FS[:, :, None], after_FS[:, None, :]).sum(axis=0)
            either = np.maximum(before_FS[:, :, None], after_FS[:, None, :]).sum(axis=0)
            agreement = common / np.maximum(either, 1e-6)
            for old, new in enumerate(_matched(common)):
                if known[old] >= 0 and agreement[old, new] >= _AGREEMENT and after_FS[:, new].max() >= _HEARD:
                    strands[new] = known[old]
        for voice in range(len(strands)):
            if strands[voice] < 0 and activity_FS[:, voice].max() >= _HEARD:
                strands[voice] = self._next
                self._next += 1
        return strands


def _matched(common: Float32Array) -> tuple[int, ...]:
    """For each voice of one window, the voice of the next: the pairs that have most in common (S, S), all together."""
    voices = range(len(common))
    return max(itertools.permutations(voices), key=lambda order: float(common[voices, order].sum()))


def runs(mask: npt.NDArray[np.bool_]) -> list[Span]:
    """Each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [Span(int(start), int(end)) for start, end in edges.reshape(-1, 2)]
