"""Processes that train together, started by `torchrun`: each computes other batches, all take the same steps."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from mtasr.engines.torch import torch_device
from mtasr.errors import MtasrError, ProcessEndedError, UsageError
from mtasr.training.config import OptimizerConfig

_T = TypeVar("_T")

#: The others wait while the first process evaluates. If one dies, `torchrun` stops them.
_PATIENCE = timedelta(days=1)

#: What calls say in which processes meet, if one of them has ended: gloo names its source file.
_ENDED = ("gloo/transport/", "ncclRemoteError", "NCCL communicator was aborted")


@dataclass(frozen=True, slots=True)
class Crew:
    """The processes of a run, and which of them this is.

    The first leads: it alone evaluates and writes the log, and it decides what all must see alike. Each process writes
    its part of a checkpoint.
    """

    rank: int = 0
    size: int = 1
    #: The number of this process on its machine, which is that of its GPU.
    local: int = 0
    #: Whether this process was started by itself, and not by `torchrun`, which may also start one.
    alone: bool = True

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def device(self, chosen: torch.device) -> torch.device:
        """The GPU of this process, if `chosen` is a GPU. Raises `DeviceError` if there are too few GPUs."""
        return torch_device("cuda", self.local) if self.size > 1 and chosen.type == "cuda" else chosen

    def total(self, values: Iterable[float]) -> list[float]:
        """The sums over all processes."""
        summed = torch.tensor([0.0, *values], dtype=torch.float64)
        if self.size > 1:
            dist.all_reduce(summed)
        return [float(value) for value in summed[1:]]

    def decided(self, decide: Callable[[], _T]) -> _T:
        """What `decide` returns in the first process, in all of them. If it raises an `MtasrError`, all raise it.

        The value is sent, so it should be small.
        """
        if self.size == 1:
            return decide()
        decision: list[_T | MtasrError | None] = [None]
        if self.leads:
            try:
                decision = [decide()]
            except MtasrError as exc:
                decision = [exc]
        dist.broadcast_object_list(decision)
        (value,) = decision
        if isinstance(value, MtasrError):
            raise value
        return value  # type: ignore[return-value]

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Give tensors the values that they have in the first process."""
        for tensor in tensors if self.size > 1 else ():
            dist.broadcast(tensor, src=0)

    def differs(self, value: object) -> bool:
        """Whether a value, whose text is small, is another one in any process."""
        (others,) = self.total([repr(value) != self.decided(lambda: repr(value))])
        return others > 0

    def wait(self) -> None:
        """Wait until all processes have come here."""
        self.total([])


def other_ended(exc: BaseException) -> bool:
    """Whether a call in which processes meet failed because another process has ended. Torch has no type for that."""
    if isinstance(exc, dist.DistNetworkError):
        return True
    return isinstance(exc, RuntimeError) and any(words in str(exc) for words in _ENDED)


def is_first() -> bool:
    """Whether this process is alone, or the first of those that `torchrun` started."""
    return not dist.is_torchelastic_launched() or os.environ["RANK"] == "0"


def processes() -> int:
    """How many processes train together: as many as `torchrun` started, or one."""
    return int(os.environ["WORLD_SIZE"]) if dist.is_torchelastic_launched() else 1


def accumulation(config: OptimizerConfig, size: int) -> int:
    """How many batches each of `size` processes computes in a step. Raises `UsageError`."""
    if config.batches_per_step is None:
        return config.accumulation
    if config.batches_per_step % size:
        below = config.batches_per_step // size * size
        fitting = f"{below} or {below + size}" if below else f"{size}"
        raise UsageError(
            f"optimizer.batches_per_step cannot be {config.batches_per_step} for {size} processes: their number must "
            f"divide it, as it does {fitting}"
        )
    return config.batches_per_step // size


@contextlib.contextmanager
def crew() -> Iterator[Crew]:
    """The processes that `torchrun` started, or this one alone.

    Raises `UsageError` within another crew. If a process ends, what the others do together raises `ProcessEndedError`.
    """
    if not dist.is_torchelastic_launched():
        yield Crew()
        return
    if dist.is_initialized():
        raise UsageError("this process trains another model already")
    # gloo adds up numbers on the CPU, such as losses; nccl adds up gradients on GPUs.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield Crew(dist.get_rank(), dist.get_world_size(), int(os.environ["LOCAL_RANK"]), alone=False)
    except RuntimeError as exc:
        if other_ended(exc):
            raise ProcessEndedError("another process of this run ended; the same command resumes") from exc
        raise
    finally:
        dist.destroy_process_group()
