"""The workers of a cluster: started on each node that fits, and again when they die."""

from __future__ import annotations

import platform
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from mtasr import __version__
from mtasr.cluster import weights
from mtasr.cluster.nodes import Call, Node, Nodes, RemoteWorker, Shared, WorkerLostError, package_version
from mtasr.cluster.paths import bytes_of, looked_for
from mtasr.cluster.tasks import Lacking, Loaded, LoadTask, ModelFiles, NodeFacts
from mtasr.errors import ClusterError

#: Seconds between looks at which nodes there are.
_LOOK = 2.0

#: Seconds for a worker to start, which waits for the cores of its node; and to load its model.
_STARTING, _LOADING = 60.0, 1800.0

#: Seconds without any worker after which a line says what is waited for.
_PATIENT = 10.0

#: Starts in a row that may fail before a node is left out.
_STARTS = 3

#: Seconds that the first workers that are ready wait for the others, so that the majority decides how to compute.
_GATHERING = 30.0

Step = Literal["start", "load", "install"]


@dataclass(eq=False, slots=True)
class Member:
    """A worker, and how far its start is."""

    node: Node
    on_gpu: bool
    worker: RemoteWorker
    #: The call under way while it is not ready.
    call: Call
    step: Step = "start"
    since: float = field(default_factory=time.monotonic)
    #: How it computes, None until its model is loaded.
    loaded: Loaded | None = None
    is_ready: bool = False
    #: The models that were copied to its machine.
    installed: list[ModelFiles] = field(default_factory=list)


@dataclass(slots=True)
class NodeState:
    """What is known of a node, for people who follow the progress."""

    name: str
    workers: int = 0
    #: Tasks under way.
    tasks: int = 0
    recordings: int = 0
    #: Seconds of audio decoded.
    seconds: float = 0.0
    #: Why it gets no work; empty if it does, or will.
    reason: str = ""


class Team:
    """Starts workers and looks after them. One thread at a time may call its methods.

    `tell` takes a line for whoever runs the program.
    """

    def __init__(
        self, nodes: Nodes, task: LoadTask, paths: Sequence[str], tell: Callable[[str], object] = lambda line: None
    ) -> None:
        """`paths` are recordings, or the audio of records; a node that sees none of some of them gets no work."""
        self._nodes, self._task, self._paths, self.tell = nodes, task, looked_for(paths), tell
        self._sizes = [bytes_of(path) for path in self._paths]
        self.members: list[Member] = []
        self.states: dict[str, NodeState] = {}
        #: How all workers compute, None until that is decided.
        self.chosen: Loaded | None = None
        self._known: set[str] = set()
        self._left_out: set[str] = set()
        self._failures: Counter[str] = Counter()
        self._shared: dict[str, dict[str, list[Shared]]] = {}
        self._looked = float("-inf")

    @property
    def ready(self) -> list[Member]:
        return [member for member in self.members if member.is_ready]

    @property
    def calls(self) -> list[Call]:
        """The calls under way of workers that start."""
        return [member.call for member in self.members if member.loaded is None]

    def assemble(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Wait until workers are ready, and decide how they compute. Raises `ClusterError` if no node can work.

        `meanwhile` is called now and then, and what it raises ends the waiting.
        """
        first: float | None = None
        patient_until: float | None = time.monotonic() + _PATIENT
        while True:
            self.advance(self._nodes.wait(self.calls, 0.2))
            if any(member.step != "start" for member in self.members):
                patient_until = None
            elif self.members and patient_until is not None and time.monotonic() > patient_until:
                patient_until = None
                self.tell("waiting for a worker to start: other work of the cluster may have its cores")
            meanwhile()
            if first is None and any(member.loaded for member in self.members):
                first = time.monotonic()
            if first is not None and self._can_decide(is_late=time.monotonic() - first > _GATHERING):
                break
            if not self.members:
                raise ClusterError(self._why_nobody())
        self._decide()

    def _can_decide(self, *, is_late: bool) -> bool:
        """Whether all workers are ready, or if it is late some; cores do not decide while a GPU is on its way."""
        loaded = [member.loaded for member in self.members if member.loaded is not None]
        awaited = [member for member in self.members if member.loaded is None]
        needs_gpu = any(member.on_gpu for member in awaited) and all(_is_cpu(each) for each in loaded)
        return bool(loaded) and (not awaited or (is_late and not needs_gpu))

    def _decide(self) -> None:
        """Take the way in which most compute; on GPUs if any does."""
        counts = Counter(member.loaded for member in self.members if member.loaded is not None)
        self.chosen = max(counts, key=lambda each: (not _is_cpu(each), counts[each], each.computes, each.processor))
        for member in list(self.members):
            if member.loaded is not None:
                self._compare(member, member.loaded, self.chosen)

    def _why_nobody(self) -> str:
        names: defaultdict[str, list[str]] = defaultdict(list)
        for state in self.states.values():
            if state.reason:
                names[state.reason].append(state.name)
        if not names:
            return "the cluster has no node with cores for workers: add one with `ray start --address=HOST:PORT`"
        told = [f"{', '.join(nodes)}: {reason}" for reason, nodes in names.items()]
        return f"no node of the cluster can work: {'; '.join(told)}"

    def advance(self, answered: Sequence[Call] = ()) -> list[Member]:
        """Take the answers of workers that start, and look at the nodes. Returns those that were lost meanwhile."""
        lost = self._look()
        for member in [each for each in self.members if each.loaded is None]:
            if member.call in answered:
                self._answered(member)
            elif time.monotonic() - member.since > self._patience(member):
                self._leave_out(member, _SLOW[member.step])
        return lost

    def _patience(self, member: Member) -> float:
        return _STARTING if member.step == "start" else _LOADING

    def lose(self, member: Member) -> None:
        """A worker died, or is to end: start another one in its place."""
        self._remove(member)
        self._failures[member.node.id] += not member.is_ready
        if self._failures[member.node.id] >= _STARTS:
            self._note_left_out(member.node, "its workers die while they start")
            return
        if member.node.id not in self._left_out:
            self._start(member.node, on_gpu=member.on_gpu)

    def _remove(self, member: Member) -> None:
        if member in self.members:
            self.members.remove(member)
        member.worker.kill()
        self.states[member.node.id].workers = sum(each.node.id == member.node.id for each in self.members)

    def _look(self) -> list[Member]:
        if time.monotonic() - self._looked < _LOOK:
            return []
        self._looked = time.monotonic()
        alive = {node.id: node for node in self._nodes.alive()}
        for gone in self._known - alive.keys():
            self.tell(f"{self.states[gone].name} has left the cluster")
            self.states[gone].reason = "has left the cluster"
        lost = [member for member in self.members if member.node.id not in alive]
        for member in lost:
            self._remove(member)
        for node in alive.values():
            if node.id not in self._known:
                self._join(node)
        self._known = set(alive)
        return lost

    def _join(self, node: Node) -> None:
        self.states[node.id] = NodeState(node.name)
        wants_gpu = self._task.device.startswith("cuda") or (self._task.device == "auto" and node.gpus)
        if wants_gpu and not node.gpus:
            self._note_left_out(node, "has no GPU")
            return
        for _ in range(node.gpus if wants_gpu else 1):
            self._start(node, on_gpu=bool(wants_gpu))

    def _start(self, node: Node, *, on_gpu: bool) -> None:
        worker = self._nodes.start(node, on_gpu=on_gpu)
        self.members.append(Member(node, on_gpu, worker, worker.call("facts", self._paths)))
        self.states[node.id].workers = sum(each.node.id == node.id for each in self.members)

    def _answered(self, member: Member) -> None:
        """Take the next step of a worker's start."""
        try:
            answer = member.call.result()
        except WorkerLostError:
            self.lose(member)
            return
        except Exception as error:
            self._leave_out(member, last_line(error))
            return
        match answer:
            case NodeFacts():
                reason = mismatch(answer) or self._why_unseen(answer)
                if reason is not None:
                    self._leave_out(member, reason)
                    return
                self._call(member, "load", self._load_task(member))
            case Lacking():
                self._install(member, answer.models[0])
            case Loaded():
                member.loaded = answer
                if self.chosen is not None:
                    self._compare(member, answer, self.chosen)
            case _:  # a model is installed
                self._call(member, "load", self._load_task(member))

    def _call(self, member: Member, step: Step, *arguments: object) -> None:
        member.step, member.since = step, time.monotonic()
        member.call = member.worker.call(step, *arguments)

    def _load_task(self, member: Member) -> LoadTask:
        cores = max(member.node.cpus // (member.node.gpus if member.on_gpu else 1), 1)
        device = "cuda" if member.on_gpu else "cpu"
        return replace(self._task, device=device, threads=self._task.threads or cores)

    def _install(self, member: Member, files: ModelFiles) -> None:
        if files in member.installed:
            self._leave_out(member, f"does not find {files.name} in its cache, into which it was copied")
            return
        member.installed.append(files)
        if files.name not in self._shared:
            self.tell(f"sending {files.name} to the nodes that lack it")
            self._shared[files.name] = weights.share(files, self._nodes.share)
        self._call(member, "install", files, self._shared[files.name])

    def _why_unseen(self, facts: NodeFacts) -> str | None:
        """Why the node is of no use for the recordings, None if it sees some of them."""
        seen = [size is not None and size == here for size, here in zip(facts.sizes, self._sizes, strict=True)]
        if seen and not any(seen):
            return f"does not see {self._paths[0]} as it is here: mount its folder there under the same path"
        return None

    def _compare(self, member: Member, its: Loaded, ours: Loaded) -> None:
        if its == ours:
            member.is_ready = True
            self._failures[member.node.id] = 0
            return
        ways = [" ".join((*each.computes, *each.processor)) for each in (its, ours)]
        remedy = (
            "processors of one kind compute alike" if its.computes == ours.computes
            else "set --device and --compute-type, or take processors of one kind"
        )  # fmt: skip
        self._leave_out(
            member,
            f"computes otherwise than the rest ({ways[0]} instead of {ways[1]}), so its results could differ: {remedy}",
        )

    def _leave_out(self, member: Member, reason: str) -> None:
        self._remove(member)
        self._note_left_out(member.node, reason)

    def _note_left_out(self, node: Node, reason: str) -> None:
        if node.id in self._left_out:
            return
        self._left_out.add(node.id)
        self.states[node.id].reason = reason
        self.tell(f"{node.name} gets no work: {reason}")
        for member in [each for each in self.members if each.node.id == node.id]:
            self._remove(member)

    def close(self) -> None:
        """End all workers."""
        for member in list(self.members):
            self._remove(member)


def mismatch(facts: NodeFacts) -> str | None:
    """Which version on a node differs from that of this process, and what to do about it; None if all are the same."""
    ours = {
        "mtasr": __version__,
        "Python": platform.python_version(),
        "Ray": package_version("ray"),
        "CTranslate2": package_version("ctranslate2"),
    }
    theirs = {"mtasr": facts.mtasr, "Python": facts.python, "Ray": facts.ray, "CTranslate2": facts.ctranslate2}
    for what, version in ours.items():
        if theirs[what] != version:
            return f"has {what} {theirs[what]}, and the driver {version}: install the same version on both"
    return None


def examine(nodes: Nodes) -> Iterator[tuple[Node, str | None]]:
    """Each node, and why it could not work, None if it could as far as shows without a model."""
    started = [(node, nodes.start(node, on_gpu=False)) for node in nodes.alive()]
    calls = [(node, worker, worker.call("facts", ())) for node, worker in started]
    end = time.monotonic() + _STARTING
    for node, worker, call in calls:
        reason: str | None = _SLOW["start"]
        if nodes.wait([call], max(end - time.monotonic(), 0.1)):
            try:
                reason = mismatch(call.result())
            except WorkerLostError:
                reason = "its workers die while they start"
            except Exception as error:
                reason = last_line(error)
        worker.kill()
        yield node, reason


def _is_cpu(loaded: Loaded) -> bool:
    return loaded.computes[0] == "cpu"


def last_line(error: Exception) -> str:
    """What an error says, without the traceback that Ray puts before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else repr(error)


_SLOW: dict[Step, str] = {
    "start": f"no worker started within {_STARTING:g} s: other work of the cluster may have its cores",
    "load": f"loading the model took longer than {_LOADING:g} s",
    "install": f"copying the model took longer than {_LOADING:g} s",
}
