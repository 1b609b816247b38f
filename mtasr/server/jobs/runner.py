"""Runs the jobs of the store, a few at a time, and removes those that are too old."""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mtasr import atomic
from mtasr.errors import OutputError
from mtasr.server.jobs.feed import Feed
from mtasr.server.jobs.files import JobFiles
from mtasr.server.jobs.lending import Lend
from mtasr.server.jobs.run import JobRun
from mtasr.server.jobs.store import ANY_NUMBER, JobStore, Room, StoredJob, new_job_id
from mtasr.server.problems import incomplete, problem_of
from mtasr.threads import start_thread

_LOG = logging.getLogger(__name__)

#: Seconds between looks at the queue, which also notice that a full disk has room again; and at what is too old.
_POLL, _SWEEP = 5.0, 30.0

#: What coverage says of text and speech that do not match.
_DOUBTFUL = ("speech_without_text", "text_without_speech")


class JobRunner:
    """The jobs below a data folder, and the threads that run them.

    Args:
        folder: The data folder; one server at a time may use it.
        lend: Lends models to the runner's threads.
        at_once: How many jobs run at the same time. Their windows share batches, so more cost memory and gain little.
        room: How many jobs may wait.
        retention: Seconds for which a job that has ended is kept.
        most_seconds: The longest recording, None for any.
        on_done: Called with the model and the seconds of each recording that is transcribed.

    Raises `OutputError` on construction if the folder cannot be used.

    """

    def __init__(
        self,
        folder: Path,
        lend: Lend,
        *,
        at_once: int = 2,
        room: Room = ANY_NUMBER,
        retention: float = 7 * 24 * 3600.0,
        most_seconds: float | None = None,
        on_done: Callable[[str, float], object] = lambda model, seconds: None,
    ) -> None:
        self._lend, self._at_once, self._room = lend, at_once, room
        self._retention, self._most_seconds, self._on_done = retention, most_seconds, on_done
        self.files = JobFiles(folder)
        self.store = JobStore(folder / "jobs.sqlite")
        #: Guards what follows; notified when there may be something to do.
        self._changed = threading.Condition()
        self._feeds: dict[str, Feed] = {}
        self._runs: dict[str, JobRun] = {}
        #: Jobs that were removed while they ran.
        self._removed: set[str] = set()
        self._stopping = False
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Continue what an earlier server left, and start the threads."""
        unfinished = self.store.unfinished()
        # The recording that killed a server stays for whoever looks for the reason.
        whole = [job.id for job in unfinished] + self.store.given_up()
        self.files.tidy(ended=self.store.ended_before(math.inf), whole=whole)
        with self._changed:
            self._feeds = {job.id: Feed(job) for job in unfinished} | self._feeds
        self._threads = [start_thread(self._work) for _ in range(self._at_once)]
        self._threads.append(start_thread(self._sweep))

    def halt(self) -> None:
        """Stop the runs, whose jobs go back into the queue for the next start, and end all feeds.

        More jobs may still be added. Calling it again does nothing.
        """
        with self._changed:
            self._stopping = True
            runs, feeds = list(self._runs.values()), list(self._feeds.values())
            self._changed.notify_all()
        for run in runs:
            run.stop()
        for feed in feeds:
            feed.close()

    def close(self, timeout: float = 30.0) -> None:
        """Halt, wait for the threads for at most `timeout` seconds, and close the store."""
        self.halt()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self.store.close()

    # What clients do

    def check_room(self, client: str) -> None:
        """Raise `QueueFullError` if no more jobs of the client may wait, so that nobody sends a recording in vain."""
        self.store.check_room(self._room, client)

    def add(self, received: Path, *, client: str, name: str, request: Mapping[str, Any]) -> StoredJob:
        """Make a job of a received file, and move the file.

        Raises `QueueFullError`, and `OutputError` as when the disk is full.
        """
        job_id = new_job_id()
        try:
            size = received.stat().st_size
        except OSError as error:
            raise OutputError(f"{received}: {atomic.reason(error)}") from error
        self.files.take(received, job_id)
        try:
            with self._changed:
                job = self.store.add(job_id, client=client, name=name, size=size, request=request, room=self._room)
                self._feeds[job_id] = Feed(job)
                self._changed.notify_all()
        except BaseException:
            self.files.remove(job_id)
            raise
        return job

    def feed(self, job_id: str) -> Feed | None:
        """The news of a job, None if it has ended. Returns at once."""
        return self._feeds.get(job_id)

    def remove(self, job_id: str, client: str) -> bool:
        """Cancel a job and remove all that is kept of it; False if the client has no such job."""
        with self._changed:
            if not self.store.remove(job_id, client):
                return False
            run, feed = self._runs.get(job_id), self._feeds.pop(job_id, None)
            if run is not None:
                self._removed.add(job_id)
        if run is not None:
            run.stop()  # its thread removes the files
        else:
            self.files.remove(job_id)
        if feed is not None:
            feed.close(replace(feed.state.job, status="cancelled", ended=time.time()))
        return True

    def give_models_back(self) -> None:
        """Have all models given back soon, for people who wait for another one. The jobs continue later."""
        with self._changed:
            runs = list(self._runs.values())
        for run in runs:
            run.stop()

    # What the threads do

    def _work(self) -> None:
        while (run := self._next()) is not None:
            try:
                self._run(run)
            except Exception:
                _LOG.exception("job could not be ended", extra={"job": run.job.id})
            with self._changed:
                del self._runs[run.job.id]
                is_removed = run.job.id in self._removed
                self._removed.discard(run.job.id)
                self._changed.notify_all()
            if is_removed:
                self.files.remove(run.job.id)

    def _next(self) -> JobRun | None:
        """The next run, as soon as there is one; None when the runner stops."""
        with self._changed:
            while not self._stopping:
                try:
                    job = self.store.claim()
                except Exception as error:
                    _LOG.error("no job can be started", extra={"reason": str(error)})
                    job = None
                if job is not None:
                    feed = self._feeds.setdefault(job.id, Feed(job))
                    run = JobRun(job, feed, self.files, self.store, most_seconds=self._most_seconds)
                    self._runs[job.id] = run
                    return run
                self._changed.wait(_POLL)
        return None

    def _run(self, run: JobRun) -> None:
        run.feed.publish(run.job)
        try:
            run.run(self._lend, lambda: self._end(run, self._doubts(run.job)))
        except Exception as error:
            if run.is_stopped:
                self._insist(lambda: self.store.requeue(run.job))
                run.feed.publish(replace(run.job, status="queued"))
                return
            self.files.remove(run.job.id)  # first, because it makes room on a full disk
            self._end(run, self._failure(run.job, error))

    def _doubts(self, job: StoredJob) -> Mapping[str, Any] | None:
        """The error of a strict job whose text and speech do not match."""
        found = self.store.get(job.id)
        coverage = (found.findings if found is not None and found.findings else {}).get("coverage") or {}
        if not job.request.get("strict") or not any(coverage.get(each) for each in _DOUBTFUL):
            return None
        return incomplete().error

    def _failure(self, job: StoredJob, error: Exception) -> Mapping[str, Any]:
        """What a client is told of an error, in OpenAI's words. No path of the server is in it."""
        problem = problem_of(error)
        if problem.status >= 500:
            _LOG.error("job failed by a fault of the server", extra={"job": job.id}, exc_info=error)
        else:
            _LOG.info("job failed", extra={"job": job.id, "client": job.client, "code": problem.code})
        folder = re.escape(str(self.files.folder(job.id)))
        message = re.sub(rf"{folder}/recording[.\w]*", lambda _: job.name, problem.message)
        message = message.replace("this request", "this job")
        return problem.error | {"message": message}

    def _end(self, run: JobRun, error: Mapping[str, Any] | None = None) -> None:
        """Note that a job is done or has failed, and tell its followers."""
        noted: list[StoredJob | None] = []
        if not self._insist(lambda: noted.append(self.store.end(run.job.id, error))):
            return  # the next server finds the results, and notes it
        (ended,) = noted
        self.files.remove_recording(run.job.id)
        if ended is not None and ended.has_result:
            seconds = (ended.findings or {}).get("duration", 0.0)
            self._on_done(str(ended.request.get("model")), seconds)
            _LOG.info("job done", extra={"job": ended.id, "client": ended.client, "audio_seconds": seconds})
        with self._changed:
            self._feeds.pop(run.job.id, None)
        if ended is not None:
            run.feed.close(ended)

    def _insist(self, write: Callable[[], object]) -> bool:
        """Write to the store, as soon as its disk has room; False if the runner stops before."""
        while True:
            try:
                write()
            except OutputError as error:
                _LOG.error("the state of a job cannot be written yet", extra={"reason": str(error)})
            else:
                return True
            with self._changed:
                if self._changed.wait_for(lambda: self._stopping, _POLL):
                    return False

    def _sweep(self) -> None:
        """Remove jobs that ended too long ago, again and again."""
        while True:
            try:
                for job_id in self.store.ended_before(time.time() - self._retention):
                    self.store.remove(job_id)
                    self.files.remove(job_id)
            except OutputError as error:
                _LOG.error("old jobs cannot be removed", extra={"reason": str(error)})
            with self._changed:
                if self._changed.wait_for(lambda: self._stopping, min(_SWEEP, self._retention)):
                    return
