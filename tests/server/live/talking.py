"""Sound for live sessions, and clients that are no more than sockets."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from server.running import Running
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

#: What the fake session makes of `noise()`: two items.
ITEMS = ("2 3 4", "8 9 10")


def noise(rate: int, bursts: tuple[tuple[float, float], ...] = ((0.5, 2.2), (3.5, 5.1)), seconds: float = 6.0) -> bytes:
    """Samples of 16 bits with noise from each start to each end."""
    samples = np.zeros(round(rate * seconds))
    loud = np.random.default_rng(5).normal(0, 0.1, samples.size).clip(-1, 1)
    for start, end in bursts:
        samples[round(start * rate) : round(end * rate)] = loud[round(start * rate) : round(end * rate)]
    return (samples * 32767).astype("<i2").tobytes()


def pieces(sound: bytes, size: int = 9600) -> Iterator[bytes]:
    for start in range(0, len(sound), size):
        yield sound[start : start + size]


@contextlib.contextmanager
def socket(server: Running, path: str, **settings: Any) -> Iterator[ClientConnection]:
    with connect(server.url.replace("http", "ws", 1) + path, max_size=None, max_queue=None, **settings) as connection:
        yield connection


def say(connection: ClientConnection, kind: str, **fields: Any) -> None:
    connection.send(json.dumps({"type": kind, **fields}))


def append(connection: ClientConnection, sound: bytes) -> None:
    for piece in pieces(sound):
        say(connection, "input_audio_buffer.append", audio=base64.b64encode(piece).decode())


def next_of(connection: ClientConnection, *kinds: str) -> dict[str, Any]:
    """The next event of one of these kinds; an error must be among them if it comes."""
    while True:
        event: dict[str, Any] = json.loads(connection.recv(20))
        if event["type"] in kinds:
            return event
        assert event["type"] != "error", event


def closed(connection: ClientConnection) -> int | None:
    """The code with which the server closes a connection, whatever it says before; None if the connection is lost."""
    while True:
        try:
            connection.recv(20)
        except ConnectionClosed as error:
            return None if error.rcvd is None else error.rcvd.code
