"""Ephemeral keys: a browser shows one to open live sessions, and never learns the key of the server."""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import math
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mtasr.server.problems import busy

#: What they are good for.
EPHEMERAL_PATHS = frozenset({"/v1/realtime", "/v1/live"})
#: Where a session can be continued, also with the key that began it and has expired since.
RESUMING_PATH = "/v1/live"
#: Keys that have not expired: of one client, and of all.
_MOST, _MOST_OF_ALL = 1000, 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class EphemeralKey:
    """Whose sessions it opens, until which time in seconds since 1970, and the settings that they have at first.

    The settings are packed: unpacked, a list of short texts takes ten times the memory.
    """

    digest: bytes
    client: str
    expires_at: int
    settings: bytes


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
        #: Those of sessions that go on, expired or not, once for each session.
        self._used: list[EphemeralKey] = []

    @contextlib.contextmanager
    def issue(self, client: str, seconds: int, settings: bytes) -> Iterator[tuple[str, EphemeralKey]]:
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
        key = EphemeralKey(digest=_digest(value), client=client, expires_at=math.ceil(now) + seconds, settings=settings)
        yield value, key
        self._keys[key.digest] = key
        heapq.heappush(self._ends, (key.expires_at, key.digest))
        self._counts[client] += 1

    def find(self, shown: Sequence[str]) -> EphemeralKey | None:
        """The first of these values that is a key which has not expired."""
        self._drop_expired()
        found = (self._keys.get(_digest(value)) for value in shown)
        return next((key for key in found if key is not None), None)

    @contextlib.contextmanager
    def used(self, key: EphemeralKey | None) -> Iterator[None]:
        """A session that the key began goes on for as long as the block: `find_used` finds the key until then."""
        if key is None:
            yield
            return
        self._used.append(key)
        try:
            yield
        finally:
            self._used.remove(key)

    def find_used(self, shown: Sequence[str]) -> EphemeralKey | None:
        """A key among these values that began a session which goes on; it may have expired."""
        digests = [_digest(value) for value in shown]
        return next((key for key in self._used if key.digest in digests), None)

    def _drop_expired(self) -> None:
        now = self._clock()
        while self._ends and self._ends[0][0] <= now:
            client = self._keys.pop(heapq.heappop(self._ends)[1]).client
            self._counts[client] -= 1
            if not self._counts[client]:
                del self._counts[client]


def _digest(value: str) -> bytes:
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).digest()
