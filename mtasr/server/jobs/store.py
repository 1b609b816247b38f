"""The jobs of a server, in SQLite: what was asked for, how far each is, and how it ended."""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mtasr.errors import MtasrError, OutputError
from mtasr.server.problems import INCOMPLETE

#: "cancelled" is what followers of a job hear when it is removed; no stored job has it.
JobStatus = Literal["queued", "running", "done", "failed", "cancelled"]

#: Only the user who runs the server may read the file.
_PRIVATE = 0o600

#: Of the tables below. A server refuses a file with another.
_VERSION = 1

_SCHEMA = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order of arrival
    id TEXT NOT NULL UNIQUE,
    client TEXT NOT NULL,
    created REAL NOT NULL,
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    request TEXT NOT NULL,
    status TEXT NOT NULL,
    position REAL NOT NULL DEFAULT 0,
    total REAL,
    futile INTEGER NOT NULL DEFAULT 0,
    ended REAL,
    error TEXT,
    findings TEXT
);
CREATE INDEX by_client ON jobs (client, number);
CREATE INDEX by_status ON jobs (status, number);
"""

#: A job is given up when the server has died in this many of its runs, one after the other, that got no further.
MOST_FUTILE = 2

_KILLED = json.dumps(
    {
        "message": f"the server died {MOST_FUTILE} times at the same point of this recording",
        "type": "server_error",
        "param": None,
        "code": "server_died",
    }
)


#: `sqlite3.Connection.execute`.
_Execute = Callable[..., sqlite3.Cursor]


class QueueFullError(MtasrError):
    """As many jobs wait as may wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How much may wait in the queue."""

    #: Jobs in all, and those of one client.
    jobs: float = math.inf
    client_jobs: float = math.inf
    #: Bytes of their recordings in all. A job that waits alone may have more.
    bytes: float = math.inf


ANY_NUMBER = Room()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredJob:
    """A job, as the store knows it. Moments are seconds since 1970, other times are seconds of the recording."""

    id: str
    #: Who sent it: the only one who may see it.
    client: str
    created: float
    #: What the client calls the recording, and its bytes.
    name: str
    size: int
    #: What was asked for, a document of `JobRequest`.
    request: Mapping[str, Any]
    status: JobStatus = "queued"
    #: How far the recording is decoded, at the furthest, and how long its file says it is.
    position: float = 0.0
    total: float | None = None
    #: How many runs in a row had a model and got no further: the server died in them, or one is under way.
    futile: int = 0
    ended: float | None = None
    #: Why it failed, as OpenAI describes errors: message, type, param and code.
    error: Mapping[str, Any] | None = None
    #: What became known of the recording, such as its language and coverage.
    findings: Mapping[str, Any] | None = None

    @property
    def has_ended(self) -> bool:
        return self.ended is not None

    @property
    def has_result(self) -> bool:
        return self.status == "done" or (self.error is not None and self.error.get("code") == INCOMPLETE)


class JobStore:
    """The table of jobs, for all threads of one server. Each change is on disk when its method returns.

    All methods raise `OutputError` if the file cannot be read or written, as when the disk is full.
    """

    def __init__(self, path: Path) -> None:
        """Open the file or make it, and put the jobs that a dead server was running back into the queue.

        Raises `OutputError` for a file that is damaged, or of another version of mtasr.
        """
        self._path, self._lock = path, threading.Lock()
        #: Jobs that run, and in whose last run the server died.
        self._suspects: set[str] = set()
        with contextlib.suppress(OSError):  # which SQLite reports, for a file that it cannot open
            # The names of recordings are nobody else's business. SQLite gives its other files the same mode.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, _PRIVATE))
            path.chmod(_PRIVATE)
        with self._errors():
            self._connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        try:
            with self._errors():
                self._open()
                self._requeue_running()
        except BaseException:
            self._connection.close()
            raise

    def _open(self) -> None:
        self._connection.row_factory = sqlite3.Row
        # Readers outside the server, such as a backup, do not hold it up.
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        (found,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(found.splitlines()[-1])
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise OutputError(
                f"{self._path}: has version {version} of the jobs, and this mtasr knows version {_VERSION}; "
                "use the mtasr that wrote it, or another data folder"
            )
        if version == 0:
            self._connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")

    def _requeue_running(self) -> None:
        with self._transaction() as execute:
            execute(
                "UPDATE jobs SET status = 'failed', ended = ?, error = ? WHERE status = 'running' AND futile >= ?",
                (time.time(), _KILLED, MOST_FUTILE),
            )
            execute("UPDATE jobs SET status = 'queued' WHERE status = 'running'")

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    # What clients do

    def add(
        self, job_id: str, *, client: str, name: str, size: int, request: Mapping[str, Any], room: Room = ANY_NUMBER
    ) -> StoredJob:
        """Add a job at the end of the queue. Raises `QueueFullError` if there is no room for it."""
        values = (job_id, client, time.time(), name, size, json.dumps(request))
        with self._transaction() as execute:
            _check_room(execute, room, client, size)
            execute(
                "INSERT INTO jobs (id, client, created, name, size, request, status)"
                " VALUES (?, ?, ?, ?, ?, ?, 'queued')",
                values,
            )
            return _job(execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone())

    def check_room(self, room: Room, client: str, size: int = 0) -> None:
        """Raise `QueueFullError` if a job of the client, with so many bytes, may not wait."""
        with self._reading() as execute:
            _check_room(execute, room, client, size)

    def counts(self) -> dict[str, int]:
        """How many jobs wait, and how many run."""
        with self._reading() as execute:
            rows = execute("SELECT status, count(*) FROM jobs WHERE status IN ('queued', 'running') GROUP BY status")
            return {"queued": 0, "running": 0} | dict(rows.fetchall())

    def get(self, job_id: str, client: str | None = None) -> StoredJob | None:
        """The job of that name; None if there is none, or it is another client's."""
        with self._reading() as execute:
            row = execute(
                "SELECT * FROM jobs WHERE id = ? AND (?2 IS NULL OR client = ?2)", (job_id, client)
            ).fetchone()
            return None if row is None else _job(row)

    def of_client(self, client: str, *, most: int, before: str | None = None) -> list[StoredJob]:
        """The jobs of a client, the newest first; with `before`, those older than that job."""
        with self._reading() as execute:
            rows = execute(
                "SELECT * FROM jobs WHERE client = ?1"
                " AND (?2 IS NULL OR number < (SELECT number FROM jobs WHERE id = ?2 AND client = ?1))"
                " ORDER BY number DESC LIMIT ?3",
                (client, before, most),
            )
            return [_job(row) for row in rows]

    def remove(self, job_id: str, client: str | None = None) -> bool:
        """Forget a job; False if there is none of that name, or it is another client's."""
        with self._transaction() as execute:
            done = execute("DELETE FROM jobs WHERE id = ? AND (?2 IS NULL OR client = ?2)", (job_id, client))
            return done.rowcount > 0

    # What the runner does

    def claim(self) -> StoredJob | None:
        """The job to run next, which counts as running from now on; None if none can run.

        Clients take turns: who has the fewest jobs running comes first, then who came first. If the server died before
        a job got anywhere, the job runs alone until it does, so that no other takes the blame if the server dies again.
        """
        with self._transaction() as execute:
            rows = execute("SELECT * FROM jobs WHERE status IN ('queued', 'running') ORDER BY number").fetchall()
            running = [row for row in rows if row["status"] == "running"]
            queued = [row for row in rows if row["status"] == "queued"]
            suspects = [row for row in queued if row["futile"]]
            if not queued or (running and suspects):
                return None
            if any(row["futile"] and row["id"] in self._suspects for row in running):
                return None
            counts = Counter(row["client"] for row in running)
            chosen = min(suspects or queued, key=lambda row: (counts[row["client"]], row["number"]))
            execute("UPDATE jobs SET status = 'running' WHERE id = ?", (chosen["id"],))
            self._suspects.discard(chosen["id"])
            if chosen["futile"]:
                self._suspects.add(chosen["id"])
            return _job(execute("SELECT * FROM jobs WHERE id = ?", (chosen["id"],)).fetchone())

    def note_start(self, job_id: str) -> None:
        """Note that a run has its model: if the server dies before it gets further, the job may be to blame."""
        with self._transaction() as execute:
            execute("UPDATE jobs SET futile = futile + 1 WHERE id = ?", (job_id,))

    def note_progress(self, job_id: str, position: float, total: float | None) -> None:
        """Note how far a job is."""
        with self._transaction() as execute:
            execute(
                "UPDATE jobs SET futile = CASE WHEN ?2 > position THEN 0 ELSE futile END,"
                " position = max(position, ?2), total = ?3 WHERE id = ?1",
                (job_id, position, total),
            )

    def note_findings(self, job_id: str, findings: Mapping[str, Any]) -> None:
        with self._transaction() as execute:
            execute("UPDATE jobs SET findings = ? WHERE id = ?", (json.dumps(findings), job_id))

    def requeue(self, job: StoredJob) -> None:
        """Put a job back that runs since `claim` returned it, for a later run to continue."""
        with self._transaction() as execute:
            execute(
                "UPDATE jobs SET status = 'queued', futile = min(futile, ?) WHERE id = ? AND status = 'running'",
                (job.futile, job.id),
            )

    def end(self, job_id: str, error: Mapping[str, Any] | None = None) -> StoredJob | None:
        """Note that a job is done, or has failed; returns it, None if it was removed."""
        status = "done" if error is None else "failed"
        with self._transaction() as execute:
            execute(
                "UPDATE jobs SET status = ?, ended = ?, error = ?, futile = 0 WHERE id = ?",
                (status, time.time(), None if error is None else json.dumps(error), job_id),
            )
            row = execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
            return None if row is None else _job(row)

    def unfinished(self) -> list[StoredJob]:
        with self._reading() as execute:
            rows = execute("SELECT * FROM jobs WHERE ended IS NULL ORDER BY number")
            return [_job(row) for row in rows]

    def given_up(self) -> list[str]:
        """The jobs that failed because the server died in them."""
        with self._reading() as execute:
            return [row["id"] for row in execute("SELECT id FROM jobs WHERE error = ?", (_KILLED,))]

    def ended_before(self, moment: float) -> list[str]:
        """The jobs that ended before that moment."""
        with self._reading() as execute:
            return [row["id"] for row in execute("SELECT id FROM jobs WHERE ended < ?", (moment,))]

    @contextlib.contextmanager
    def _reading(self) -> Iterator[_Execute]:
        """The method that executes statements that change nothing."""
        with self._lock, self._errors():
            yield self._connection.execute

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[_Execute]:
        """The method that executes statements, which count together or not at all."""
        with self._lock, self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection.execute
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn the errors of SQLite into ours."""
        try:
            yield
        except (sqlite3.OperationalError, sqlite3.ProgrammingError) as error:  # such as a closed file
            raise OutputError(f"{self._path}: cannot be used: {error}") from error
        except sqlite3.DatabaseError as error:
            raise OutputError(
                f"{self._path}: is damaged ({error}); with the file moved away, the server starts without jobs"
            ) from error


def _check_room(execute: _Execute, room: Room, client: str, size: int) -> None:
    jobs, jobs_of_client, bytes_waiting = execute(
        "SELECT count(*), count(*) FILTER (WHERE client = ?), coalesce(sum(size), 0) FROM jobs WHERE status = 'queued'",
        (client,),
    ).fetchone()
    if jobs >= room.jobs:
        waiting = "1 job is" if jobs == 1 else f"{jobs} jobs are"
        raise QueueFullError(f"{waiting} waiting, and no more may; try again later")
    if jobs_of_client >= room.client_jobs:
        raise QueueFullError(f"you have as many jobs waiting as you may ({jobs_of_client}); try again later")
    if jobs and bytes_waiting + size > room.bytes:
        raise QueueFullError(f"the recordings that wait have {bytes_waiting:,} bytes; try again later")


def new_job_id() -> str:
    """An id that nobody can guess."""
    return f"job_{secrets.token_hex(12)}"


def _job(row: sqlite3.Row) -> StoredJob:
    values = {name: row[name] for name in row.keys() if name != "number"}  # noqa: SIM118 - iterating yields values
    for name in ("request", "error", "findings"):
        try:
            values[name] = None if values[name] is None else json.loads(values[name])
        except ValueError:  # a damaged disk: the job fails when it runs, and no other
            values[name] = {}
    return StoredJob(**values)
