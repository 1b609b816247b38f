"""Training of one head at one learning rate, and the search for the rate.

The states come from disk and the heads are small. So this is a plain loop: checkpoints, averages and processes, as
`mtasr.training.loop` has them, would take longer than the training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from mtasr.errors import UsageError
from mtasr.probing.heads import Head
from mtasr.probing.tasks.task import HeadBatch, HeadReader, HeadTask

#: How often the development clips are scored; the best of these heads is kept, the last of equals.
_SCORED = 10
#: The largest norm of a gradient, as in SUPERB.
_CLIPPED = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSettings:
    """How heads learn. Each learning rate is tried, and the one whose head is best on the development clips is kept."""

    steps: int = 1000
    batch_size: int = 32
    learning_rates: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1)
    #: Whether states are normalised over their width. SUPERB does not.
    layer_norm: bool = False
    #: Whether heads on single layers are trained too, at the rate chosen for the sum.
    single_layers: bool = True
    #: Sizes of the head, by default SUPERB's (`mtasr.probing.heads.KINDS`).
    sizes: tuple[int, ...] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1:
            raise UsageError("steps and batch_size must be positive")
        if not self.learning_rates or not all(0 < rate < math.inf for rate in self.learning_rates):
            raise UsageError("learning_rates must be positive numbers")


@dataclass(frozen=True, slots=True)
class FittedHead:
    """A head, the rate at which it learnt, and its figure on the development clips."""

    head: Head
    rate: float
    dev: float


class _Fitted(Protocol):
    @property
    def dev(self) -> float: ...


_F = TypeVar("_F", bound=_Fitted)


def best_fit(
    task: HeadTask, rates: Sequence[float], fitted: Callable[[float], _F], tell: Callable[[str], object]
) -> _F:
    """What `fitted` makes at the rate that is best on dev. Raises `UsageError` if all rates diverge."""
    best: _F | None = None
    for rate in rates:
        found = fitted(rate)
        tell(f"learning rate {rate:g}: {task.figure} {found.dev:.4f} on dev")
        if not math.isnan(found.dev) and (best is None or task.better(found.dev, best.dev)):
            best = found
    if best is None:
        raise UsageError(f"task {task.name}: training diverges at every learning rate; try lower ones")
    return best


def fit(task: HeadTask, reader: HeadReader, settings: ProbeSettings, device: torch.device, rate: float) -> FittedHead:
    """The best head on the development clips along one run; its figure is NaN if the loss was never a number.

    It is a function of the settings and the states: the seed decides the first weights and the order of the clips.
    """
    torch.manual_seed(settings.seed)
    head = Head(task.head_config(reader, settings.sizes)).to(device)

    def backward(model: nn.Module, batch: HeadBatch) -> Tensor:
        loss = task.loss(model, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    return FittedHead(head, rate, learn(task, reader, head, settings, rate, backward))


def learn(
    task: HeadTask,
    reader: HeadReader,
    head: Head,
    settings: ProbeSettings,
    rate: float,
    backward: Callable[[nn.Module, HeadBatch], Tensor],
    *,
    beside: Sequence[nn.Module] = (),
    scored: int = _SCORED,
    tell: Callable[[str], object] = lambda line: None,
) -> float:
    """Train a head and the modules beside it, and leave them as they were at the best score on the development clips.

    `backward` computes the loss of a batch and its gradients, given the head together with what only learns beside it.
    `scored` is how often the development clips are scored. Returns the best score, NaN if the loss was never a number.
    The head is in evaluation mode afterwards.
    """
    rng = np.random.default_rng(settings.seed)
    device = head.layer_weights.device
    model = task.lesson(head).to(device).train()
    learning = [weight for module in (model, *beside) for weight in module.parameters()]
    optimizer = torch.optim.Adam(learning, lr=rate)
    best, kept = math.nan, _copied(head, *beside)
    every = max(1, settings.steps // scored)
    drawn = task.drawn(settings.batch_size, rng)
    for step in range(1, settings.steps + 1):
        optimizer.zero_grad()
        loss = backward(model, task.batch(reader, "train", next(drawn), device, rng))
        if not loss.isfinite():
            break
        torch.nn.utils.clip_grad_norm_(learning, _CLIPPED)
        optimizer.step()
        if step % every == 0 or step == settings.steps:
            model.eval()
            found = task.figures(head, reader, "dev")[task.figure]
            model.train()
            tell(f"step {step}: {task.figure} {found:.4f} on dev")
            if not task.better(best, found):  # of equals the later, whose layer weights have moved further
                best, kept = found, _copied(head, *beside)
    for module, state in zip((head, *beside), kept, strict=True):
        module.load_state_dict(state)
    head.eval()
    chosen = head.config.settings if math.isnan(best) else task.settled(head, reader)
    if chosen != head.config.settings:
        head.config = replace(head.config, settings=chosen)
        best = task.figures(head, reader, "dev")[task.figure]
    return best


def _copied(*modules: nn.Module) -> list[dict[str, Tensor]]:
    return [{name: tensor.clone() for name, tensor in module.state_dict().items()} for module in modules]
