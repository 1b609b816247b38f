"""From strands whose pieces have speakers to turns."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from mtasr.arrays import Float32Array, FloatArray, IntArray
from mtasr.spans import SAMPLE_RATE, Span
from mtasr.speakers.networks.segmentation import FRAME_STEP, RECEPTIVE_FIELD
from mtasr.speakers.pieces import VoicePiece
from mtasr.speakers.strands import Region, runs

#: The probabilities of all strands of a frame together, from which on one speaks, and two.
_ONE, _TWO = 0.5, 1.3
#: A frame so many decibels softer than loud ones around it is quiet, and a pause if so many frames are quiet in a row
#: and speech is less sure than this: segmentation runs on over short pauses.
_QUIET, _PAUSE, _SURE = 30.0, 12, 0.9
#: Frames around a frame, of which one in ten is loud: 3 s.
_AROUND = 178
#: Frames: one speaker's turns go on over shorter silences.
_JOINED = 15
#: Regions rendered at once: ten minutes.
_AT_ONCE = 240
_LEAST = 0.05
#: Frames whose neighbours are sorted at once.
_SORTED_AT_ONCE = 4096

#: Samples before those that the first frame stands for.
FIRST_SAMPLE = (RECEPTIVE_FIELD - FRAME_STEP) // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokenRun:
    """Speaker `label` talks in frames `start` to `end`."""

    label: int
    start: int
    end: int
    confidence: float


def pauses(levels_F: Float32Array) -> npt.NDArray[np.bool_]:  # noqa: N803
    """Frames (F,) of quiet that lasts, from the level of each frame in decibels."""
    quiet: npt.NDArray[np.bool_] = levels_F < _loud(levels_F) - np.float32(_QUIET)
    for start, end in runs(quiet):
        if end - start < _PAUSE:
            quiet[start:end] = False
    return quiet


def _loud(levels_F: Float32Array) -> Float32Array:  # noqa: N803
    """The level (F,) that one in ten of the frames around each frame exceeds; beyond the ends they are mirrored."""
    before = _AROUND // 2
    padded = np.pad(levels_F, (before, _AROUND - before - 1), mode="symmetric")
    loud = np.empty_like(levels_F)
    rank = int(0.9 * _AROUND)
    for start in range(0, len(loud), _SORTED_AT_ONCE):
        end = min(start + _SORTED_AT_ONCE, len(loud))
        around = np.lib.stride_tricks.sliding_window_view(padded[start : end + _AROUND - 1], _AROUND)
        loud[start:end] = np.partition(around, rank, axis=1)[:, rank]
    return loud


def spoken(
    regions: Sequence[Region],
    pieces: Sequence[VoicePiece],
    labels: IntArray,
    confidences: FloatArray,
    levels_F: Float32Array,  # noqa: N803
) -> list[SpokenRun]:
    """Who talks in which frames, in order of time, from the speaker of each piece and how sure that is."""
    if not pieces:
        return []
    owners = _owners(pieces)
    is_pause = pauses(levels_F)
    spans: dict[int, list[Span]] = {}
    sums: dict[int, list[float]] = {}
    for index in range(0, len(regions), _AT_ONCE):
        part = regions[index : index + _AT_ONCE]
        origin = part[0].start
        talking, sure = _talking(part, owners, labels, confidences, is_pause[origin : part[-1].end])
        for label in range(talking.shape[1]):
            for start, end in runs(talking[:, label]):
                of_label, of_sums = spans.setdefault(label, []), sums.setdefault(label, [])
                total = float(sure[start:end, label].sum())
                if of_label and origin + start - of_label[-1].end < _JOINED:
                    of_label[-1] = Span(of_label[-1].start, origin + end)
                    of_sums[-1] += total
                else:
                    of_label.append(Span(origin + start, origin + end))
                    of_sums.append(total)
    found = [
        SpokenRun(label=label, start=start, end=end, confidence=min(1.0, total / (end - start)))
        for label, of_label in spans.items()
        for (start, end), total in zip(of_label, sums[label], strict=True)
    ]
    return sorted(found, key=lambda run: (run.start, run.end, run.label))


def _owners(pieces: Sequence[VoicePiece]) -> dict[int, list[tuple[int, int, int]]]:
    """For each strand, the pieces (start, end, place) that say whose it is, from one frame to another without gaps."""
    of_strand: dict[int, list[int]] = {}
    for place in sorted(range(len(pieces)), key=lambda place: pieces[place].start):
        of_strand.setdefault(pieces[place].strand, []).append(place)
    owners = {}
    for strand, places in of_strand.items():
        cuts = [(pieces[one].end + pieces[two].start) // 2 for one, two in pairwise(places)]
        owners[strand] = list(zip([0, *cuts], [*cuts, 1 << 40], places, strict=True))
    return owners


def _within(region: Region, pieces: Sequence[tuple[int, int, int]]) -> Sequence[tuple[int, int, int]]:
    """Those of a strand's pieces that are in the region: a voice that never pauses has thousands."""
    first = bisect_right(pieces, region.start, key=lambda piece: piece[0]) - 1
    return pieces[max(first, 0) : bisect_left(pieces, region.end, key=lambda piece: piece[0])]


def _talking(
    regions: Sequence[Region],
    owners: dict[int, list[tuple[int, int, int]]],
    labels: IntArray,
    confidences: FloatArray,
    is_pause: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.bool_], Float32Array]:
    """Who talks in each frame (F, K), and how sure it is that it is this speaker (F, K)."""
    origin, count = regions[0].start, regions[-1].end - regions[0].start
    speakers = int(labels.max()) + 1
    activity_FK = np.zeros((count, speakers), np.float32)
    sure_FK = np.zeros((count, speakers), np.float32)
    together = np.zeros(count, np.float32)
    for region in regions:
        for strand, own in region.activity.items():
            together[region.start - origin : region.end - origin] += own
            for start, end, place in _within(region, owners.get(strand, [])):
                begin, stop = max(start, region.start), min(end, region.end)
                frames = slice(begin - origin, stop - origin)
                label = labels[place]
                louder = own[begin - region.start : stop - region.start] > activity_FK[frames, label]
                activity_FK[frames, label][louder] = own[begin - region.start : stop - region.start][louder]
                sure_FK[frames, label][louder] = confidences[place]
    at_once = (together >= _ONE).astype(np.int8) + (together >= _TWO)
    at_once[is_pause & (together < _SURE)] = 0
    ranks = np.argsort(-activity_FK, axis=1, kind="stable")
    talking = np.zeros((count, speakers), bool)
    for rank in range(min(2, speakers)):
        places = np.flatnonzero(at_once > rank)
        talking[places, ranks[places, rank]] = True
    return talking & (activity_FK > _LEAST), sure_FK


def seconds(frame: int) -> float:
    """When a frame begins, in seconds of the recording."""
    return (frame * FRAME_STEP + FIRST_SAMPLE) / SAMPLE_RATE if frame else 0.0
