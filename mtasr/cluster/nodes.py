"""The machines of a cluster, and workers on them: what the rest of the package needs of Ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Protocol


class WorkerLostError(Exception):
    """The process of a worker, or its machine, ended before it answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine, or a part of one, that takes work."""

    id: str
    #: What messages call it.
    name: str
    cpus: int
    gpus: int = 0


class Call(Protocol):
    """A call of a worker's method that has been sent."""

    def result(self) -> Any:
        """What it returned, or raised. Raises `WorkerLostError` if there will be no answer. Waits."""


class RemoteWorker(Protocol):
    """A `NodeWorker` in a process of its own."""

    def call(self, method: str, /, *arguments: Any) -> Call:
        """Begin a call of one of its methods; several are worked on at a time."""

    def kill(self) -> None:
        """End its process. A second call does nothing."""


class Shared(Protocol):
    """Bytes that were put into the cluster once, for every worker that asks for them."""

    def get(self) -> bytes: ...


class Nodes(Protocol):
    """A cluster."""

    def alive(self) -> list[Node]:
        """The nodes that take work at present, in an order that stays."""

    def start(self, node: Node, *, on_gpu: bool) -> RemoteWorker:
        """Start a worker on a node: one that has a GPU for itself, or all of the node's cores. Does not wait."""

    def wait(self, calls: Sequence[Call], seconds: float) -> list[Call]:
        """Those of the calls that have an answer, as soon as one has, or none after so many seconds."""

    def share(self, content: bytes) -> Shared:
        """Put bytes into the cluster."""

    def close(self) -> None:
        """Leave the cluster. Workers that were started end."""


def package_version(package: str) -> str:
    """The version of a package on this machine, "none" without it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"
