"""Connections to web servers: any thread can end them, and none leads from a public server into a private network."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.poolmanager import ProxyManager

from mtasr.remote.patience import TransferAttempt


class PrivateNetworkError(Exception):
    """A public server leads into a private network."""


def is_private(address: str) -> bool:
    """Whether an address is of this machine or of a network that is not open to all; False for the name of a host."""
    try:
        found = ipaddress.ip_address(address.strip("[]").partition("%")[0])
    except ValueError:
        return address.lower().rstrip(".") == "localhost"
    return not (getattr(found, "ipv4_mapped", None) or found).is_global


class Way:
    """The connections that a request and its redirects make, in one attempt."""

    def __init__(self, attempt: TransferAttempt) -> None:
        self._attempt = attempt
        #: Whether the first was to a private address: then others may be.
        self._is_private: bool | None = None

    def adapter(self, host: str) -> HTTPAdapter:
        """What makes the connection to a host."""
        return _Adapter(partial(self._connected, host))

    def _connected(self, host: str, connection: HTTPConnection, to: socket.socket) -> None:
        self._attempt.hold(to)
        # What a proxy connects to, it alone knows; the name of the host may still tell.
        leads_inside = is_private(host if connection.proxy else to.getpeername()[0])
        if self._is_private is None:
            self._is_private = leads_inside
        elif leads_inside and not self._is_private:
            raise PrivateNetworkError


class _Adapter(HTTPAdapter):
    """Tells of each connection before a byte is sent on it."""

    def __init__(self, connected: Callable[[HTTPConnection, socket.socket], None]) -> None:
        self._pools = _pools(connected)
        super().__init__(max_retries=0)

    def init_poolmanager(self, *arguments: Any, **settings: Any) -> None:
        super().init_poolmanager(*arguments, **settings)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **settings: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **settings)
        if isinstance(manager, ProxyManager):
            manager.pool_classes_by_scheme = self._pools
        return manager


def _pools(connected: Callable[[HTTPConnection, socket.socket], None]) -> dict[str, Any]:
    def tell(connection: HTTPConnection, to: socket.socket) -> socket.socket:
        try:
            connected(connection, to)
        except BaseException:
            to.close()
            raise
        return to

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return tell(self, super()._new_conn())

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return tell(self, super()._new_conn())

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}
