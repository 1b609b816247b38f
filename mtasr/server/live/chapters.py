"""Chapters of a realtime conversation: a live session each, told as events of items."""

from __future__ import annotations

import abc
import contextlib
import secrets
from dataclasses import dataclass, field
from typing import Any, Protocol

from mtasr.live import Committed, Event, Final, SpeechStarted, SpeechStopped
from mtasr.server import openai_shapes as shapes
from mtasr.server.live.host import HostedSession
from mtasr.server.live.realtime_settings import RealtimeSettings
from mtasr.server.problems import ClientGone, problem_of
from mtasr.transcript import Segment

_TRANSCRIPTION = "conversation.item.input_audio_transcription"


class Teller(Protocol):
    """Who sends the events of chapters to the client."""

    async def send(self, kind: str, **fields: Any) -> None: ...

    async def commit_item(self, item: str) -> None: ...


@dataclass(slots=True)
class _Item:
    """What was said of one item. `start` is its beginning in seconds of the chapter."""

    start: float
    id: str = field(default_factory=lambda: f"item_{secrets.token_hex(12)}")
    end: float = 0.0
    #: What the deltas add up to.
    told: str = ""
    segments: list[Segment] = field(default_factory=list)
    languages: list[str] = field(default_factory=list)

    def delta(self, text: str) -> str:
        """What more text adds to what was told: an item does not begin with a space."""
        added = text if self.told else text.lstrip()
        self.told += added
        return added

    def rest(self, text: str) -> str:
        """What the final text adds to what was told, if it begins with it."""
        return self.delta(text[len(self.told) :]) if text.startswith(self.told) else ""

    @property
    def text(self) -> str:
        return "".join(segment.text for segment in self.segments).strip()


class Chapter(abc.ABC):
    """A live session as OpenAI's client sees it: sound goes in, `tell` sends what is said in it.

    `offset` is the sound before the chapter, in seconds. `held` closes the session.
    """

    def __init__(
        self,
        teller: Teller,
        hosted: HostedSession,
        held: contextlib.AsyncExitStack,
        settings: RealtimeSettings,
        offset: float,
    ) -> None:
        self._teller, self._hosted, self._settings, self._offset = teller, hosted, settings, offset
        self.held = held
        #: Whether sound has come that belongs to no committed item.
        self.has_new_sound = False

    @property
    def seconds(self) -> float:
        """How much sound has come."""
        return self._hosted.seconds

    async def add(self, data: bytes) -> None:
        """Take whole samples."""
        if data:
            await self._hosted.add(data)
            self.has_new_sound = True

    async def end(self) -> None:
        """Say that no sound follows."""
        with contextlib.suppress(ClientGone):
            await self._hosted.end()

    @abc.abstractmethod
    async def commit(self) -> None:
        """Make an item of the sound that belongs to none. The end follows."""

    @abc.abstractmethod
    async def clear(self) -> None:
        """Forget the sound that belongs to no committed item. The end follows."""

    @abc.abstractmethod
    async def tell(self) -> None:
        """Tell the events until the end."""

    async def _delta(self, item: _Item, delta: str) -> None:
        if delta:
            await self._teller.send(f"{_TRANSCRIPTION}.delta", item_id=item.id, content_index=0, delta=delta)

    async def _complete(self, item: _Item) -> None:
        await self._delta(item, item.rest(item.text))
        more: dict[str, Any] = {}
        if self._settings.logprobs:
            more["logprobs"] = shapes.logprobs(item.segments, self._hosted.token_bytes)
        await self._teller.send(
            f"{_TRANSCRIPTION}.completed",
            item_id=item.id,
            content_index=0,
            transcript=item.text,
            languages=[{"code": code} for code in dict.fromkeys(item.languages)],
            usage={"type": "duration", "seconds": round(max(0.0, item.end - item.start), 3)},
            **more,
        )

    async def _fail(self, item: _Item, error: Exception) -> None:
        told = problem_of(error).error
        await self._teller.send(f"{_TRANSCRIPTION}.failed", item_id=item.id, content_index=0, error=told)

    @staticmethod
    def _finish(item: _Item, final: Final) -> None:
        """Take the final text of a stretch into an item."""
        item.segments.extend(final.segments)
        if final.segments:
            item.languages.append(final.language)


class TurnsChapter(Chapter):
    """With turn detection: each stretch of speech is an item."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        #: By stretch: items that are being spoken, and those that wait for their text.
        self._spoken: dict[int, _Item] = {}
        self._committed: dict[int, _Item] = {}
        self._is_cleared = self._is_asked = False
        #: Where the last item ended.
        self._end = 0.0

    async def commit(self) -> None:
        self._is_asked = True

    async def clear(self) -> None:
        self._is_cleared = True
        self._spoken.clear()

    async def tell(self) -> None:
        try:
            async for event in self._hosted.events():
                await self._tell_event(event)
        except ClientGone:
            raise
        except Exception as error:
            for item in (*self._committed.values(), *self._spoken.values()):
                await self._fail(item, error)
            raise
        if self._is_asked:  # what was committed has no speech
            item = _Item(self._end, end=self.seconds)
            await self._teller.commit_item(item.id)
            await self._complete(item)

    async def _tell_event(self, event: Event) -> None:
        if isinstance(event, SpeechStarted) and not self._is_cleared:
            await self._start(event)
        elif isinstance(event, Committed) and event.stretch in self._spoken:
            item = self._spoken[event.stretch]
            await self._delta(item, item.delta(event.text))
        elif isinstance(event, SpeechStopped) and event.stretch in self._spoken:
            await self._stop(event)
        elif isinstance(event, Final) and event.stretch in self._committed:
            item = self._committed.pop(event.stretch)
            self._finish(item, event)
            await self._complete(item)

    async def _start(self, event: SpeechStarted) -> None:
        item = self._spoken[event.stretch] = _Item(max(self._end, event.at - self._settings.padding))
        at = round((self._offset + item.start) * 1000)
        await self._teller.send("input_audio_buffer.speech_started", audio_start_ms=at, item_id=item.id)

    async def _stop(self, event: SpeechStopped) -> None:
        item = self._committed[event.stretch] = self._spoken.pop(event.stretch)
        self._end = item.end = max(item.start, event.at)
        self.has_new_sound = False
        self._is_asked = False  # This is what the client asked for, if it did.
        at = round((self._offset + item.end) * 1000)
        await self._teller.send("input_audio_buffer.speech_stopped", audio_end_ms=at, item_id=item.id)
        await self._teller.commit_item(item.id)


class ItemChapter(Chapter):
    """Without turn detection: all sound until the client commits it is one item."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._item = _Item(0.0)
        self._is_committed = False

    async def commit(self) -> None:
        self._is_committed = True
        await self._teller.commit_item(self._item.id)

    async def clear(self) -> None:
        await self._hosted.close()

    async def tell(self) -> None:
        item = self._item
        try:
            async for event in self._hosted.events():
                if isinstance(event, Committed):
                    await self._delta(item, item.delta(event.text))
                elif isinstance(event, Final):
                    self._finish(item, event)
        except ClientGone:
            raise
        except Exception as error:
            await self._fail(item, error)
            raise
        item.end = self.seconds
        if self._is_committed:
            await self._complete(item)
