"""Who is taken, and whose turn it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, ExitStack

import pytest

from mtasr.server.admission import Admission
from mtasr.server.problems import Problem
from mtasr.server.settings import Settings


def test_no_more_are_taken_than_there_are_places() -> None:
    admission = Admission(Settings(requests=3, client_requests=2))
    with ExitStack() as held:
        for client in ("anna", "anna", "ben"):
            held.enter_context(admission.place(client))
        for client, message in (("anna", "you have 2 requests here"), ("cleo", "as many requests as it takes")):
            with pytest.raises(Problem, match=message) as caught, admission.place(client):
                pass
            assert caught.value.status == 429
            assert int(caught.value.headers["retry-after"]) >= 1
    assert not admission.taken
    with admission.place("anna"):
        assert admission.taken["anna"] == 1


def test_a_client_has_so_many_streams_of_events() -> None:
    admission = Admission(Settings(client_requests=2))
    with admission.stream("anna"), admission.stream("anna"), admission.stream("ben"):
        with pytest.raises(Problem, match="you have 2 streams of events open") as caught, admission.stream("anna"):
            pass
        assert caught.value.status == 429
    assert not admission.streams


class Turns:
    """Recordings that ask for turns, and the order in which they get them."""

    def __init__(self, **settings: int) -> None:
        self.admission = Admission(Settings(**settings))  # type: ignore[arg-type]
        self.called: list[str] = []
        self.lengthen: dict[str, Callable[[], None]] = {}
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, name: str, client: str = "anna", *, long: bool = False) -> None:
        self._ends[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._turn(name, self.admission.turn(client, long=long)))
        await asyncio.sleep(0)

    async def _turn(self, name: str, turn: AbstractAsyncContextManager[Callable[[], None]]) -> None:
        async with turn as self.lengthen[name]:
            self.called.append(name)
            await self._ends[name].wait()

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await self._tasks[name]
        await asyncio.sleep(0)

    async def leave(self, name: str) -> None:
        self._tasks[name].cancel()
        await asyncio.wait({self._tasks[name]})
        await asyncio.sleep(0)

    def run(self, work: Callable[[], Awaitable[None]]) -> list[str]:
        async def whole() -> None:
            await work()
            for end in self._ends.values():
                end.set()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

        asyncio.run(whole())
        assert not self.admission.active
        assert self.admission.active_long == self.admission.waiting == 0
        return self.called


def test_clients_take_turns() -> None:
    turns = Turns(at_once=2)

    async def work() -> None:
        for number in range(4):
            await turns.ask(f"anna {number}")
        await turns.ask("ben 0", "ben")
        assert turns.called == ["anna 0", "anna 1"]
        await turns.end("anna 0")
        assert turns.called[2:] == ["ben 0"], "who has fewer turns goes first"
        await turns.end("anna 1")
        assert turns.called[3:] == ["anna 2"]

    turns.run(work)


def test_short_recordings_do_not_wait_for_long_ones() -> None:
    turns = Turns(at_once=4, long_at_once=1)

    async def work() -> None:
        for name in ("film", "talk"):
            await turns.ask(name, long=True)
        await turns.ask("word")
        assert turns.called == ["film", "word"]
        await turns.end("film")
        assert turns.called == ["film", "word", "talk"]

    turns.run(work)


def test_a_recording_that_turns_out_long_counts_as_one() -> None:
    turns = Turns(at_once=4, long_at_once=1)

    async def work() -> None:
        await turns.ask("endless")
        for _ in range(2):
            turns.lengthen["endless"]()
        await turns.ask("film", long=True)
        assert (turns.called, turns.admission.active_long) == (["endless"], 1)
        await turns.end("endless")
        assert turns.called == ["endless", "film"]

    turns.run(work)


def test_who_leaves_gives_its_turn_to_the_next() -> None:
    turns = Turns(at_once=1)

    async def work() -> None:
        for name in ("first", "second", "third", "fourth"):
            await turns.ask(name)
        await turns.leave("second")
        assert turns.admission.waiting == 2
        await turns.leave("first")
        assert turns.called == ["first", "third"]

    assert turns.run(work) == ["first", "third", "fourth"]


def test_a_turn_that_comes_as_its_owner_leaves_is_not_lost() -> None:
    turns = Turns(at_once=1)

    async def work() -> None:
        for name in ("first", "second", "third"):
            await turns.ask(name)
        turns._ends["first"].set()
        while turns.admission.waiting == 2:
            await asyncio.sleep(0)
        turns._tasks["second"].cancel()  # called already, but it has not heard of it
        await asyncio.sleep(0.01)
        assert "third" in turns.called

    turns.run(work)
