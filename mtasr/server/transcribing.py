"""The one bridge from handlers, which run in the event loop, to a model, which computes in threads.

    turn -> a thread: open the recording, iterate -> segments, one by one -> the transcript

A handler that stops, because its client has gone or for another reason, cancels the recording: its windows are dropped,
and its turn is free once the batch under way has ended, at the latest.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import TypeVar

from starlette.requests import Request

from mtasr.audio.read import open_audio
from mtasr.audio.tracks import Tracks
from mtasr.decoding.transcription import Transcription
from mtasr.errors import InputError, MtasrError
from mtasr.options import DecodingOptions
from mtasr.server.admission import Admission
from mtasr.server.model_pool import ModelPool
from mtasr.server.problems import stopping
from mtasr.server.settings import Settings
from mtasr.server.upload import Upload
from mtasr.threads import start_thread
from mtasr.transcribe import Model
from mtasr.transcript import Segment, Transcript

_T = TypeVar("_T")

#: Priorities of windows.
_LONG, _SHORT = 0, 1

#: A file of at most so many bytes counts as short without a look: at 16 kbit/s they last two minutes.
_SMALL = 256 * 1024


class ClientGone(Exception):  # noqa: N818 - not a fault of the program
    """The client hung up. There is nobody to answer."""


async def while_connected(request: Request, work: Awaitable[_T]) -> _T:
    """Wait for work on a request whose body was received.

    If the client hangs up, the work is cancelled. Then raises `ClientGone`.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class LiveTranscription:
    """A recording that a model transcribes in a thread: iterate for its segments as they come.

    `name` stands for the file in messages. `close` must be called.
    """

    def __init__(
        self, model: Model, path: Path, name: str, options: DecodingOptions, tracks: Tracks | None, settings: Settings
    ) -> None:
        self._model, self._path, self._name = model, path, name
        self._options, self._tracks, self._settings = options, tracks, settings
        self._loop = asyncio.get_running_loop()
        self._segments: asyncio.Queue[Segment | None] = asyncio.Queue()
        self._opened: Transcription | None = None
        self._transcript: Transcript | None = None
        self._error: BaseException | None = None
        self._cancelled: BaseException | None = None
        self._ended = asyncio.Event()
        start_thread(self._run)

    # --- in the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with self._model.stream_all(
                [self._path], self._options, tracks=self._tracks, most_seconds=self._settings.recording_seconds
            ) as streams:
                self._transcribe(streams[0])
        except BaseException as error:
            self._error = error
        self._tell(None)

    def _transcribe(self, transcription: Transcription) -> None:
        with transcription:
            self._opened = transcription
            if self._cancelled is not None:
                return
            transcription.open()
            total = transcription.total
            transcription.priority = self._priority(total)
            for segment in transcription:
                self._tell(segment)
                if transcription.priority != _LONG and total is None:
                    transcription.priority = self._priority(transcription.position)
            self._transcript = transcription.transcript()

    def _priority(self, seconds: float | None) -> int:
        return _SHORT if seconds is None or seconds <= self._settings.short_seconds else _LONG

    def _tell(self, segment: Segment | None) -> None:
        with contextlib.suppress(RuntimeError):  # The loop has ended.
            self._loop.call_soon_threadsafe(self._hear, segment)

    # --- in the event loop ------------------------------------------------------------------------------------------

    def _hear(self, segment: Segment | None) -> None:
        if segment is None:
            self._ended.set()
        self._segments.put_nowait(segment)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was wrong with the recording; complete at the end."""
        warnings = self._opened.warnings if self._opened is not None else ()
        return tuple(each.replace(str(self._path), self._name) for each in warnings)

    @property
    def position(self) -> float:
        """Seconds that are decoded."""
        return self._opened.position if self._opened is not None else 0.0

    def __aiter__(self) -> AsyncIterator[Segment]:
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[Segment]:
        while (segment := await self._segments.get()) is not None:
            yield segment
        self._segments.put_nowait(None)  # for whoever asks again
        self._raise()

    async def transcript(self) -> Transcript:
        """Wait for the end, and return the whole. Raises what went wrong."""
        await self._ended.wait()
        self._raise()
        assert self._transcript is not None  # noqa: S101 - without an error there is one
        return self._transcript

    def _raise(self) -> None:
        error = self._cancelled or self._error
        if error is None:
            return
        if isinstance(error, MtasrError) and error.args:
            error.args = (str(error).replace(str(self._path), self._name), *error.args[1:])
        raise error.with_traceback(None)  # of the thread, whose frames hold the model

    async def close(self, reason: BaseException | None = None) -> None:
        """Stop transcribing, and wait until that has happened. `reason` is raised to whoever waits for a result."""
        if not self._ended.is_set():
            self._cancelled = self._cancelled or reason or asyncio.CancelledError()
            if self._opened is not None:
                await asyncio.to_thread(self._opened.close)
        await self._ended.wait()


class Transcriber:
    """Transcribes uploads: waits for a turn and a model, and gives both back whatever happens."""

    def __init__(self, settings: Settings, admission: Admission, pool: ModelPool) -> None:
        self._settings, self._admission, self._pool = settings, admission, pool
        self._live: set[LiveTranscription] = set()
        self._stopped = False

    @contextlib.asynccontextmanager
    async def transcribing(
        self,
        upload: Upload,
        options: DecodingOptions,
        *,
        client: str,
        model: str | None = None,
        tracks: Tracks | None = None,
    ) -> AsyncIterator[LiveTranscription]:
        """A recording being transcribed, from its turn on. Leaving early cancels it.

        Raises `Problem` 503 if the server stops, and what loading the model raises.
        """
        long = await asyncio.to_thread(self._is_long, upload)
        async with self._admission.turn(client, long=long), self._pool.use(model) as loaded:
            if self._stopped:
                raise stopping()
            live = LiveTranscription(loaded, upload.path, upload.name, options, tracks, self._settings)
            self._live.add(live)
            try:
                yield live
            finally:
                self._live.discard(live)
                await asyncio.shield(asyncio.ensure_future(live.close()))

    def _is_long(self, upload: Upload) -> bool:
        """Whether a recording is long, as its header states, or else because its file is not small."""
        if upload.size <= _SMALL:
            return False
        try:
            with open_audio(upload.path) as stream:
                seconds = stream.duration
        except InputError:  # which transcribing it will raise
            return False
        return seconds is None or seconds > self._settings.short_seconds

    async def stop(self) -> None:
        """Hand back what is still being transcribed."""
        self._stopped = True
        await asyncio.gather(*(live.close(stopping()) for live in self._live))
