from __future__ import annotations

import contextlib
import gc
import random
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import stand_in_nodes
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_in_nodes import MANNER, WINDOW, MadeUp, StandInNodes, Worker, assembled

from mtasr.cluster import dispatcher as dispatching
from mtasr.cluster import pulses, under_way
from mtasr.cluster.dispatcher import Dispatcher
from mtasr.cluster.errands import chunks_of
from mtasr.cluster.nodes import Node
from mtasr.cluster.tasks import ChunkResults, ChunkTask, SignsOfLife, Task, WholeTask
from mtasr.cluster.team import Member, Team
from mtasr.decoding.submission import NoNotes
from mtasr.decoding.transcription import Transcription
from mtasr.errors import AudioDecodeError, ClusterError, InputNotFoundError, WorkerDiedError
from mtasr.recordings.elsewhere import received
from mtasr.spans import SAMPLE_RATE

# What goes wrong here is often a wait without end.
pytestmark = pytest.mark.timeout(60)


def outcomes(
    nodes: StandInNodes, sources: Sequence[str], lines: list[str] | None = None, team: Team | None = None
) -> list[str | Exception]:
    """The text of each recording, or why it failed."""
    lines = [] if lines is None else lines
    dispatcher = Dispatcher(nodes, team or assembled(nodes, tell=lines.append), MANNER, sources)
    dispatcher.start()
    found: list[str | Exception] = []
    try:
        for index in range(len(sources)):
            try:
                found.append(text(dispatcher, index))
            except (AudioDecodeError, InputNotFoundError, WorkerDiedError, KeyError) as error:
                found.append(error)
    finally:
        dispatcher.close()
    return found


def text(dispatcher: Dispatcher, index: int) -> str:
    with transcription(dispatcher, index) as transcribed:
        return transcribed.transcript().text


def transcription(dispatcher: Dispatcher, index: int) -> Transcription:
    return received(dispatcher.recording(index), MANNER.tracks, MANNER.options)


def expected(sources: Sequence[str]) -> list[str | Exception]:
    placed = [stand_in_nodes.decoded(source).results[0] for source in sources]
    return ["".join(each.result.segments[0].text for each in one if each.result).strip() for one in placed]


def test_short_and_long_recordings_come_in_order():
    sources = ["3.wav", "100.wav", "1.wav", "0.wav", *(f"2-{number}.wav" for number in range(40))]
    workers: list[MadeUp] = []
    nodes = StandInNodes(3, lambda node: workers.append(MadeUp()) or workers[-1])
    team = assembled(nodes)
    assert outcomes(nodes, sources, team=team) == expected(sources)
    states = team.states.values()
    assert [sum(each.tasks for each in states), sum(each.recordings for each in states)] == [0, len(sources)]
    assert sum(each.seconds for each in states) == WINDOW * sum(map(stand_in_nodes.windows_of, sources))
    chunks = [task for worker in workers for task in worker.done if isinstance(task, ChunkTask)]
    assert [task.draws for task in chunks].count(True) == 1
    assert 4 <= len([task for task in chunks if not task.draws]) <= 16


def test_a_recording_has_few_chunks_however_long_it_is():
    def lengths(windows: int, most: int) -> list[int]:
        return [len(chunk) for chunk in chunks_of(stand_in_nodes.outlines(f"{windows}.wav"), most)]

    assert lengths(40, 16) == [5] * 8
    assert lengths(40, 4) == [10] * 4
    assert lengths(1000, 16) == [63] * 15 + [55]
    assert lengths(7, 16) == [5, 2]
    assert lengths(0, 16) == []


def test_long_results_that_wait_for_their_turn_hold_back_the_rest(monkeypatch: pytest.MonkeyPatch):
    """The first recording is slow; ten minutes of audio may wait behind it, and what was under way then."""
    monkeypatch.setattr(dispatching, "_HELD", 600.0)
    monkeypatch.setattr(dispatching, "_HELD_EACH", 0.0)
    monkeypatch.setattr(dispatching, "_GROUP", 1)
    released = threading.Event()
    sent: list[str] = []

    def before(task: Task) -> None:
        assert isinstance(task, WholeTask)
        sent.extend(task.sources)
        if task.sources[0].endswith("/0-0.wav"):
            released.wait(30)

    sources = ["0-0.wav", *(f"2-{number}.wav" for number in range(60))]
    nodes = StandInNodes(2, lambda node: MadeUp(before=before))
    dispatcher = Dispatcher(nodes, assembled(nodes), MANNER, sources)
    dispatcher.start()
    time.sleep(1.0)
    held_back = len(sent)
    released.set()
    assert [text(dispatcher, index) for index in range(len(sources))] == expected(sources)
    dispatcher.close()
    assert 6 <= held_back <= 1 + 6 + 4


def test_recordings_are_asked_for_in_order():
    nodes = StandInNodes(1, lambda node: MadeUp())
    dispatcher = Dispatcher(nodes, assembled(nodes), MANNER, ["1-0.wav", "1-1.wav"])
    dispatcher.start()
    assert text(dispatcher, 1)
    with pytest.raises(ValueError, match="in their order only"):
        dispatcher.recording(0)
    with pytest.raises(ValueError, match="once"):
        text(dispatcher, 1)
    dispatcher.close()


def test_groups_of_dense_files_have_fewer_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dispatching, "_GROUP_BYTES", 12)
    for ending, most in ((".wav", 6), (".OPUS", 1)):
        sources = [str(tmp_path / f"1-{number}{ending}") for number in range(100)]
        for each in sources:
            Path(each).write_bytes(b"xx")
        worker = MadeUp()
        outcomes(StandInNodes(1, lambda node, worker=worker: worker), sources)  # type: ignore[misc]
        assert max(len(task.sources) for task in worker.done if isinstance(task, WholeTask)) == most


def test_chunks_move_the_position_in_whatever_order_they_come():
    released = threading.Event()

    def before(task: Task) -> None:
        if isinstance(task, ChunkTask) and task.outlines[0].place.start == 0:
            assert released.wait(30)

    nodes = StandInNodes(2, lambda node: MadeUp(before=before))
    dispatcher = Dispatcher(nodes, assembled(nodes), MANNER, ["100.wav"])
    dispatcher.start()
    with transcription(dispatcher, 0) as transcribed:
        assert transcribed.position == 0
        threading.Timer(10, released.set).start()
        assert transcribed.language == "en"
        while transcribed.position < 60 * WINDOW:
            assert not released.is_set()
            time.sleep(0.01)
        released.set()
        transcribed.transcript()
        assert transcribed.position == 100 * WINDOW
    dispatcher.close()


def test_windows_in_a_chunk_move_the_position(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pulses, "_PULSE", 0.01)
    released = threading.Event()

    class Halfway(MadeUp):
        tells = False

        def work(self, task: Task) -> object:
            if isinstance(task, ChunkTask) and not task.draws:
                self.decoded = {task.number: WINDOW * SAMPLE_RATE} if self.tells else {}
                released.wait(30)
            return super().work(task)

    def make(node: Node) -> Halfway:
        made = Halfway()
        made.tells = len(nodes.workers) < 2
        return made

    nodes = StandInNodes(2, make)
    dispatcher = Dispatcher(nodes, assembled(nodes), MANNER, ["60.wav"])
    dispatcher.start()
    try:
        with transcription(dispatcher, 0) as transcribed:
            assert transcribed.language == "en"
            while transcribed.position != 2 * WINDOW:
                time.sleep(0.01)
            nodes.living[0].kill()  # what it had decoded is lost
            while transcribed.position != WINDOW:
                time.sleep(0.01)
            released.set()
            transcribed.transcript()
            assert transcribed.position == 60 * WINDOW
    finally:
        released.set()
        dispatcher.close()


def test_groups_get_smaller_near_the_end():
    sources = [f"1-{number}.wav" for number in range(100)]
    worker = MadeUp()
    nodes = StandInNodes(1, lambda node: worker)
    assert outcomes(nodes, sources) == expected(sources)
    sizes = [len(task.sources) for task in worker.done if isinstance(task, WholeTask)]
    assert max(sizes) == 16
    assert sizes[-1] == 1


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), deaths=st.integers(1, 4))
def test_deaths_do_not_change_results(seed: int, deaths: int):
    """Whatever dies whenever, each recording has its text, or two workers died of it."""
    rng = random.Random(seed)
    sources = [f"{rng.choice((1, 2, 40))}-{number}.wav" for number in range(30)]
    nodes = StandInNodes(3, lambda node: MadeUp(delay=0.002))

    def kill() -> None:
        for _ in range(deaths):
            time.sleep(rng.random() * 0.05)
            if nodes.living:
                rng.choice(nodes.living).kill()

    killer = threading.Thread(target=kill)
    killer.start()
    found = outcomes(nodes, sources)
    killer.join()
    for each, right in zip(found, expected(sources), strict=True):
        assert each == right or isinstance(each, WorkerDiedError)
    # Each failure takes two deaths of the same recording or chunk, which was alone at the second.
    assert sum(isinstance(each, WorkerDiedError) for each in found) <= deaths // 2


def test_a_poison_file_fails_alone_after_two_deaths():
    sources = [f"1-{number}.wav" for number in range(20)]
    attempts: Counter[str] = Counter()

    def make(node: object) -> MadeUp:
        def before(task: Task) -> None:
            if isinstance(task, WholeTask):
                attempts.update(task.sources)
                if any(each.endswith("1-7.wav") for each in task.sources):
                    next(worker for worker in nodes.living if worker.target is made).kill()
                    time.sleep(60)

        made = MadeUp(before=before)
        return made

    nodes = StandInNodes(2, make)
    lines: list[str] = []
    found = outcomes(nodes, sources, lines)
    assert sum("a worker died; what it had under way is sent again" in line for line in lines) == 2
    assert str(found[7]) == "1-7.wav: 2 workers died, or stood still, while they decoded it"
    right = expected(sources)
    assert [each for index, each in enumerate(found) if index != 7] == [*right[:7], *right[8:]]
    assert max(attempts.values()) == 2


def test_a_worker_that_stands_still_counts_as_dead(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pulses, "_PULSE", 0.05)
    monkeypatch.setattr(pulses, "PATIENCE", 0.3)
    released = threading.Event()

    class Stuck(MadeUp):
        def signs_of_life(self) -> SignsOfLife:
            return SignsOfLife(0.0, {})

    def wait(task: Task) -> None:
        if isinstance(task, WholeTask) and any("1-3" in each for each in task.sources):
            released.wait(30)

    nodes = StandInNodes(1, lambda node: Stuck(before=wait))
    lines: list[str] = []
    try:
        found = outcomes(nodes, [f"1-{number}.wav" for number in range(6)], lines)
    finally:
        released.set()
    assert isinstance(found[3], WorkerDiedError)
    assert [isinstance(each, str) for each in found].count(True) == 5
    assert any("stood still" in line for line in lines)


def test_a_pause_of_the_driver_is_no_evidence(monkeypatch: pytest.MonkeyPatch):
    moment = [0.0]
    monkeypatch.setattr(pulses.time, "monotonic", lambda: moment[0])
    nodes = StandInNodes(1, lambda node: MadeUp())
    member = Member(nodes.nodes[0], False, worker := nodes.start(nodes.nodes[0], on_gpu=False), worker.call("load", ()))
    felt = pulses.Pulses()
    felt.touch(member)
    moment[0] = pulses.PATIENCE + 1.0  # hashing a recording, perhaps
    assert felt.feel([], lambda member: True) == []
    for _ in range(10):
        moment[0] += pulses.PATIENCE / 8
        stalled = felt.feel([], lambda member: True)
    assert stalled == [member]


def test_workers_are_not_kept_waiting_by_the_hash_of_a_recording():
    """Of the first recording it takes long to find out whether an earlier run has begun it."""
    released = threading.Event()

    class Slow(NoNotes):
        may_have_results = True

        @property
        def has_results(self) -> bool:
            return released.wait(30)

    sources = [f"1-{number}.wav" for number in range(40)]
    nodes = StandInNodes(1, lambda node: MadeUp())
    notes = [lambda channel: Slow(), *[lambda channel: NoNotes()] * 39]
    dispatcher = Dispatcher(nodes, assembled(nodes), MANNER, sources, notes)
    dispatcher.start()
    try:
        dispatcher.recording(0)
        done = nodes.workers[0][1].target.done
        while sum(len(task.sources) for task in done) < 39:
            time.sleep(0.01)
        released.set()
        assert text(dispatcher, 0) == expected(sources)[0]
    finally:
        released.set()
        dispatcher.close()


def test_errors_travel_with_the_name_that_the_user_gave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    class Broken(MadeUp):
        def work(self, task: Task) -> object:
            assert isinstance(task, WholeTask)
            return tuple(AudioDecodeError(f"{each}: is broken", ("details",)) for each in task.sources)

    (error,) = outcomes(StandInNodes(1, lambda node: Broken()), ["1.wav"])
    assert isinstance(error, AudioDecodeError)
    assert str(error) == "1.wav: is broken"
    assert error.details == ("details",)


def test_a_recording_that_only_some_nodes_see(tmp_path: Path):
    for name in ("1.wav", "2.wav"):
        tmp_path.joinpath(name).write_bytes(b"x")
    hidden = {"node-0": {"1.wav", "2.wav"}, "node-1": {"2.wav"}}

    def make(node: object) -> MadeUp:
        class Blind(MadeUp):
            def work(self, task: Task) -> object:
                assert isinstance(task, WholeTask)
                unseen = [Path(each).name in hidden[node.name] for each in task.sources]  # type: ignore[attr-defined]
                found = zip(task.sources, unseen, strict=True)
                return tuple(
                    InputNotFoundError(f"{each}: gone") if no else stand_in_nodes.decoded(each) for each, no in found
                )

        return Blind()

    sources = [str(tmp_path / "1.wav"), str(tmp_path / "2.wav")]
    seen, unseen = outcomes(StandInNodes(2, make), sources)
    assert seen == expected(sources)[0]
    assert str(unseen) == f"{sources[1]}: is here, but not on the cluster (node-0, node-1)"


def test_a_recording_fails_when_the_last_node_that_might_see_it_leaves(tmp_path: Path):
    source = tmp_path / "1.wav"
    source.write_bytes(b"x")

    def make(node: Node) -> MadeUp:
        class Blind(MadeUp):
            def work(self, task: Task) -> object:
                if node.name == "node-1":
                    nodes.lose(node)
                return (InputNotFoundError(f"{source}: gone"),)

        return Blind()

    nodes = StandInNodes(2, make)
    (error,) = outcomes(nodes, [str(source)])
    assert str(error) == f"{source}: is here, but not on the cluster (node-0)"


def test_a_long_recording_that_only_one_node_sees(tmp_path: Path):
    """Whatever the blind node is asked for goes to the other one, and windows that came back are not sent again."""
    source = tmp_path / "40.wav"
    source.write_bytes(b"x")

    class Begun(NoNotes):
        has_results = True

    def make(node: Node) -> MadeUp:
        class Blind(MadeUp):
            def work(self, task: Task) -> object:
                error = InputNotFoundError(f"{source}: gone")
                if not isinstance(task, ChunkTask):
                    raise error
                self.done.append(task)
                first = task.outlines[0].place
                return ChunkResults((stand_in_nodes.placed_result(str(source), first, draws=task.draws),), error)

        workers.append(MadeUp() if node.name == "node-1" else Blind())
        return workers[-1]

    workers: list[MadeUp] = []
    nodes = StandInNodes(2, make)
    dispatcher = Dispatcher(nodes, assembled(nodes), MANNER, [str(source)], [lambda channel: Begun()])
    dispatcher.start()
    assert text(dispatcher, 0) == expected([str(source)])[0]
    dispatcher.close()
    sent = [[task for task in worker.done if isinstance(task, ChunkTask) and not task.draws] for worker in workers]
    blind = {task.outlines[0].place for task in sent[0]}
    assert blind
    assert not blind & {outline.place for task in sent[1] for outline in task.outlines}


def test_a_bug_costs_one_recording_of_a_group():
    sources = [f"1-{number}.wav" for number in range(20)]

    def before(task: Task) -> None:
        if isinstance(task, WholeTask) and any(each.endswith("1-7.wav") for each in task.sources):
            raise KeyError("a bug")

    found = outcomes(StandInNodes(1, lambda node: MadeUp(before=before)), sources)
    assert isinstance(found[7], KeyError)
    right = expected(sources)
    assert [each for index, each in enumerate(found) if index != 7] == [*right[:7], *right[8:]]


def test_work_waits_for_a_node_when_none_is_left(monkeypatch: pytest.MonkeyPatch):
    nodes = StandInNodes(1, lambda node: MadeUp(delay=0.01))
    lines: list[str] = []
    dispatcher = Dispatcher(nodes, assembled(nodes, tell=lines.append), MANNER, [f"1-{n}.wav" for n in range(80)])
    (node,) = nodes.nodes
    nodes.lose(node)
    dispatcher.start()
    time.sleep(0.5)
    nodes.nodes.append(node)
    assert text(dispatcher, 0) == expected(["1-0.wav"])[0]
    monkeypatch.setattr(under_way, "_DESERTED", 0.2)
    nodes.lose(node)
    for index in range(1, 80):
        with contextlib.suppress(ClusterError):
            text(dispatcher, index)
    with pytest.raises(ClusterError, match="no worker is left"):
        dispatcher.recording(79)
    dispatcher.close()
    assert any(line == "node-0 has left the cluster" for line in lines)


def test_a_node_that_joins_gets_work():
    used: list[str] = []
    nodes = StandInNodes(2, lambda node: MadeUp(delay=0.01, before=lambda task: used.append(node.name)))
    late = nodes.nodes.pop()
    dispatcher = Dispatcher(nodes, assembled(nodes), MANNER, [f"1-{number}.wav" for number in range(300)])
    dispatcher.start()
    assert text(dispatcher, 0)
    nodes.nodes.append(late)
    assert [text(dispatcher, index) for index in range(1, 300)]
    dispatcher.close()
    assert {"node-0", "node-1"} == set(used)


def test_little_is_sent_ahead():
    nodes = StandInNodes(1, lambda node: MadeUp())
    worker: Worker
    dispatcher = Dispatcher(nodes, assembled(nodes), MANNER, [f"1-{number}.wav" for number in range(1000)])
    dispatcher.start()
    assert text(dispatcher, 0)
    time.sleep(0.5)
    ((_, worker),) = nodes.workers
    assert sum(len(task.sources) for task in worker.target.done) <= 64 + 64 + 1
    dispatcher.close()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_batch():
    class Forgetful(MadeUp):
        def work(self, task: Task) -> object:
            answer = super().work(task)
            self.done.clear()
            return answer

    def held(count: int) -> tuple[int, int]:
        """Bytes at the end of a batch, before it is closed, and at most."""
        nodes = StandInNodes(2, lambda node: Forgetful())
        dispatcher = Dispatcher(nodes, assembled(nodes), MANNER, ["1.wav"] * count)
        gc.collect()
        tracemalloc.start()
        try:
            dispatcher.start()
            for index in range(count):
                text(dispatcher, index)
            most = tracemalloc.get_traced_memory()[1]
            gc.collect()
            return tracemalloc.get_traced_memory()[0], most
        finally:
            tracemalloc.stop()
            dispatcher.close()

    held(200)  # what is loaded once
    few, many = held(1000), held(10_000)
    assert many[0] < few[0] + 40_000
    assert many[1] < few[1] + 1_000_000  # of the recordings sent ahead, and what Python has not collected yet
