"""Home Assistant's protocol: events over TCP, read and written by the package `wyoming`.

    client                                                    server
    describe                                              ->  info
    transcribe, audio-start, audio-chunk ..., audio-stop  ->  transcript

As in wyoming-faster-whisper, a connection ends after its transcript. The protocol has no keys: a client is an address.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import secrets
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import TypeVar, cast

from mtasr import __version__, atomic
from mtasr.errors import OutputError, UsageError
from mtasr.models import registry
from mtasr.options import DecodingOptions
from mtasr.server.monitoring.logs import request_id
from mtasr.server.problems import GONE, ClientGone, Problem, problem_of, stopping
from mtasr.server.protocols import pcm
from mtasr.server.service import Service
from mtasr.server.transcribing import cancelled, unless
from mtasr.server.upload import Upload
from mtasr.tokenizer.languages import LANGUAGES
from mtasr.transcript import Transcript

with warnings.catch_warnings():
    # It imports audioop, which Python 3.13 lacks and 3.11 warns of.
    warnings.simplefilter("ignore", DeprecationWarning)
    from wyoming.asr import Transcribe
    from wyoming.asr import Transcript as TranscriptEvent
    from wyoming.audio import AudioChunk, AudioStart, AudioStop
    from wyoming.error import Error
    from wyoming.event import Event, Eventable, async_read_event, async_write_event
    from wyoming.info import AsrModel, AsrProgram, Attribution, Describe, Info
    from wyoming.ping import Ping, Pong

_LOG = logging.getLogger(__name__)

#: Connections at a time; more are closed at once.
_CONNECTIONS = 100
#: Bytes of the sound or the data of one event.
_EVENT_BYTES = 4 << 20
#: Bytes written to disk at a time.
_PIECE = 1 << 20
#: Seconds for which a connection may be idle before sound comes.
_IDLE = 300.0

#: Seconds for which what a refused client sends is thrown away, and for which a connection may take to close.
_LINGER = 5.0

#: What parsing an event raises if it lacks a field, or if a field is of another type.
_MALFORMED = (AttributeError, KeyError, TypeError, RecursionError)
_Parsed = TypeVar("_Parsed")

#: What sound may look like.
_RATES, _WIDTHS, _CHANNELS = range(1000, 768_001), range(1, 5), range(1, 33)


@contextlib.asynccontextmanager
async def listening(service: Service, host: str, port: int) -> AsyncIterator[None]:
    """Listen on an address until the service stops.

    Raises `UsageError` for an address that cannot be listened on.
    """
    connections = _Connections(service)
    try:
        server = await asyncio.start_server(connections.serve, host, port)
    except OSError as error:
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    for each in server.sockets:
        service.addresses.append(_shown(*each.getsockname()[:2]))
    closing = asyncio.create_task(connections.close_idle(server))
    try:
        yield
    finally:
        closing.cancel()
        server.close()
        await connections.close()


def _shown(host: str, port: int) -> str:
    return f"tcp://{f'[{host}]' if ':' in host else host}:{port}"


class _Connections:
    """The connections there are."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._tasks: dict[asyncio.Task[None], _Conversation] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= _CONNECTIONS:
            writer.close()
            return
        conversation = _Conversation(self._service, reader, writer)
        task = asyncio.create_task(conversation.run())
        self._tasks[task] = conversation
        self._service.tasks.add(task)
        task.add_done_callback(self._tasks.pop)
        task.add_done_callback(self._service.tasks.discard)

    async def close_idle(self, server: asyncio.Server) -> None:
        """When the service stops, take no more connections, and close those on which no sound has come."""
        await self._service.stopping.wait()
        server.close()
        for task, conversation in self._tasks.items():
            if conversation.is_idle:
                task.cancel()

    async def close(self) -> None:
        await cancelled(*self._tasks)


class _Conversation:
    """One connection: what was asked for, and the sound that has come."""

    def __init__(self, service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._service, self._settings = service, service.settings
        self._reader, self._writer = reader, writer
        self._bounded = cast(asyncio.StreamReader, _Bounded(reader))
        self._client: str = (writer.get_extra_info("peername") or ("unknown",))[0]
        self._model: str | None = None
        self._options = DecodingOptions()
        self._recording: _Recording | None = None
        self._held = contextlib.ExitStack()
        self._is_answering = False
        #: When all sound must have come.
        self._end = math.inf

    @property
    def is_idle(self) -> bool:
        return self._recording is None and not self._is_answering

    async def run(self) -> None:
        """Answer until the client has what it wanted, goes or makes a mistake."""
        request_id.set(f"req_{secrets.token_hex(12)}")
        began, status = time.monotonic(), 200
        try:
            with self._held:
                await self._converse()
        except ClientGone:
            status = GONE
        except asyncio.CancelledError:
            status = stopping().status
            await self._refuse(stopping())
            raise
        except Exception as error:
            problem = problem_of(error)
            status = problem.status
            if status >= 500:
                _LOG.exception("request failed", extra={"client": self._client})
            await self._refuse(problem)
            if not self._is_answering and status != _too_slow().status:
                await self._drain()
        finally:
            self._note(status, time.monotonic() - began)
            await self._hang_up()

    def _note(self, status: int, seconds: float) -> None:
        """Log and count what has ended, if sound had come or something was wrong."""
        if self._recording is None and not 400 <= status < GONE:
            return
        received = 0 if self._recording is None else self._recording.size
        facts = {"client": self._client, "status": status, "seconds": round(seconds, 3), "received": received}
        _LOG.info("request", extra={"path": "wyoming", **facts})
        self._service.metrics.request("wyoming", status, seconds, received)

    async def _converse(self) -> None:
        while (event := await self._next()) is not None:
            if AudioStop.is_type(event.type):
                await self._answer()
                return
            await self._hear(event)
            if time.monotonic() > self._end:
                raise _too_slow()
        if self._recording is not None:
            raise ClientGone

    async def _next(self) -> Event | None:
        """The next event; None at the end of the connection, or of the patience with one that does nothing."""
        seconds = _IDLE if self._recording is None else self._settings.upload_pause
        try:
            async with asyncio.timeout(seconds):
                return await async_read_event(self._bounded)
        except TimeoutError:
            if self._recording is None:
                return None
            raise _too_slow() from None
        except (EOFError, OSError):
            raise ClientGone from None
        except _MALFORMED:
            raise _no_event() from None

    async def _hear(self, event: Event) -> None:
        if Describe.is_type(event.type):
            await self._send(await asyncio.to_thread(self._info))
        elif Ping.is_type(event.type):
            await self._send(Pong(text=_parsed(Ping.from_event, event).text))
        elif Transcribe.is_type(event.type):
            self._ask(_parsed(Transcribe.from_event, event))
        elif AudioStart.is_type(event.type):
            start = _parsed(AudioStart.from_event, event)
            self._begin(start.rate, start.width, start.channels)
        elif AudioChunk.is_type(event.type):
            chunk = _parsed(AudioChunk.from_event, event)
            await self._begin(chunk.rate, chunk.width, chunk.channels).add(chunk.audio)

    def _ask(self, wanted: Transcribe) -> None:
        words = [*(wanted.transcript_names or ()), *(wanted.transcript_terms or ())]
        if not all(isinstance(each, str) for each in (wanted.name or "", wanted.language or "", *words)):
            raise _no_event()
        self._model = wanted.name
        language = None if wanted.language == "auto" else wanted.language or None
        self._options = DecodingOptions(language=language, hotwords=", ".join(words) or None)

    def _begin(self, rate: int, width: int, channels: int) -> _Recording:
        """The recording, begun if this is its first sound."""
        if self._recording is None:
            if self._service.stopping.is_set():
                raise stopping()
            self._end = time.monotonic() + self._settings.upload_seconds
            samples = _sample_format(rate, width, channels)
            self._held.enter_context(self._service.admission.place(self._client))
            self._recording = self._held.enter_context(_Recording(self._service, samples).kept())
        elif self._recording.samples != pcm.SampleFormat(rate=rate, width=width, channels=channels):
            raise Problem(400, "the format of the sound changes while it comes", code="invalid_audio")
        return self._recording

    async def _answer(self) -> None:
        self._is_answering = True
        if self._recording is None or self._recording.size < self._recording.samples.frame:
            await self._send(TranscriptEvent(text=""))
            return
        upload = await self._recording.finish()
        transcript = await unless(self._gone(), self._transcript(upload))
        await self._send(TranscriptEvent(text=transcript.text, language=transcript.text_language))

    async def _transcript(self, upload: Upload) -> Transcript:
        transcribing = self._service.transcriber.transcribing
        async with transcribing(upload, self._options, client=self._client, model=self._model) as live:
            return await live.transcript()

    async def _gone(self) -> None:
        """Return when the client hangs up."""
        with contextlib.suppress(OSError):
            while await self._reader.read(_PIECE):
                pass

    async def _send(self, event: Eventable) -> None:
        try:
            async with asyncio.timeout(self._settings.upload_pause):
                await async_write_event(event.event(), self._writer)
        except OSError:  # TimeoutError is one, too
            raise ClientGone from None

    async def _refuse(self, problem: Problem) -> None:
        with contextlib.suppress(ClientGone):
            await self._send(Error(text=problem.message, code=problem.code))

    async def _drain(self) -> None:
        """Throw away what a refused client still sends, for a while: else it may not see why it was refused."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_LINGER):
                while (event := await async_read_event(self._bounded)) is not None:
                    if AudioStop.is_type(event.type):
                        return

    async def _hang_up(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_LINGER):
                await self._writer.wait_closed()
        self._writer.transport.abort()

    def _info(self) -> Info:
        """What clients learn of the server: one program with the models that requests may name, the default first."""
        program = AsrProgram(
            name="mtasr",
            description="Speech to text with Whisper models",
            attribution=Attribution(name="mtasr", url=""),
            installed=True,
            version=__version__,
            models=[_model(name) for name in self._service.pool.names()],
        )
        return Info(asr=[program])


class _Bounded:
    """What `async_read_event` needs of a reader, with a limit on what one event may hold."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.readline = reader.readline  # which has a limit of its own
        self._readexactly = reader.readexactly

    async def readexactly(self, count: int) -> bytes:
        if count > _EVENT_BYTES:
            raise Problem(413, f"an event has more than {_EVENT_BYTES:,} bytes", code="request_too_large")
        return await self._readexactly(count)


class _Recording:
    """Sound on its way to a private file, within the limits on bytes and seconds."""

    def __init__(self, service: Service, samples: pcm.SampleFormat) -> None:
        self.samples = samples
        #: Bytes of sound so far.
        self.size = 0
        settings = service.settings
        self._most = min(settings.upload_bytes, settings.recording_seconds * samples.second)
        self._path = service.incoming / f"{secrets.token_hex(16)}.wav"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        self._file = os.fdopen(os.open(self._path, flags, 0o600), "wb")
        self._unwritten = bytearray(samples.header())

    @contextlib.contextmanager
    def kept(self) -> Iterator[_Recording]:
        """Delete the file at the end."""
        try:
            yield self
        finally:
            with contextlib.suppress(OSError):  # of what it could not write
                self._file.close()
            self._path.unlink(missing_ok=True)

    async def add(self, audio: bytes) -> None:
        """Write sound. Raises `Problem` if there is too much of it, and `OutputError` if the disk is full."""
        self.size += len(audio)
        if self.size > self._most:
            seconds = self._most / self.samples.second
            raise Problem(413, f"the recording is longer than {seconds:g} s", code="recording_too_long")
        self._unwritten += audio
        if len(self._unwritten) >= _PIECE:
            piece, self._unwritten = self._unwritten, bytearray()
            await self._in_thread(partial(self._file.write, piece))

    async def finish(self) -> Upload:
        """The recording as a file."""
        await self._in_thread(self._end)
        return Upload(self._path, "speech", self.size, {})

    async def _in_thread(self, work: Callable[[], object]) -> None:
        try:
            await asyncio.to_thread(work)
        except OSError as error:
            raise OutputError(f"{self._path}: {atomic.reason(error)}") from error

    def _end(self) -> None:
        self._file.write(self._unwritten)
        self._file.close()
        pcm.complete(self._path, self.samples)


def _parsed(read: Callable[[Event], _Parsed], event: Event) -> _Parsed:
    try:
        return read(event)
    except _MALFORMED:
        raise _no_event() from None


def _sample_format(rate: int, width: int, channels: int) -> pcm.SampleFormat:
    for name, value, fine in (("rate", rate, _RATES), ("width", width, _WIDTHS), ("channels", channels, _CHANNELS)):
        if not isinstance(value, int) or value not in fine:
            rule = f"between {fine[0]} and {fine[-1]}"
            raise Problem(400, f"{name} must be {rule}, not {value!r:.100}", code="invalid_value", param=name)
    return pcm.SampleFormat(rate=rate, width=width, channels=channels)


def _model(name: str) -> AsrModel:
    spec = registry.find(name)
    maker = Attribution("", "") if spec is None else _maker(spec.repo)
    return AsrModel(
        name=name,
        description=f"Whisper {name}",
        attribution=maker,
        installed=True,
        version=None,
        languages=["en"] if registry.english_only(name) else [*LANGUAGES],
    )


def _maker(repository: str) -> Attribution:
    return Attribution(name=repository.partition("/")[0], url=f"https://huggingface.co/{repository}")


def _too_slow() -> Problem:
    return Problem(408, "the sound came too slowly", code="request_timeout")


def _no_event() -> Problem:
    return Problem(400, "that is no event of the Wyoming protocol", code="invalid_event")
