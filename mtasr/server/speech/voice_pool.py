"""The voice of `/v1/audio/speech`: loaded when it is first used."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial

from mtasr.speech.voice import Voice, load_voice


class VoicePool:
    """Keeps the voice that was used last; another one takes its place. One text at a time is read, on all cores.

    All calls come from one event loop; voices are loaded in threads.
    """

    def __init__(self, *, downloads: bool, load: Callable[..., Voice] = load_voice) -> None:
        """`downloads`: whether a voice that is not on this machine is fetched."""
        self._load = partial(load, local_only=not downloads)
        self._voice: Voice | None = None
        self._turn = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def use(self, name: str) -> AsyncIterator[Voice]:
        """A voice, when it is its turn. Raises what `mtasr.load_voice` raises."""
        async with self._turn:
            if self._voice is None or self._voice.name != name:
                self._voice = None  # so that two are never in memory
                self._voice = await asyncio.to_thread(self._load, name)
            yield self._voice
