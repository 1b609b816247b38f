"""A WebSocket of a live session: its limits, its errors, its place in the log."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from mtasr.server.access import KEY_PROTOCOL, Visitor, deny
from mtasr.server.live.json_input import read_json
from mtasr.server.monitoring.logs import request_id
from mtasr.server.problems import GONE, ClientGone, Problem, problem_of, stopping
from mtasr.server.service import Service
from mtasr.server.transcribing import unless

_LOG = logging.getLogger(__name__)

#: Messages of a second; more wait for the next.
_MESSAGES = 500
#: Wrong messages after which a connection is closed.
_MOST_WRONG = 100
#: Bytes of a message that is parsed in a thread.
_LARGE = 1 << 17
#: Seconds for which a client may read nothing.
_READING = 30.0

#: Bytes of the reason in a frame that closes a connection (RFC 6455, section 5.5).
_REASON = 123
#: Why a connection is closed (RFC 6455, section 7.4.1).
DONE, GOING_AWAY, REFUSED, FAILED = 1000, 1001, 1008, 1011


class ServerStops(Exception):  # noqa: N818 - not a fault of the program
    """The server stops: what was heard is to be finished."""


class Connection:
    """Messages of one `visitor`, who counts as `client`."""

    def __init__(self, socket: WebSocket, service: Service) -> None:
        self._socket, self._service = socket, service
        self.visitor: Visitor = socket.scope["state"]["visitor"]
        self.client = self.visitor.client
        self._received = self._wrong = 0
        self._window, self._messages = 0.0, 0

    async def serve(
        self, talk: Callable[[], Awaitable[None]], place: contextlib.AbstractContextManager[None] | None = None
    ) -> None:
        """Accept the connection if there is a place for it, talk, and close it.

        What is raised meanwhile is told to the client; raises nothing but what cancels the task.
        """
        request_id.set(f"req_{secrets.token_hex(12)}")
        began, status = time.monotonic(), 200
        live = self._service.live
        live.connections += 1
        try:
            if self._service.stopping.is_set():
                raise stopping()
            with place or contextlib.nullcontext():
                await self._socket.accept(subprotocol=self._subprotocol())
                await talk()
            await self._close(DONE)
        except (ClientGone, WebSocketDisconnect):
            status = GONE
        except ServerStops:
            await self._close(GOING_AWAY)
        except asyncio.CancelledError:
            status = stopping().status
            raise
        except Exception as error:
            status = await self._refuse(problem_of(error))
        finally:
            live.connections -= 1
            seconds, path = time.monotonic() - began, self._socket.url.path
            facts = {"client": self.client, "status": status, "seconds": round(seconds, 3), "received": self._received}
            _LOG.info("request", extra={"path": path, **facts})
            self._service.metrics.request(path, status, seconds, self._received)

    def _subprotocol(self) -> str | None:
        """The first subprotocol offered that is no key: browsers want one of theirs to be chosen."""
        offered = self._socket.scope.get("subprotocols", ())
        return next((each for each in offered if not each.startswith(KEY_PROTOCOL)), None)

    async def _refuse(self, problem: Problem) -> int:
        with contextlib.suppress(ClientGone, RuntimeError):
            if self._socket.application_state.name == "CONNECTING":
                await deny(self._socket, problem)
            else:
                await self.send(self.error(problem))
                # A client that does not read any more sees no event, but why it was closed.
                await self._close(REFUSED if problem.status < 500 else FAILED, str(problem.error["message"]))
        return problem.status

    @staticmethod
    def error(problem: Problem, about: str | None = None) -> dict[str, Any]:
        """An event that says what is wrong. `about` is the client's id of the message that is."""
        error = {**problem.error, "event_id": about}
        return {"type": "error", "event_id": f"event_{secrets.token_hex(10)}", "error": error}

    async def wrong(self, problem: Problem, about: str | None = None) -> None:
        """Answer a wrong message. Raises `Problem` if there were too many of them."""
        self._wrong += 1
        if self._wrong > _MOST_WRONG:
            raise Problem(400, f"more than {_MOST_WRONG} messages were wrong", code="too_many_errors")
        await self.send(self.error(problem, about))

    async def receive(self) -> str | bytes:
        """The next message. Raises `ClientGone`, `ServerStops`, and `Problem` if none comes for long."""
        await self._take_turns()
        receiving = asyncio.ensure_future(self._socket.receive())
        stops = asyncio.ensure_future(self._service.stopping.wait())
        pause = self._service.settings.live_pause
        try:
            await asyncio.wait({receiving, stops}, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            if not receiving.done():
                if stops.done():
                    raise ServerStops
                raise Problem(400, f"no message came for {pause:g} s", code="idle_timeout")
            message = receiving.result()
        finally:
            receiving.cancel()
            stops.cancel()
        if message["type"] == "websocket.disconnect":
            raise ClientGone
        text = message.get("text")
        content: str | bytes = text if text is not None else message["bytes"]
        self._received += len(content)
        return content

    async def unless_gone(self, telling: Awaitable[object]) -> None:
        """Wait until the rest is told, whatever the client still sends. Raises `ClientGone` if it goes before."""
        await unless(self._gone(), telling)

    async def _gone(self) -> None:
        while (await self._socket.receive())["type"] != "websocket.disconnect":
            pass

    async def _take_turns(self) -> None:
        """Wait if there were too many messages in this second."""
        now = time.monotonic()
        if now - self._window >= 1:
            self._window, self._messages = now, 0
        self._messages += 1
        if self._messages > _MESSAGES:
            await asyncio.sleep(self._window + 1 - now)

    async def send(self, event: Mapping[str, Any] | str) -> None:
        """Send an event, or its text. Raises `ClientGone`, also if the client does not read."""
        text = event if isinstance(event, str) else json.dumps(event, ensure_ascii=False, allow_nan=False)
        try:
            async with asyncio.timeout(_READING):
                await self._socket.send_text(text)
        except (WebSocketDisconnect, RuntimeError, OSError):  # TimeoutError is an OSError
            raise ClientGone from None

    async def _close(self, code: int, reason: str = "") -> None:
        short = reason.encode()[:_REASON].decode(errors="ignore")
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, OSError):
            await self._socket.close(code, short)


async def parsed(message: str | bytes) -> dict[str, Any]:
    """The object in a message of JSON. Raises `Problem` 400."""
    if isinstance(message, bytes):
        raise Problem(400, "this message must be text: JSON", code="invalid_message")
    if len(message) > _LARGE:
        document = await asyncio.to_thread(read_json, message, "the message")
    else:
        document = read_json(message, "the message")
    if not isinstance(document, dict) or not isinstance(document.get("type"), str):
        raise Problem(400, "the message must be a JSON object with a type", code="invalid_message", param="type")
    return document
