"""The table of jobs: who sees what, who comes next, and what becomes of jobs when the server dies."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from mtasr.errors import OutputError
from mtasr.server.jobs.store import ANY_NUMBER, JobStore, QueueFullError, Room, StoredJob

REQUEST = {"model": "base", "options": {"language": "fr"}, "tracks": {}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.sqlite"


def add(store: JobStore, job_id: str, client: str = "anna", room: Room = ANY_NUMBER) -> StoredJob:
    return store.add(job_id, client=client, name="talk.mp3", size=7, request=REQUEST, room=room)


def claimed(store: JobStore) -> str | None:
    job = store.claim()
    return job.id if job is not None else None


def started(store: JobStore) -> str | None:
    """The job that `claim` chooses, once its run has a model."""
    if (job_id := claimed(store)) is not None:
        store.note_start(job_id)
    return job_id


def reopened(store: JobStore, path: Path) -> JobStore:
    """The store of the next server, after one that died: SQLite keeps what was committed."""
    store.close()
    return JobStore(path)


def test_a_job_is_what_was_added(path: Path) -> None:
    store = JobStore(path)
    job = add(store, "a")
    assert (job.id, job.client, job.name, job.size, job.request) == ("a", "anna", "talk.mp3", 7, REQUEST)
    assert (job.status, job.position, job.total, job.has_ended, job.error) == ("queued", 0.0, None, False, None)
    assert reopened(store, path).get("a") == job


def test_clients_see_and_remove_only_their_own_jobs(path: Path) -> None:
    store = JobStore(path)
    for number, client in enumerate(["anna", "bert", "anna", "anna"]):
        add(store, f"job-{number}", client)
    assert [job.id for job in store.of_client("anna", most=10)] == ["job-3", "job-2", "job-0"]
    assert [job.id for job in store.of_client("anna", most=1, before="job-3")] == ["job-2"]
    assert store.of_client("anna", most=10, before="job-1") == []  # another client's
    assert store.get("job-1", "anna") is None
    assert not store.remove("job-1", "anna")
    assert store.get("job-1", "bert") is not None
    assert store.remove("job-1", "bert")
    assert store.get("job-1") is None


def test_only_so_many_wait(path: Path) -> None:
    store, room = JobStore(path), Room(jobs=2)
    add(store, "a", room=room)
    add(store, "b", room=room)
    with pytest.raises(QueueFullError, match="2 jobs are waiting"):
        store.check_room(room, "anna")
    with pytest.raises(QueueFullError):
        add(store, "c", room=room)
    assert store.get("c") is None
    store.claim()
    store.check_room(room, "anna")
    with pytest.raises(QueueFullError, match="1 job is waiting"):
        store.check_room(Room(jobs=1), "anna")
    add(store, "c", room=room)


def test_a_client_has_a_share_of_the_queue(path: Path) -> None:
    store, room = JobStore(path), Room(jobs=4, client_jobs=2)
    add(store, "a", room=room)
    add(store, "b", room=room)
    with pytest.raises(QueueFullError, match=r"as many jobs waiting as you may \(2\)"):
        store.check_room(room, "anna")
    with pytest.raises(QueueFullError):
        add(store, "c", room=room)
    add(store, "c", "bert", room=room)
    store.claim()
    add(store, "d", room=room)


def test_the_bytes_of_those_that_wait_are_limited(path: Path) -> None:
    store = JobStore(path)
    add(store, "a", room=Room(bytes=6))  # alone
    with pytest.raises(QueueFullError, match="the recordings that wait have 7 bytes"):
        add(store, "b", room=Room(bytes=13))
    assert store.get("b") is None
    add(store, "b", room=Room(bytes=14))
    store.claim()
    add(store, "c", room=Room(bytes=14))


def test_clients_take_turns(path: Path) -> None:
    store = JobStore(path)
    for number, client in enumerate(["anna", "anna", "anna", "bert", "carl"]):
        add(store, f"{client}-{number}", client)
    assert [claimed(store) for _ in range(6)] == ["anna-0", "bert-3", "carl-4", "anna-1", "anna-2", None]


def test_a_job_is_given_up_when_the_server_dies_twice_at_the_same_point(path: Path) -> None:
    store = JobStore(path)
    add(store, "a")
    add(store, "b")
    for expected in ("queued", "failed"):
        assert started(store) == "a"
        store = reopened(store, path)
        job = store.get("a")
        assert job is not None
        assert job.status == expected
    assert job.has_ended
    assert job.error is not None
    assert job.error["message"] == "the server died 2 times at the same point of this recording"
    assert store.given_up() == ["a"]
    assert started(store) == "b"


def test_kills_before_the_model_is_there_blame_no_job(path: Path) -> None:
    store = JobStore(path)
    add(store, "a")
    add(store, "b")
    assert started(store) == "a"  # and dies in it, so that it is a suspect
    for _ in range(4):
        store = reopened(store, path)
        assert [claimed(store), claimed(store)] == ["a", None]
    job = store.get("a")
    assert job is not None
    assert (job.status, job.futile) == ("running", 1)


def test_a_job_that_gets_further_is_not_to_blame(path: Path) -> None:
    store = JobStore(path)
    add(store, "a")
    for position in (10.0, 20.0, 30.0, 40.0):
        assert started(store) == "a"
        store.note_progress("a", position, 60.0)
        store = reopened(store, path)
    assert started(store) == "a"
    store.note_progress("a", 35.0, 60.0)  # it got that far before
    job = store.get("a")
    assert job is not None
    assert (job.position, job.total, job.futile) == (40.0, 60.0, 1)


def test_a_suspect_runs_alone(path: Path) -> None:
    store = JobStore(path)
    for job_id in ("a", "b", "c"):
        add(store, job_id)
    assert [started(store), started(store)] == ["a", "b"]
    store = reopened(store, path)
    assert [started(store), started(store)] == ["a", None]
    store.note_progress("a", 1.0, None)
    assert started(store) is None  # the next suspect wants to be alone too
    store.end("a")
    assert [started(store), started(store)] == ["b", None]
    store.note_progress("b", 1.0, None)
    assert started(store) == "c"


def test_a_server_that_stops_in_good_order_blames_no_job(path: Path) -> None:
    store = JobStore(path)
    add(store, "a")
    for has_model in (True, False, True):
        claimed = store.claim()
        assert claimed is not None
        if has_model:
            store.note_start("a")
        store.requeue(claimed)
        store = reopened(store, path)
    job = store.get("a")
    assert job is not None
    assert (job.status, job.futile) == ("queued", 0)


def test_a_stop_in_good_order_takes_no_blame_away(path: Path) -> None:
    store = JobStore(path)
    add(store, "a")
    assert started(store) == "a"
    store = reopened(store, path)  # it died
    suspect = store.claim()
    assert suspect is not None
    store.requeue(suspect)  # before the model was there
    job = store.get("a")
    assert job is not None
    assert (job.status, job.futile) == ("queued", 1)


def test_ended_jobs_have_their_findings_or_their_error(path: Path) -> None:
    store = JobStore(path)
    for job_id in ("a", "b"):
        add(store, job_id)
        store.claim()
    store.note_findings("a", {"language": "fr"})
    done, failed = store.end("a"), store.end("b", {"message": "no", "code": "x"})
    assert done is not None
    assert failed is not None
    assert (done.status, done.findings, done.error) == ("done", {"language": "fr"}, None)
    assert (failed.status, failed.findings, failed.error) == ("failed", None, {"message": "no", "code": "x"})
    assert done.ended is not None
    assert done.ended >= done.created
    assert store.unfinished() == []
    assert sorted(store.ended_before(float("inf"))) == ["a", "b"]
    assert store.ended_before(done.created) == []
    store.remove("a")
    assert store.end("a") is None


def test_another_version_is_refused(path: Path) -> None:
    JobStore(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(OutputError, match=r"jobs\.sqlite: has version 99 of the jobs, and this mtasr knows version 1"):
        JobStore(path)


@pytest.mark.parametrize("place", [0, 20_000], ids=["header", "pages"])
def test_a_damaged_file_is_one_clear_error(path: Path, place: int) -> None:
    store = JobStore(path)
    for number in range(100):
        add(store, f"job-{number}")
    store.close()
    content = bytearray(path.read_bytes())
    content[place : place + 5000] = random.Random(0).randbytes(5000)
    path.write_bytes(content)
    with pytest.raises(OutputError, match=r"jobs\.sqlite: is damaged \(.*\); with the file moved away"):
        JobStore(path)


def test_a_damaged_note_costs_that_job_alone(path: Path) -> None:
    store = JobStore(path)
    add(store, "a")
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE jobs SET request = '{\"mod'")
    connection.close()
    store = JobStore(path)
    add(store, "b")
    assert [(job.id, job.request) for job in store.of_client("anna", most=9)] == [("b", REQUEST), ("a", {})]


def test_a_full_disk_is_an_error_and_no_job(path: Path) -> None:
    store = JobStore(path)
    add(store, "a")
    (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
    store._connection.execute(f"PRAGMA max_page_count = {pages}")

    def fill() -> None:
        for number in range(200):
            add(store, f"job-{number}")

    with pytest.raises(OutputError, match=r"jobs\.sqlite: cannot be used: database or disk is full"):
        fill()
    kept = [job.id for job in store.unfinished()]
    assert kept == ["a", *(f"job-{number}" for number in range(len(kept) - 1))]
    store._connection.execute(f"PRAGMA max_page_count = {pages + 10}")
    add(store, "later")


ADDING = """
import itertools, sys
from pathlib import Path
from mtasr.server.jobs.store import JobStore
store = JobStore(Path(sys.argv[1]))
for number in itertools.count():
    store.add(f"job-{number}", client="", name="", size=0, request={})
    print(number, flush=True)
"""


@pytest.mark.slow
def test_what_is_promised_survives_a_kill(path: Path) -> None:
    chooser = random.Random(5)
    for _ in range(5):
        path.unlink(missing_ok=True)
        with subprocess.Popen([sys.executable, "-c", ADDING, path], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(chooser.randint(1, 60)):
                last = process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            promised = [int(line) for line in (last + process.stdout.read()).splitlines()]
        store = JobStore(path)
        kept = [job.id for job in store.unfinished()]
        assert kept == [f"job-{number}" for number in range(len(kept))]
        assert len(kept) > promised[-1]
        store.close()
        for name in ("-wal", "-shm"):
            path.with_name(path.name + name).unlink(missing_ok=True)


def test_a_closed_store_is_not_called_damaged(path: Path) -> None:
    store = JobStore(path)
    store.close()
    with pytest.raises(OutputError, match=r"jobs\.sqlite: cannot be used: Cannot operate on a closed database"):
        store.counts()


@pytest.mark.parametrize("exists", [False, True])
def test_the_file_is_private(path: Path, exists: bool) -> None:
    if exists:
        path.touch(0o644)
    store = JobStore(path)
    add(store, "a")
    modes = {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}
    assert modes["jobs.sqlite"] == 0o600
    assert set(modes.values()) == {0o600}, modes
