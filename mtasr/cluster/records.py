"""Records labelled or judged on the nodes of a cluster, in the order in which they come."""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mtasr.closing import Closing
from mtasr.cluster import weights
from mtasr.cluster.nodes import Nodes
from mtasr.cluster.paths import absolute, is_here
from mtasr.cluster.tasks import JudgeTask, LabelTask, LoadTask, RecordsTask
from mtasr.cluster.team import Member, Team
from mtasr.cluster.under_way import AT_ONCE, DEATHS, Reply, UnderWay
from mtasr.data.filtering import DEADLY, UNSEEN, Verdict, reasons
from mtasr.data.filters import Filter
from mtasr.data.label import Trust
from mtasr.data.records import Record
from mtasr.errors import InputError, InputNotFoundError, WorkerDiedError

#: Records of a task.
_GROUP = 16

#: Tasks for each worker that are under way or whose answers wait for their turn.
_AHEAD = 8


@dataclass(eq=False, slots=True)
class _Group:
    """Records on their way, and what became of each."""

    records: tuple[Record, ...]
    deaths: int = 0
    #: The nodes that do not see the recording.
    unseen_by: frozenset[str] = frozenset()
    is_sent: bool = False
    answers: tuple[object, ...] | None = None

    def parted(self) -> list[_Group]:
        """Each record by itself, not sent yet."""
        return [_Group((record,), self.deaths, self.unseen_by) for record in self.records]


class RecordWorkers(Closing):
    """Workers that label and judge records. Raises `ClusterError` if no node can work."""

    def __init__(
        self, nodes: Nodes, model: Path | None, paths: Sequence[str], tell: Callable[[str], object] = lambda line: None
    ) -> None:
        """`model` is the folder of the model on this machine, if one is needed; nodes must see some of the paths."""
        self._nodes, self._tell = nodes, tell
        with contextlib.ExitStack() as on_error:
            on_error.callback(nodes.close)
            task = LoadTask(
                model=None if model is None else weights.describe(model),
                speaker_model=None,
                device="auto",
                compute_type="auto",
                threads=0,
                workers=0,
                batch_size=0,
            )
            self._team = Team(nodes, task, paths, tell)
            self._groups: deque[_Group] = deque()
            self._under_way: UnderWay[_Group] = UnderWay(nodes, self._team)
            on_error.callback(self._team.close)
            self._team.assemble()
            on_error.pop_all()

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
            match answer:
                case WorkerDiedError():
                    self._tell(str(answer))
                    yield record, DEADLY
                case InputNotFoundError():
                    self._tell(str(answer))
                    yield record, UNSEEN
                case Exception():
                    raise answer
                case _:
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
        groups = self._groups = deque()
        self._under_way = UnderWay(self._nodes, self._team)
        is_over = False
        while groups or not is_over:
            while not is_over and len(groups) < _AHEAD * max(len(self._team.ready), 1):
                some = tuple(itertools.islice(remaining, _GROUP))
                is_over = not some
                if some:
                    groups.append(_Group(some))
            self._send(task)
            self._receive()
            while groups and groups[0].answers is not None:
                done = groups.popleft()
                yield from zip(done.records, done.answers or (), strict=True)
            if groups:
                self._under_way.require_workers()

    def _receive(self) -> None:
        answers, lost = self._under_way.receive()
        for answer in answers:
            self._take(answer)
        for group in lost:
            self._send_again(group)
        self._give_up_unseen()

    def _load(self, member: Member) -> int:
        """How many tasks a worker has; one that is to be alone counts as all that it can have."""
        return sum(AT_ONCE if group.deaths else 1 for group in self._under_way.on(member))

    def _send(self, task: Callable[[tuple[Record, ...]], RecordsTask]) -> None:
        for group in self._groups:
            if group.is_sent:
                continue
            most = 1 if group.deaths else AT_ONCE
            free = [member for member in self._team.ready if self._load(member) < most]
            if not free:
                return  # those after it wait too, so that a group that goes alone finds an idle worker
            seeing = [member for member in free if member.node.id not in group.unseen_by]
            if not seeing:
                continue
            member = min(seeing, key=self._load)
            group.is_sent = True
            seen = tuple(replace(each, audio=absolute(each.audio)) for each in group.records)
            self._under_way.send(member, task(seen), group)

    def _take(self, answer: Reply[_Group]) -> None:
        group = answer.sent
        match answer.content:
            case Exception() if len(group.records) > 1:
                self._put(group, group.parted())  # so that it shows which record it was
            case Exception() as error:
                group.answers = (error,)
            case tuple() as answers:
                self._answered(group, answers, answer.member)

    def _answered(self, group: _Group, answers: tuple[object, ...], member: Member) -> None:
        """Keep the answers, but send again the records that this machine sees, and the node did not."""
        unseen = [
            isinstance(answer, InputNotFoundError) and is_here(record.audio)
            for record, answer in zip(group.records, answers, strict=True)
        ]
        group.answers = answers
        if any(unseen):
            parts = group.parted()
            for part, answer, is_unseen in zip(parts, answers, unseen, strict=True):
                if is_unseen:
                    part.unseen_by |= {member.node.id}
                else:
                    part.is_sent, part.answers = True, (answer,)
            self._put(group, parts)

    def _give_up_unseen(self) -> None:
        """Answer for the records that this machine sees, and no node does."""
        nodes = {member.node.id for member in self._team.members}
        for group in self._groups if nodes else ():
            if not group.is_sent and group.unseen_by >= nodes:
                names = ", ".join(sorted(self._team.states[node].name for node in group.unseen_by))
                error = InputNotFoundError(f"{group.records[0].audio}: {UNSEEN} ({names})")
                group.is_sent, group.answers = True, (error,)

    def _put(self, group: _Group, parts: Iterable[_Group]) -> None:
        """Put others in the place of a group."""
        place = self._groups.index(group)
        self._groups.remove(group)
        for part in reversed(list(parts)):
            self._groups.insert(place, part)

    def _send_again(self, group: _Group) -> None:
        """A worker has died: send each record by itself; the second time, it counts as unusable."""
        group.deaths += 1
        if group.deaths < DEATHS:
            self._put(group, group.parted())
        else:
            reason = f"{DEATHS} workers died, or stood still, while they worked on it"
            group.answers = (WorkerDiedError(f"{group.records[0].audio}: {reason}"),)
