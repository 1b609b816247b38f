"""Errors of diarization: DER with its parts, JER and the number of speakers, exact to the boundaries of turns.

The figures are those of pyannote.metrics: overlapping speech counts once for each speaker. Overlapping turns of the
same speaker count once, as there after `Annotation.support()`.

In the code, R is speakers of the reference, H speakers of the hypothesis, and P pieces of time between neighbouring
boundaries, in which nobody starts or stops talking.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mtasr.extras import extras
from mtasr.spans import Interval
from mtasr.transcript import Turn

_Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiarizationErrors:
    """What separates turns from reference turns. Times are in seconds; the errors of several recordings add up."""

    #: Reference speech for which too few speakers were found.
    missed: float = 0.0
    #: Speech found for more speakers than talk in the reference.
    false_alarm: float = 0.0
    #: Speech of the reference that was given to another speaker.
    confusion: float = 0.0
    #: Speech of the reference, added up over its speakers.
    speech: float = 0.0
    #: The Jaccard errors of the reference's speakers, 0 to 1 each, added up.
    jaccard: float = 0.0
    #: How many speakers the reference and the hypothesis have.
    speakers: int = 0
    found: int = 0

    def __add__(self, other: DiarizationErrors) -> DiarizationErrors:
        return DiarizationErrors(
            missed=self.missed + other.missed,
            false_alarm=self.false_alarm + other.false_alarm,
            confusion=self.confusion + other.confusion,
            speech=self.speech + other.speech,
            jaccard=self.jaccard + other.jaccard,
            speakers=self.speakers + other.speakers,
            found=self.found + other.found,
        )

    @property
    def seconds(self) -> float:
        """All seconds that are wrong."""
        return self.missed + self.false_alarm + self.confusion

    @property
    def der(self) -> float | None:
        """Diarization error rate: wrong seconds for each second of reference speech; None without speech.

        It may exceed 1. pyannote.metrics instead gives 0 or 1 if nobody speaks in the reference.
        """
        return self.seconds / self.speech if self.speech else None

    @property
    def jer(self) -> float | None:
        """Jaccard error rate, 0 to 1: the mean over the reference's speakers; None without speakers.

        A speaker's error is 1 - intersection / union of their time and that of the speaker mapped to them, and 1 if
        nobody is. Speakers are mapped as for DER, as in pyannote.metrics; dscore maps them for the lowest JER. Of
        mappings that are equally good for DER, the order of the names decides.
        """
        return self.jaccard / self.speakers if self.speakers else None


def diarization_errors(
    reference: Iterable[Turn],
    hypothesis: Iterable[Turn],
    *,
    collar: float = 0.0,
    bounds: Sequence[Interval] | None = None,
) -> DiarizationErrors:
    """Compare turns with the reference. Speakers are mapped one to one, so that most time is right.

    `collar` seconds before and after each boundary of the reference do not count, as in NIST's tools (pyannote.metrics
    wants twice the number for this). Of the time outside of `bounds` nothing counts (the UEM of NIST); by default the
    turns of both bound it. Speakers of whom nothing counts are no speakers.
    """
    with extras():
        from scipy.optimize import linear_sum_assignment

    reference, hypothesis = tuple(reference), tuple(hypothesis)
    ends = [time for turn in reference for time in (turn.start, turn.end)]
    ignored = [(end - collar, end + collar) for end in ends] if collar else []
    spans = [(turn.start, turn.end) for turn in (*reference, *hypothesis)]
    edges = np.unique([time for span in (*spans, *ignored, *(bounds or ())) for time in span])
    counts_P = ~_covered(edges, ignored)
    if bounds is not None:
        counts_P &= _covered(edges, bounds)
    length_P = np.diff(edges) * counts_P

    wanted_RP, found_HP = _activity(reference, edges, length_P), _activity(hypothesis, edges, length_P)
    wanted_P, found_P = wanted_RP.sum(axis=0), found_HP.sum(axis=0)
    shared_RH = (wanted_RP * length_P) @ found_HP.T
    mapped = linear_sum_assignment(shared_RH, maximize=True)
    right = shared_RH[mapped]
    either = (wanted_RP @ length_P)[mapped[0]] + (found_HP @ length_P)[mapped[1]] - right
    return DiarizationErrors(
        missed=float(length_P @ np.maximum(wanted_P - found_P, 0)),
        false_alarm=float(length_P @ np.maximum(found_P - wanted_P, 0)),
        confusion=max(float(length_P @ np.minimum(wanted_P, found_P) - right.sum()), 0.0),  # rounding may leave -1e-16
        speech=float(length_P @ wanted_P),
        jaccard=float(len(wanted_RP) - (right / either).sum()),
        speakers=len(wanted_RP),
        found=len(found_HP),
    )


def _activity(turns: Sequence[Turn], edges: _Numbers, length: _Numbers) -> _Numbers:
    """In which pieces, of these lengths, each speaker talks: 1 or 0 as (speakers, pieces)."""
    spans: dict[str, list[Interval]] = {}
    for turn in turns:
        spans.setdefault(turn.speaker, []).append((turn.start, turn.end))
    active = [_covered(edges, spans[speaker]) for speaker in sorted(spans)]
    counted = [each for each in active if length @ each > 0]
    return np.array(counted, np.float64).reshape(len(counted), len(length))


def _covered(edges: _Numbers, spans: Sequence[Interval]) -> npt.NDArray[np.bool_]:
    """Which pieces between edges lie in one of the spans, whose ends are edges."""
    covered = np.zeros(max(len(edges) - 1, 0), bool)
    for start, end in spans:
        first, last = np.searchsorted(edges, (start, end))
        covered[first:last] = True
    return covered
