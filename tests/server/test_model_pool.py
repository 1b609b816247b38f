"""Models are loaded once when they are needed, and unloaded when nobody needs them."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from server.running import fake_model

from mtasr.errors import ModelError, ModelNotFoundError
from mtasr.server.model_pool import ModelPool
from mtasr.server.settings import Settings
from mtasr.transcribe import Model


class Loader:
    """Loads fakes, and counts."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.fails = False
        self.may_load = threading.Event()
        self.may_load.set()

    def __call__(self, name: str) -> Model:
        assert self.may_load.wait(60)
        self.loaded.append(name)
        if self.fails:
            raise ModelError("it is damaged")
        return fake_model()


def run(work: Callable[[ModelPool, Loader], Awaitable[None]], **settings: object) -> Loader:
    loader = Loader()

    async def whole() -> None:
        pool = ModelPool(Settings(models=("tiny", "small"), **settings), loader)  # type: ignore[arg-type]
        try:
            await work(pool, loader)
        finally:
            await pool.close()
        assert pool.loaded == []

    asyncio.run(whole())
    return loader


async def use(pool: ModelPool, name: str | None = None) -> Model:
    async with pool.use(name) as model:
        return model


def test_many_wait_for_one_load() -> None:
    async def work(pool: ModelPool, loader: Loader) -> None:
        loader.may_load.clear()
        waiting = [asyncio.create_task(use(pool, name)) for name in ("base", "whisper-1", None, "")]
        await asyncio.sleep(0.05)
        waiting[0].cancel()  # who goes away does not stop it
        loader.may_load.set()
        assert len({id(await each) for each in waiting[1:]}) == 1
        assert pool.loaded == ["base"]

    assert run(work).loaded == ["base"]


def test_names() -> None:
    async def work(pool: ModelPool, loader: Loader) -> None:
        assert pool.names() == ["base", "tiny", "small"]
        assert pool.find("Systran/faster-whisper-tiny") == "tiny"
        for name in ("large-v3", "/etc", "../base", "no/such"):
            with pytest.raises(ModelNotFoundError, match=f"no model '{name}' on this server; it has base, tiny, small"):
                pool.find(name)

    assert run(work).loaded == []


def test_a_folder_goes_by_its_last_part(tmp_path: Path) -> None:
    folder = tmp_path / "ours"
    folder.mkdir()
    pool = ModelPool(Settings(model=str(folder), models=("base",)), Loader())
    assert pool.names() == ["ours", "base"]
    assert pool.find("whisper-1") == pool.default == "ours"
    with pytest.raises(ModelNotFoundError):
        pool.find(str(folder))
    assert pool.described("ours")["owned_by"] == "local"


def test_a_load_that_fails_fails_for_all_and_is_tried_again() -> None:
    async def work(pool: ModelPool, loader: Loader) -> None:
        loader.fails = True
        results = await asyncio.gather(use(pool), use(pool), return_exceptions=True)
        assert [str(each) for each in results] == ["it is damaged"] * 2
        loader.fails = False
        assert await use(pool)

    assert run(work).loaded == ["base", "base"]


def test_unused_models_are_unloaded() -> None:
    async def work(pool: ModelPool, loader: Loader) -> None:
        async with pool.use("base") as model:
            await use(pool, "tiny")
            await asyncio.sleep(0.02)
            await pool.unload_idle()
            assert pool.loaded == ["base"], "one that is used stays"
        await pool.unload_idle()
        assert pool.loaded == ["base"], "and is not idle at once"
        await asyncio.sleep(0.02)
        known = weakref.ref(model)
        del model
        await pool.unload_idle()
        gc.collect()
        assert known() is None
        await use(pool, "base")

    assert run(work, idle_seconds=0.01).loaded == ["base", "tiny", "base"]


def test_no_more_are_loaded_than_may_be() -> None:
    async def work(pool: ModelPool, loader: Loader) -> None:
        await use(pool, "base")
        async with pool.use("tiny"):
            await use(pool, "small")
            assert pool.loaded == ["tiny", "small"], "the one used longest ago has made room"
            async with pool.use("small"):
                third = asyncio.create_task(use(pool, "base"))
                await asyncio.sleep(0.05)
                assert not third.done()
            assert await third
            assert pool.loaded == ["tiny", "base"]

    run(work, loaded_models=2)


def test_who_is_short_for_long_goes_before_those_that_come_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtasr.server.model_pool._SHORT_SECONDS", 0.01)

    async def work(pool: ModelPool, loader: Loader) -> None:
        async with pool.use("base"):
            short = asyncio.create_task(use(pool, "tiny"))
            await asyncio.sleep(0.05)
            later = asyncio.create_task(use(pool, "base"))
            gone = asyncio.create_task(use(pool, "base"))
            await asyncio.sleep(0.05)
            assert not short.done()
            assert not later.done()
            gone.cancel()
        assert await short
        assert await later

    assert run(work, loaded_models=1).loaded == ["base", "tiny", "base"]


MEMORY = """
import asyncio, os
from pathlib import Path
from mtasr import system
from mtasr.checkpoints.parity_clip import CLIP
from mtasr.server.model_pool import ModelPool
from mtasr.server.settings import Settings

def resident():
    print(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))

async def work():
    pool = ModelPool(Settings())
    for _ in range(4):
        async with pool.use() as model:
            await asyncio.to_thread(model.transcribe, CLIP)
        del model
        resident()
        await pool.close()
        resident()

system.share_freed_memory()
asyncio.run(work())
"""


@pytest.mark.slow
@pytest.mark.weights
def test_unloading_gives_the_memory_back() -> None:
    done = subprocess.run([sys.executable, "-c", MEMORY], check=True, capture_output=True, text=True)
    sizes = [int(line) for line in done.stdout.split()]
    for loaded, unloaded in zip(sizes[::2], sizes[1::2], strict=True):
        assert loaded - unloaded > 75_000_000, "as much as the weights"
    assert sizes[-1] - sizes[1] < 15_000_000, "and none is lost from time to time"
