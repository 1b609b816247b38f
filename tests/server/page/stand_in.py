"""A server of the page and of jobs that recognises what a test sets, as fast as the test wants."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from mtasr.formats import transcript_json
from mtasr.server.page import router


@dataclass
class StandIn:
    """The state of the server, which tests read and change while it runs."""

    #: The result of every job.
    document: dict[str, Any]
    #: How many segments followers of a job may see; None: all, and then it is done.
    shown: int | None = None
    #: The message with which the jobs fail.
    failure: str | None = None
    #: The key that clients need.
    key: str | None = None
    #: Answers to the next requests for a job: status, message, headers.
    refusals: list[tuple[int, str, dict[str, str]]] = field(default_factory=list)
    #: The fields of each job that was asked for, with the name and the bytes of its file.
    jobs: list[dict[str, Any]] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    #: What was to be rendered: format, style, transcript.
    rendered: list[tuple[str, str | None, dict[str, Any]]] = field(default_factory=list)
    models: list[str] = field(default_factory=lambda: ["base"])
    #: The first follower of a job loses its connection after this many segments.
    drops_after: int | None = None
    #: From which segment on followers have continued.
    continued: list[int] = field(default_factory=list)


def problem(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return JSONResponse({"error": error}, status, headers)


def make_app(state: StandIn) -> FastAPI:
    app = FastAPI()
    app.include_router(router)

    @app.middleware("http")
    async def guard(request: Request, call_next: Any) -> Response:
        needs_key = state.key is not None and request.url.path.startswith("/v1/")
        if needs_key and request.headers.get("authorization") != f"Bearer {state.key}":
            return problem(401, "this server needs a key")
        answer: Response = await call_next(request)
        return answer

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": name, "object": "model"} for name in state.models]}

    @app.post("/v1/jobs", status_code=202)
    async def create(request: Request) -> Response:
        async with request.form() as form:
            if state.refusals:
                return problem(*state.refusals.pop(0))
            file = form["file"]
            assert not isinstance(file, str)
            fields = {name: value for name, value in form.multi_items() if name != "file"}
            state.jobs.append(fields | {"file": file.filename, "size": len(await file.read())})
        return JSONResponse(job(len(state.jobs) - 1, "queued"), 202)

    def job(number: int, status: str, seconds: float = 0.0) -> dict[str, Any]:
        error = {"message": state.failure, "code": "invalid_audio"} if status == "failed" else None
        progress = {"seconds": seconds, "total": state.document["duration"]}
        return {"id": f"job_{number}", "status": status, "progress": progress, "error": error}

    async def events(number: int, first: int) -> AsyncIterator[str]:
        def event(name: str, data: Any, identity: int | None = None) -> str:
            named = "" if identity is None else f"id: {identity}\n"
            return f"{named}event: {name}\ndata: {json.dumps(data)}\n\n"

        yield event("status", job(number, "running"))
        segments = state.document["segments"]
        for place, segment in enumerate(segments[first:], start=first + 1):
            while state.shown is not None and state.shown < place and state.failure is None:
                await asyncio.sleep(0.01)
            if state.failure is not None:
                break
            if state.drops_after is not None and place > state.drops_after:
                state.drops_after = None
                raise ConnectionError
            yield event("progress", {"seconds": segment["end"], "total": state.document["duration"]})
            yield event("segment", segment, place)
        while state.shown is not None and state.failure is None:
            await asyncio.sleep(0.01)
        yield event("done", job(number, "failed" if state.failure else "done"))

    @app.get("/v1/jobs/{name}/events")
    async def follow(request: Request, name: str) -> Response:
        first = int(request.headers.get("last-event-id", 0))
        if first:
            state.continued.append(first)
        return StreamingResponse(events(int(name[4:]), first), media_type="text/event-stream")

    @app.get("/v1/jobs/{name}/result")
    async def result(name: str, format: str) -> Response:  # noqa: A002 - the name of the query parameter
        assert format == "json"
        return JSONResponse(state.document)

    @app.delete("/v1/jobs/{name}")
    async def remove(name: str) -> Response:
        state.removed.append(name)
        return Response(status_code=204)

    @app.post("/v1/render")
    async def render(request: Request, format: str, subtitle_style: str | None = None) -> Response:  # noqa: A002
        document = await request.json()
        state.rendered.append((format, subtitle_style, document))
        transcript = transcript_json._read_transcript(document)
        return PlainTextResponse(transcript.to_format(format, subtitle_style=subtitle_style or "web"))

    return app
