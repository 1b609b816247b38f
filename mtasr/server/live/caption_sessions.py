"""The sessions of `/v1/live`: they outlive the connection that began them, for a while."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Any

from mtasr.formats import transcript_json
from mtasr.server.live.caption_fields import caption_event
from mtasr.server.live.event_log import EventLog
from mtasr.server.live.host import HostedSession, LiveHost, LiveWanted, require_room
from mtasr.server.problems import ClientGone, Problem, problem_of
from mtasr.server.settings import Settings
from mtasr.server.transcribing import cancelled


class CaptionSession:
    """A live session and what it has told. `client` began it; whoever knows its `name` may continue it."""

    def __init__(self, client: str, wanted: LiveWanted, hosted: HostedSession, held: contextlib.AsyncExitStack) -> None:
        self.name = f"live_{secrets.token_urlsafe(24)}"
        self.client, self.wanted, self._hosted, self._held = client, wanted, hosted, held
        self.log = EventLog()
        self._is_ended = False
        #: Set if another connection wants the session of the one that has it.
        self._wanted_by_another = asyncio.Event()
        #: Set while no connection has it, and while one does.
        self.is_alone, self.is_attached = asyncio.Event(), asyncio.Event()
        self.is_alone.set()
        self._listening = asyncio.create_task(self._listen())

    @property
    def received(self) -> int:
        """Samples that have come, at the rate of the client."""
        return self._hosted.received

    def ready(self, resume_seconds: float) -> dict[str, Any]:
        """What a client is told first."""
        sound = self.wanted.sound
        described = {"sample_rate": sound.rate, "format": sound.encoding, "resume_seconds": resume_seconds}
        return {"type": "ready", "session": self.name, "received": self.received, **described}

    @contextlib.asynccontextmanager
    async def attached(self) -> AsyncIterator[asyncio.Event]:
        """Let a connection have the session until the event that is yielded is set: another one wants it.

        The one that has it is asked to let go; it is probably lost.
        """
        while self.is_attached.is_set():
            self._wanted_by_another.set()
            await self.is_alone.wait()
        self.is_attached.set()
        self.is_alone.clear()
        wanted = self._wanted_by_another = asyncio.Event()
        try:
            if not self._is_ended:
                with contextlib.suppress(ClientGone):
                    await self._hosted.settled()
            yield wanted
        finally:
            self.is_attached.clear()
            self.is_alone.set()

    async def add(self, data: bytes, settings: Settings) -> None:
        """Take samples. Raises `Problem` for what are none, for too many, and after the end."""
        sound = self.wanted.sound
        if len(data) % sound.width:
            message = f"a message must have a whole number of samples of {sound.width} bytes"
            raise Problem(400, message, code="invalid_audio")
        self._require_open()
        require_room(self._hosted.seconds, sound.seconds(data), settings)
        await self._hosted.add(data)

    async def cut(self) -> None:
        """End the stretch here. Raises `Problem` after the end."""
        self._require_open()
        await self._hosted.cut()

    def _require_open(self) -> None:
        if self._is_ended:
            raise Problem(400, "the session has ended", code="session_ended")

    async def end(self) -> None:
        """No samples follow."""
        if not self._is_ended:
            self._is_ended = True
            with contextlib.suppress(ClientGone):
                await self._hosted.end()

    async def discard(self) -> None:
        """Drop what is not decoded: the client does not want it."""
        self._is_ended = True
        await self._hosted.close()

    async def close(self) -> None:
        """Drop what is not told."""
        await cancelled(self._listening)
        await self._held.aclose()

    async def _listen(self) -> None:
        """Write what happens into the log, to the end; then give the model back."""
        try:
            async for event in self._hosted.events():
                self.log.add(caption_event(event))
            transcript = await self._hosted.transcript()
            document = await asyncio.to_thread(transcript_json.to_dict, transcript)
            warnings = {"warnings": list(self._hosted.warnings)} if self._hosted.warnings else {}
            self.log.add({"type": "end", "received": self.received, "transcript": document} | warnings, last=True)
        except ClientGone:
            discarded = Problem(400, "the session was discarded", code="session_discarded")
            self.log.add({"type": "error", "error": discarded.error}, last=True)
        except Exception as error:
            self.log.add({"type": "error", "error": problem_of(error).error}, last=True)
        self._is_ended = True
        await self._held.aclose()


class CaptionSessions:
    """The sessions there are, by name."""

    def __init__(self, host: LiveHost, settings: Settings) -> None:
        self._host, self._settings = host, settings
        self._sessions: dict[str, CaptionSession] = {}
        self._tending: set[asyncio.Task[None]] = set()

    async def begin(
        self, client: str, wanted: LiveWanted, life: contextlib.AbstractContextManager[None]
    ) -> CaptionSession:
        """A new session; `life` is entered for as long as it can be continued.

        Raises `Problem`: 429 if the client or the server has too many.
        """
        async with contextlib.AsyncExitStack() as held:
            held.enter_context(self._host.admission.live_session(client))
            hosted = await held.enter_async_context(self._host.open(wanted))
            session = CaptionSession(client, wanted, hosted, held.pop_all())
        self._sessions[session.name] = session
        task = asyncio.create_task(self._tend(session, life))
        self._tending.add(task)
        task.add_done_callback(self._tending.discard)
        return session

    def find(self, name: str, client: str) -> CaptionSession:
        """A session that a client continues. Raises `Problem` 404.

        Without keys a client is an address, which may change when a connection is lost: then the name is enough.
        """
        session = self._sessions.get(name)
        if session is None or (self._settings.keys and session.client != client):
            raise Problem(404, "there is no such session; it may have ended", code="session_not_found", param="session")
        return session

    async def _tend(self, session: CaptionSession, life: contextlib.AbstractContextManager[None]) -> None:
        """Close a session that nobody continues in time."""
        try:
            with life:
                while True:
                    await session.is_alone.wait()
                    async with asyncio.timeout(self._settings.resume_seconds):
                        await session.is_attached.wait()
        except TimeoutError:
            pass
        finally:
            del self._sessions[session.name]
            await session.close()

    async def close(self) -> None:
        """Close all sessions."""
        await cancelled(*self._tending)
