"""Runs the application on a socket until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import HANDLED_SIGNALS

from mtasr.errors import UsageError
from mtasr.server.app import create_app
from mtasr.server.model_pool import Load
from mtasr.server.monitoring.logs import JsonLines
from mtasr.server.problems import Problem, answer
from mtasr.server.service import Service
from mtasr.server.settings import Settings
from mtasr.transcribe import load_model

_LOG = logging.getLogger(__name__)

#: Connections at a time; more are answered 503. Each takes a descriptor.
_CONNECTIONS = 800
#: Open files that the server asks the system for.
_DESCRIPTORS = 65536

#: Seconds to send the head of a request.
_HEAD_SECONDS = 20.0

#: Seconds between looks whether a client reads what is sent to it; one that has read nothing in between is cut off.
_READING = 30.0

#: Bytes of the largest message on a WebSocket: OpenAI's 15 MiB of sound, in base64.
_MESSAGE_BYTES = 21 << 20
#: Seconds for which a WebSocket may not answer a ping. While a message is being taken, answers are not read.
_PONG_SECONDS = 120.0

#: Seconds that connections have to close after everything was handed back.
_CLOSING = 5

#: Seconds between looks whether live sessions have ended.
_ENDING = 0.05

#: Called with the address, or several, once requests are taken.
Started = Callable[[str], None]


def run(settings: Settings | None = None, *, load: Load = load_model, started: Started = lambda address: None) -> None:
    """Serve until SIGINT or SIGTERM, then finish what is under way, or hand it back after `stop_seconds`.

    Raises `UsageError` for an address or a certificate that cannot be used, and what keeps the service from starting.
    """
    settings = settings or Settings()
    _log_to_stderr()
    _check_tls(settings)
    _take_descriptors()
    with _bound(settings) as listener:
        app = create_app(settings, load=load)
        asyncio.run(_serve(app, _Server(_config(app, settings), app.state.service, started), listener))


async def _serve(app: FastAPI, server: _Server, listener: socket.socket) -> None:
    async with app.router.lifespan_context(app):  # here rather than in uvicorn, which hides what goes wrong in it
        await server.serve(sockets=[listener])


class _Protocol(H11Protocol):
    """HTTP as uvicorn has it, but heads must come, and answers be read, in time; uvicorn waits for both forever."""

    _timer: asyncio.TimerHandle | None = None
    _looking: asyncio.TimerHandle | None = None
    #: Bytes that the client had not read at the last look, if the server was waiting for it.
    _unread: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        if len(self.connections) > _CONNECTIONS:
            self.app = _full
        self._await_head()
        self._looking = self.loop.call_later(_READING, self._look)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for each in (self._timer, self._looking):
            if each is not None:
                each.cancel()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread = None

    def _look(self) -> None:
        """Cut the client off if it has read nothing since the last look: neither a wait nor a close would end."""
        if self.transport.get_protocol() is not self:
            return  # It has become a WebSocket.
        waits = self.flow.write_paused or self.transport.is_closing()
        unread = self.transport.get_write_buffer_size() if waits else None
        if unread and self._unread is not None and unread >= self._unread:
            self.transport.abort()
            return
        self._unread = unread
        self._looking = self.loop.call_later(_READING, self._look)

    def _await_head(self) -> None:
        """Begin to wait for a head, or stop it if one has come."""
        waiting = self.cycle is None or self.cycle.response_complete
        waiting = waiting and self.transport.get_protocol() is self  # else it has become a WebSocket
        if waiting and self._timer is None:
            self._timer = self.loop.call_later(_HEAD_SECONDS, self.transport.close)
        elif not waiting and self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def _full(scope: Scope, receive: Receive, send: Send) -> None:
    """What is answered on connections of which there are too many."""
    headers = {"retry-after": "5", "connection": "close"}
    await answer(Problem(503, "the server has too many connections", code="busy", headers=headers))(
        scope, receive, send
    )


class _Server(uvicorn.Server):
    """As uvicorn has it, but a signal to stop is no failure, and tells the service."""

    def __init__(self, config: uvicorn.Config, service: Service, started: Started) -> None:
        super().__init__(config)
        self._service, self._started = service, started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for each in sockets or ():
            scheme = "https" if self.config.is_ssl else "http"
            host, port = each.getsockname()[:2]
            address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
            self._started(" and ".join([address, *self._service.addresses]))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._say_what_is_finished()
        stopping = asyncio.create_task(self._service.stop())
        for task in self._service.tasks:
            self.server_state.tasks.add(task)
            task.add_done_callback(self.server_state.tasks.discard)
        await self._end_live_sessions()
        await super().shutdown(sockets)
        stopping.cancel()  # Nobody is left to wait for.
        await asyncio.wait({stopping})

    def _say_what_is_finished(self) -> None:
        service = self._service
        requests, sessions = service.admission.taken.total(), service.live.connections
        if requests or sessions:
            facts = {"requests": requests, "live_sessions": sessions, "at_most_seconds": service.settings.stop_seconds}
            _LOG.info("stopping: a second signal drops what is under way", extra=facts)

    async def _end_live_sessions(self) -> None:
        """Let live sessions tell the rest of their text, before uvicorn closes their connections."""
        end = time.monotonic() + self._service.settings.stop_seconds
        while self._service.live.connections and time.monotonic() < end and not self.force_exit:
            await asyncio.sleep(_ENDING)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield  # Python handles signals in the main thread only.
            return
        before = {each: signal.signal(each, self._on_signal) for each in HANDLED_SIGNALS}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        """The first signal stops the server, a second one at once."""
        self.force_exit = self.should_exit
        self.should_exit = True


@contextlib.contextmanager
def _bound(settings: Settings) -> Iterator[socket.socket]:
    """A socket with the address of the settings. Raises `UsageError`."""
    where = f"{settings.host}:{settings.port}"
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        bound = socket.create_server((settings.host, settings.port), family=family, backlog=1024)
        # Only if the protocol is named does asyncio set TCP_NODELAY, without which most answers take 40 ms more.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=bound.detach())
    except OSError as error:
        # Python adds the address to what the system says of it.
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or error
        raise UsageError(f"cannot listen on {where}: {why}") from error
    with listener:
        yield listener


def _take_descriptors() -> None:
    """Allow as many open files as the system does: each connection is one, and the usual limit is low."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
        with contextlib.suppress(OSError, ValueError):  # which it may refuse
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def _check_tls(settings: Settings) -> None:
    """Raise `UsageError` unless the certificate and its key can be used, before a model is loaded for nothing."""
    certificate, key = settings.tls_cert, settings.tls_key
    if certificate is None or key is None:
        return
    for file in (certificate, key):
        try:
            file.open("rb").close()
        except OSError as error:
            raise UsageError(f"{file}: cannot be read: {error.strerror or error}") from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_verify_locations(certificate)
    except ssl.SSLError as error:
        raise UsageError(f"{certificate}: has no certificate in PEM") from error
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")  # uvicorn would ask for it at the terminal
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise UsageError(f"{key}: is not the private key of {certificate}") from error
        raise UsageError(f"{key}: has no private key in PEM, or one that needs a password") from error


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    # What is wrong with a form is in the answer.
    levels = {"mtasr": logging.INFO, "uvicorn": logging.WARNING, "python_multipart": logging.CRITICAL}
    for name, level in levels.items():
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
        logger.setLevel(level)


def _config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_Protocol,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=list(settings.proxies),
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        ws_max_size=_MESSAGE_BYTES,
        ws_per_message_deflate=False,  # Sound hardly shrinks, and each connection would take memory for it.
        ws_ping_timeout=_PONG_SECONDS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=round(settings.stop_seconds) + _CLOSING,
        lifespan="off",
    )
