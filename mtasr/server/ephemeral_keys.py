"""Ephemeral keys: a browser shows one to open live sessions, and never learns the key of the server."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mtasr.server.problems import busy

if TYPE_CHECKING:
    from mtasr.server.live.realtime_settings import RealtimeSettings

#: What they are good for.
EPHEMERAL_PATHS = frozenset({"/v1/realtime", "/v1/live"})
#: Keys of one client that have not expired.
_MOST = 1000


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

    def issue(self, client: str, seconds: int, settings: RealtimeSettings) -> tuple[str, EphemeralKey]:
        """A new key and its value. Raises `Problem` 429 if the client has too many."""
        now = self._clock()
        self._keys = {digest: key for digest, key in self._keys.items() if key.expires_at > now}
        own = [key.expires_at for key in self._keys.values() if key.client == client]
        if len(own) >= _MOST:
            raise busy(f"you have {_MOST} ephemeral keys, as many as a client may have", min(own) - now)
        value = f"ek_{secrets.token_urlsafe(24)}"
        key = EphemeralKey(client=client, expires_at=int(now) + seconds, settings=settings)
        self._keys[_digest(value)] = key
        return value, key

    def find(self, shown: Sequence[str]) -> EphemeralKey | None:
        """The first of these values that is a key which has not expired."""
        found = (self._keys.get(_digest(value)) for value in shown)
        return next((key for key in found if key is not None and key.expires_at > self._clock()), None)


def _digest(value: str) -> bytes:
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).digest()
