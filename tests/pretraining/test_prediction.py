"""Contrastive predictive coding: negatives, scores against literal loops, and predictors that see no later frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mtasr.pretraining.heads.prediction import (
    CausalPredictor,
    NegativesFrom,
    draw_elsewhere,
    make_predictors,
    step_logits,
)


@pytest.mark.parametrize("where", ["batch", "window"])
def test_scores_equal_literal_loops_in_float64(where: NegativesFrom) -> None:
    torch.manual_seed(0)
    rows, frames, steps, width = 3, 7, 3, 4
    features = torch.randn(rows, frames, width, dtype=torch.float64)
    drawn = draw_elsewhere(rows, frames, steps, 5, where, np.random.default_rng(1))
    windows, distances = torch.from_numpy(drawn.windows), torch.from_numpy(drawn.distances)
    for step in range(1, steps + 1):
        predicted = torch.randn(rows, frames - steps, width, dtype=torch.float64)
        found = step_logits(predicted, features, windows, distances, step, scale=1 / width)
        for row in range(rows):
            for frame in range(frames - steps):
                places = [(row, frame + step)]
                for window, distance in zip(windows[row, frame], distances[row, frame], strict=True):
                    places.append((int(window), (frame + step + int(distance)) % frames))
                for index, (window, time) in enumerate(places):
                    products = [
                        float(predicted[row, frame, each] * features[window, time, each]) for each in range(width)
                    ]
                    assert float(found[row, frame, index]) == pytest.approx(sum(products) / width, abs=1e-12)


@pytest.mark.parametrize("where", ["batch", "window"])
def test_negatives_are_never_at_the_time_of_the_target(where: NegativesFrom) -> None:
    drawn = draw_elsewhere(4, 6, 2, 30_000, where, np.random.default_rng(0))
    assert drawn.windows.shape == drawn.distances.shape == (4, 4, 30_000)
    times = np.bincount(drawn.distances[0, 0] % 6, minlength=6)
    assert times[0] == 0
    assert times[1:] / 30_000 == pytest.approx(1 / 5, abs=0.01)
    windows = np.bincount(drawn.windows[2, 0], minlength=4)
    if where == "window":
        assert windows.tolist() == [0, 0, 30_000, 0]
    else:
        assert windows / 30_000 == pytest.approx(1 / 4, abs=0.01)


def test_windows_without_room_for_the_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        draw_elsewhere(2, 12, 12, 8, "batch", np.random.default_rng(0))


@pytest.mark.parametrize("kind", ["linear", "transformer"])
def test_predictors_see_no_later_frame(kind: str) -> None:
    torch.manual_seed(0)
    (predictor,) = make_predictors(kind, 1, 16).eval()
    x = torch.randn(2, 9, 16, requires_grad=True)
    predicted = predictor(x)
    assert predicted.shape == x.shape
    (gradient,) = torch.autograd.grad(predicted[:, 4].square().sum(), x)
    assert (gradient[:, 5:] == 0).all()
    assert (gradient[:, 4] != 0).any()
    if kind == "transformer":
        assert (gradient[:, :4] != 0).any(dim=2).all()


def test_a_causal_predictor_tells_distances_apart() -> None:
    torch.manual_seed(0)
    predictor = CausalPredictor(8, heads=2, dropout=0.0)
    x = torch.randn(1, 4, 8)
    before = predictor(x)
    with torch.no_grad():
        predictor.distances[:, 2] += 5.0
    after = predictor(x)
    assert torch.equal(before[:, :2], after[:, :2])  # no frame of these has another two frames before it
    assert not torch.allclose(before[:, 2:], after[:, 2:])
