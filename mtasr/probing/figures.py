"""Figures of tasks that neither training nor evaluation has: EER, MTWV, slots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from mtasr.arrays import FloatArray
from mtasr.edit_distance import ErrorCount, count_errors

#: Costs of QUESST 2014: a query occurs with probability .0008, and a miss costs 100 times as much as a false alarm.
_PRIOR, _MISS = 0.0008, 100.0
_BETA = (1 / _PRIOR - 1) / _MISS


def equal_error_rate(scores: FloatArray, same: npt.NDArray[np.bool_]) -> float:
    """The rate at the threshold where as many trials of one voice are missed as others are taken for one.

    `scores` (T,) are higher where voices are more alike. Between two thresholds, rates change linearly. Raises
    `ValueError` unless there are trials of both sorts.
    """
    alike, other = int(same.sum()), int((~same).sum())
    if not (alike and other):
        raise ValueError("trials of one voice and of two are needed")
    order = np.argsort(-scores, kind="stable")
    accepted = np.flatnonzero(np.append(np.diff(scores[order]) < 0, True)) + 1  # only between unequal scores
    hits = np.concatenate([[0], same[order].cumsum()[accepted - 1]])
    taken = np.concatenate([[0], accepted])
    missed, alarms = 1 - hits / alike, (taken - hits) / other
    place = int(np.argmax(alarms >= missed))
    if place == 0:
        return float(alarms[0])
    before, after = missed[place - 1] - alarms[place - 1], alarms[place] - missed[place]
    share = before / (before + after)
    return float(alarms[place - 1] + share * (alarms[place] - alarms[place - 1]))


def best_weighted_value(scores: FloatArray, contained: npt.NDArray[np.bool_]) -> float:
    """MTWV, the maximum term weighted value: 1 - mean over queries of (misses + beta * false alarms), best threshold.

    `scores` and `contained` are (queries, recordings). Misses are a share of the recordings that contain the query,
    false alarms of the others; queries that nothing contains do not count. beta is that of QUESST 2014, 12.5. It is
    never below 0, where nothing is found. Raises `ValueError` if no query is contained anywhere.
    """
    counted = contained.any(axis=1)
    if not counted.any():
        raise ValueError("no query is contained in a recording")
    scores, contained = scores[counted], contained[counted]
    wanted = contained.sum(axis=1, keepdims=True)
    others = np.maximum((~contained).sum(axis=1, keepdims=True), 1)
    gains = np.where(contained, 1 / wanted, -_BETA / others).ravel() / len(scores)
    order = np.argsort(-scores.ravel(), kind="stable")
    values = gains[order].cumsum()
    ends = np.append(np.diff(scores.ravel()[order]) < 0, True)  # equal scores are accepted together
    return float(max(0.0, values[ends].max()))


#: SlotValues of an utterance: (name, value), in order.
SlotValues = Sequence[tuple[str, str]]


def slot_figures(pairs: Sequence[tuple[SlotValues, SlotValues]]) -> dict[str, float]:
    """Of (wanted, found) slots of utterances, as in SUPERB: the mean F1 of slot names, and the CER of slot values.

    A wanted value is compared with the nearest one found for its slot, or with nothing.
    """
    errors = ErrorCount()
    for wanted, found in pairs:
        values = _by_name(found)
        for name, value in wanted:
            counts = [count_errors(value, each) for each in values.get(name, [""])]
            errors += min(counts, key=lambda count: count.errors)
    f1 = np.mean([_f1({name for name, _ in wanted}, {name for name, _ in found}) for wanted, found in pairs])
    return {"F1": float(f1), "CER": errors.rate}


def _by_name(slots: SlotValues) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in slots:
        found.setdefault(name, []).append(value)
    return found


def _f1(wanted: set[str], found: set[str]) -> float:
    if not wanted and not found:
        return 1.0
    return 2 * len(wanted & found) / (len(wanted) + len(found))
