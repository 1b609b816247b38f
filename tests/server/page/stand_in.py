"""A server of the page and of jobs that recognises what a test sets, as fast as the test wants."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from mtasr.formats import registry, transcript_json
from mtasr.server import page
from mtasr.subtitles import STYLES, lay_out


@dataclass
class StandIn:
    """The state of the server, which tests read and change while it runs."""

    #: The result of every job.
    document: dict[str, Any]
    #: How many segments followers of a job may see; None: all, and then it is done.
    shown: int | None = None
    #: The message with which the jobs fail.
    failure: str | None = None
    #: Whose fault that is, in OpenAI's words.
    failure_type: str = "server_error"
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
    #: What clients of live captions began with, and what they are told; None: that there are too many.
    live: list[dict[str, Any]] = field(default_factory=list)
    captions: list[dict[str, Any]] | None = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    #: From which segment on followers have continued.
    continued: list[int] = field(default_factory=list)

    async def until_shown(self, segments: float) -> None:
        """Wait until followers may see so many segments, or the job fails."""
        while self.shown is not None and self.shown < segments and self.failure is None:
            await asyncio.sleep(0.01)

    def job(self, number: int, status: str, seconds: float = 0.0) -> dict[str, Any]:
        error = {"message": self.failure, "type": self.failure_type} if status == "failed" else None
        progress = {"seconds": seconds, "total": self.document["duration"]}
        return {"id": f"job_{number}", "status": status, "progress": progress, "language": None, "error": error}


def problem(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return JSONResponse({"error": error}, status, headers)


router = APIRouter(prefix="/v1")


def make_app(state: StandIn) -> FastAPI:
    app = FastAPI()
    app.state.stand_in = state
    app.include_router(page.router)
    app.include_router(router)

    @app.middleware("http")
    async def guard(request: Request, call_next: Any) -> Response:
        needs_key = state.key is not None and request.url.path.startswith("/v1/")
        if needs_key and request.headers.get("authorization") != f"Bearer {state.key}":
            return problem(401, "this server needs a key")
        answer: Response = await call_next(request)
        return answer

    return app


@router.get("/models")
async def models(request: Request) -> dict[str, Any]:
    state: StandIn = request.app.state.stand_in
    return {"object": "list", "data": [{"id": name, "object": "model"} for name in state.models]}


@router.websocket("/live")
async def live(socket: WebSocket) -> None:
    state: StandIn = socket.app.state.stand_in
    await socket.accept(subprotocol="mtasr")
    state.live.append(await socket.receive_json())
    if state.captions is None:
        await socket.send_json({"type": "error", "error": {"message": "there are too many live sessions"}})
        return
    await socket.send_json({"type": "ready", "session": "live_0", "received": 0, "resume_seconds": 60})
    for event in state.captions:
        await socket.send_json(event)
    while (message := await socket.receive())["type"] != "websocket.disconnect":
        text = message.get("text")
        if text is not None:
            state.said.append(json.loads(text)["type"])
        if text is not None and state.said[-1] == "end":
            await socket.send_json({"type": "end", "event": 99, "transcript": state.document})


@router.post("/jobs", status_code=202)
async def create(request: Request) -> Response:
    state: StandIn = request.app.state.stand_in
    async with request.form() as form:
        if state.refusals:
            return problem(*state.refusals.pop(0))
        file = form["file"]
        assert not isinstance(file, str)
        fields = {name: value for name, value in form.multi_items() if name != "file"}
        state.jobs.append(fields | {"file": file.filename, "size": len(await file.read())})
    return JSONResponse(state.job(len(state.jobs) - 1, "queued"), 202)


@router.get("/jobs/{name}/events")
async def follow(request: Request, name: str) -> Response:
    state: StandIn = request.app.state.stand_in
    first = int(request.headers.get("last-event-id", 0))
    if first:
        state.continued.append(first)
    return StreamingResponse(events(state, int(name[4:]), first), media_type="text/event-stream")


async def events(state: StandIn, number: int, first: int) -> AsyncIterator[str]:
    def event(name: str, data: Any, identity: int | None = None) -> str:
        named = "" if identity is None else f"id: {identity}\n"
        return f"{named}event: {name}\ndata: {json.dumps(data)}\n\n"

    yield event("status", state.job(number, "running"))
    for place, segment in enumerate(state.document["segments"][first:], start=first + 1):
        await state.until_shown(place)
        if state.failure is not None:
            break
        if state.drops_after is not None and place > state.drops_after:
            state.drops_after = None
            raise ConnectionError
        yield event("progress", {"seconds": segment["end"], "total": state.document["duration"]})
        yield event("segment", segment, place)
    await state.until_shown(float("inf"))
    yield event("done", state.job(number, "failed" if state.failure else "done"))


@router.get("/jobs/{name}/result")
async def result(request: Request, name: str) -> Response:
    assert dict(request.query_params) == {"format": "json"}
    return JSONResponse(request.app.state.stand_in.document)


@router.delete("/jobs/{name}")
async def remove(request: Request, name: str) -> Response:
    request.app.state.stand_in.removed.append(name)
    return Response(status_code=204)


@router.post("/render")
async def render(request: Request) -> Response:
    document, asked = await request.json(), dict(request.query_params)
    style = asked["subtitle_style"]
    request.app.state.stand_in.rendered.append((asked["format"], style, document))
    transcript = transcript_json.loads(json.dumps(document).encode(), "the request")
    if asked.get("cues"):
        layout = STYLES[style]
        assert layout is not None
        transcript = lay_out(transcript, layout).transcript
    text = registry.render(transcript, asked["format"], subtitle_style=style, recording=asked.get("recording", ""))
    return PlainTextResponse(text)
