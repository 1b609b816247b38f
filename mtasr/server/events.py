"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mtasr.server.problems import ClientGone, problem_of
from mtasr.server.service import Service
from mtasr.server.transcribing import while_connected

#: Seconds of silence after which a comment shows that the connection lives; proxies give up after a minute or so.
_PULSE = 15.0


def event(data: Mapping[str, Any], *, kind: str | None = None, number: int | str | None = None) -> bytes:
    """One event; `number` is what a client that comes back sends as `Last-Event-ID`."""
    lines = [] if number is None else [f"id: {number}"]
    lines += [] if kind is None else [f"event: {kind}"]
    lines += [f"data: {json.dumps(data, ensure_ascii=False, allow_nan=False)}", "", ""]
    return "\n".join(lines).encode()


class EventResponse(Response):
    """Sends events as they come, and a comment now and then between them. Stops them if the client hangs up.

    Whatever happens, `held` is closed at the end. An error becomes a last event `{"error": ...}`. Raises `Problem` 429
    if the client has too many streams.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes], held: contextlib.AsyncExitStack | None = None) -> None:
        super().__init__(None, headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events, self._held = events, held or contextlib.AsyncExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        async with self._held:
            self._held.enter_context(Service.of(request).admission.stream(request.state.client))
            with contextlib.suppress(ClientGone):
                await while_connected(request, self._send_all(send))

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async for piece in _with_pulse(self._events):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except ClientGone:
            raise
        except Exception as error:
            await send({"type": "http.response.body", "body": event(problem_of(error).body), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _with_pulse(events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    coming = asyncio.ensure_future(anext(events))
    try:
        while True:
            done, _ = await asyncio.wait({coming}, timeout=_PULSE)
            if not done:
                yield b": still here\n\n"
                continue
            try:
                yield coming.result()
            except StopAsyncIteration:
                return
            coming = asyncio.ensure_future(anext(events))
    finally:
        coming.cancel()
