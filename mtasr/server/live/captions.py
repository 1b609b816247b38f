"""Live captions for simple clients: sound in binary messages, events in JSON, at `/v1/live`.

    client                                              server
    {"type": "start", "language": "en", ...}        ->  {"type": "ready", "session": "live_...", "received": 0, ...}
    samples, samples, ...                           ->  {"type": "ack", "received": 32000}
                                                        {"type": "draft", "stretch": 0, "text": "...", "event": 3} ...
    {"type": "end"}                                 ->  {"type": "end", "transcript": {...}, "event": 57}

The options of `start` may be in the address instead; a client that gives none may begin with samples. A client that
was cut off sends `{"type": "resume", "session": "live_...", "event": 12}`, with the last event that it has seen: the
server says how many samples it has, and tells what the client missed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.websockets import WebSocket

from mtasr.server.live.caption_fields import caption_wanted, texts_of
from mtasr.server.live.caption_sessions import CaptionSession
from mtasr.server.live.connection import Connection, ServerStops, parsed
from mtasr.server.live.host import LiveWanted
from mtasr.server.problems import Problem, bad_field, shown
from mtasr.server.service import Service
from mtasr.server.transcribing import cancelled

router = APIRouter()

#: Seconds of sound after which its receipt is acknowledged.
_ACK = 1.0


@router.websocket("/v1/live")
async def live(socket: WebSocket) -> None:
    service = Service.of(socket)
    connection = Connection(socket, service)
    query = {name: socket.query_params.getlist(name) for name in socket.query_params}
    await connection.serve(lambda: _Captioning(connection, service).run(query))


@dataclass(slots=True)
class _Captioning:
    """One connection to a session, which outlives it."""

    connection: Connection
    service: Service
    acknowledged: int = 0

    async def run(self, query: Mapping[str, list[str]]) -> None:
        """Find or begin a session, and serve it until the client or the session ends."""
        message: str | bytes | None = None
        fields = dict(query)
        if not query:
            message = await self.connection.receive()
            if isinstance(message, str):
                document = await parsed(message)
                message = None
                if document["type"] not in ("start", "resume"):
                    raise bad_field("type", f"the first message must be start or resume, not {shown(document['type'])}")
                fields = texts_of(document)
        number = 0
        if "session" in fields:
            session, number = self._resumed(fields)
        else:
            visitor = self.connection.visitor
            if not visitor.may_begin:
                raise Problem(
                    401, "the ephemeral key has expired; it can only resume a session", code="invalid_api_key"
                )
            used = self.service.ephemeral_keys.used(visitor.key)
            session = await self.service.captions.begin(visitor.client, await self._wanted(fields), used)
        await self._attached(session, number, message)

    async def _wanted(self, fields: Mapping[str, list[str]]) -> LiveWanted:
        wanted = caption_wanted(fields)
        await self.service.live.check(wanted)
        return wanted

    def _resumed(self, fields: Mapping[str, list[str]]) -> tuple[CaptionSession, int]:
        name, number = fields["session"][0], fields.get("event", ["0"])[0]
        if not number.isdecimal():
            raise bad_field("event", f"event must be the number of an event, not {shown(number)}")
        return self.service.captions.find(name, self.connection.client), int(number[:15])

    async def _attached(self, session: CaptionSession, number: int, message: str | bytes | None) -> None:
        async with session.attached() as wanted, contextlib.AsyncExitStack() as held:
            self.acknowledged = session.received
            await self.connection.send(session.ready(self.service.settings.resume_seconds))
            if message is not None:
                await self._answer(session, message)
            works = (self._tell(session, number), self._hear(session), wanted.wait())
            telling, hearing, leaving = tasks = [asyncio.ensure_future(each) for each in works]
            held.push_async_callback(cancelled, *tasks)
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if telling.done():
                telling.result()
            elif leaving.done():
                raise Problem(400, "another connection continues this session", code="session_taken")
            else:
                try:
                    hearing.result()
                except ServerStops:
                    await session.end()
                    await self.connection.unless_gone(telling)
                    raise

    async def _tell(self, session: CaptionSession, number: int) -> None:
        async for text in session.log.after(number):
            await self.connection.send(text)

    async def _hear(self, session: CaptionSession) -> None:
        while True:
            await self._answer(session, await self.connection.receive())

    async def _answer(self, session: CaptionSession, message: str | bytes) -> None:
        try:
            await self._take(session, message)
        except Problem as problem:
            await self.connection.wrong(problem)

    async def _take(self, session: CaptionSession, message: str | bytes) -> None:
        """Do what a message says. Raises `Problem` for a wrong one."""
        if isinstance(message, bytes):
            await session.add(message, self.service.settings)
            if session.received - self.acknowledged >= _ACK * session.wanted.sound.rate:
                self.acknowledged = session.received
                await self.connection.send({"type": "ack", "received": session.received})
            return
        kind = (await parsed(message))["type"]
        if kind == "end":
            await session.end()
        elif kind == "cut":
            await session.cut()
        elif kind == "discard":
            await session.discard()
        elif kind != "ping":
            raise bad_field("type", f"there is no message {shown(kind)}; there are end, cut, discard and ping")
