"""Several processes that train together, started by `torchrun`: each takes other batches, all take the same steps."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from mtasr.engines.torch import choose_device
from mtasr.errors import UsageError

#: The others wait while the first evaluates. Of a process that has died they are told by `torchrun`.
_PATIENCE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Crew:
    """The processes of a run, and which of them this one is. The first leads: it alone writes and evaluates."""

    rank: int = 0
    size: int = 1
    #: The number of this process on its machine, and so of its GPU.
    local: int = 0

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def device(self, chosen: torch.device) -> torch.device:
        """The GPU of this process, if GPUs are chosen. Raises `DeviceError` where there are fewer than processes."""
        return choose_device("cuda", self.local) if self.size > 1 and chosen.type == "cuda" else chosen

    def total(self, values: Iterable[float]) -> list[float]:
        """The sums over all processes."""
        summed = torch.tensor(list(values), dtype=torch.float64)
        if self.size > 1:
            dist.all_reduce(summed)
        return [float(value) for value in summed]

    def add_gradients(self, weights: Iterable[torch.nn.Parameter]) -> None:
        """Give each process the sum of all gradients.

        A weight without one gets zeros, for another process may have one, and steps do not depend on their number.
        """
        for weight in weights:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
            if self.size > 1:
                dist.all_reduce(weight.grad)

    def wait(self) -> None:
        """Until all have come here."""
        if self.size > 1:
            dist.barrier()


def processes() -> int:
    """How many train together: as many as `torchrun` started, or this one alone."""
    return int(os.environ["WORLD_SIZE"]) if dist.is_torchelastic_launched() else 1


@contextlib.contextmanager
def crew() -> Iterator[Crew]:
    """That of the environment which `torchrun` made, or this process alone. Raises `UsageError`."""
    if not dist.is_torchelastic_launched():
        yield Crew()
        return
    if dist.is_initialized():
        raise UsageError("this process trains another model already")
    # Numbers of the CPU, such as losses, are added up by gloo; gradients on a GPU by nccl.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield Crew(dist.get_rank(), dist.get_world_size(), int(os.environ["LOCAL_RANK"]))
    finally:
        dist.destroy_process_group()
