"""Losses, discriminators and the balancer beside literal values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mtasr.generative.balance import Balancer
from mtasr.generative.discriminators import Discriminator, Judged, PeriodPart, ScalePart, stft_discriminator
from mtasr.generative.losses import (
    discriminator_loss,
    feature_distance,
    generator_loss,
    log_mel,
    relative_error,
    signal_to_distortion,
    spectral_distance,
)
from mtasr.generative.metrics import si_snr


def test_shares_of_gradients_are_those_of_weights_whatever_the_units() -> None:
    sound = torch.randn(3, 50, requires_grad=True)
    direction = torch.randn(2, 3, 50)
    losses = {"a": (sound * direction[0]).sum(), "b": 1000 * (sound * direction[1]).sum()}
    found = Balancer(("a", "b")).gradient(losses, {"a": 1.0, "b": 3.0}, sound)
    norms = direction.norm(dim=2).mean(1)
    torch.testing.assert_close(found, 0.25 * direction[0] / norms[0] + 0.75 * direction[1] / norms[1])


def test_norms_are_averaged_over_steps_and_stored() -> None:
    balancer, sound = Balancer(("a", "late"), decay=0.9), torch.ones(1, 4, requires_grad=True)
    for size in (1.0, 3.0):
        found = balancer.gradient({"a": (size * sound).sum() / 2}, {"a": 1.0, "late": 1.0}, sound)
    average = (0.9 * 1 + 3) / (0.9 + 1)  # a gradient of size / 2 in four places has the norm size
    torch.testing.assert_close(found, torch.full((1, 4), 1.5 / average))
    again = Balancer(("a", "late"), decay=0.9)
    again.load_state_dict(balancer.state_dict())
    # A loss that joins later begins with its own norm, not with zeros.
    losses = {"late": (5 * sound).sum()}
    torch.testing.assert_close(again.gradient(losses, {"late": 2.0}, sound), torch.full((1, 4), 0.5))


def test_periods_fold_as_by_hand() -> None:
    audio = torch.arange(7.0)[None]
    assert PeriodPart(3, channels=(2,)).folded(audio)[0, 0].tolist() == [[0, 1, 2], [3, 4, 5], [6, 5, 4]]
    assert PeriodPart(7, channels=(2,)).folded(audio)[0, 0].tolist() == [list(range(7))]


def test_adversarial_losses_are_literal() -> None:
    real = [Judged(torch.tensor([[2.0, 0.5]]), [torch.tensor([1.0, -3.0])])]
    made = [Judged(torch.tensor([[-2.0, 0.5]]), [torch.tensor([2.0, -3.0])])]
    assert float(discriminator_loss(real, made, "hinge")) == pytest.approx(0.25 + 0.75)
    assert float(generator_loss(made, "hinge")) == pytest.approx((3 + 0.5) / 2)
    assert float(discriminator_loss(real, made, "least-squares")) == pytest.approx((1 + 0.25) / 2 + (4 + 0.25) / 2)
    assert float(generator_loss(made, "least-squares")) == pytest.approx((9 + 0.25) / 2)
    assert float(feature_distance(real, made)) == pytest.approx(0.5 / 2)


def test_discriminators_hear_every_sound_with_all_parts() -> None:
    audio = torch.randn(2, 1000, requires_grad=True)
    folds_and_scales = [PeriodPart(3, (2, 4)), ScalePart(1, width=16), ScalePart(0, spectral=True, width=16)]
    for network in (stft_discriminator((256, 128), filters=2), Discriminator(folds_and_scales)):
        judged = network(audio)
        assert len(judged) == len(network.parts)
        assert all(each.scores.shape[0] == 2 and each.features for each in judged)
        (gradient,) = torch.autograd.grad(generator_loss(judged, "hinge"), audio)
        assert gradient.abs().sum() > 0


def test_the_ratio_of_signal_to_distortion_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(0)
    real, noise = rng.standard_normal((2, 4000))
    real, noise = real - real.mean(), noise - noise.mean()
    noise -= (noise @ real) / (real @ real) * real
    noise *= np.sqrt((real @ real) / (noise @ noise) / 10)  # a tenth of the power: 10 dB
    made = torch.from_numpy(3 * (real + noise) + 1)[None]
    found = float(signal_to_distortion(made, torch.from_numpy(real)[None]))
    assert found == pytest.approx(10, abs=1e-3)
    assert found == pytest.approx(si_snr(real.astype(np.float32), made[0].numpy().astype(np.float32)), abs=1e-3)


def test_spectra_find_a_tone_and_distances_are_zero_for_the_same_sound() -> None:
    times = torch.arange(16_000) / 16_000
    tone = torch.sin(2 * torch.pi * 1000 * times)[None]
    mel = log_mel(tone, 16_000, 1024)[0].mean(1)
    top = 2595 * np.log10(1 + 8000 / 700)
    centres = 700 * (10 ** (np.linspace(0, top, 66)[1:-1] / 2595) - 1)
    assert abs(centres[int(mel.argmax())] - 1000) < 60
    assert float(spectral_distance(tone, tone, 16_000)) == 0
    # Ten times quieter: ln 10 in every bin that is above the floor.
    noise = torch.randn(1, 16_000)
    assert float(spectral_distance(0.1 * noise, noise, 16_000)) == pytest.approx(np.log(10), rel=1e-3)
    assert float(relative_error(0.5 * tone, tone)) == pytest.approx(0.5)


def test_silence_has_gradients_that_are_finite() -> None:
    made = torch.zeros(1, 3000, requires_grad=True)
    (spectral_distance(made, torch.zeros(1, 3000), 16_000) + relative_error(made, torch.zeros(1, 3000))).backward()
    assert made.grad is not None
    assert made.grad.isfinite().all()
