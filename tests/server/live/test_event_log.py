"""The log of a live session keeps the shortest tale with the same end."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from mtasr.server.live.event_log import EventLog


def told(log: EventLog, number: int = 0) -> list[dict[str, Any]]:
    async def read() -> list[dict[str, Any]]:
        return [json.loads(text) async for text in log.after(number)]

    return asyncio.run(read())


def test_what_is_replaced_is_dropped() -> None:
    log = EventLog()
    for kind, stretch in [
        ("speech_started", 0), ("draft", 0), ("draft", 0), ("committed", 0), ("draft", 0), ("committed", 0),
        ("speech_stopped", 0), ("speech_started", 1), ("draft", 1), ("final", 0), ("committed", 1), ("draft", 1),
    ]:  # fmt: skip
        log.add({"type": kind, "stretch": stretch})
    for seconds in (1.0, 2.0):
        log.add({"type": "lag", "seconds": seconds})
    log.add({"type": "end"}, last=True)
    kinds = [(each["type"], each.get("stretch"), each["event"]) for each in told(log)]
    assert kinds == [
        ("speech_started", 1, 8), ("final", 0, 10), ("committed", 1, 11), ("draft", 1, 12), ("lag", None, 14),
        ("end", None, 15),
    ]  # fmt: skip
    assert [each["event"] for each in told(log, 11)] == [12, 14, 15]
    assert told(log, 15) == told(log, 10**12) == []


def test_of_corrections_the_last_is_kept_with_the_text() -> None:
    log = EventLog()
    for kind, stretch in [
        ("final", 0), ("speakers_changed", 0), ("final", 1), ("speakers_changed", 1), ("speakers_changed", 0),
    ]:  # fmt: skip
        log.add({"type": kind, "stretch": stretch})
    log.add({"type": "end"}, last=True)
    assert [(each["type"], each.get("stretch")) for each in told(log)] == [
        ("final", 0), ("final", 1), ("speakers_changed", 1), ("speakers_changed", 0), ("end", None),
    ]  # fmt: skip


def test_it_grows_with_the_text_alone() -> None:
    log = EventLog()
    for stretch in range(50):
        for kind in ["speech_started", *["draft", "committed"] * 20, "speech_stopped", "final"]:
            log.add({"type": kind, "stretch": stretch})
    log.add({"type": "end"}, last=True)
    assert len(told(log)) == 51


def test_who_waits_is_told_at_once() -> None:
    async def run() -> list[str]:
        log, heard = EventLog(), []

        async def read() -> None:
            async for text in log.after(0):
                heard.append(json.loads(text)["type"])

        reading = asyncio.create_task(read())
        for kind in ("speech_started", "speech_stopped"):
            await asyncio.sleep(0)
            log.add({"type": kind, "stretch": 0})
        await asyncio.sleep(0)
        log.add({"type": "end"}, last=True)
        await reading
        return heard

    assert asyncio.run(run()) == ["speech_started", "speech_stopped", "end"]
