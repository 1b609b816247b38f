"""What the OpenAPI description says of the answers about jobs. The code that makes the answers makes the examples."""

from __future__ import annotations

from mtasr.server.events import event
from mtasr.server.jobs.documents import job_document, progress_document
from mtasr.server.jobs.store import StoredJob
from mtasr.server.openapi import EXAMPLE, RECEIVING, Answers, answer, problem
from mtasr.server.problems import Problem

_DAY = 24 * 3600.0

_RUNNING = StoredJob(
    id="job_3f0c5a1d2b7e4c963f0c5a1d",
    client="anna",
    created=1_800_000_000.0,
    name="interview.mp3",
    size=28_800_000,
    request={"model": "base"},
    status="running",
    position=301.5,
    total=1800.0,
)

_SEGMENT = {"id": 0, "start": 0.1, "end": 1.6, "text": " The train leaves at noon."}
_EVENTS = b"".join(
    (
        event(job_document(_RUNNING, _DAY), kind="status"),
        event(_SEGMENT, kind="segment", number=1),
        event(progress_document(_RUNNING), kind="progress"),
    )
).decode()

_MISSING = problem(Problem(404, "you have no job with this id", code="no_job"), "There is no such job, or result.")
_JOB = answer("The job.", application_json=job_document(_RUNNING, _DAY))

CREATED: Answers = {
    202: answer("The job, which waits for its turn.", application_json=job_document(_RUNNING, _DAY)),
    **RECEIVING,
}
LISTED: Answers = {
    200: answer("Jobs.", application_json={"object": "list", "data": [job_document(_RUNNING, _DAY)], "has_more": False})
}
SHOWN: Answers = {200: _JOB, 404: _MISSING}
REMOVED: Answers = {
    200: answer("It is removed.", application_json={"id": _RUNNING.id, "object": "job", "deleted": True}),
    404: _MISSING,
}
RESULT: Answers = {
    200: answer("The transcript.", application_json=EXAMPLE.to_dict(), text_plain=EXAMPLE.to_txt()),
    404: _MISSING,
}
EVENTS: Answers = {
    200: answer("Events.", text_event_stream=_EVENTS),
    204: {"description": "You have heard everything."},
    404: _MISSING,
}
