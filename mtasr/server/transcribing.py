"""The one bridge from handlers, which run in the event loop, to a model, which computes in threads.

    turn -> a thread: open the recording, iterate -> segments, one by one -> the transcript

A handler that stops, because its client has gone or for another reason, cancels the recording: its windows are dropped,
and its turn is free once the batch under way has ended, at the latest.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from starlette.requests import Request

from mtasr.audio.read import open_audio
from mtasr.audio.tracks import Tracks
from mtasr.decoding.transcription import Transcription
from mtasr.engines.engine import LanguageGuess
from mtasr.errors import InputError, ModelError, MtasrError, UsageError, VoiceError
from mtasr.models import check_use
from mtasr.models import speakers as speaker_models
from mtasr.options import DecodingOptions
from mtasr.server.admission import Admission
from mtasr.server.model_pool import ModelPool
from mtasr.server.monitoring.metrics import Metrics
from mtasr.server.problems import ClientGone, bad_field, no_speaker_models, stopping, unusable_voice
from mtasr.server.settings import Settings
from mtasr.server.upload import Upload
from mtasr.speakers.options import SpeakerOptions
from mtasr.threads import start_thread
from mtasr.tokenizer import to_code
from mtasr.transcribe import Model
from mtasr.transcript import Segment, Transcript

_LOG = logging.getLogger(__name__)

_T = TypeVar("_T")

#: Priorities of windows. Those of long recordings are decoded in smaller batches, for others to come in between.
_LONG, _SHORT = -1, 0

#: A file of at most so many bytes counts as short without a look: at 16 kbit/s they last two minutes.
_SMALL = 256 * 1024


async def while_connected(request: Request, work: Awaitable[_T]) -> _T:
    """Wait for work on a request whose body was received.

    If the client hangs up, the work is cancelled. Then raises `ClientGone`.
    """
    return await unless(_disconnected(request), work)


async def unless(gone: Awaitable[None], work: Awaitable[_T]) -> _T:
    """Wait for work, or until the client has gone: then the work is cancelled, and `ClientGone` raised."""
    task, leaving = asyncio.ensure_future(work), asyncio.ensure_future(gone)
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        await cancelled(task, leaving)


async def cancelled(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks and wait until they have ended, whatever they raise."""
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def in_thread(work: Callable[[], _T]) -> _T:
    """Do work in a thread of its own; who is cancelled meanwhile waits until it has ended, and so keeps its turn."""
    loop = asyncio.get_running_loop()
    future: concurrent.futures.Future[_T] = concurrent.futures.Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    start_thread(run)
    ending = asyncio.wrap_future(future, loop=loop)
    try:
        return await asyncio.shield(ending)
    except asyncio.CancelledError:
        while not ending.done():
            with contextlib.suppress(asyncio.CancelledError):  # of whoever cannot wait: the thread goes on all the same
                await asyncio.wait({ending})
        raise


def _name_upload(error: BaseException, path: Path, name: str) -> None:
    """Let the message of an error call a file by the client's name for it."""
    if isinstance(error, MtasrError) and error.args:
        error.args = (str(error).replace(str(path), name), *error.args[1:])


def check_model(name: str, options: DecodingOptions) -> None:
    """Raise `Problem` 400 if the model of that name was not trained for what the options ask."""
    language = to_code(options.language) if options.language is not None else None
    try:
        check_use(name, language, "translate" if options.translates else "transcribe")
    except UsageError as error:
        raise bad_field("model", str(error).replace("--model ", "the model ")) from error


def require_speaker_models(settings: Settings) -> None:
    """Raise `Problem` 501 if speakers cannot be told apart by voice.

    For that the models must be on this machine, or the server be allowed to download them.
    """
    if settings.downloads:
        return
    try:
        speaker_models.resolve(local_only=True)
    except ModelError as error:
        raise no_speaker_models() from error


class LiveTranscription:
    """A recording that a model transcribes in a thread: iterate for its segments as they come.

    `name` stands for the file in messages. `lengthen` is called if a recording is longer than its file says. `close`
    must be called.
    """

    def __init__(
        self,
        model: Model,
        path: Path,
        name: str,
        options: DecodingOptions,
        tracks: Tracks | None,
        speakers: SpeakerOptions | None,
        settings: Settings,
        lengthen: Callable[[], None],
    ) -> None:
        self._speakers = speakers
        self._model, self._path, self.name, self._lengthen = model, path, name, lengthen
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
                [self._path],
                self._options,
                tracks=self._tracks,
                most_seconds=self._settings.recording_seconds,
                diarize=self._speakers or False,
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
            transcription.priority = self._priority(transcription.total)
            transcription.on_progress = lambda position, total: self._progress(transcription, position)
            for segment in transcription:
                self._tell(segment)
            self._transcript = transcription.transcript()

    def _progress(self, transcription: Transcription, position: float) -> None:
        if transcription.priority != _LONG and self._priority(position) == _LONG:
            transcription.priority = _LONG
            self._call(self._lengthen)

    def _priority(self, seconds: float | None) -> int:
        return _SHORT if seconds is None or seconds <= self._settings.short_seconds else _LONG

    def _tell(self, segment: Segment | None) -> None:
        self._call(self._hear, segment)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # The loop has ended.
            self._loop.call_soon_threadsafe(function, *arguments)

    # --- in the event loop ------------------------------------------------------------------------------------------

    def _hear(self, segment: Segment | None) -> None:
        if segment is None:
            self._ended.set()
        self._segments.put_nowait(segment)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was wrong with the recording; complete at the end."""
        warnings = self._opened.warnings if self._opened is not None else ()
        return tuple(map(self._named, warnings))

    def _named(self, message: str) -> str:
        """A message with the client's names for files."""
        if self._speakers is not None and self._speakers.voices is not None:
            message = message.replace(f"{self._speakers.voices}{os.sep}", "")
        return message.replace(str(self._path), self.name)

    def token_bytes(self, token: int) -> bytes:
        """The bytes of a text token."""
        return self._model.engine.tokenizer.token_bytes(token)

    def __aiter__(self) -> AsyncIterator[Segment]:
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[Segment]:
        while (segment := await self._segments.get()) is not None:
            yield segment
        self._segments.put_nowait(None)  # for whoever asks again
        self._raise()

    @property
    def result(self) -> Transcript | None:
        """The transcript if it is complete."""
        return self._transcript

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
        if isinstance(error, VoiceError):
            raise unusable_voice(self._named(str(error))) from error.with_traceback(None)
        _name_upload(error, self._path, self.name)
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

    def __init__(self, settings: Settings, admission: Admission, pool: ModelPool, metrics: Metrics) -> None:
        self._settings, self._admission, self._pool, self._metrics = settings, admission, pool, metrics
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
        speakers: SpeakerOptions | None = None,
    ) -> AsyncIterator[LiveTranscription]:
        """A recording being transcribed, from its turn on. Leaving early cancels it.

        With `speakers`, these are told apart by their voices. Raises `Problem` 503 if the server stops, 501 if it has
        no speaker models, and what loading the model raises.
        """
        name = await self._usable(model, options)
        if speakers is not None:
            await asyncio.to_thread(require_speaker_models, self._settings)
        # With previous text the windows of a recording wait for each other, and for nobody else.
        long = options.condition_on_previous_text or (
            upload.size > _SMALL and await asyncio.to_thread(self._is_long, upload)
        )
        came = time.monotonic()
        async with self._admission.turn(client, long=long) as lengthen, self._pool.use(name) as loaded:
            self._metrics.waited(time.monotonic() - came)
            if self._stopped:
                raise stopping()
            live = LiveTranscription(
                loaded, upload.path, upload.name, options, tracks, speakers, self._settings, lengthen
            )
            self._live.add(live)
            try:
                yield live
            finally:
                self._live.discard(live)
                await asyncio.shield(asyncio.ensure_future(live.close()))
                self._note(name, live)

    async def _usable(self, model: str | None, options: DecodingOptions) -> str:
        """The name of the model that a request means. Raises `Problem` 400 for one not trained for what is asked."""
        name = await asyncio.to_thread(self._pool.find, model)
        check_model(name, options)
        return name

    def _note(self, name: str, live: LiveTranscription) -> None:
        """Count and log what was transcribed."""
        transcript = live.result
        if transcript is None:
            return
        self._metrics.transcribed(name, transcript.duration)
        text = {"text": transcript.text} if self._settings.log_text else {}
        facts = {"model": name, "audio": transcript.duration, "language": transcript.language}
        _LOG.info("transcribed", extra=facts | text)

    async def transcript(
        self,
        request: Request,
        upload: Upload,
        options: DecodingOptions,
        *,
        model: str | None = None,
        tracks: Tracks | None = None,
        speakers: SpeakerOptions | None = None,
    ) -> tuple[Transcript, tuple[str, ...]]:
        """The whole transcript of an upload, and what was wrong with the recording.

        Raises `ClientGone` if the client hangs up, and what `transcribing` raises.
        """

        async def whole() -> tuple[Transcript, tuple[str, ...]]:
            client = request.state.client
            async with self.transcribing(
                upload, options, client=client, model=model, tracks=tracks, speakers=speakers
            ) as live:
                transcript = await live.transcript()
                return transcript, live.warnings

        return await while_connected(request, whole())

    async def languages(
        self, request: Request, upload: Upload, *, model: str | None = None, audio_stream: int = 0
    ) -> list[LanguageGuess]:
        """The languages that an upload may be in, the most probable first; none if it has no audio.

        Raises as `transcript` does.
        """

        async def guesses() -> list[LanguageGuess]:
            async with self._admission.turn(request.state.client, long=False), self._pool.use(model) as loaded:
                detect = partial(
                    loaded.detect_language,
                    upload.path,
                    audio_stream=audio_stream,
                    most_seconds=self._settings.recording_seconds,
                )
                try:
                    return await in_thread(detect)
                except MtasrError as error:
                    _name_upload(error, upload.path, upload.name)
                    raise

        return await while_connected(request, guesses())

    def _is_long(self, upload: Upload) -> bool:
        """Whether a recording is long: its header tells, or else its file, which is not small."""
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
