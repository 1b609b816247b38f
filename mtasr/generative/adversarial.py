"""Objectives that train a generator of sound against a discriminator, and the step that trains both.

The loop is `mtasr.training.loop.train`, with its records, log and checkpoints; only a step is another one. One AdamW
holds the weights of both: since it treats each weight by itself, and a weight without a gradient not at all, these are
two optimisers whose state is stored and restored together. A codec and a vocoder differ in what they make from what,
and in their losses; that is what a subclass of `AdversarialObjective` says. Letters in shapes: B items, N samples.
"""

from __future__ import annotations

import contextlib
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mtasr.errors import UsageError
from mtasr.generative.balance import Balancer
from mtasr.generative.losses import Adversarial, discriminator_loss, feature_distance, generator_loss
from mtasr.pretraining.objective import CropBatch, PretrainingObjective
from mtasr.training.batches import Batch
from mtasr.training.config import TrainConfig
from mtasr.training.optimizer import learning_rate, set_rates
from mtasr.training.parallel import accumulation, processes
from mtasr.training.state import RunState, checkpoints

#: Settings that objectives from audio alone have and these have not.
_UNUSED = ("init_encoder", "activation_checkpointing", "compile", "parallel", "precision")


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a generator made of a batch, and what it should have made: both (B, N)."""

    sound: Tensor
    real: Tensor
    #: Losses by name that compare the two. The balancer weighs them, and those of the discriminator.
    losses: Mapping[str, Tensor]
    #: A loss that does not pass through the sound, such as commitment, with its weight.
    beside: Tensor


class AdversarialNetwork(nn.Module):
    """A generator, what judges it, and the averages by which its losses are weighed."""

    def __init__(self, generator: nn.Module, discriminator: nn.Module, losses: tuple[str, ...]) -> None:
        super().__init__()
        self.generator, self.discriminator = generator, discriminator
        self.balancer = Balancer((*losses, "adversarial", "features"))


class AdversarialObjective(PretrainingObjective):
    """An objective whose steps train a generator, and from the step after `discriminator_from` on a discriminator.

    One process computes a step from one batch, in float32: with several, or with less precision, gradients would have
    to be balanced over all of them.
    """

    #: Names of the losses in `Made`, and what tells real from made by which loss.
    losses: tuple[str, ...]
    adversarial: Adversarial

    def __init__(self, config: TrainConfig) -> None:
        plain = TrainConfig(output=config.output, steps=config.steps, data=config.data)
        for name in _UNUSED:
            if getattr(config, name) != getattr(plain, name):
                raise UsageError(f"objective={config.objective} has no encoder to train and does not use {name}")
        if processes() > 1 or accumulation(config.optimizer, 1) != 1:
            raise UsageError(f"objective={config.objective} takes steps of one batch in one process")
        if config.optimizer.layer_decay != 1:
            raise UsageError(f"objective={config.objective} has no encoder for optimizer.layer_decay")
        super().__init__(config)

    @property
    @abstractmethod
    def discriminator_from(self) -> int:
        """Steps without a discriminator: it would win against a generator that has learned nothing yet."""

    @abstractmethod
    def weights_of(self, step: int) -> Mapping[str, float]:
        """The weight of each loss in a step, `adversarial` and `features` among them."""

    @abstractmethod
    def make(self, generator: Any, batch: Any) -> Made:
        """One pass of the generator in training mode. All chance comes from torch, which the step seeds."""

    @abstractmethod
    def network(self) -> AdversarialNetwork:
        """A fresh generator and discriminator, on the CPU."""

    def completed(self, crops: CropBatch, rng: Any) -> Batch:
        """Targets are recordings."""
        return crops.extended(CropBatch, targets=len(crops.audio))

    def model(self, device: torch.device) -> nn.Module:
        self._compare_data(resumes=bool(checkpoints(Path(self.config.output))))
        return self.network().to(device)

    def optimizer(self, model: Any) -> torch.optim.Optimizer:
        """AdamW over both. That the discriminator's weights thaw later tells checkpoints how often it was updated."""
        config = self.config.optimizer
        groups = [
            {"params": list(part.parameters()), "thaws": thaws, "share": 1.0}
            for part, thaws in ((model.generator, 0), (model.discriminator, self.discriminator_from))
        ]
        return torch.optim.AdamW(
            groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), eps=config.epsilon,
            weight_decay=config.weight_decay,
        )  # fmt: skip

    def take_step(self, run: Any, state: RunState, batches: Iterator[tuple[Any, int, Batch]]) -> dict[str, Any]:
        """Take the step `state.step` of both; as `mtasr.training.loop.take_step` for one network."""
        began = time.perf_counter()
        position, seed, batch = next(batches)
        waited = time.perf_counter() - began
        model: Any = state.model
        rate = learning_rate(state.step, run.config.steps, run.config.optimizer)
        set_rates(state.optimizer, rate)
        model.train()
        run.layout.expect(last=True)
        torch.manual_seed(seed)
        made = self.make(model.generator, batch)
        figures = self._train_discriminator(model, state, made)
        figures |= self._train_generator(model, state, made)
        run.layout.complete()
        run.layout.clear()
        state.follow(run.config.regularisation.ema)
        state.epoch, state.batch = position.epoch, position.batch
        return {
            "step": state.step,
            "epoch": state.epoch,
            **figures,
            "learning_rate": rate,
            "audio_seconds": round(batch.seconds, 3),
            "padding": 0.0,
            "seconds": round(time.perf_counter() - began, 4),
            "waited": round(waited, 4),
        }

    def _train_discriminator(self, model: Any, state: RunState, made: Made) -> dict[str, float]:
        if state.step <= self.discriminator_from:
            return {}
        found = model.discriminator(made.real), model.discriminator(made.sound.detach())
        loss = discriminator_loss(*found, self.adversarial)
        torch.autograd.backward(loss)
        self._update(state, model.discriminator, model.generator)
        return {"discriminator": float(loss.detach())}

    def _train_generator(self, model: Any, state: RunState, made: Made) -> dict[str, float]:
        weights, losses = self.weights_of(state.step), dict(made.losses)
        with _frozen(model.discriminator):
            if state.step > self.discriminator_from:
                with torch.no_grad():
                    real = model.discriminator(made.real)
                judged = model.discriminator(made.sound)
                losses["adversarial"] = generator_loss(judged, self.adversarial)
                losses["features"] = feature_distance(real, judged)
            gradient = model.balancer.gradient(losses, weights, made.sound)
            torch.autograd.backward([made.sound, made.beside], [gradient, None])
        norm = self._update(state, model.generator, model.discriminator)
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        total = sum(weights[name] * values[name] for name in made.losses) / sum(weights[name] for name in made.losses)
        return {"loss": total, **values, "beside": float(made.beside.detach()), "gradient_norm": norm}

    def _update(self, state: RunState, part: nn.Module, other: nn.Module) -> float:
        """Update one of the two by its gradients. Returns their norm before it is clipped."""
        hidden = [(weight, weight.grad) for weight in other.parameters()]
        for weight, _ in hidden:
            weight.grad = None
        norm = torch.nn.utils.clip_grad_norm_(part.parameters(), self.config.optimizer.clip)
        state.optimizer.step()
        for weight, gradient in hidden:
            weight.grad = gradient
        return float(norm)


@contextlib.contextmanager
def _frozen(part: nn.Module) -> Iterator[None]:
    """Within the block, gradients pass through a part and do not reach its weights."""
    part.requires_grad_(False)
    try:
        yield
    finally:
        part.requires_grad_(True)
