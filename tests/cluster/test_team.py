from __future__ import annotations

import itertools
import platform
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import stand_in_nodes
from stand_in_nodes import LOAD, MadeUp, StandInNodes, assembled
from tiny_model import make_tiny_model

from mtasr import __version__
from mtasr.cluster import team as teams
from mtasr.cluster import weights, worker
from mtasr.cluster.nodes import Node
from mtasr.cluster.tasks import Lacking, Loaded, LoadTask, NodeFacts
from mtasr.cluster.team import Team
from mtasr.errors import ClusterError, ModelIntegrityError
from mtasr.models import cache
from mtasr.models.folder import SEGMENTATION

pytestmark = pytest.mark.timeout(60)

NARROW, WIDE = Loaded(("cpu", "int8", "64")), Loaded(("cpu", "int8", "127"))


def nodes_of(*workers: Any) -> StandInNodes:
    return StandInNodes(len(workers), lambda node: workers[int(node.id)])


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"mtasr": "0.0.1"}, f"has mtasr 0.0.1, and the driver {__version__}: install the same version on both"),
        ({"python": "3.9.1"}, f"has Python 3.9.1, and the driver {platform.python_version()}: install the same"),
        ({"ray": "2.1"}, "has Ray 2.1, and the driver "),
        ({"ctranslate2": "3.0"}, "has CTranslate2 3.0, and the driver "),
    ],
)
def test_a_node_with_another_version_gets_no_work(changes: dict[str, str], line: str):
    lines: list[str] = []
    team = assembled(nodes_of(MadeUp(changes=changes), MadeUp()), tell=lines.append)
    assert [member.node.name for member in team.ready] == ["node-1"]
    (told,) = lines
    assert told.startswith(f"node-0 gets no work: {line}")


def test_a_node_that_sees_no_recording_gets_no_work(tmp_path: Path):
    recording = tmp_path / "a.wav"
    recording.write_bytes(b"sound")

    class Blind(MadeUp):
        def facts(self, paths: list[str]) -> NodeFacts:
            return stand_in_nodes.facts(paths, sizes=(None,) * len(paths))

    lines: list[str] = []
    team = assembled(nodes_of(MadeUp(), Blind()), [str(recording)], lines.append)
    assert [member.node.name for member in team.ready] == ["node-0"]
    assert lines == [
        f"node-1 gets no work: does not see {recording} as it is here: mount its folder there under the same path"
    ]


def test_one_recording_in_sight_is_enough(tmp_path: Path):
    recording = tmp_path / "a.wav"
    recording.write_bytes(b"sound")
    assert len(assembled(nodes_of(MadeUp()), [str(tmp_path / "missing.wav"), str(recording)]).ready) == 1


def test_all_workers_compute_alike():
    lines: list[str] = []
    team = assembled(nodes_of(MadeUp(loaded=WIDE), MadeUp(loaded=NARROW), MadeUp(loaded=WIDE)), tell=lines.append)
    assert team.chosen == WIDE
    assert [member.node.name for member in team.ready] == ["node-0", "node-2"]
    assert "computes otherwise than the rest (cpu int8 64 instead of cpu int8 127)" in lines[0]


def test_processors_of_all_workers_are_of_one_kind():
    amd, intel = replace(WIDE, processor=("AuthenticAMD", "avx512f")), replace(WIDE, processor=("GenuineIntel", "avx2"))
    lines: list[str] = []
    team = assembled(nodes_of(MadeUp(loaded=amd), MadeUp(loaded=amd), MadeUp(loaded=intel)), tell=lines.append)
    assert [member.node.name for member in team.ready] == ["node-0", "node-1"]
    assert lines == [
        "node-2 gets no work: computes otherwise than the rest (cpu int8 127 GenuineIntel avx2 instead of cpu int8 127 "
        "AuthenticAMD avx512f), so its results could differ: processors of one kind compute alike"
    ]


def test_no_node_can_work():
    with pytest.raises(ClusterError, match=r"no node of the cluster can work: node-0: has mtasr 0\.0\.1"):
        assembled(nodes_of(MadeUp(changes={"mtasr": "0.0.1"})))
    with pytest.raises(ClusterError, match="the cluster has no node with cores for workers"):
        assembled(nodes_of())


def test_a_model_that_cannot_be_loaded_is_one_line():
    class Unable(MadeUp):
        def load(self, task: LoadTask) -> Loaded:
            raise ModelIntegrityError("the copy of base in /cache is damaged")

    with pytest.raises(ClusterError, match="node-0: the copy of base in /cache is damaged"):
        assembled(nodes_of(Unable()))


def test_a_node_whose_workers_die_at_once_is_left_out():
    class Dying(MadeUp):
        def load(self, task: LoadTask) -> Loaded:
            nodes.living[0].kill()
            raise AssertionError

    nodes = nodes_of(Dying())
    with pytest.raises(ClusterError, match="node-0: its workers die while they start"):
        assembled(nodes)
    assert len(nodes.workers) == 3


def test_a_worker_without_cores_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(teams, "_STARTING", 0.2)

    class Waiting(MadeUp):
        def facts(self, paths: object) -> NodeFacts:
            raise AssertionError

    class Pending(StandInNodes):
        def start(self, node: Node, *, on_gpu: bool) -> Any:
            worker = super().start(node, on_gpu=on_gpu)
            worker.call = lambda method, *arguments: stand_in_nodes.Call(self.condition)  # type: ignore[method-assign]
            return worker

    with pytest.raises(ClusterError, match="no worker started within"):
        assembled(Pending(1, lambda node: Waiting()))


def test_gpus_have_a_worker_each():
    class Keeps(MadeUp):
        def load(self, task: LoadTask) -> Loaded:
            tasks.append(task)
            return Loaded((task.device, "int8_float16", "127"))

    tasks: list[LoadTask] = []
    nodes = StandInNodes(1, lambda node: Keeps(), cpus=8, gpus=2)
    assert len(assembled(nodes).ready) == 2
    assert {(task.device, task.threads) for task in tasks} == {("cuda", 4)}


def test_cores_that_are_ready_first_do_not_decide_against_gpus(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(teams, "_GATHERING", 0.0)
    is_late = threading.Event()

    class Gpu(MadeUp):
        def load(self, task: LoadTask) -> Loaded:
            assert is_late.wait(30)
            return Loaded(("cuda", "int8_float16", "127"))

    nodes = StandInNodes(2, lambda node: Gpu() if node.gpus else MadeUp())
    nodes.nodes[1] = replace(nodes.nodes[1], gpus=1)
    team, rounds = Team(nodes, LOAD, []), itertools.count()
    team.assemble(lambda: is_late.set() if next(rounds) == 10 else None)
    assert team.chosen == Loaded(("cuda", "int8_float16", "127"))
    assert [member.node.name for member in team.ready] == ["node-1"]


def test_workers_that_are_ready_first_decide_when_it_is_late(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(teams, "_GATHERING", 0.0)
    released = threading.Event()

    class Slow(MadeUp):
        def load(self, task: LoadTask) -> Loaded:
            released.wait(30)
            return super().load(task)

    try:
        team = assembled(nodes_of(MadeUp(), Slow()))
    finally:
        released.set()
    assert [member.node.name for member in team.ready] == ["node-0"]


def test_an_early_answer_is_asked_for_once():
    """While the first worker waits for the second, there is nothing to take from it."""
    released = threading.Event()

    class Slow(MadeUp):
        def load(self, task: LoadTask) -> Loaded:
            assert released.wait(30)
            return super().load(task)

    class Counted(StandInNodes):
        waits: ClassVar[list[int]] = []

        def wait(self, calls: Sequence[stand_in_nodes.Call], seconds: float) -> list[stand_in_nodes.Call]:
            answered = super().wait(calls, seconds)
            self.waits.append(len(answered))
            return answered

    def release() -> None:
        if len(nodes.waits) == 20:
            released.set()

    workers = [MadeUp(), Slow()]
    nodes = Counted(2, lambda node: workers[int(node.id)])
    team = Team(nodes, LOAD, [])
    team.assemble(release)
    assert len(team.ready) == 2
    assert sum(nodes.waits) == 4, "facts and a model of each"


def test_a_node_that_lacks_the_model_gets_it_once_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MTASR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "_BLOCK", 1 << 16)
    folder = make_tiny_model(tmp_path / "mine")
    files = weights.describe(folder)
    assert weights.find(files) == folder.resolve()
    elsewhere = weights.ModelFiles(**{name: getattr(files, name) for name in files.__slots__} | {"folder": "/nowhere"})
    assert weights.find(elsewhere) is None

    class Empty(MadeUp):
        def load(self, task: LoadTask) -> Loaded | Lacking:
            return WIDE if weights.find(elsewhere) is not None else Lacking((files,))

        def install(self, model: weights.ModelFiles, content: Any) -> None:
            weights.install(model, content)

    nodes = nodes_of(Empty(), Empty())
    lines: list[str] = []
    assert len(assembled(nodes, tell=lines.append).ready) == 2
    assert lines == ["sending cluster-mine to the nodes that lack it"]
    copy = cache.location(files.name, files.revision)
    assert {path.name: path.read_bytes() for path in copy.iterdir() if path.name in files.records} == {
        name: folder.joinpath(name).read_bytes() for name in files.records
    }
    assert nodes.shared == sum(record.size for record in files.records.values())


def test_a_node_that_never_finds_the_model_is_left_out(tmp_path: Path):
    files = weights.describe(make_tiny_model(tmp_path / "mine"))

    class Forgetful(MadeUp):
        def install(self, model: weights.ModelFiles, content: Any) -> None:
            pass

    with pytest.raises(ClusterError, match="node-0: does not find cluster-mine in its cache"):
        assembled(nodes_of(Forgetful(loaded=Lacking((files,)))))


def test_speakers_are_told_apart_with_the_model_of_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MTASR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MTASR_SPEAKER_MODEL", "one of the node's own")
    folder = tmp_path / "voices"
    folder.mkdir()
    folder.joinpath(SEGMENTATION).write_bytes(b"networks")
    voices = weights.describe(folder)
    task = replace(LOAD, model=weights.describe(make_tiny_model(tmp_path / "mine")), device="cpu", threads=1)
    task = replace(task, speaker_model=replace(voices, folder="/nowhere"), speaker_model_name="speakers")
    loaded: list[tuple[Path, str]] = []
    monkeypatch.setattr(worker, "diarizer_in", lambda folder, name: loaded.append((folder, name)))
    assert worker.NodeWorker().load(task) == Lacking((task.speaker_model,))
    copy = weights.install(voices, weights.share(voices, stand_in_nodes.Shared))
    assert isinstance(worker.NodeWorker().load(task), Loaded)
    assert loaded == [(copy, "speakers")]


def test_weights_that_were_damaged_on_their_way_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MTASR_CACHE", str(tmp_path / "cache"))
    files = weights.describe(make_tiny_model(tmp_path / "mine"))
    content = weights.share(files, stand_in_nodes.Shared)
    whole = content["model.bin"][0].get()
    content["model.bin"] = [stand_in_nodes.Shared(bytes([whole[0] ^ 1]) + whole[1:])]
    with pytest.raises(ModelIntegrityError, match=r"model\.bin of cluster-mine was damaged on its way"):
        weights.install(files, content)
    assert not cache.all_copies()


def test_a_cached_model_keeps_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MTASR_CACHE", str(tmp_path / "cache"))
    files = weights.describe(make_tiny_model(tmp_path / "mine"))
    copy = weights.install(files, weights.share(files, stand_in_nodes.Shared))
    again = weights.describe(copy)
    assert (again.name, again.revision, again.records) == (files.name, files.revision, files.records)


def test_states_tell_what_became_of_nodes():
    nodes = nodes_of(MadeUp(), MadeUp(changes={"mtasr": "0.0.1"}))
    lines: list[str] = []
    team = Team(nodes, LOAD, [], lines.append)
    team.assemble()
    nodes.lose(nodes.nodes[0])
    assert [member.node.id for member in team.advance()] == ["0"]
    gone, misfit = team.states.values()
    assert (gone.workers, gone.reason) == (0, "has left the cluster")
    assert (misfit.workers, misfit.reason.partition(":")[0]) == (0, f"has mtasr 0.0.1, and the driver {__version__}")


def test_a_line_says_that_no_worker_starts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(teams, "_PATIENT", 0.1)
    released = threading.Event()

    class Busy(MadeUp):
        def facts(self, paths: Sequence[str]) -> NodeFacts:
            released.wait(30)
            return super().facts(paths)

    lines: list[str] = []
    team = Team(nodes_of(Busy(), Busy()), LOAD, [], lines.append)
    team.assemble(lambda: released.set() if lines else None)
    assert lines == ["waiting for a worker to start: other work of the cluster may have its cores"]
    assert team.ready
