"""The log: one line of JSON for each event, with the id of the request. It holds neither audio nor text."""

from __future__ import annotations

import asyncio
import contextvars
import datetime
import json
import logging
import re
import secrets
import time
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mtasr.server.monitoring.metrics import Metrics
from mtasr.server.problems import GONE, ClientGone, answer

_LOG = logging.getLogger(__name__)

#: The id of the request that is being handled.
request_id: contextvars.ContextVar[str | None] = contextvars.ContextVar("request_id", default=None)

_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_HEADER = "x-request-id"

#: What a record has besides what was logged with it.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}

#: Seconds, and between two pieces, for which what a refused client still sends is received and thrown away.
_LINGER = 30.0
_LINGER_PAUSE = 5.0


class JsonLines(logging.Formatter):
    """Writes a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        if (current := request_id.get()) is not None:
            line["request"] = current
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class RequestLog:
    """Middleware that gives each request an id, logs its end, and answers what nobody else has caught."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        if exchange.is_head:
            scope = exchange.scope = {**scope, "method": "GET"}  # a copy: uvicorn sends no body for its own
        token = request_id.set(exchange.id)
        began = time.monotonic()
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except ClientGone:
            exchange.status = exchange.status or GONE
        except Exception as error:
            response = answer(error)
            if exchange.status is None:
                await response(scope, exchange.receive, exchange.send)
        finally:
            seconds = time.monotonic() - began
            facts = {**exchange.facts, "seconds": round(seconds, 3), "received": exchange.received}
            _LOG.info("request", extra=facts)
            self._metrics.request(exchange.route, exchange.status or GONE, seconds, exchange.received)
            request_id.reset(token)


class _Exchange:
    """A request and its answer, on their way through the middleware."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self._receive, self._send = scope, receive, send
        self._method = scope["method"]
        given = dict(scope["headers"]).get(_HEADER.encode(), b"").decode("latin-1")
        self.id = given if _ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"
        self.status: int | None = None
        #: Bytes of the body.
        self.received = 0
        self._has_body_left = True

    @property
    def is_head(self) -> bool:
        """Whether the client wants the head of an answer alone."""
        return bool(self._method == "HEAD")

    @property
    def facts(self) -> Mapping[str, Any]:
        scope = self.scope
        client = scope.get("state", {}).get("client")
        return {"method": self._method, "path": scope["path"], "client": client, "status": self.status}

    @property
    def route(self) -> str:
        """The pattern of its path, of which there are few; "none" if no route has it."""
        return str(getattr(self.scope.get("route"), "path", "none"))

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self.received += len(message.get("body", b""))
        self._has_body_left = message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[_HEADER] = self.id
            headers["x-content-type-options"] = "nosniff"
        elif self.is_head and message.get("more_body", False):
            await self._send({"type": "http.response.body"})
            raise ClientGone  # which ends the events that nobody will read
        elif self._has_body_left and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body"}
        await self._send(message)

    async def _linger(self) -> None:
        """Throw away what still comes, for a while.

        If a connection is closed while the client sends, most clients see a broken connection and not the answer.
        """
        end = time.monotonic() + _LINGER
        while self._has_body_left and (left := end - time.monotonic()) > 0:
            try:
                await asyncio.wait_for(self.receive(), min(left, _LINGER_PAUSE))
            except TimeoutError:
                return
