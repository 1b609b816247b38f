"""A server in a thread of the test, with a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fakes import HearingEngine, LoudIsSpeech
from fastapi import FastAPI
from loudness_diarizer import LoudnessDiarizer

from mtasr.server import Settings, create_app, process
from mtasr.server.service import Service
from mtasr.transcribe import Model


def fake_model(**settings: Any) -> Model:
    """A model whose engine writes words that depend on the sound alone."""
    return Model(HearingEngine(**settings), detector=LoudIsSpeech, diarizer=LoudnessDiarizer)


class Running:
    """A server that listens on `url`."""

    def __init__(self, url: str, service: Service, call: Callable[..., Any], stop: Callable[[], None]) -> None:
        self.url, self.service, self.call = url, service, call
        #: What a signal does.
        self.stop = stop
        #: The connections that are open.
        self.connections: set[Any] = set()

    @property
    def model(self) -> Model:
        """The default model, which must be loaded."""
        model = self.service.pool._entries[self.service.pool.default].model
        assert model is not None
        return model

    def client(self, **settings: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, verify=False, **settings)

    def post(self, path: str, file: Path | bytes, **fields: Any) -> httpx.Response:
        """Send a recording with form fields."""
        content = file.read_bytes() if isinstance(file, Path) else file
        name = file.name if isinstance(file, Path) else "sound.wav"
        with self.client() as client:
            return client.post(path, files={"file": (name, content)}, data=fields)


@contextlib.contextmanager
def running(
    settings: Settings | None = None, load: Callable[[str], Model] | None = None, *, port: int = 0
) -> Iterator[Running]:
    """Start a server, by default on a free port; stop it at the end."""
    settings = replace(settings or Settings(), port=port)
    app = create_app(settings, load=load or (lambda name: fake_model()))
    server = process._Server(process._config(app, settings), app.state.service, lambda address: None)
    with process._bound(settings) as listener, threaded(server, process._serve(app, server, listener)) as (url, loop):
        stop = functools.partial(setattr, server, "should_exit", True)
        started = Running(url, app.state.service, lambda work: asyncio.run_coroutine_threadsafe(work, loop), stop)
        started.connections = server.server_state.connections
        yield started


@contextlib.contextmanager
def serving(app: FastAPI) -> Iterator[tuple[str, asyncio.AbstractEventLoop]]:
    """Any application on a free port, in a thread: its address and its loop."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False, lifespan="on"))
    with threaded(server, server.serve()) as found:
        yield found


@contextlib.contextmanager
def threaded(
    server: uvicorn.Server, work: Coroutine[Any, Any, None]
) -> Iterator[tuple[str, asyncio.AbstractEventLoop]]:
    """A server that runs in a thread: its address and its loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=lambda: loop.run_until_complete(work), daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive(), "the server did not start"
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}", loop
    finally:
        server.should_exit = True
        thread.join(60)
        loop.close()
