"""/v1/jobs: recordings to transcribe in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse, Response

from mtasr.formats.registry import OUTPUT_FORMATS
from mtasr.server import openapi
from mtasr.server.events import EventResponse
from mtasr.server.jobs import descriptions
from mtasr.server.jobs.documents import job_document
from mtasr.server.jobs.following import END, follow
from mtasr.server.jobs.request import JOB_FIELDS, JobRequest, read_request
from mtasr.server.jobs.store import QueueFullError, StoredJob
from mtasr.server.openai_api import media_type
from mtasr.server.problems import Problem, busy, check_word
from mtasr.server.service import Service
from mtasr.server.transcribing import check_model, require_speaker_models

router = APIRouter(prefix="/v1/jobs", tags=["Jobs"])

#: Jobs in one answer.
_MOST_LISTED = 100

#: Seconds after which a client whose job found no place may try again.
_WAIT = 60.0

#: Everyone who needs no key: an address may change, and may be that of many.
_EVERYONE = "everyone"


def _client(request: Request) -> str:
    return str(request.state.client) if Service.of(request).settings.keys else _EVERYONE


@router.post("", status_code=202, **openapi.form_route(JOB_FIELDS, descriptions.CREATED))
async def create_job(request: Request) -> Response:
    """Take a recording, answer at once, and transcribe it when its turn comes."""
    service = Service.of(request)
    try:
        await asyncio.to_thread(service.jobs.check_room, _client(request))
        async with service.received(request) as upload:
            job_request = await asyncio.to_thread(_read, service, upload.fields)
            job = await asyncio.to_thread(
                service.jobs.add,
                upload.path,
                client=_client(request),
                name=upload.name,
                request=job_request.document(),
            )
    except QueueFullError as error:
        raise busy(str(error), _WAIT) from error
    document = job_document(job, service.settings.job_seconds)
    return JSONResponse(document, 202, {"location": f"/v1/jobs/{job.id}"})


def _read(service: Service, fields: Mapping[str, tuple[str, ...]]) -> JobRequest:
    """What a form asks for. Raises `Problem` for what would only show when the job runs."""
    named = fields.get("model")
    model = service.pool.find(named[0].strip() if named else "")
    found = read_request(fields, model)
    check_model(model, found.options)
    if found.speakers is not None:
        require_speaker_models(service.settings)
    return found


@router.get("", **openapi.route(descriptions.LISTED))
async def list_jobs(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=_MOST_LISTED, description="At most so many.")] = 20,
    after: Annotated[str | None, Query(description="Those older than the job with this id.")] = None,
) -> Response:
    """Your jobs, the newest first."""
    service = Service.of(request)
    found = await asyncio.to_thread(service.jobs.store.of_client, _client(request), most=limit + 1, before=after)
    documents = [_document(service, job) for job in found[:limit]]
    return JSONResponse({"object": "list", "data": documents, "has_more": len(found) > limit})


@router.get("/{job_id}", **openapi.route(descriptions.SHOWN))
async def show_job(request: Request, job_id: str) -> Response:
    """A job: how far it is, and what it found."""
    return JSONResponse(_document(Service.of(request), await _job(request, job_id)))


async def _job(request: Request, job_id: str) -> StoredJob:
    """A job of the client. Raises `Problem` 404 if there is none."""
    found = await asyncio.to_thread(Service.of(request).jobs.store.get, job_id, _client(request))
    if found is None:
        raise Problem(404, "you have no job with this id; jobs are removed some time after they end", code="no_job")
    return found


def _document(service: Service, job: StoredJob) -> dict[str, Any]:
    feed = service.jobs.feed(job.id)
    return job_document(job, service.settings.job_seconds, None if feed is None else feed.state)


@router.delete("/{job_id}", **openapi.route(descriptions.REMOVED))
async def remove_job(request: Request, job_id: str) -> Response:
    """Cancel a job, if it has not ended, and remove all that is kept of it."""
    await _job(request, job_id)
    await asyncio.to_thread(Service.of(request).jobs.remove, job_id, _client(request))
    return JSONResponse({"id": job_id, "object": "job", "deleted": True})


@router.get("/{job_id}/result", **openapi.route(descriptions.RESULT))
async def job_result(
    request: Request,
    job_id: str,
    output_format: Annotated[str | None, Query(alias="format", description="By default `response_format`.")] = None,
    translation: Annotated[bool, Query(description="The translation, of a job that made both texts.")] = False,
) -> Response:
    """The transcript in any format, as `mtasr transcribe` writes it."""
    if output_format is not None:
        check_word("format", output_format, OUTPUT_FORMATS)
    job = await _job(request, job_id)
    if not job.has_result:
        why = job.error["message"] if job.error is not None else f"it is {job.status}"
        raise Problem(404, f"the job has no result: {why}", code="no_result")
    chosen = output_format or str(job.request.get("output_format", "json"))
    path = Service.of(request).jobs.files.result(job.id, chosen, translated=translation)
    try:
        content = await asyncio.to_thread(path.read_bytes)
    except FileNotFoundError:
        why = "ask for one with the task transcribe,translate" if translation else "the server has lost it"
        raise Problem(404, f"the job has no such result: {why}", code="no_result") from None
    name = quote(f"{Path(job.name).stem}{'.en' if translation else ''}.{chosen}")
    disposition = f"attachment; filename*=utf-8''{name}"
    return Response(content, media_type=media_type(chosen), headers={"content-disposition": disposition})


@router.get("/{job_id}/events", **openapi.route(descriptions.EVENTS))
async def job_events(
    request: Request,
    job_id: str,
    after: Annotated[int, Query(ge=0, description="Leave out so many segments.")] = 0,
    last_event_id: Annotated[str | None, Header(description="The last event heard; go on after it.")] = None,
) -> Response:
    """What happens to a job, as it happens: server-sent events.

    `status` and `progress` come at any time, `segment` for each segment in order, `done` at the end, however the job
    ends. If the connection breaks, or the server restarts, `Last-Event-ID` continues where it broke.
    """
    job = await _job(request, job_id)
    service = Service.of(request)
    if last_event_id == END and job.has_ended:
        return Response(status_code=204)  # a browser that hears this does not come back
    if last_event_id is not None and last_event_id.isdecimal() and len(last_event_id) < 10:
        after = int(last_event_id)
    return EventResponse(follow(service.jobs, job, after, service.settings.job_seconds))
