"""Models for the threads that run jobs, from the pool that belongs to the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import Future

from mtasr.errors import InputError
from mtasr.server.model_pool import ModelPool
from mtasr.transcribe import Model

#: Seconds between looks whether the model is still wanted.
_LOOK = 0.2

#: Lends the model of a name for as long as the context lasts. While a thread waits for the model, it asks again and
#: again whether the model is still wanted.
Lend = Callable[[str, Callable[[], bool]], contextlib.AbstractContextManager[Model]]


def lender(pool: ModelPool, loop: asyncio.AbstractEventLoop) -> Lend:
    """A function that lends models of the pool to threads. Requests that somebody waits for get theirs first."""

    async def hold(name: str, lent: queue.SimpleQueue[Model], given_back: asyncio.Event) -> None:
        async with pool.use(name, patient=True) as model:
            lent.put(model)
            del model
            await given_back.wait()

    @contextlib.contextmanager
    def lend(name: str, is_wanted: Callable[[], bool]) -> Iterator[Model]:
        lent: queue.SimpleQueue[Model] = queue.SimpleQueue()
        given_back = asyncio.Event()
        holding = asyncio.run_coroutine_threadsafe(hold(name, lent, given_back), loop)
        try:
            model = _awaited(lent, holding, is_wanted)
        except BaseException:
            holding.cancel()
            raise
        try:
            yield model
        finally:
            del model
            loop.call_soon_threadsafe(given_back.set)
            holding.result()

    return lend


def _awaited(lent: queue.SimpleQueue[Model], holding: Future[None], is_wanted: Callable[[], bool]) -> Model:
    """The model, once it is there. Raises what loading it raises, and `InputError` once it is not wanted any more."""
    while True:
        with contextlib.suppress(queue.Empty):
            return lent.get(timeout=_LOOK)
        if holding.done():
            holding.result()
        if not is_wanted():
            raise InputError("the run was stopped")
