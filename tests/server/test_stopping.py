"""A server that stops finishes what it has, or hands it back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from server.conftest import write_noise
from server.running import Running, running
from server.test_cancelling import Gate, wait_until

from mtasr.server import Settings

PATH = "/v1/audio/transcriptions"


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open.set()


def stop(server: Running) -> None:
    """What a signal makes the server do."""
    server.call(server.service.stop())


def test_what_is_under_way_is_finished(gate: Gate, clip: Path) -> None:
    with running(Settings(stop_seconds=60), load=gate.load) as server, ThreadPoolExecutor() as pool:
        gate.open.clear()
        answer = pool.submit(server.post, PATH, clip)
        wait_until(lambda: server.service.admission.active)
        stop(server)
        wait_until(server.service.stopping.is_set)
        refused = server.post(PATH, clip)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "stopping")
        assert refused.headers["retry-after"]
        with server.client() as client:
            health = client.get("/health")
        assert (health.status_code, health.json()["error"]["code"]) == (503, "stopping")
        gate.open.set()
        assert answer.result().status_code == 200


def test_what_takes_too_long_is_handed_back(gate: Gate, clip: Path) -> None:
    with running(Settings(stop_seconds=0, at_once=1), load=gate.load) as server, ThreadPoolExecutor() as pool:
        gate.open.clear()
        answers = [pool.submit(server.post, PATH, clip) for _ in range(2)]
        wait_until(lambda: server.service.admission.waiting)
        stop(server)
        for each in answers:
            answer = each.result()
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "stopping")
            assert answer.headers["retry-after"]
        gate.open.set()


def test_events_end_with_an_error(gate: Gate, tmp_path: Path) -> None:
    long = write_noise(tmp_path / "long.wav", [(at, at + 8.0) for at in range(1, 60, 10)], 60.0)
    with running(Settings(stop_seconds=0), load=gate.load) as server, server.client() as client:
        files, fields = {"file": ("a.wav", long.read_bytes())}, {"stream": "true"}
        with client.stream("POST", PATH, files=files, data=fields) as answer:
            lines = answer.iter_lines()
            assert "transcript.text.delta" in next(lines)
            gate.open.clear()
            stop(server)
            events = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
            gate.open.set()
    assert events[-1]["error"]["code"] == "stopping"
