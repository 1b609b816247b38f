"""Records labelled and judged by workers: the same as on one machine, in the same order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from speech import speak, write_wav
from stand_in_nodes import MadeUp, StandInNodes
from tiny_model import make_tiny_model

from mtasr.cluster import ClusterModel, pulses, under_way
from mtasr.cluster.nodes import Node
from mtasr.cluster.records import RecordWorkers
from mtasr.cluster.tasks import JudgeTask, LabelTask, RecordsTask, SignsOfLife
from mtasr.cluster.worker import NodeWorker
from mtasr.data.filtering import DEADLY, UNREADABLE, UNSEEN, judged
from mtasr.data.filters import no_text
from mtasr.data.label import Trust, label, labelled, recordings_in
from mtasr.data.records import Caption, Record
from mtasr.data.speech_found import CaptionsBesideSpeech
from mtasr.errors import AudioDecodeError, ClusterError, InputNotFoundError, ModelError
from mtasr.transcribe import load_model

pytestmark = pytest.mark.timeout(60)


class Judge(MadeUp):
    """Drops records by their number, and labels them with it."""

    def work(self, task: RecordsTask) -> Any:  # type: ignore[override]
        self.before(task)
        match task:
            case JudgeTask():
                return tuple("odd" if int(each.id) % 2 else None for each in task.records)
            case LabelTask():
                return tuple(
                    AudioDecodeError(f"{each.id} is broken") if each.id == "7" else each for each in task.records
                )


def record(number: int, text: str = "words") -> Record:
    captions = (Caption(start=0.0, end=1.0, text=text),) if text else ()
    return Record(id=str(number), audio=f"{number}.wav", duration=1.0, language="en", captions=captions, source="s")


def workers(make: Callable[[Any], Any], count: int = 2) -> tuple[RecordWorkers, StandInNodes]:
    nodes = StandInNodes(count, make)
    return RecordWorkers(nodes, None, []), nodes


def test_verdicts_come_in_order_and_cheap_filters_go_first():
    records = [record(number, "" if number % 3 == 0 else "words") for number in range(100)]
    sent: list[str] = []
    group, _ = workers(lambda node: Judge(before=lambda task: sent.extend(each.id for each in task.records)))
    with group:
        verdicts = list(group.judged(records, [no_text], speech=True, model=False))
    assert [each for each, _ in verdicts] == records
    assert [reason for _, reason in verdicts] == [
        no_text(each) or ("odd" if int(each.id) % 2 else None) for each in records
    ]
    assert sorted(sent, key=int) == [each.id for each in records if each.text]


def test_the_cluster_is_left_if_there_is_no_model(tmp_path: Path):
    class Left(StandInNodes):
        is_left = False

        def close(self) -> None:
            self.is_left = True

    for make in (
        lambda nodes: RecordWorkers(nodes, tmp_path / "none", []),
        lambda nodes: ClusterModel(nodes, tmp_path / "none"),
    ):
        nodes = Left(1, lambda node: Judge())
        with pytest.raises((ModelError, OSError)):
            make(nodes)
        assert nodes.is_left


def test_what_cannot_be_labelled_is_told():
    lines: list[str] = []
    records = [record(number) for number in range(40)]
    group, _ = workers(lambda node: Judge())
    with group:
        found = list(group.labelled(records, "en", Trust(), lines.append))
    assert found == [each for each in records if each.id != "7"]
    assert lines == ["7 is broken"]


def test_a_poison_record_is_left_out():
    def make(node: object) -> Judge:
        def before(task: RecordsTask) -> None:
            if any(each.id == "11" for each in task.records):
                next(worker for worker in nodes.living if worker.target is made).kill()

        made = Judge(before=before)  # type: ignore[arg-type]
        return made

    nodes = StandInNodes(2, make)
    records = [record(number) for number in range(60)]
    lines: list[str] = []
    told: list[str] = []
    with RecordWorkers(nodes, None, [], told.append) as group:
        found = list(group.labelled(records, "en", Trust(), lines.append))
    assert [each.id for each in found] == [each.id for each in records if each.id not in {"7", "11"}]
    assert [line.partition(": ")[2] for line in told] == ["a worker died; what it had under way is sent again"] * 2
    assert "11.wav: 2 workers died, or stood still, while they worked on it" in lines
    nodes = StandInNodes(2, make)
    with RecordWorkers(nodes, None, []) as group:
        reasons = {each.id: reason for each, reason in group.judged(records, [], speech=True, model=False)}
    assert reasons["11"] == DEADLY
    assert reasons["10"] is None


def test_records_wait_for_a_node_when_none_is_left(monkeypatch: pytest.MonkeyPatch):
    nodes = StandInNodes(1, lambda node: Judge())
    (node,) = nodes.nodes
    lines: list[str] = []
    records = [record(number) for number in range(300)]
    with RecordWorkers(nodes, None, [], lines.append) as group:
        verdicts = group.judged(records, [], speech=True, model=False)
        found = [next(verdicts)]
        nodes.lose(node)
        threading.Timer(0.5, nodes.nodes.append, [node]).start()
        found += verdicts
        assert [each for each, _ in found] == records
        assert "node-0 has left the cluster" in lines
        assert "no worker is left; waiting 5 minutes for a node to join" in lines
        monkeypatch.setattr(under_way, "_DESERTED", 0.2)
        verdicts = group.judged(records, [], speech=True, model=False)
        next(verdicts)
        nodes.lose(node)
        with pytest.raises(ClusterError, match="no worker is left, and none came within"):
            list(verdicts)


def test_a_record_that_only_some_nodes_see(tmp_path: Path):
    records = [replace(record(number), audio=str(tmp_path / f"{number}.wav")) for number in range(40)]
    for each in records:
        Path(each.audio).write_bytes(b"x")
    hidden = {"node-0": {"10", "20", "8"}, "node-1": {"20", "30"}}

    def make(node: Node) -> Judge:
        class Blind(Judge):
            def work(self, task: RecordsTask) -> Any:
                answers = zip(task.records, super().work(task), strict=True)
                unseen = InputNotFoundError("gone")
                return tuple(unseen if each.id in hidden[node.name] else answer for each, answer in answers)

        return Blind()

    lines: list[str] = []
    with RecordWorkers(StandInNodes(2, make), None, [], lines.append) as group:
        verdicts = list(group.judged(records, [], speech=True, model=False))
    assert [each for each, _ in verdicts] == records
    dropped = {each.id: reason for each, reason in verdicts if reason is not None}
    assert dropped == {"20": UNSEEN} | {str(number): "odd" for number in range(1, 40, 2)}
    assert lines == [f"{records[20].audio}: is here, but not on the cluster (node-0, node-1)"]


def test_a_worker_tells_a_missing_file_from_a_broken_one(tmp_path: Path):
    missing, broken = (replace(record(0), audio=str(tmp_path / name)) for name in ("missing.wav", "broken.wav"))
    Path(broken.audio).write_bytes(b"no sound")
    answers = NodeWorker()._judge(JudgeTask((missing, broken), speech=True, model=False))
    assert isinstance(answers[0], InputNotFoundError)
    assert answers[1] == UNREADABLE


def test_a_bug_is_raised_for_its_record_alone():
    def before(task: RecordsTask) -> None:
        if any(each.id == "20" for each in task.records):
            raise KeyError("a bug")

    group, _ = workers(lambda node: Judge(before=before), 1)  # type: ignore[arg-type]
    came: list[str] = []
    with group, pytest.raises(KeyError):
        came.extend(each.id for each, _ in group.judged(map(record, range(40)), [], speech=True, model=False))
    assert came == [str(number) for number in range(20)]


def test_a_worker_that_stands_still_on_records_counts_as_dead(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pulses, "_PULSE", 0.05)
    monkeypatch.setattr(pulses, "PATIENCE", 0.3)
    released = threading.Event()

    class Stuck(Judge):
        def signs_of_life(self) -> SignsOfLife:
            return SignsOfLife(0.0, {})

    def wait(task: RecordsTask) -> None:
        if any(each.id == "2" for each in task.records):
            released.wait(30)

    group, _ = workers(lambda node: Stuck(before=wait), 1)  # type: ignore[arg-type]
    try:
        with group:
            verdicts = list(group.judged(map(record, range(4)), [], speech=True, model=False))
    finally:
        released.set()
    reasons = {each.id: reason for each, reason in verdicts}
    assert reasons == {"0": None, "1": "odd", "2": DEADLY, "3": "odd"}


@pytest.mark.slow
def test_labels_and_verdicts_are_those_of_one_machine(tmp_path: Path):
    folder = make_tiny_model(tmp_path / "model")
    paths = [tmp_path / f"{number}.wav" for number in range(3)]
    for number, path in enumerate(paths):
        write_wav(path, speak(f"Number {number}."))
    paths.append(tmp_path / "text.wav")
    paths[-1].write_text("no sound")
    model, trust = load_model(folder, device="cpu", threads=1), Trust()
    problems: list[str] = []
    expected = list(label(recordings_in(paths), lambda each: labelled(each, model, "en", trust), problems.append))
    told: list[str] = []
    with RecordWorkers(StandInNodes(2, lambda node: NodeWorker()), folder, [*map(str, paths)]) as group:
        found = list(group.labelled(recordings_in(paths), "en", trust, told.append))
        verdicts = list(group.judged(found, [no_text], speech=True, model=False))
    assert found == expected
    assert told == problems
    assert verdicts == list(judged(expected, [no_text, CaptionsBesideSpeech()]))
