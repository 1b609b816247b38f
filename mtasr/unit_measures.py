"""How well units that were found without labels agree with phones: purities and PNMI.

Source: Hsu et al. 2021 (HuBERT, arXiv:2106.07447), section V.A. Letters in shapes: F frames, K units, P phones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mtasr.arrays import FloatArray, IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitQuality:
    """Agreement of the units and the phones of the same frames; every figure is between 0 and 1."""

    #: How often the phone is right if each unit stands for the phone that it most often coincides with. It grows with
    #: the number of units.
    phone_purity: float
    #: How often the unit is right if each phone stands for the unit that it most often coincides with. It falls with
    #: the number of units.
    cluster_purity: float
    #: The share of the uncertainty about the phone that knowing the unit removes (mutual information over the entropy
    #: of phones). 0 if there is only one phone.
    pnmi: float


def unit_quality(pairs: Iterable[tuple[IntArray, IntArray]]) -> UnitQuality:
    """The quality over recordings, each with the units (F,) and the phones (F,) of its frames, all counted from 0.

    Leave out frames without a phone, such as silence. Raises `ValueError` if there are no frames, or not as many
    phones as units.
    """
    counts = np.zeros((1, 1), np.int64)
    for units, phones in pairs:
        if units.shape != phones.shape or units.ndim != 1:
            raise ValueError(f"units and phones must have one shape (F,), not {units.shape} and {phones.shape}")
        if not len(units):
            continue
        if min(units.min(), phones.min()) < 0:
            raise ValueError("units and phones are counted from 0")
        more = max(0, units.max() + 1 - counts.shape[0]), max(0, phones.max() + 1 - counts.shape[1])
        counts = np.pad(counts, ((0, more[0]), (0, more[1])))
        np.add.at(counts, (units, phones), 1)
    if not counts.any():
        raise ValueError("there are no frames to compare")
    joint = counts / counts.sum()  # (K, P)
    unit, phone = joint.sum(axis=1), joint.sum(axis=0)
    information = _entropy(unit) + _entropy(phone) - _entropy(joint)
    return UnitQuality(
        phone_purity=float(joint.max(axis=1).sum()),
        cluster_purity=float(joint.max(axis=0).sum()),
        pnmi=float(np.clip(information / _entropy(phone), 0, 1)) if np.count_nonzero(phone) > 1 else 0.0,
    )


def perplexity(counts: IntArray) -> float:
    """The number of equally frequent units that are as hard to guess as units with these counts; 0 without any."""
    total = counts.sum()
    return float(np.exp(_entropy(counts / total))) if total else 0.0


def _entropy(probabilities: FloatArray) -> float:
    """In nats."""
    positive = probabilities[probabilities > 0]
    return float(-(positive * np.log(positive)).sum())
