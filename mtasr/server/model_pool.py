"""Models by name: loaded once when a request needs one, unloaded when none has for a while."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtasr import system
from mtasr.errors import ModelNotFoundError
from mtasr.models import list_models, registry
from mtasr.server.problems import shown
from mtasr.server.settings import Settings
from mtasr.transcribe import Model, load_model

_LOG = logging.getLogger(__name__)

#: OpenAI's names, which mean the default model: programs written for its API name one of them.
OPENAI_NAMES = frozenset({
    "whisper-1", "gpt-transcribe", "gpt-4o-transcribe", "gpt-4o-mini-transcribe",
    "gpt-4o-mini-transcribe-2025-12-15", "gpt-4o-transcribe-diarize", "gpt-live-transcribe", "gpt-realtime-whisper",
})  # fmt: skip

#: Seconds for which a request may be short of a model before those that come later wait for it.
_SHORT_SECONDS = 10.0

#: Seconds to wait for threads to let go of a model.
_PATIENCE = 2.0

#: Seconds for another thread to free the weights, if it was the last to hold them.
_FREEING = 0.1

#: Loads a model by name or folder.
Load = Callable[[str], Model]


@dataclass(eq=False, slots=True)
class _Entry:
    """A model that is loaded, or about to be."""

    loading: asyncio.Task[Model]
    users: int = 0
    last_used: float = field(default_factory=time.monotonic)

    @property
    def has_failed(self) -> bool:
        return self.loading.done() and (self.loading.cancelled() or self.loading.exception() is not None)

    @property
    def model(self) -> Model | None:
        """The model once it is loaded."""
        return self.loading.result() if self.loading.done() and not self.has_failed else None


class ModelPool:
    """Holds the models. All calls come from one event loop; models are loaded and unloaded in threads."""

    def __init__(self, settings: Settings, load: Load = load_model) -> None:
        self._settings, self._load = settings, load
        self._entries: dict[str, _Entry] = {}
        #: Models that are leaving memory.
        self._unloading = 0
        #: When the requests came that wait for a model because too many others are in use.
        self._short: list[float] = []
        #: Called when one begins to wait; whoever uses a model patiently should give it back.
        self.on_short: Callable[[], object] = lambda: None
        #: Set when a model may have become unused, or has left memory, or nobody is short of one.
        self._changed = asyncio.Event()
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
        raise ModelNotFoundError(f"there is no model {shown(name)} on this server; it has {', '.join(self.names())}")

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
            "loaded": name in self.loaded,
        }

    @property
    def loaded(self) -> list[str]:
        """Names of the models in memory."""
        return [name for name, entry in self._entries.items() if entry.model is not None]

    # --- use --------------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def use(self, name: str | None = None, *, patient: bool = False) -> AsyncIterator[Model]:
        """A model, loaded if necessary; it stays loaded until it is left.

        Waits while as many models as may be loaded are in use, and while one that came earlier has waited for long; who
        is `patient` waits while anybody waits. Raises
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
            if entry.has_failed and self._entries.get(found) is entry:
                del self._entries[found]
            self._changed.set()

    @contextlib.contextmanager
    def glimpse(self, name: str) -> Iterator[Model | None]:
        """A model if it is loaded; it stays loaded until it is left, which does not count as use."""
        entry = self._entries.get(name)
        if entry is None or entry.model is None:
            yield None
            return
        entry.users += 1
        try:
            yield entry.model
        finally:
            entry.users -= 1
            self._changed.set()

    async def _entry(self, name: str, *, patient: bool) -> _Entry:
        """The entry of a model, counted as used, as soon as there is one or room for one."""
        came, is_short = time.monotonic(), False
        try:
            while (lets := self._lets_others(came, patient=patient)) or not self._has(name):
                if not lets and len(self._entries) + self._unloading < self._settings.loaded_models:
                    self._entries[name] = _Entry(asyncio.create_task(self._loaded(name)))
                elif not lets and (unused := self._unused()):
                    await self._unload(unused[0])
                else:
                    if not lets and not patient:
                        self._short += [] if is_short else [came]
                        is_short = True
                        self.on_short()
                    self._changed.clear()
                    await self._changed.wait()
        finally:
            if is_short:
                self._short.remove(came)
                self._changed.set()  # for those who let this one go first
        self._entries[name].users += 1
        return self._entries[name]

    def _lets_others(self, came: float, *, patient: bool) -> bool:
        """Whether a request that came at a time waits for one that is short of a model."""
        if patient or not self._short:
            return patient and bool(self._short)
        first = min(self._short)
        return first < came and time.monotonic() - first > _SHORT_SECONDS

    def _has(self, name: str) -> bool:
        if name in self._entries and self._entries[name].has_failed:
            del self._entries[name]
        return name in self._entries

    async def _loaded(self, name: str) -> Model:
        began = time.monotonic()
        model = await asyncio.to_thread(self._load, self._sources.get(name, name))
        _LOG.info("model loaded", extra={"model": name, "seconds": round(time.monotonic() - began, 3)})
        return model

    def _unused(self, idle: float = 0.0) -> list[str]:
        """Models that nobody has used for so many seconds, the one used longest ago first."""
        latest = time.monotonic() - idle
        found = [
            (each.last_used, name)
            for name, each in self._entries.items()
            if not each.users and each.loading.done() and each.last_used <= latest
        ]
        return [name for _, name in sorted(found)]

    async def unload_idle(self) -> None:
        """Unload the models that nobody has used for `idle_seconds`."""
        for name in self._unused(self._settings.idle_seconds):
            if name in self._unused():  # still, after others were unloaded
                await self._unload(name)

    async def _unload(self, name: str) -> None:
        models = [model for model in [self._entries.pop(name).model] if model is not None]
        self._unloading += 1
        try:
            if models:
                await asyncio.to_thread(_unload, models)
                _LOG.info("model unloaded", extra={"model": name})
        finally:
            self._unloading -= 1
            self._changed.set()

    async def close(self) -> None:
        """Unload all models. Nobody may use one any more."""
        await asyncio.gather(*(each.loading for each in self._entries.values()), return_exceptions=True)
        for name in [*self._entries]:
            await self._unload(name)


def _public_name(name: str) -> str:
    """The name by which clients know a model: a folder goes by its last part."""
    spec = registry.find(name)
    if spec is not None:
        return spec.name
    return Path(name).name if Path(name).is_dir() else name


def _unload(models: list[Model]) -> None:
    """Close the models of a list that alone holds them, and give their memory back to the system."""
    held = [weakref.ref(model) for model in models]
    while models:
        models.pop().close()
    gc.collect()
    end = time.monotonic() + _PATIENCE
    while any(model() is not None for model in held) and time.monotonic() < end:
        time.sleep(0.01)  # A thread that used one may not have ended yet.
    time.sleep(_FREEING)
    system.return_freed_memory()
