"""Models by name: loaded once when a request needs one, unloaded when none has for a while."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtasr import system
from mtasr.errors import ModelNotFoundError
from mtasr.models import list_models, registry
from mtasr.server.settings import Settings
from mtasr.transcribe import Model, load_model

_LOG = logging.getLogger(__name__)

#: OpenAI's names, which mean the default model: programs written for its API name one of them.
OPENAI_NAMES = frozenset({
    "whisper-1", "gpt-transcribe", "gpt-4o-transcribe", "gpt-4o-mini-transcribe",
    "gpt-4o-mini-transcribe-2025-12-15", "gpt-4o-transcribe-diarize",
})  # fmt: skip

#: Loads a model by name or folder.
Load = Callable[[str], Model]


@dataclass(eq=False, slots=True)
class _Entry:
    """A model that is loaded, or about to be."""

    loading: asyncio.Task[Model]
    users: int = 0
    last_used: float = field(default_factory=time.monotonic)

    @property
    def model(self) -> Model | None:
        """The model once it is loaded."""
        done = self.loading.done() and not self.loading.cancelled() and self.loading.exception() is None
        return self.loading.result() if done else None


class ModelPool:
    """Holds the models. All calls come from one event loop; models are loaded and unloaded in threads."""

    def __init__(self, settings: Settings, load: Load = load_model) -> None:
        self._settings, self._load = settings, load
        self._entries: dict[str, _Entry] = {}
        self._changed = asyncio.Condition()
        #: Requests that wait for a model because too many others are in use.
        self._short = 0
        #: Called when one begins to wait; whoever uses a model patiently should give it back.
        self.on_short: Callable[[], object] = lambda: None
        #: By the name that clients use: what `load` is given.
        self._sources = {_public_name(name): name for name in (settings.model, *(settings.models or ()))}
        self.default = _public_name(settings.model)

    # --- names ------------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """The models that requests may name, the default first. Looks at the disk unless they were listed."""
        found = dict.fromkeys(self._sources)
        if self._settings.models is None:
            local = (each.name for each in list_models() if self._settings.downloads or each.where != "downloadable")
            found |= dict.fromkeys(local)
        return [*found]

    def find(self, name: str | None) -> str:
        """The name of the model that a request means by `name`. Raises `ModelNotFoundError`.

        None, an empty name and OpenAI's names mean the default; aliases and repositories mean the published model.
        """
        if not name or (name in OPENAI_NAMES and name not in self._sources):
            return self.default
        spec = registry.find(name)
        for each in (name, spec.name if spec else name):
            if each in self._sources or each in self.names():
                return each
        raise ModelNotFoundError(f"there is no model {name!r} here; there are {', '.join(self.names())}")

    def described(self, name: str) -> dict[str, Any]:
        """A model as OpenAI's API lists it, and whether it is in memory. `name` is one of `names`."""
        status = next((each for each in list_models() if each.name == name), None)
        path = Path(self._sources.get(name, name)) if status is None else status.path
        created = 0
        with contextlib.suppress(OSError):
            created = int(path.stat().st_mtime) if path is not None else 0
        return {
            "id": name,
            "object": "model",
            "created": created,
            "owned_by": "local" if status is None else status.repo.partition("/")[0],
            "loaded": self.peek(name) is not None,
        }

    @property
    def loaded(self) -> list[str]:
        """Names of the models in memory."""
        return [name for name, entry in self._entries.items() if entry.model is not None]

    def peek(self, name: str) -> Model | None:
        """A model if it is loaded, without counting as its use."""
        entry = self._entries.get(name)
        return entry.model if entry is not None else None

    # --- use --------------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def use(self, name: str | None = None, *, patient: bool = False) -> AsyncIterator[Model]:
        """A model, loaded if necessary; it stays loaded until it is left.

        Waits while as many models as may be loaded are in use; who is `patient` also waits while others wait. Raises
        `ModelNotFoundError`, and what loading raises.
        """
        found = await asyncio.to_thread(self.find, name)
        entry = await self._entry(found, patient=patient)
        try:
            # Shielded: whoever goes away must not stop a load that others wait for.
            yield await asyncio.shield(entry.loading)
        finally:
            entry.users -= 1
            entry.last_used = time.monotonic()
            if entry.loading.done() and entry.model is None and self._entries.get(found) is entry:
                del self._entries[found]
            async with self._changed:
                self._changed.notify_all()

    async def _entry(self, name: str, *, patient: bool) -> _Entry:
        """The entry of a model, counted as used."""
        async with self._changed:
            if patient:
                await self._changed.wait_for(lambda: not self._short)
            while name not in self._entries and len(self._entries) >= self._settings.loaded_models:
                if not await self._unload_idle(most=1):
                    await self._wait_for_others(patient=patient)
            entry = self._entries.get(name)
            if entry is None:
                entry = self._entries[name] = _Entry(asyncio.create_task(self._loaded(name)))
            entry.users += 1
            return entry

    async def _wait_for_others(self, *, patient: bool) -> None:
        """Wait until another model may have come out of use."""
        if patient:
            await self._changed.wait()
            return
        self._short += 1
        try:
            self.on_short()
            await self._changed.wait()
        finally:
            self._short -= 1
            if not self._short:
                self._changed.notify_all()  # the patient, who look once this one has its model

    async def _loaded(self, name: str) -> Model:
        began = time.monotonic()
        model = await asyncio.to_thread(self._load, self._sources.get(name, name))
        _LOG.info("model loaded", extra={"model": name, "seconds": round(time.monotonic() - began, 3)})
        return model

    async def unload_idle(self) -> None:
        """Unload the models that nobody has used for `idle_seconds`."""
        async with self._changed:
            await self._unload_idle(idle=self._settings.idle_seconds)

    async def _unload_idle(self, *, idle: float = 0.0, most: int | None = None) -> int:
        """Unload unused models, the one used longest ago first; returns how many."""
        latest = time.monotonic() - idle
        able = [name for name, each in self._entries.items() if not each.users and each.last_used <= latest]
        able.sort(key=lambda name: self._entries[name].last_used)
        for name in able[:most]:
            entry = self._entries.pop(name)
            model = entry.model
            del entry
            if model is not None:
                await asyncio.to_thread(model.close)
                del model
                await asyncio.to_thread(_give_back_memory)
                _LOG.info("model unloaded", extra={"model": name})
        return len(able[:most])

    async def close(self) -> None:
        """Unload all models. Nobody may use one any more."""
        async with self._changed:
            await self._unload_idle()


def _public_name(name: str) -> str:
    """The name by which clients know a model: a folder goes by its last part."""
    spec = registry.find(name)
    if spec is not None:
        return spec.name
    return Path(name).name if Path(name).is_dir() else name


def _give_back_memory() -> None:
    gc.collect()
    system.return_freed_memory()
