"""Tasks under way on the workers of a team, and what is to be sent again when workers die."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from mtasr.cluster.nodes import Call, Nodes, WorkerLostError
from mtasr.cluster.pulses import PATIENCE, Pulses
from mtasr.cluster.tasks import Task
from mtasr.cluster.team import Member, Team
from mtasr.errors import ClusterError

#: Tasks under way on a worker: one is decoded while the next is read.
AT_ONCE = 2

#: Deaths of workers after which what they had under way counts as their cause, and is not sent again.
DEATHS = 2

#: Seconds to wait for a worker when none is left.
_DESERTED = 300.0

#: Seconds between looks at what no call reports.
_LOOK = 0.2

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    """What a worker returned, or the exception that it raised, for a task that was sent as a part of `sent`."""

    member: Member
    sent: T
    content: object


class UnderWay(Generic[T]):
    """The tasks under way, each with what its sender keeps of it. One thread may call the methods."""

    def __init__(self, nodes: Nodes, team: Team) -> None:
        self._nodes, self._team = nodes, team
        self._calls: dict[Call, tuple[Member, T]] = {}
        self._pulses = Pulses()
        self._deserted: float | None = None

    def send(self, member: Member, task: Task, sent: T) -> None:
        """Have a worker do a task; `sent` comes back with the answer, or if the worker dies."""
        self._calls[member.worker.call("work", task)] = member, sent
        self._team.states[member.node.id].tasks += 1
        self._pulses.touch(member)

    def on(self, member: Member) -> list[T]:
        """What a worker has under way."""
        return [sent for each, sent in self._calls.values() if each is member]

    @property
    def sent(self) -> list[T]:
        """All that is under way."""
        return [sent for _, sent in self._calls.values()]

    @property
    def decoded(self) -> Mapping[int, int]:
        """Samples that are decoded of chunks, by their numbers, as far as is known; some may have come meanwhile."""
        return self._pulses.decoded

    def receive(self) -> tuple[list[Reply[T]], list[T]]:
        """Wait a moment for answers, and look after the workers.

        Returns the answers that came, and what was lost with workers that died, stood still or left the cluster.
        """
        answers: list[Reply[T]] = []
        lost: list[T] = []
        answered = self._nodes.wait([*self._calls, *self._team.calls, *self._pulses.calls], _LOOK)
        for call in answered:
            if call not in self._calls:
                continue
            member = self._calls[call][0]
            try:
                content = call.result()
            except WorkerLostError:
                lost += self._lose(member, "a worker died; what it had under way is sent again")
                continue
            except Exception as error:
                content = error
            answers.append(Reply(member, self._remove(call), content))
        for member in self._team.advance(answered):
            lost += self._forget(member)
        for member in self._pulses.feel(answered, self.on):
            lost += self._lose(member, f"a worker stood still for {PATIENCE / 60:g} minutes; it is ended")
        return answers, lost

    def require_workers(self) -> None:
        """Raise `ClusterError` if there has been no worker for long."""
        if self._team.members:
            self._deserted = None
        elif self._deserted is None:
            self._deserted = time.monotonic()
            self._team.tell(f"no worker is left; waiting {_DESERTED / 60:g} minutes for a node to join")
        elif time.monotonic() - self._deserted > _DESERTED:
            raise ClusterError(f"no worker is left, and none came within {_DESERTED / 60:g} minutes")

    def _lose(self, member: Member, reason: str) -> list[T]:
        """Have another worker started in the place of this one; returns what it had under way."""
        self._team.tell(f"{member.node.name}: {reason}")
        lost = self._forget(member)
        self._team.lose(member)
        return lost

    def _forget(self, member: Member) -> list[T]:
        lost = [self._remove(call) for call, (each, _) in list(self._calls.items()) if each is member]
        self._pulses.forget(member)
        return lost

    def _remove(self, call: Call) -> T:
        member, sent = self._calls.pop(call)
        self._team.states[member.node.id].tasks -= 1
        self._pulses.touch(member)
        return sent
