"""The socket that the server listens on."""

from __future__ import annotations

import socket

from mtasr.server import Settings
from mtasr.server.process import _bound


def test_answers_are_sent_without_delay() -> None:
    with _bound(Settings(port=0)) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.proto == socket.IPPROTO_TCP  # asyncio sets TCP_NODELAY for these alone
