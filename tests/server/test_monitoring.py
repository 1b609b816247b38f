"""Health, figures and the log."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fakes import HearingEngine, LoudIsSpeech
from server.running import Running, running
from server.test_cancelling import Gate, wait_until

from mtasr.server import Settings
from mtasr.server.monitoring import health
from mtasr.server.monitoring.logs import JsonLines
from mtasr.transcribe import Model

PATH = "/v1/audio/transcriptions"


class Lines(logging.Handler):
    """Collects what the log would say, as it would say it."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonLines())
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))

    def events(self, name: str) -> list[dict[str, object]]:
        return [line for line in map(json.loads, self.lines) if line["event"] == name]


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, logger = Lines(), logging.getLogger("mtasr")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_the_log_has_a_line_for_each_request_and_no_text(server: Running, clip: Path, lines: Lines) -> None:
    with server.client() as client:
        files = {"file": ("my secret.wav", clip.read_bytes())}
        answer = client.post(PATH, files=files, data={"prompt": "hush"}, headers={"x-request-id": "job-7"})
        client.post(PATH, files={"file": ("my secret.wav", b"")}, headers={"x-request-id": "in valid"})
    wait_until(lambda: len(lines.events("request")) == 2)
    good, bad = lines.events("request")
    assert answer.headers["x-request-id"] == good["request"] == "job-7"
    assert (good["method"], good["path"], good["status"], good["client"]) == ("POST", PATH, 200, "127.0.0.1")
    assert isinstance(good["received"], int)
    assert good["received"] > clip.stat().st_size
    assert bad["status"] == 400
    assert str(bad["request"]).startswith("req_")
    (heard,) = lines.events("transcribed")
    assert (heard["request"], heard["model"], heard["audio"]) == ("job-7", "base", 3.0)
    text = answer.json()["text"]
    for told in (text, "hush", "secret"):
        assert told not in "".join(lines.lines)


def test_the_log_has_the_text_if_asked(clip: Path, lines: Lines) -> None:
    with running(Settings(log_text=True)) as server:
        text = server.post(PATH, clip).json()["text"]
    assert lines.events("transcribed")[0]["text"] == text


def test_what_went_wrong_is_in_the_log_and_not_in_the_answer(clip: Path, lines: Lines) -> None:
    def broken(name: str) -> Model:
        return Model(HearingEngine(fails=lambda heard: True), detector=LoudIsSpeech)

    with running(load=broken) as server:
        for fields in ({}, {"stream": "true"}):
            answer = server.post(PATH, clip, **fields)
            assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error")
            assert answer.headers["x-should-retry"] == "false", "trying again would not mend it"
            assert "the engine stopped" not in answer.text
    failures = lines.events("request failed")
    assert len(failures) == 2
    assert "RuntimeError: the engine stopped" in str(failures[0]["error"])
    assert failures[0]["request"]


def test_figures(server: Running, clip: Path) -> None:
    with server.client() as client:
        before = figures(client.get("/metrics").text)
        for _ in range(2):
            server.post(PATH, clip)
        client.get("/v1/models/none")
        client.get("/nothing/here")
        after = figures(client.get("/metrics").text)
    ok = f'mtasr_requests_total{{route="{PATH}",status="200"}}'
    assert after[ok] - before.get(ok, 0) == 2
    heard = 'mtasr_audio_seconds_total{model="base"}'
    assert after[heard] - before.get(heard, 0) == 6
    assert after['mtasr_requests_total{route="none",status="404"}'] >= 1, "unknown paths are counted together"
    assert after['mtasr_model_loaded{model="base"}'] == 1
    assert after['mtasr_places{state="transcribing"}'] == after['mtasr_places{state="waiting"}'] == 0
    assert after["process_resident_memory_bytes"] > 0


def figures(text: str) -> dict[str, float]:
    rows = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in rows}


def test_figures_do_not_wait_for_the_disk(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, free = threading.Event(), threading.Event()

    def counts() -> dict[str, int]:
        asked.set()
        return {"queued": 3} if free.wait(30) else {}

    with running() as server, ThreadPoolExecutor() as pool, server.client() as client:
        monkeypatch.setattr(server.service.jobs.store, "counts", counts)
        answer = pool.submit(client.get, "/metrics")
        assert asked.wait(30)
        assert server.post(PATH, clip).status_code == 200
        free.set()
        assert 'mtasr_jobs{state="queued"} 3.0' in answer.result().text


def test_health_decodes_a_clip_once_for_all_who_ask() -> None:
    gate = Gate()
    with running(load=gate.load) as server, server.client() as client:
        for _ in range(5):
            answer = client.get("/health")
            assert (answer.status_code, answer.json()["status"], answer.json()["loaded"]) == (200, "ok", True)
        assert len(gate.engine.generated) == 1


def test_health_tells_a_stuck_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_STUCK", 0.1)
    gate = Gate()
    with running(load=gate.load) as server, server.client() as client:
        gate.open.clear()
        answer = client.get("/health")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "stuck")
        gate.open.set()


def test_health_tells_a_model_that_cannot_decode() -> None:
    def broken(name: str) -> Model:
        return Model(HearingEngine(fails=lambda heard: True), detector=LoudIsSpeech)

    with running(load=broken) as server, server.client() as client:
        assert client.get("/health").status_code == 503


def test_a_model_that_does_not_unload_keeps_no_other(monkeypatch: pytest.MonkeyPatch, lines: Lines) -> None:
    with running(Settings(idle_seconds=1e-9)) as server:
        unload, fails = server.service.pool._unload, [True]

        async def once(name: str) -> None:
            if fails:
                fails.clear()
                raise RuntimeError("no")
            await unload(name)

        monkeypatch.setattr(server.service.pool, "_unload", once)
        with server.client() as client:
            client.post(PATH, files={"file": b""})
        wait_until(lambda: not server.service.pool.loaded)


def test_health_does_not_keep_a_model_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_FRESH", 0.0)
    with running(Settings(idle_seconds=0.05)) as server, server.client() as client:
        while server.service.pool.loaded:
            assert client.get("/health").status_code == 200
        assert client.get("/health").json()["loaded"] is False
