"""OpenAI's realtime transcription: `/v1/realtime?intent=transcription`, in its current form and that of its beta.

    client                                        server
                                                  session.created
    session.update                            ->  session.updated
    input_audio_buffer.append ...             ->  input_audio_buffer.speech_started, ....delta ...,
                                                  input_audio_buffer.speech_stopped, .committed, ....completed

The shapes are those of openai-python 3.57 (`openai.types.realtime`). The sound of a connection is a row of chapters,
each a live session of its own: with turn detection a chapter goes on until the client commits, clears or changes the
settings, and each stretch of speech is an item; without, a chapter is an item.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from starlette.websockets import WebSocket

from mtasr.server.live.chapters import Chapter, ItemChapter, TurnsChapter
from mtasr.server.live.connection import Connection, ServerStops, parsed
from mtasr.server.live.host import require_room
from mtasr.server.live.realtime_settings import RealtimeSettings, default_settings, session_name
from mtasr.server.problems import Problem, bad_field, problem_of, shown
from mtasr.server.service import Service
from mtasr.server.transcribing import cancelled

router = APIRouter()

#: Bytes of sound in one message.
_MOST_SOUND = 15 << 20


@router.websocket("/v1/realtime")
async def realtime(socket: WebSocket) -> None:
    service = Service.of(socket)
    connection = Connection(socket, service)
    model = socket.query_params.get("model")
    key = connection.visitor.key
    settings = default_settings() if key is None else RealtimeSettings.unpacked(key.settings)
    if model is not None:
        settings = replace(settings, transcription={**settings.transcription, "model": model})
    conversation = RealtimeConversation(
        connection, service, settings, beta="realtime" in socket.headers.get("openai-beta", "")
    )
    intent = socket.query_params.get("intent", "transcription")

    async def talk() -> None:
        if intent != "transcription":
            raise bad_field(
                "intent", f"this server only transcribes: intent must be transcription, not {shown(intent)}"
            )
        await conversation.run()

    await connection.serve(talk, service.admission.live_session(connection.client))


class RealtimeConversation:
    """One connection: its settings, and the chapters that are being heard or told."""

    def __init__(self, connection: Connection, service: Service, settings: RealtimeSettings, *, beta: bool) -> None:
        self._connection, self._service, self._beta = connection, service, beta
        self._name, self._settings = session_name(), settings
        #: The chapter that takes sound, and those whose events are to be told, in order.
        self._chapter: Chapter | None = None
        self._untold: asyncio.Queue[Chapter | None] = asyncio.Queue()
        #: Seconds of sound that came before the chapter.
        self._seconds = 0.0
        self._last_item: str | None = None
        self._answers = {
            "session.update": self._update,
            "transcription_session.update": self._update,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
        }

    async def run(self) -> None:
        """Answer until the client goes or the server stops; then what was heard is told to the end."""
        await self.send(self._kind("created"), session=self._settings.shown(self._name, beta=self._beta))
        async with contextlib.AsyncExitStack() as held:
            telling = asyncio.create_task(self._tell())
            held.push_async_callback(cancelled, telling)
            hearing = asyncio.create_task(self._hear())
            held.push_async_callback(cancelled, hearing)
            await asyncio.wait({telling, hearing}, return_when=asyncio.FIRST_COMPLETED)
            if telling.done():
                telling.result()
            try:
                hearing.result()
            except ServerStops:
                if isinstance(self._chapter, ItemChapter) and self._chapter.has_new_sound:
                    await self._chapter.commit()
                await self._end_chapter()
                self._untold.put_nowait(None)
                await self._connection.unless_gone(telling)
                raise

    async def send(self, kind: str, **fields: Any) -> None:
        """Send an event with an id of its own."""
        await self._connection.send({"type": kind, "event_id": f"event_{secrets.token_hex(10)}", **fields})

    async def commit_item(self, item: str) -> None:
        """Tell that the sound of an item is complete."""
        before, self._last_item = self._last_item, item
        await self.send("input_audio_buffer.committed", item_id=item, previous_item_id=before)
        content = [{"type": "input_audio", "transcript": None}]
        document = {"id": item, "object": "realtime.item", "type": "message", "role": "user", "status": "completed"}
        kind = "conversation.item.created" if self._beta else "conversation.item.added"
        await self.send(kind, item={**document, "content": content}, previous_item_id=before)

    def _kind(self, what: str) -> str:
        return f"{'transcription_session' if self._beta else 'session'}.{what}"

    # --- what the client says -----------------------------------------------------------------------------------------

    async def _hear(self) -> None:
        while True:
            message = await self._connection.receive()
            about = None
            try:
                document = await parsed(message)
                about = document.get("event_id") if isinstance(document.get("event_id"), str) else None
                kind = document["type"]
                if kind not in self._answers:
                    raise bad_field("type", f"there is no message {shown(kind)} in a transcription session")
                await self._answers[kind](document)
            except Problem as problem:
                await self._connection.wrong(problem, about)

    async def _update(self, document: Mapping[str, Any]) -> None:
        beta = document["type"] == "transcription_session.update"
        settings = self._settings.updated(document.get("session"), beta=beta)
        try:
            await self._service.live.check(settings.wanted())
        except Exception as error:
            raise problem_of(error) from error
        chapter = self._chapter
        if chapter is not None and settings != self._settings:
            if isinstance(chapter, ItemChapter) and settings.sound != self._settings.sound:
                message = "commit or clear the buffer before the format changes"
                raise bad_field("format", message, "input_audio_buffer_not_empty")
            if isinstance(chapter, TurnsChapter):
                await self._end_chapter()
        self._settings, self._beta = settings, beta
        await self.send(self._kind("updated"), session=settings.shown(self._name, beta=beta))

    async def _append(self, document: Mapping[str, Any]) -> None:
        data, settings = await _sound_of(document), self._settings
        sound = settings.sound
        if len(data) % sound.width:
            raise bad_field("audio", "audio must have a whole number of samples of two bytes", "invalid_audio")
        before = self._seconds + (self._chapter.seconds if self._chapter is not None else 0.0)
        require_room(before, sound.seconds(data), self._service.settings)
        if self._chapter is None:
            self._chapter = await self._opened(TurnsChapter if settings.turns is not None else ItemChapter)
        await self._chapter.add(data)

    async def _opened(self, kind: type[Chapter]) -> Chapter:
        """A new chapter, whose events will be told. Raises `Problem`."""
        held = contextlib.AsyncExitStack()
        settings = self._settings
        try:
            hosted = await held.enter_async_context(self._service.live.open(settings.wanted()))
        except Exception as error:
            raise problem_of(error) from error
        chapter = kind(self, hosted, held, settings, self._seconds)
        self._untold.put_nowait(chapter)
        return chapter

    async def _commit(self, document: Mapping[str, Any]) -> None:
        chapter = self._chapter
        if chapter is None or not chapter.has_new_sound:
            message = "the buffer is empty: there is no sound to commit"
            raise Problem(400, message, code="input_audio_buffer_commit_empty")
        await chapter.commit()
        await self._end_chapter()

    async def _clear(self, document: Mapping[str, Any]) -> None:
        if self._chapter is not None:
            await self._chapter.clear()
            await self._end_chapter()
        await self.send("input_audio_buffer.cleared")

    async def _end_chapter(self) -> None:
        """Let no more sound into the chapter; its text is told until its end."""
        chapter, self._chapter = self._chapter, None
        if chapter is not None:
            self._seconds += chapter.seconds
            await chapter.end()

    # --- what the server says -----------------------------------------------------------------------------------------

    async def _tell(self) -> None:
        """Tell the chapters one after the other, so that items come in the order in which they were said."""
        try:
            while (chapter := await self._untold.get()) is not None:
                async with chapter.held:
                    await chapter.tell()
        finally:
            while not self._untold.empty():
                if (chapter := self._untold.get_nowait()) is not None:
                    await chapter.held.aclose()


async def _sound_of(document: Mapping[str, Any]) -> bytes:
    """The bytes of sound in a message. Raises `Problem`."""
    audio = document.get("audio")
    if not isinstance(audio, str):
        raise bad_field("audio", "audio must be a text: sound in base64")
    if len(audio) > -(-_MOST_SOUND // 3) * 4:
        raise bad_field("audio", f"audio must have at most {_MOST_SOUND >> 20} MiB in a message", "message_too_large")
    try:
        return base64.b64decode(audio, validate=True)
    except (binascii.Error, ValueError):
        raise bad_field("audio", "audio is no base64", "invalid_audio") from None
