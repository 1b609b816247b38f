"""Stands in for a cluster of Ray: nodes and workers in threads of this process, which a test can kill."""

from __future__ import annotations

import hashlib
import platform
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from mtasr import __version__
from mtasr.audio.tracks import Tracks
from mtasr.cluster.nodes import Node, WorkerLostError
from mtasr.cluster.tasks import (
    ChunkResults,
    ChunkTask,
    Lacking,
    Loaded,
    LoadTask,
    Manner,
    ModelFiles,
    NodeFacts,
    SignsOfLife,
    SurveyTask,
    Task,
    WholeTask,
)
from mtasr.cluster.team import Team
from mtasr.decoding.submission import DecodedWindow, PlacedResult
from mtasr.decoding.survey import ChannelSurvey, Survey
from mtasr.decoding.windows import Place, WindowOutline
from mtasr.options import DecodingOptions
from mtasr.recordings.decoded import DecodedRecording
from mtasr.spans import SAMPLE_RATE
from mtasr.transcript import Segment

FILES = ModelFiles(folder="/model", fingerprint="f", name="m", repo="", revision="r", records={})
LOAD = LoadTask(model=FILES, speaker_model=None, device="auto", compute_type="auto", threads=0, workers=0, batch_size=0)
MANNER = Manner(options=DecodingOptions(language="en"), tracks=Tracks())

#: Seconds of each window of a made-up recording.
WINDOW = 60


class Call:
    def __init__(self, condition: threading.Condition) -> None:
        self._condition = condition
        self._answer: list[Any] = []
        self._error: list[BaseException] = []

    @property
    def is_answered(self) -> bool:
        return bool(self._answer or self._error)

    def settle(self, *, answer: Any = None, error: BaseException | None = None) -> None:
        with self._condition:
            if not self.is_answered:
                (self._error.append(error) if error is not None else self._answer.append(answer))
            self._condition.notify_all()

    def result(self) -> Any:
        with self._condition:
            self._condition.wait_for(lambda: self.is_answered)
        if self._error:
            raise self._error[0]
        return self._answer[0]


class Worker:
    """A worker object whose methods run in threads."""

    def __init__(self, condition: threading.Condition, target: Any) -> None:
        self._condition, self.target = condition, target
        self.calls: list[Call] = []
        self.is_dead = False

    def call(self, method: str, /, *arguments: Any) -> Call:
        call = Call(self._condition)
        if self.is_dead:
            call.settle(error=WorkerLostError("dead"))
            return call
        self.calls = [each for each in self.calls if not each.is_answered] + [call]

        def answer() -> None:
            try:
                result = getattr(self.target, method)(*arguments)
            except BaseException as error:
                call.settle(error=error)
            else:
                call.settle(answer=result)

        threading.Thread(target=answer, daemon=True).start()
        return call

    def kill(self) -> None:
        self.is_dead = True
        for call in self.calls:
            call.settle(error=WorkerLostError("killed"))


class Shared:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def get(self) -> bytes:
        return self._content


class StandInNodes:
    """Nodes by number; `make` makes the worker of a node."""

    def __init__(self, count: int, make: Callable[[Node], Any], *, cpus: int = 1, gpus: int = 0) -> None:
        self._make = make
        self.nodes = [Node(id=str(number), name=f"node-{number}", cpus=cpus, gpus=gpus) for number in range(count)]
        self.condition = threading.Condition()
        self.workers: list[tuple[Node, Worker]] = []
        self.shared = 0

    def alive(self) -> list[Node]:
        return list(self.nodes)

    def start(self, node: Node, *, on_gpu: bool) -> Worker:
        worker = Worker(self.condition, self._make(node))
        self.workers.append((node, worker))
        return worker

    def wait(self, calls: Sequence[Call], seconds: float) -> list[Call]:
        with self.condition:
            self.condition.wait_for(lambda: any(call.is_answered for call in calls), min(seconds, 0.02))
            return [call for call in calls if call.is_answered]

    def share(self, content: bytes) -> Shared:
        self.shared += len(content)
        return Shared(content)

    def close(self) -> None:
        pass

    @property
    def living(self) -> list[Worker]:
        return [worker for _, worker in self.workers if not worker.is_dead]

    def lose(self, node: Node) -> None:
        """A machine goes away."""
        self.nodes.remove(node)
        for each, worker in self.workers:
            if each is node:
                worker.kill()


def facts(paths: Sequence[str], **changes: Any) -> NodeFacts:
    """Those of a node that sees what this process sees, but for the changes."""
    sizes = tuple(Path(path).stat().st_size if Path(path).exists() else None for path in paths)
    ours = {"mtasr": __version__, "python": platform.python_version(), "ray": metadata.version("ray")}
    ours["ctranslate2"] = metadata.version("ctranslate2")
    return NodeFacts(**{**ours, "sizes": sizes, **changes})


@dataclass
class MadeUp:
    """Decodes recordings that do not exist, which are called by their number of windows: "12.wav" has twelve."""

    delay: float = 0.0
    #: Sees each task before it is done, and may raise.
    before: Callable[[Task], None] = lambda task: None
    #: Recordings with more windows than this are surveyed.
    long: int = 30
    done: list[Task] = field(default_factory=list)
    changes: dict[str, Any] = field(default_factory=dict)
    loaded: Loaded | Lacking = field(default_factory=lambda: Loaded(("cpu", "int8", "127")))
    alive: float = 0.0
    #: What it says of chunks under way.
    decoded: dict[int, int] = field(default_factory=dict)

    def facts(self, paths: Sequence[str]) -> NodeFacts:
        return facts(paths, **self.changes)

    def load(self, task: LoadTask) -> Loaded | Lacking:
        return self.loaded

    def signs_of_life(self) -> SignsOfLife:
        self.alive += 1
        return SignsOfLife(self.alive, self.decoded)

    def work(self, task: Task) -> object:
        self.before(task)
        time.sleep(self.delay)
        self.done.append(task)
        match task:
            case WholeTask():
                return tuple(
                    survey_of(each) if windows_of(each) > self.long else decoded(each) for each in task.sources
                )
            case SurveyTask():
                return survey_of(task.source)
            case ChunkTask():
                placed = [placed_result(task.source, each.place, draws=task.draws) for each in task.outlines]
                return ChunkResults(tuple(placed))


def windows_of(source: str) -> int:
    return int(source.rpartition("/")[2].partition(".")[0].partition("-")[0])


def places(source: str) -> list[Place]:
    return [Place(number * WINDOW * SAMPLE_RATE, WINDOW * SAMPLE_RATE) for number in range(windows_of(source))]


def placed_result(source: str, place: Place, *, draws: bool) -> PlacedResult:
    """Every seventh window needs random samples."""
    number = place.start // place.samples
    is_drawn = number % 7 == 6
    if is_drawn and not draws:
        return PlacedResult(place, None)
    said = hashlib.sha256(f"{source.rpartition('/')[2]} {number}".encode()).hexdigest()[:8]
    start = number * WINDOW
    segment = Segment(
        id=0, start=start, end=start + 1.0, text=f" {said}", tokens=(1,), avg_logprob=-0.1, compression_ratio=1.0,
        no_speech_prob=0.0, temperature=0.0,
    )  # fmt: skip
    return PlacedResult(place, DecodedWindow((segment,), start + WINDOW), to_note=not is_drawn)


def channel(source: str, cut: Sequence[WindowOutline] = ()) -> ChannelSurvey:
    return ChannelSurvey(samples=windows_of(source) * WINDOW * SAMPLE_RATE, outlines=tuple(cut), language="en")


def outlines(source: str) -> list[WindowOutline]:
    return [WindowOutline(place=place, speech=(), first=not place.start) for place in places(source)]


def survey_of(source: str) -> Survey:
    return Survey(channels=(channel(source, outlines(source)),))


def decoded(source: str) -> DecodedRecording:
    results = tuple(placed_result(source, place, draws=True) for place in places(source))
    return DecodedRecording(survey=Survey(channels=(channel(source),)), results=(results,))


def assembled(
    nodes: StandInNodes, paths: Sequence[str] = (), tell: Callable[[str], object] = lambda line: None
) -> Team:
    team = Team(nodes, LOAD, paths, tell)
    team.assemble()
    return team
