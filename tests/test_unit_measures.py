"""Units against phones: scikit-learn's mutual information, and cases whose values are known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from mtasr.unit_measures import perplexity, unit_quality


def test_units_that_are_the_phones_are_perfect() -> None:
    phones = np.array([0, 1, 2, 2, 1, 0, 0])
    quality = unit_quality([(np.array([5, 3, 0])[phones], phones)])
    assert (quality.phone_purity, quality.cluster_purity, quality.pnmi) == pytest.approx((1, 1, 1))


def test_units_that_know_nothing_remove_no_uncertainty() -> None:
    units, phones = (each.ravel() for each in np.meshgrid(np.arange(4), np.arange(5)))
    quality = unit_quality([(units, phones)])
    assert quality.phone_purity == pytest.approx(1 / 5)
    assert quality.cluster_purity == pytest.approx(1 / 4)
    assert quality.pnmi == pytest.approx(0, abs=1e-12)


def test_values_by_hand() -> None:
    quality = unit_quality([(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]))])
    assert quality.phone_purity == 3 / 4
    assert quality.cluster_purity == 3 / 4
    expected = (0.5 * np.log(0.5 / (0.75 * 0.5)) + 0.25 * np.log(0.25 / 0.375) + 0.25 * np.log(0.25 / 0.125)) / np.log(
        2
    )
    assert quality.pnmi == pytest.approx(expected)


def test_recordings_count_together() -> None:
    rng = np.random.default_rng(0)
    units, phones = rng.integers(0, 9, 500), rng.integers(0, 5, 500)
    units[phones == 2] = 8
    together = unit_quality([(units, phones)])
    assert unit_quality([(units[:90], phones[:90]), (units[:0], phones[:0]), (units[90:], phones[90:])]) == together
    share = np.bincount(phones) / 500
    expected = mutual_info_score(units, phones) / -(share * np.log(share)).sum()
    assert together.pnmi == pytest.approx(expected)


def test_one_phone_leaves_nothing_uncertain() -> None:
    assert unit_quality([(np.array([0, 1]), np.array([3, 3]))]).pnmi == 0


@pytest.mark.parametrize(
    ("units", "phones", "reason"),
    [
        ([], [], "no frames"),
        ([1, 2], [1], "one shape"),
        ([[1]], [[1]], "one shape"),
        ([-1], [1], "from 0"),
        ([1], [-1], "from 0"),
    ],
)
def test_what_cannot_be_compared_is_refused(units: list[int], phones: list[int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        unit_quality([(np.array(units, int), np.array(phones, int))])


def test_perplexity() -> None:
    assert perplexity(np.array([7, 7, 7, 0])) == pytest.approx(3)
    assert perplexity(np.array([5, 0])) == 1
    assert perplexity(np.array([0, 0])) == 0
    assert 1 < perplexity(np.array([9, 1])) < 2
