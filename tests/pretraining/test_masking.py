from __future__ import annotations

import itertools

import numpy as np
import pytest

from mtasr.pretraining.audio.masking import span_mask


@pytest.mark.parametrize(("share", "expected"), [(0.65, 0.492), (0.80, 0.568)])
def test_as_much_is_masked_as_published(share: float, expected: float) -> None:
    rng = np.random.default_rng(0)
    masks = [span_mask(1, 500, share, 10, 2, rng) for _ in range(300)]
    assert np.mean(masks) == pytest.approx(expected, abs=0.01)
    lengths = [len(list(run)) for (row,) in masks for masked, run in itertools.groupby(row) if masked]
    assert min(lengths) >= 10, "single rows are not evened out, so that spans are whole"


def test_rows_have_equally_many_masked_frames() -> None:
    rng = np.random.default_rng(0)
    for rows, frames in itertools.product((1, 2, 30), (10, 49, 500)):
        mask = span_mask(rows, frames, 0.65, 10, 2, rng)
        assert mask.shape == (rows, frames)
        assert len(set(mask.sum(axis=1))) == 1
        assert mask.any()
    assert span_mask(500, 100, 0.65, 10, 2, rng).any(axis=0).all(), (
        "every frame can be masked, the first and the last too"
    )


def test_the_same_seed_gives_the_same_mask() -> None:
    one, same, other = (span_mask(3, 100, 0.65, 10, 2, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()


def test_least_spans_and_spans_without_room() -> None:
    rng = np.random.default_rng(0)
    assert span_mask(1, 1000, 0.0001, 10, 2, rng).sum() > 10
    assert span_mask(2, 10, 0.65, 10, 2, rng).all(), "one place only"
    with pytest.raises(ValueError, match="a span of 10 frames does not fit into 9"):
        span_mask(1, 9, 0.65, 10, 2, rng)


def test_spans_stay_whole_unless_counts_are_equal() -> None:
    mask = span_mask(200, 300, 0.4, 20, 1, np.random.default_rng(0), equal=False)
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(int))
    lengths = (edges == -1).nonzero()[1] - (edges == 1).nonzero()[1]
    assert lengths.min() == 20
    assert len(set(mask.sum(axis=1))) > 1
