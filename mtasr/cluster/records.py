"""Records labelled or judged on the nodes of a cluster, in the order in which they come."""

from __future__ import annotations

import itertools
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mtasr.closing import Closing
from mtasr.cluster import weights
from mtasr.cluster.nodes import Call, Nodes, WorkerLostError
from mtasr.cluster.tasks import JudgeTask, LabelTask, LoadTask, RecordsTask
from mtasr.cluster.team import Member, Team
from mtasr.data.filtering import UNREADABLE, Verdict, reasons
from mtasr.data.filters import Filter
from mtasr.data.label import Trust
from mtasr.data.records import Record
from mtasr.errors import ClusterError, InputError, WorkerDiedError

#: Records of a task.
_GROUP = 16

#: Tasks under way on a worker, and tasks whose answers wait for their turn, for each worker.
_AT_ONCE, _AHEAD = 2, 8

#: Deaths after which a record counts as unusable.
_DEATHS = 2

#: Seconds to wait for a worker when none is left.
_DESERTED = 300.0


@dataclass(eq=False, slots=True)
class _Group:
    """Records on their way, and what became of each."""

    records: tuple[Record, ...]
    deaths: int = 0
    is_sent: bool = False
    answers: tuple[object, ...] | None = None


class RecordWorkers(Closing):
    """Workers that label and judge records. Raises `ClusterError` if no node can work."""

    def __init__(
        self, nodes: Nodes, model: Path | None, paths: Iterable[str], tell: Callable[[str], object] = lambda line: None
    ) -> None:
        """`model` is the folder of the model on this machine, if one is needed; nodes must see some of the paths."""
        task = LoadTask(
            model=None if model is None else weights.describe(model),
            speaker_model=None,
            device="auto",
            compute_type="auto",
            threads=0,
            workers=0,
            batch_size=0,
        )
        self._nodes, self._tell = nodes, tell
        self._team = Team(nodes, task, [os.path.abspath(path) for path in paths], tell)  # noqa: PTH100 - links stay
        try:
            self._team.assemble()
        except BaseException:
            self.close()
            raise

    def labelled(
        self, records: Iterable[Record], language: str | None, trust: Trust, problem: Callable[[str], object]
    ) -> Iterator[Record]:
        """As `mtasr.data.label.label` with `labelled`."""
        for record, answer in self._mapped(records, lambda some: LabelTask(some, language, trust)):
            if isinstance(answer, InputError | WorkerDiedError):
                problem(str(answer))
            elif isinstance(answer, Exception):
                raise answer
            elif isinstance(answer, Record):
                yield replace(answer, audio=record.audio)

    def judged(
        self, records: Iterable[Record], cheap: Iterable[Filter], *, speech: bool, model: bool
    ) -> Iterator[Verdict]:
        """As `mtasr.data.filtering.judged`: the cheap filters here, and for what they keep the others on workers."""
        filters = list(cheap)
        here: deque[Verdict] = deque()

        def left() -> Iterator[Record]:
            remaining = iter(records)
            while some := list(itertools.islice(remaining, _GROUP)):
                verdicts = list(zip(some, reasons(some, filters), strict=True))
                here.extend(verdicts)
                yield from (record for record, reason in verdicts if reason is None)

        for record, answer in self._mapped(left(), lambda some: JudgeTask(some, speech, model)):
            while here[0][0] is not record:
                yield here.popleft()
            here.popleft()
            if isinstance(answer, WorkerDiedError):
                answer = UNREADABLE  # noqa: PLW2901
            if isinstance(answer, Exception):
                raise answer
            yield record, answer if isinstance(answer, str) else None
        yield from here

    def close(self) -> None:
        self._team.close()
        self._nodes.close()

    def _mapped(
        self, records: Iterable[Record], task: Callable[[tuple[Record, ...]], RecordsTask]
    ) -> Iterator[tuple[Record, object]]:
        """Each record with what a worker answered, or the exception that it raised."""
        remaining = iter(records)
        groups: deque[_Group] = deque()
        under_way: dict[Call, tuple[Member, _Group]] = {}
        deserted: float | None = None
        is_over = False
        while groups or not is_over:
            while not is_over and len(groups) < _AHEAD * max(len(self._team.ready), 1):
                some = tuple(itertools.islice(remaining, _GROUP))
                is_over = not some
                if some:
                    groups.append(_Group(some))
            self._send(groups, under_way, task)
            answered = self._nodes.wait([*under_way, *self._team.calls], 0.2)
            for call in answered:
                if call in under_way:
                    self._take(call, groups, under_way)
            for member in self._team.advance(answered):
                _lose(member, groups, under_way)
            deserted = None if self._team.members else deserted or time.monotonic()
            if deserted is not None and time.monotonic() - deserted > _DESERTED:
                raise ClusterError(f"no worker is left, and none came within {_DESERTED / 60:g} minutes")
            while groups and groups[0].answers is not None:
                done = groups.popleft()
                yield from zip(done.records, done.answers or (), strict=True)

    def _send(
        self,
        groups: Iterable[_Group],
        under_way: dict[Call, tuple[Member, _Group]],
        task: Callable[[tuple[Record, ...]], RecordsTask],
    ) -> None:
        for group in groups:
            if group.is_sent:
                continue
            busy = {id(member): 0 for member in self._team.ready}
            for member, other in under_way.values():
                busy[id(member)] = _AT_ONCE if other.deaths else busy.get(id(member), 0) + 1
            most = 1 if group.deaths else _AT_ONCE
            free = [member for member in self._team.ready if busy[id(member)] < most]
            if not free:
                return  # those after it wait too, so that a group that goes alone finds an idle worker
            member = min(free, key=lambda each: busy[id(each)])
            group.is_sent = True
            seen = tuple(replace(each, audio=os.path.abspath(each.audio)) for each in group.records)  # noqa: PTH100
            under_way[member.worker.call("work", task(seen))] = member, group

    def _take(self, call: Call, groups: deque[_Group], under_way: dict[Call, tuple[Member, _Group]]) -> None:
        member, group = under_way[call]
        try:
            group.answers = call.result()
        except WorkerLostError:
            _lose(member, groups, under_way)
            self._team.lose(member)
            return
        except Exception as error:
            group.answers = (error,) * len(group.records)
        del under_way[call]


def _lose(member: Member, groups: deque[_Group], under_way: dict[Call, tuple[Member, _Group]]) -> None:
    """A worker has died: send again each record of its tasks by itself; the second time, it counts as unusable."""
    for call, (each, group) in list(under_way.items()):
        if each is not member:
            continue
        del under_way[call]
        if group.deaths + 1 >= _DEATHS:
            name = group.records[0].audio
            group.answers = (WorkerDiedError(f"{name}: {_DEATHS} workers died while they worked on it"),)
            continue
        place = groups.index(group)
        groups.remove(group)
        for record in reversed(group.records):
            groups.insert(place, _Group((record,), group.deaths + 1))
