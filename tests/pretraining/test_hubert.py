"""HuBERT's loss against a literal statement, what masked frames may know, and runs of both iterations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mtasr.errors import UsageError
from mtasr.networks.wave import WAVE_PRESETS, WaveConfig, WaveEncoder
from mtasr.pretraining.hubert import PRESETS, HubertNetwork, HubertObjective, HubertOptions, UnitBatch
from mtasr.pretraining.wave_encoders import encoder_config
from mtasr.training.config import make_config

#: Layer norm, so that a frame of the convolutions sees its own samples alone, and no normalisation of the audio.
LOCAL = replace(
    WAVE_PRESETS["tiny"], width=16, layers=2, heads=2, feed_forward=32, dropout=0.0, layerdrop=0.0, normalises=False
)
FRAMES, SAMPLES = 30, 30 * 320 + 80


def network(config: WaveConfig = LOCAL, seed: int = 0, **options: Any) -> HubertNetwork:
    torch.manual_seed(seed)
    settings = {"units": 7, "compared_width": 8, **options}
    return HubertNetwork(WaveEncoder(config), HubertOptions(**settings)).eval()


def batch(rows: int = 2, options: HubertOptions | None = None) -> UnitBatch:
    rng = np.random.default_rng(5)
    mask = np.zeros((rows, FRAMES), bool)
    mask[0, 3:14] = mask[1, 15:26] = True
    options = options or HubertOptions()
    targets = int(mask.sum()) * (options.masked_weight > 0) + int((~mask).sum()) * (options.unmasked_weight > 0)
    return UnitBatch(
        targets=targets,
        seconds=1.0,
        padded_seconds=1.0,
        crops=(),
        audio=rng.normal(0, 0.1, (rows, SAMPLES)).astype(np.float32),
        mask=mask,
        labels=rng.integers(0, 7, (rows, FRAMES)),
    )


def objective(options: HubertOptions) -> HubertObjective:
    """One without data, for its loss and figures."""
    made = object.__new__(HubertObjective)
    made.options = options
    return made


@pytest.mark.parametrize("weights", [(1.0, 0.0), (1.0, 0.5), (0.0, 2.0)])
@torch.no_grad()
def test_the_loss_is_what_the_paper_says(weights: tuple[float, float]) -> None:
    model = network(masked_weight=weights[0], unmasked_weight=weights[1], penalty=3.0).double()
    options, given = model.options, batch(options=HubertOptions(masked_weight=weights[0], unmasked_weight=weights[1]))
    given = replace(given, audio=given.audio.astype(np.float64))  # type: ignore[arg-type]
    audio, mask = torch.from_numpy(given.audio), torch.from_numpy(given.mask)
    features = model.encoder.convolved(audio)
    states = model.encoder.contextualised(features, mask)[-1]
    expected, counted = 0.0, 0
    for row in range(2):
        for frame in range(FRAMES):
            weight = weights[0] if mask[row, frame] else weights[1]
            counted += weight > 0
            projected = model.projection.weight @ states[row, frame] + model.projection.bias
            scores = [
                float(projected @ code) / float(projected.norm() * code.norm()) / options.logit_temperature
                for code in model.codes
            ]
            normaliser = np.log(np.sum(np.exp(scores)))
            expected += weight * (normaliser - scores[given.labels[row, frame]])
    square = sum(float(value) ** 2 for value in features.flatten()) / features.numel()
    assert given.targets == counted
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "float", lambda tensor: tensor)
        loss = objective(options).loss(model, given)
    assert float(loss) == pytest.approx(expected + counted * 3.0 * square, rel=1e-12)


def test_convolutions_get_a_share_of_their_gradient_and_nothing_else_does() -> None:
    given, gradients = batch(), []
    for rate in (1.0, 0.1):
        model = network(convolution_rate=rate, penalty=0.0)
        objective(model.options).loss(model, given).backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None})
    whole, tenth = gradients
    assert whole.keys() == tenth.keys() == dict(network().named_parameters()).keys()
    for name in whole:
        factor = 0.1 if ".convolutions." in name else 1.0
        torch.testing.assert_close(tenth[name], factor * whole[name], msg=name, rtol=1e-4, atol=1e-7)


def test_scores_have_float32s_precision_under_autocast() -> None:
    model, given = network(), batch()
    audio, mask = torch.from_numpy(given.audio), torch.from_numpy(given.mask)
    projected: list[Tensor] = []
    model.projection.register_forward_hook(lambda module, inputs, output: projected.append(output.detach()))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        scores, power = model(audio, mask)
    assert projected[0].dtype == torch.bfloat16
    assert scores.dtype == power.dtype == torch.float32
    cosines = torch.cosine_similarity(projected[0].float()[:, :, None], model.codes[None, None], dim=3)
    torch.testing.assert_close(scores, cosines.detach() / 0.1, rtol=1e-4, atol=1e-4)


def hidden(mask: np.ndarray) -> np.ndarray:
    """The samples that no unmasked frame is made from: (B, N)."""
    seen = np.zeros((len(mask), SAMPLES), bool)
    for row, frame in zip(*np.nonzero(~mask), strict=True):
        seen[row, 320 * frame : 320 * frame + 400] = True
    return ~seen


class LeakyEncoder(WaveEncoder):
    """Lets one masked frame through, the planted leak."""

    def contextualised(self, features: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        if mask is not None:
            mask = mask.clone()
            mask[1, 20] = False
        return super().contextualised(features, mask)


def leaks(model: HubertNetwork) -> tuple[bool, bool]:
    """Whether the loss has a gradient where the input is masked, and whether it changes when that input does."""
    given = batch()
    audio = torch.from_numpy(given.audio).requires_grad_()
    unseen = torch.from_numpy(hidden(given.mask))
    assert unseen.float().mean() > 0.2
    mask, labels = torch.from_numpy(given.mask), torch.from_numpy(given.labels)

    def loss(audio: Tensor) -> Tensor:
        scores, _ = model(audio, mask)
        return torch.nn.functional.cross_entropy(scores[mask], labels[mask])

    (gradient,) = torch.autograd.grad(loss(audio), audio)
    other = torch.where(unseen, torch.randn(audio.shape, generator=torch.Generator().manual_seed(1)), audio)
    with torch.no_grad():
        changed = bool(loss(other) != loss(audio))
    assert bool(gradient[~unseen].any())
    return bool(gradient[unseen].any()), changed


def test_what_is_masked_is_not_heard() -> None:
    assert leaks(network()) == (False, False)


def test_a_planted_leak_is_found() -> None:
    model = network()
    model.encoder.__class__ = LeakyEncoder
    assert leaks(model) == (True, True)


def test_normalising_over_time_is_a_leak() -> None:
    """Group norm and normalised audio let a frame know about all others, as published."""
    assert leaks(network(replace(LOCAL, convolution_norm="group"))) == (True, True)
    assert leaks(network(replace(LOCAL, normalises=True))) == (True, True)


def test_figures() -> None:
    model, given = network(), batch()
    model.eval()
    ours = objective(model.options)
    with torch.no_grad():
        scores, _ = model(torch.from_numpy(given.audio), torch.from_numpy(given.mask))
        _, sums = ours.judged(model, given)
    figures = ours.conclusion(sums, given.targets)
    best = scores.argmax(dim=2).numpy()
    assert figures["accuracy"] == pytest.approx((best == given.labels)[given.mask].mean())
    assert figures["unmasked_accuracy"] == pytest.approx((best == given.labels)[~given.mask].mean())
    chances = scores.softmax(dim=2).gather(2, torch.from_numpy(given.labels)[:, :, None])[:, :, 0].numpy()
    assert figures["cross_entropy"] == pytest.approx(-np.log(chances[given.mask]).mean(), rel=1e-5)
    counts = np.bincount(given.labels[given.mask], minlength=7)
    assert figures["majority"] == counts.max() / given.mask.sum()
    shares = counts[counts > 0] / counts.sum()
    assert figures["label_perplexity"] == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    assert figures["units_used"] == len(np.unique(best[given.mask])) / 7
    assert 1 <= figures["predicted_perplexity"] <= 7


@pytest.mark.parametrize(
    "setting",
    [
        {"units": 1}, {"units": 1 << 17}, {"unit_hours": 0}, {"masked_weight": 0.0}, {"masked_weight": -1.0},
        {"unmasked_weight": -0.5}, {"penalty": -1.0}, {"compared_width": 0}, {"logit_temperature": 0.0},
        {"convolution_rate": 0.0}, {"masked": 0.0}, {"span": 0}, {"least_spans": 0},
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=rf"objective_options\.{next(iter(setting))}"):
        HubertOptions(**setting)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_fit(name: str) -> None:
    config = make_config({"output": "run", "objective": "hubert", **PRESETS[name], "data": {"train": ["speech"]}})
    options = config.options(HubertOptions)
    assert encoder_config(options.preset, options.sizes, recurrent=False).layers >= 4
