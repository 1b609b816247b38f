"""Ephemeral keys: a browser shows one to open live sessions, and never learns the key of the server."""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mtasr.server.problems import busy

if TYPE_CHECKING:
    from mtasr.server.live.realtime_settings import RealtimeSettings

#: What they are good for.
EPHEMERAL_PATHS = frozenset({"/v1/realtime", "/v1/live"})
#: Keys that have not expired: of one client, and of all.
_MOST, _MOST_OF_ALL = 1000, 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class EphemeralKey:
    """Whose sessions it opens, until which time in seconds since 1970, and the settings that they have at first."""

    client: str
    expires_at: int
    settings: RealtimeSettings


class EphemeralKeys:
    """Those of a server, in memory. All calls come from one event loop."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        #: By the hash of the value.
        self._keys: dict[bytes, EphemeralKey] = {}
        #: When each expires, and its hash: a heap, the first to expire at its top.
        self._ends: list[tuple[int, bytes]] = []
        #: How many each client has.
        self._counts: Counter[str] = Counter()

    @contextlib.contextmanager
    def issue(self, client: str, seconds: int, settings: RealtimeSettings) -> Iterator[tuple[str, EphemeralKey]]:
        """A new value and its key, which is good once the block has ended without an error.

        Raises `Problem` 429 if there are too many, of the client or of all.
        """
        self._drop_expired()
        now = self._clock()
        if self._counts[client] >= _MOST:
            end = min(key.expires_at for key in self._keys.values() if key.client == client)
            raise busy(f"you have {_MOST} ephemeral keys, as many as a client may have", end - now)
        if len(self._keys) >= _MOST_OF_ALL:
            message = "the server has as many ephemeral keys as it gives out; come back later"
            raise busy(message, self._ends[0][0] - now)
        value = f"ek_{secrets.token_urlsafe(24)}"
        key = EphemeralKey(client=client, expires_at=int(now) + seconds, settings=settings)
        yield value, key
        digest = _digest(value)
        self._keys[digest] = key
        heapq.heappush(self._ends, (key.expires_at, digest))
        self._counts[client] += 1

    def find(self, shown: Sequence[str]) -> EphemeralKey | None:
        """The first of these values that is a key which has not expired."""
        self._drop_expired()
        found = (self._keys.get(_digest(value)) for value in shown)
        return next((key for key in found if key is not None), None)

    def _drop_expired(self) -> None:
        now = self._clock()
        while self._ends and self._ends[0][0] <= now:
            client = self._keys.pop(heapq.heappop(self._ends)[1]).client
            self._counts[client] -= 1
            if not self._counts[client]:
                del self._counts[client]


def _digest(value: str) -> bytes:
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).digest()
