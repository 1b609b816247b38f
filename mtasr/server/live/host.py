"""The bridge from handlers, which run in the event loop, to live sessions, which compute in threads."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from mtasr.live import Event, Lag, LivePolicy, LiveSession
from mtasr.options import DecodingOptions
from mtasr.server.admission import Admission
from mtasr.server.live.sound import LiveSound, SoundReader
from mtasr.server.model_pool import ModelPool
from mtasr.server.monitoring.metrics import Metrics
from mtasr.server.problems import ClientGone, Problem, busy
from mtasr.server.settings import Settings
from mtasr.server.transcribing import check_model, require_speaker_models
from mtasr.speakers.options import SpeakerOptions
from mtasr.threads import start_thread
from mtasr.transcribe import Model
from mtasr.transcript import Transcript

_LOG = logging.getLogger(__name__)

_T = TypeVar("_T")

#: Seconds to wait for a model while others are in use.
_MODEL_SECONDS = 30.0


class MakeSession(Protocol):
    """Makes a live session of a model."""

    def __call__(
        self, model: Model, options: DecodingOptions, policy: LivePolicy, /, *, diarize: bool | SpeakerOptions
    ) -> LiveSession: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveWanted:
    """What a client wants of a live session."""

    #: The name of a model, as `ModelPool.find` takes it.
    model: str | None = None
    options: DecodingOptions = DecodingOptions()  # noqa: RUF009 - it is frozen
    policy: LivePolicy = LivePolicy()  # noqa: RUF009 - it is frozen
    sound: LiveSound = LiveSound()  # noqa: RUF009 - it is frozen
    #: How speakers are told apart; None if they are not.
    speakers: SpeakerOptions | None = None


def require_room(before: float, seconds: float, settings: Settings) -> None:
    """Raise `Problem` 400 if a session that had so many seconds of sound before does not take so many more."""
    most = settings.live_seconds
    if before + seconds > most:
        raise Problem(400, f"a session takes {most:g} s of sound at most", code="session_too_long")


class LiveHost:
    """Opens live sessions, with a model of the pool each."""

    def __init__(self, settings: Settings, admission: Admission, pool: ModelPool, metrics: Metrics) -> None:
        self.admission, self.metrics = admission, metrics
        self._settings, self._pool = settings, pool
        self.make_session: MakeSession = LiveSession
        #: Connections of live sessions that are open.
        self.connections = 0
        self._open: set[HostedSession] = set()

    async def check(self, wanted: LiveWanted) -> None:
        """Raise what `open` would raise for models that are not there, or were not trained for what is wanted."""
        check_model(await asyncio.to_thread(self._pool.find, wanted.model), wanted.options)
        if wanted.speakers is not None:
            await asyncio.to_thread(require_speaker_models, self._settings)

    @contextlib.asynccontextmanager
    async def open(self, wanted: LiveWanted) -> AsyncIterator[HostedSession]:
        """A live session; leaving it early drops what is not decoded.

        Raises `Problem` 429 if too many other models are in use, and what loading the model raises.
        """
        await self.check(wanted)
        async with contextlib.AsyncExitStack() as held:
            try:
                async with asyncio.timeout(_MODEL_SECONDS):
                    model = await held.enter_async_context(self._pool.use(wanted.model))
            except TimeoutError:
                raise busy("other models are in use; come back later", _MODEL_SECONDS) from None
            make = partial(self.make_session, diarize=wanted.speakers or False)
            session = await asyncio.to_thread(make, model, wanted.options, wanted.policy)
            hosted = HostedSession(session, model, wanted.sound, self.metrics)
            self._open.add(hosted)
            try:
                yield hosted
            finally:
                self._open.discard(hosted)
                await asyncio.shield(asyncio.ensure_future(hosted.close()))
                self.metrics.transcribed(await asyncio.to_thread(self._pool.find, wanted.model), hosted.seconds)

    async def close(self) -> None:
        """End all sessions at once."""
        await asyncio.gather(*(each.close() for each in self._open))


class HostedSession:
    """A live session as the event loop sees it: bytes go in, events come out."""

    def __init__(self, session: LiveSession, model: Model, sound: LiveSound, metrics: Metrics) -> None:
        self._session, self._model, self._sound, self._metrics = session, model, sound, metrics
        self._reader = SoundReader(sound)
        self._loop = asyncio.get_running_loop()
        # A thread of its own: a session that is late lets whoever adds to it wait.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mtasr-live")
        self._events: asyncio.Queue[Event | BaseException | None] = asyncio.Queue()
        self._is_closed = False
        #: Samples that were added, at the rate of the sound.
        self.received = 0
        start_thread(self._listen)

    @property
    def seconds(self) -> float:
        """How much sound was added."""
        return self.received / self._sound.rate

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was asked for and could not be had, after the end."""
        return self._session.warnings

    def token_bytes(self, token: int) -> bytes:
        """The bytes of a text token."""
        return self._model.engine.tokenizer.token_bytes(token)

    async def add(self, data: bytes) -> None:
        """Take whole samples. Waits while the session is late. Raises `ClientGone` if it was closed."""
        await self._in_thread(lambda: self._add(data))

    async def settled(self) -> None:
        """Wait until all that was handed to `add` is counted, also by whoever was cancelled meanwhile."""
        await self._in_thread(lambda: None)

    def _add(self, data: bytes) -> None:
        second = self._sound.rate * self._sound.width
        for start in range(0, len(data), second):
            samples = self._reader.add(data[start : start + second])
            if len(samples):
                self._session.add(samples)
            self.received += len(data[start : start + second]) // self._sound.width

    async def cut(self) -> None:
        """End the stretch here."""
        await self._in_thread(self._session.cut)

    async def end(self) -> None:
        """Say that no sound follows."""
        await self._in_thread(self._end)

    def _end(self) -> None:
        samples = self._reader.rest()
        if len(samples):
            self._session.add(samples)
        self._session.end()

    async def transcript(self) -> Transcript:
        """The whole transcript, after the end."""
        return await self._in_thread(self._session.transcript)

    async def events(self) -> AsyncIterator[Event]:
        """Events until the end; raises what ended the session before it."""
        while (event := await self._events.get()) is not None:
            if isinstance(event, BaseException):
                raise event.with_traceback(None)
            yield event

    async def close(self) -> None:
        """Stop at once; does nothing after the first time."""
        if self._is_closed:
            return
        self._is_closed = True
        await asyncio.to_thread(self._session.close)
        self._thread.shutdown(wait=False)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        try:
            return await self._loop.run_in_executor(self._thread, work)
        except (ValueError, RuntimeError) as error:
            if self._is_closed:
                raise ClientGone from error
            raise

    def _listen(self) -> None:
        """In a thread: pass events on to the loop."""
        try:
            for event in self._session.events():
                self._tell(event)
            self._tell(None)
        except BaseException as error:
            self._tell(error)

    def _tell(self, event: Event | BaseException | None) -> None:
        with contextlib.suppress(RuntimeError):  # The loop has ended.
            self._loop.call_soon_threadsafe(self._hear, event)

    def _hear(self, event: Event | BaseException | None) -> None:
        if isinstance(event, Lag):
            self._metrics.lag(event.seconds)
        self._events.put_nowait(event)
