"""Jobs as the API describes them: pure functions of what is known of a job."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mtasr.server.jobs.feed import FeedState
from mtasr.server.jobs.store import StoredJob

#: What a job found out, or would have.
_FINDINGS = ("language", "language_probability", "duration", "coverage", "warnings")


def job_document(job: StoredJob, retention: float, feed: FeedState | None = None) -> dict[str, Any]:
    """A job. Moments are whole seconds since 1970; `feed` knows the progress of an unfinished one to the second.

    `retention` is how many seconds an ended job is kept; with infinity it does not expire.
    """
    job = feed.job if feed is not None else job
    findings: Mapping[str, Any] = job.findings or {}
    options = job.request.get("options", {})
    task = options.get("task", "transcribe")
    document: dict[str, Any] = {
        "id": job.id,
        "object": "job",
        "status": job.status,
        "model": job.request.get("model"),
        "task": f"{task},translate" if options.get("also_translate") else task,
        "file": {"name": job.name, "bytes": job.size},
        "created": int(job.created),
        "ended": None if job.ended is None else int(job.ended),
        "expires": None if job.ended is None or math.isinf(retention) else int(job.ended + retention),
        "progress": progress_document(job),
        "error": None if job.error is None else dict(job.error),
    }
    document |= {name: findings.get(name) for name in _FINDINGS}
    if document["language"] is None and feed is not None:
        document["language"] = feed.language
    return document


def progress_document(job: StoredJob) -> dict[str, Any]:
    """How many seconds of the recording are decoded, and of how many; null if its file states no length."""
    findings = job.findings or {}
    total = findings.get("duration", job.total)
    seconds = total if job.has_result and total is not None else job.position
    return {"seconds": round(seconds, 3), "total": total}
