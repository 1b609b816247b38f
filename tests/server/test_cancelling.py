"""A client that hangs up frees its place, whatever it was waiting for."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fakes import HearingEngine, LoudIsSpeech
from server.conftest import write_noise
from server.running import Running, running
from waiting import wait_until

from mtasr.decoding.transcription import Transcription
from mtasr.engines.engine import EngineLimits
from mtasr.server import Settings, transcribing, upload
from mtasr.transcribe import Model

PATH = "/v1/audio/transcriptions"


class Gate:
    """An engine that encodes nothing while the gate is closed."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.engine = HearingEngine(fails=lambda heard: not self.open.wait(60), limits=EngineLimits(batch_size=2))

    def load(self, name: str) -> Model:
        return Model(self.engine, detector=LoudIsSpeech)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open.set()


def begin(
    server: Running, file: Path, *, whole: bool = True, path: str = PATH, field: str = "file", **fields: str
) -> socket.socket:
    """Send a request, and wait for no answer."""
    body = b"".join(
        f'--xx\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    )
    body += f'--xx\r\nContent-Disposition: form-data; name="{field}"; filename="a.wav"\r\n\r\n'.encode()
    body += file.read_bytes()
    body += b"\r\n--xx--\r\n"
    address = urlsplit(server.url)
    connection = socket.create_connection((address.hostname, address.port), timeout=30)
    kind = "Content-Type: multipart/form-data; boundary=xx"
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + (body if whole else body[: len(body) // 2]))
    return connection


@pytest.mark.parametrize("fields", [{}, {"stream": "true"}, {"condition_on_previous_text": "true"}], ids=str)
def test_while_it_is_transcribed(gate: Gate, tmp_path: Path, fields: dict[str, str]) -> None:
    long = write_noise(tmp_path / "long.wav", [(at, at + 8.0) for at in range(1, 60, 10)], 60.0)
    with running(load=gate.load) as server:
        places = server.service.admission
        gate.open.clear()
        connection = begin(server, long, **fields)
        wait_until(lambda: places.active)
        time.sleep(0.1)
        connection.close()
        if "condition_on_previous_text" in fields:  # The thread that computes is its own, and ends with the window.
            gate.open.set()
        wait_until(lambda: not places.active and not places.taken)
        gate.open.set()
        wait_until(lambda: not any(server.service.incoming.iterdir()))
        assert len(gate.engine.encoded) <= 2, "the batch that was under way, and no more"


def test_a_recording_that_is_longer_than_it_says(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Transcription, "total", property(lambda self: 1.0))
    with running(Settings(short_seconds=2.0)) as server:
        places = server.service.admission
        longest, lengthen = [], places._lengthen
        monkeypatch.setattr(places, "_lengthen", lambda waiter: (lengthen(waiter), longest.append(places.active_long)))
        assert server.post(PATH, clip).status_code == 200
        assert longest == [1]
        assert places.active_long == 0


def test_while_events_come(gate: Gate, tmp_path: Path) -> None:
    long = write_noise(tmp_path / "long.wav", [(at, at + 8.0) for at in range(1, 60, 10)], 60.0)
    with running(load=gate.load) as server:
        connection = begin(server, long, stream="true")
        assert b"transcript.text.delta" in connection.recv(1 << 16) + connection.recv(1 << 16)
        gate.open.clear()
        connection.close()
        wait_until(lambda: not server.service.admission.active and not server.service.admission.taken)
        gate.open.set()


def test_who_reads_no_events(gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtasr.server.process._READING", 0.2)
    monkeypatch.setattr("mtasr.server.openai_api.event", lambda data: b": much\n" * 1_000_000)
    long = write_noise(tmp_path / "long.wav", [(at, at + 8.0) for at in range(1, 60, 10)], 60.0)
    with running(load=gate.load) as server:
        connection = begin(server, long, stream="true")
        wait_until(lambda: server.service.admission.active)
        wait_until(lambda: not server.service.admission.active and not server.service.admission.taken)
        connection.close()


@pytest.mark.parametrize("kept", [True, False])
def test_who_reads_no_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch, kept: bool) -> None:
    monkeypatch.setattr("mtasr.server.process._READING", 0.2)
    monkeypatch.setattr("mtasr.server.protocols.asr_webservice.__version__", "x" * 20_000_000)
    with running() as server:
        address = urlsplit(server.url)
        with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
            more = "" if kept else "Connection: close\r\n"
            connection.sendall(f"GET /status HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode())
            wait_until(lambda: server.connections)
            wait_until(lambda: not server.connections)


def test_who_reads_slowly_gets_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtasr.server.process._READING", 0.2)
    monkeypatch.setattr("mtasr.server.protocols.asr_webservice.__version__", "x" * 20_000_000)
    with running() as server:
        address = urlsplit(server.url)
        with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
            connection.sendall(b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            read = 0
            while piece := connection.recv(1 << 20):
                read += len(piece)
                time.sleep(0.03)
        assert read > 20_000_000


def test_while_it_waits_for_its_turn(gate: Gate, clip: Path) -> None:
    with running(Settings(at_once=1), load=gate.load) as server:
        places = server.service.admission
        gate.open.clear()
        first, second = begin(server, clip), begin(server, clip)
        wait_until(lambda: places.waiting == 1)
        second.close()
        wait_until(lambda: places.waiting == 0 and places.taken.total() == 1)
        third = begin(server, clip)
        wait_until(lambda: places.waiting == 1)
        first.close()
        wait_until(lambda: places.waiting == 0 and places.active.total() == 1)
        gate.open.set()
        assert third.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        third.close()


def test_while_it_is_received(gate: Gate, clip: Path) -> None:
    with running(load=gate.load) as server:
        connection = begin(server, clip, whole=False)
        wait_until(lambda: any(server.service.incoming.iterdir()))
        connection.close()
        wait_until(lambda: not server.service.admission.taken)
        assert not any(server.service.incoming.iterdir())


def test_fifty_that_hang_up_leave_nothing_behind(gate: Gate, clip: Path) -> None:
    with running(load=gate.load) as server:
        for _ in range(3):
            assert server.post(PATH, clip).status_code == 200
        gc.collect()
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
        gate.open.clear()
        connections = [begin(server, clip) for _ in range(50)]
        wait_until(lambda: server.service.admission.active.total() == 32)
        for each in connections:
            each.close()
        gate.open.set()
        wait_until(lambda: not server.service.admission.taken)
        assert server.post(PATH, clip).status_code == 200
        wait_until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= descriptors)
        assert not any(server.service.incoming.iterdir())


def test_while_its_language_is_detected(gate: Gate, clip: Path) -> None:
    with running(load=gate.load) as server:
        places = server.service.admission
        gate.open.clear()
        connection = begin(server, clip, path="/detect-language", field="audio_file")
        wait_until(lambda: places.active)
        connection.close()
        time.sleep(0.1)
        assert places.active, "the thread still works"
        gate.open.set()
        wait_until(lambda: not places.active and not places.taken)


def test_who_is_cancelled_twice_still_waits_for_the_thread() -> None:
    may_end = threading.Event()

    async def run() -> None:
        working = asyncio.ensure_future(transcribing.in_thread(lambda: may_end.wait(60)))
        for _ in range(3):
            await asyncio.sleep(0.02)
            working.cancel()
        await asyncio.sleep(0.02)
        assert not working.done()
        may_end.set()
        await asyncio.wait({working})
        assert working.cancelled()

    asyncio.run(run())


def test_a_file_is_not_closed_while_a_piece_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    may_end = threading.Event()
    monkeypatch.setattr(upload, "_write_all", lambda descriptor, data: may_end.wait(60))

    async def run() -> None:
        form = upload._Form(Settings(), tmp_path, ["file"], b"xx", b"")
        form.feed(b'--xx\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + bytes(1 << 20))
        writing = asyncio.ensure_future(form.write())
        await asyncio.sleep(0.05)
        writing.cancel()  # as at the end of a server that waits no longer
        await asyncio.wait({writing})
        form.discard()
        assert form._descriptor is not None
        assert any(tmp_path.iterdir())
        may_end.set()
        await asyncio.sleep(0.2)
        assert form._descriptor is None
        assert not any(tmp_path.iterdir())

    asyncio.run(run())
