"""Runs of units: frames in a row that have the same one. What is said is in the units, how long in the lengths.

Letters in shapes: F frames, R runs.
"""

from __future__ import annotations

import numpy as np

from mtasr.arrays import IntArray


def joined(units: IntArray) -> tuple[IntArray, IntArray]:
    """The unit of each run and its frames, (F,) -> (R,), (R,). No two runs side by side have the same unit."""
    starts = np.flatnonzero(np.diff(units, prepend=-1)) if len(units) else np.zeros(0, np.int64)
    return units[starts], np.diff(starts, append=len(units))


def expanded(units: IntArray, lengths: IntArray) -> IntArray:
    """The unit of each frame, (R,), (R,) -> (F,): what `joined` came from."""
    found: IntArray = np.repeat(units, lengths)
    return found
