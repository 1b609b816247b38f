"""The events of a job, for whoever follows it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from mtasr.server.events import event
from mtasr.server.jobs.documents import job_document, progress_document
from mtasr.server.jobs.feed import Feed
from mtasr.server.jobs.runner import JobRunner
from mtasr.server.jobs.store import StoredJob

#: The id of the last event: who comes back with it has heard everything.
END = "end"


async def follow(jobs: JobRunner, job: StoredJob, seen: int, retention: float) -> AsyncIterator[bytes]:
    """The events of a job but its first `seen` segments. They end without `done` if the server stops."""
    feed = jobs.feed(job.id)
    news = _of_ended(jobs, job, seen, retention) if feed is None else _of_unfinished(feed, seen, retention)
    async for each in news:
        yield each


async def _of_unfinished(feed: Feed, seen: int, retention: float) -> AsyncIterator[bytes]:
    loop, changed = asyncio.get_running_loop(), asyncio.Event()
    status: tuple[Any, ...] | None = None
    progress: dict[str, Any] | None = None
    with feed.listening(lambda: loop.call_soon_threadsafe(changed.set)):
        while True:
            changed.clear()
            state = feed.state  # before the segments, so that none is missing once it says that no more will come
            new_status = state.job.status, state.language
            if new_status != status and not state.job.has_ended:
                yield event(job_document(state.job, retention, state), kind="status")
                status = new_status
            for segment in feed.segments_after(seen):
                seen += 1
                yield event(segment, kind="segment", number=seen)
            new_progress = progress_document(state.job)
            if new_progress != progress:
                yield event(new_progress, kind="progress")
                progress = new_progress
            if state.is_closed:
                if state.job.has_ended:
                    yield event(job_document(state.job, retention, state), kind="done", number=END)
                return
            await changed.wait()


async def _of_ended(jobs: JobRunner, job: StoredJob, seen: int, retention: float) -> AsyncIterator[bytes]:
    found = await asyncio.to_thread(jobs.store.get, job.id)
    # It may have ended, or been removed, since it was looked up.
    job = found or replace(job, status="cancelled", ended=job.ended or time.time(), error=None)
    if job.has_result:
        for number, segment in enumerate(await asyncio.to_thread(_segments, jobs, job), start=1):
            if number > seen:
                yield event(segment, kind="segment", number=number)
    yield event(progress_document(job), kind="progress")
    yield event(job_document(job, retention), kind="done", number=END)


def _segments(jobs: JobRunner, job: StoredJob) -> list[dict[str, Any]]:
    """The segments of a job that has a result."""
    document = json.loads(jobs.files.result(job.id, "json").read_bytes())
    segments: list[dict[str, Any]] = document["segments"]
    return segments
