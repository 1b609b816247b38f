"""What the routes share from the start of the server to its end: settings, places, models, the folder of uploads."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from starlette.requests import HTTPConnection, Request

from mtasr import system
from mtasr.errors import InputError, OutputError, UsageError
from mtasr.server.admission import Admission
from mtasr.server.ephemeral_keys import EphemeralKeys
from mtasr.server.jobs.lending import lender
from mtasr.server.jobs.runner import JobRunner
from mtasr.server.jobs.store import Room
from mtasr.server.known_speakers import KnownSpeakers
from mtasr.server.live.caption_sessions import CaptionSessions
from mtasr.server.live.host import LiveHost
from mtasr.server.model_pool import Load, ModelPool
from mtasr.server.monitoring.metrics import Metrics
from mtasr.server.problems import problem_of, stopping
from mtasr.server.settings import Settings
from mtasr.server.speech.voice_pool import VoicePool
from mtasr.server.transcribing import Transcriber
from mtasr.server.upload import Upload, receive
from mtasr.transcribe import load_model

_LOG = logging.getLogger(__name__)

#: Seconds between looks for models that nobody uses.
_LOOK = 5.0
_LEAST_LOOK = 0.05
#: Threads for what blocks: disk, opening and closing recordings. Each recording has a thread of its own besides.
_THREADS = 32
#: The recordings of the jobs that wait have at most so many times the bytes of the largest request.
_WAITING_UPLOADS = 16


class Service:
    """The parts of a running server. `folder`, `incoming` and `jobs` exist while it runs."""

    jobs: JobRunner

    def __init__(self, settings: Settings, load: Load = load_model) -> None:
        self.settings = settings
        self.admission = Admission(settings)
        self.pool = ModelPool(settings, load)
        self.metrics = Metrics(self.admission, self.pool)
        self.transcriber = Transcriber(settings, self.admission, self.pool, self.metrics)
        self.known_speakers = KnownSpeakers()
        self.live = LiveHost(settings, self.admission, self.pool, self.metrics)
        self.voices = VoicePool(downloads=settings.downloads)
        self.ephemeral_keys = EphemeralKeys()
        self.captions = CaptionSessions(self.live, settings)
        self.folder = Path()
        #: Where uploads are received.
        self.incoming = Path()
        self.stopping = asyncio.Event()
        #: What stopping waits for besides HTTP requests.
        self.tasks: set[asyncio.Task[None]] = set()
        #: Where the server listens besides the address for HTTP.
        self.addresses: list[str] = []

    @staticmethod
    def of(connection: HTTPConnection) -> Service:
        """The service that a request came to."""
        service: Service = connection.app.state.service
        return service

    @contextlib.contextmanager
    def place(self, request: Request) -> Iterator[None]:
        """A place for a request. Raises `Problem`: 429 if there is none, 503 if the server stops."""
        if self.stopping.is_set():
            raise stopping()
        with self.admission.place(request.state.client):
            yield

    @contextlib.asynccontextmanager
    async def received(
        self,
        request: Request,
        *,
        file_fields: Sequence[str] = ("file",),
        head: bytes = b"",
        references: bool = False,
    ) -> AsyncIterator[Upload]:
        """A place for a request, and what was received of it; its file is deleted at the end unless it was moved.

        The options are as in `receive`. Raises `Problem`: 429 if there is no place, 503 if the server stops, and what
        `receive` raises.
        """
        receiving = partial(receive, request, self.settings, self.incoming, file_fields=file_fields, head=head)
        with self.place(request), await receiving(references=references) as upload:
            try:
                yield upload
            except InputError as error:
                problem = problem_of(error)
                problem.param = file_fields[0]
                raise problem from error

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Prepare the folder, load the default model, and give both back at the end.

        Raises `OutputError` for a folder that cannot be used, and what loading the model raises.
        """
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="mtasr-server"))
        async with contextlib.AsyncExitStack() as held:
            self.folder = held.enter_context(_folder(self.settings.data))
            self.incoming = self.folder / "incoming"
            await asyncio.to_thread(_empty, self.incoming)
            self.jobs = await asyncio.to_thread(self._open_jobs, loop)
            self.metrics.watch(self.jobs)
            held.push_async_callback(self.pool.close)
            held.push_async_callback(asyncio.to_thread, self.jobs.close)
            self.pool.on_short = lambda: loop.run_in_executor(None, self.jobs.give_models_back)
            async with self.pool.use():
                pass
            tending = asyncio.create_task(self._tend())
            held.callback(tending.cancel)
            held.push_async_callback(self.transcriber.stop)
            held.push_async_callback(self.live.close)
            held.push_async_callback(self.captions.close)
            await asyncio.to_thread(self.jobs.start)
            yield

    def _open_jobs(self, loop: asyncio.AbstractEventLoop) -> JobRunner:
        settings = self.settings
        return JobRunner(
            self.folder,
            lender(self.pool, loop),
            at_once=settings.jobs_at_once,
            room=Room(
                jobs=settings.waiting_jobs,
                # Without keys everyone is one client.
                client_jobs=max(1, settings.waiting_jobs // 2) if len(settings.keys) > 1 else math.inf,
                bytes=_WAITING_UPLOADS * settings.upload_bytes,
            ),
            retention=settings.job_seconds,
            most_seconds=settings.recording_seconds,
            on_done=self.metrics.transcribed,
        )

    async def stop(self) -> None:
        """Stop the jobs, which continue at the next start; hand back requests that do not end in `stop_seconds`."""
        self.stopping.set()
        await asyncio.to_thread(self.jobs.halt)
        await asyncio.sleep(self.settings.stop_seconds)
        await self.transcriber.stop()

    async def _tend(self) -> None:
        """Unload models that nobody uses."""
        while True:
            await asyncio.sleep(max(_LEAST_LOOK, min(_LOOK, self.settings.idle_seconds)))
            try:
                await self.pool.unload_idle()
            except Exception:  # which must not keep the next round from coming
                _LOG.exception("a model was not unloaded")


@contextlib.contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    """The folder of the server, which no other server uses; a temporary one if none is given."""
    if data is None:
        with tempfile.TemporaryDirectory(prefix="mtasr-server-") as folder:
            yield Path(folder)
        return
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (data / "lock").open("w")
    except OSError as error:
        raise OutputError(f"{data}: cannot be used: {error.strerror or error}") from error
    with lock:
        if not system.lock_file(lock, wait=False):
            raise UsageError(f"{data}: another server uses this folder; give each its own with --data")
        yield data


def _empty(folder: Path) -> None:
    """Make the folder, and delete what a server that was killed had received. Raises `OutputError`."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for file in folder.iterdir():
            file.unlink()
    except OSError as error:
        raise OutputError(f"{folder}: cannot be used: {error.strerror or error}") from error
