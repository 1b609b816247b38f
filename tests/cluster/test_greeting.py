"""What listens at an address, before Ray is asked."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mtasr.cluster import greeting
from mtasr.cluster.greeting import require_head
from mtasr.errors import ClusterError

_SETTINGS = bytes((0, 0, 6, 4, 0, 0, 0, 0, 0)) + bytes(6)


@contextmanager
def listening(answer: bytes | None) -> Iterator[int]:
    """A server that gives an answer and hangs up, or with None says nothing. Yields its port."""
    ended = threading.Event()

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(1000)
            if answer is None:
                ended.wait(30)
            else:
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        ended.set()
        thread.join()


def test_a_head_greets_with_its_settings():
    with listening(_SETTINGS) as port:
        require_head("127.0.0.1", port)


@pytest.mark.parametrize("answer", [b"HTTP/1.0 400 Bad request\r\n\r\n", b"220 mail\r\n", b"", _SETTINGS[:5]])
def test_others_are_refused(answer: bytes):
    with listening(answer) as port, pytest.raises(ClusterError, match=rf"what listens at 127\.0\.0\.1:{port} "):
        require_head("127.0.0.1", port)


@pytest.mark.timeout(20)
def test_silence_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(greeting, "_ANSWERING", 0.2)
    with listening(None) as port, pytest.raises(ClusterError, match="does not answer as a Ray cluster does"):
        require_head("127.0.0.1", port)
