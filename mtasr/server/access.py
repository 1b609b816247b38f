"""Who may use the server: keys, and which web pages and names it answers to."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from mtasr.errors import InputNotFoundError, UsageError
from mtasr.server.ephemeral_keys import EPHEMERAL_PATHS, RESUMING_PATH, EphemeralKey, EphemeralKeys
from mtasr.server.problems import Problem, answer
from mtasr.server.settings import LOOPBACK, Settings

#: Paths that need no key: what a browser loads before the user can give one, and what a supervisor asks.
PUBLIC = frozenset({"/", "/health", "/status", "/openapi.json", "/favicon.ico"})
#: The same for all paths that begin so.
PUBLIC_FOLDERS = ("/page/",)

#: Begins the name of a subprotocol that is a key.
KEY_PROTOCOL = "openai-insecure-api-key."

_SHORTEST_KEY = 16

#: The code with which a WebSocket is refused (RFC 6455: policy violation).
_REFUSED = 1008
_COMMENT = re.compile(r"(^|\s)#.*")


def read_keys(file: Path) -> tuple[tuple[str, str], ...]:
    """The keys of a file, as pairs of client and key: each line is `NAME KEY` or `KEY`; `#` at the beginning or after a
    space begins a comment.

    A key without a name belongs to a client named after its hash. Several keys may belong to one client. Raises
    `InputNotFoundError` for a file that cannot be read, `UsageError` for one without keys or with a wrong line.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputNotFoundError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    keys = []
    for number, line in enumerate(lines, start=1):
        words = _COMMENT.sub("", line).split()
        if not words:
            continue
        if len(words) > 2:
            raise UsageError(f"{file}: line {number} has more than a name and a key")
        key = words[-1]
        if len(key) < _SHORTEST_KEY or not key.isascii():
            raise UsageError(f"{file}: the key in line {number} must have at least {_SHORTEST_KEY} ASCII characters")
        keys.append((words[0] if len(words) == 2 else f"key-{_digest(key).hex()[:12]}", key))
    if not keys:
        raise UsageError(f"{file}: has no keys")
    return tuple(keys)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Who sends a request: the client, and the ephemeral key that let it in.

    `may_begin` is False if that key has expired, and the client may only continue what it began with it.
    """

    client: str
    key: EphemeralKey | None = None
    may_begin: bool = True


class Access:
    """Says which client a request is from, or refuses it."""

    def __init__(self, settings: Settings, ephemeral: EphemeralKeys) -> None:
        self._ephemeral = ephemeral
        self._keys = [(client, _digest(key)) for client, key in settings.keys]
        self._origins = frozenset(settings.origins)
        only_here = settings.listens_to_this_machine_alone
        # A web page can make its name mean 127.0.0.1, and would then count as a page of this server.
        self._names = LOOPBACK | {settings.host, *settings.names} if only_here and not settings.keys else None

    def visitor(self, headers: Headers, address: str, *, path: str = "", public: bool = False) -> Visitor:
        """Who sends a request. Raises `Problem` 401 or 403."""
        self._check_name(headers)
        shown = shown_keys(headers)
        key = self._ephemeral.find(shown) if path in EPHEMERAL_PATHS else None
        used = self._ephemeral.find_used(shown) if path == RESUMING_PATH else None
        if not self._keys:
            if key is None and used is None:  # No browser sends a key unless its page does.
                self._check_origin(headers)
            return Visitor(client=address, key=key)
        found = self._holder(shown)
        if found is None and key is not None:
            return Visitor(client=key.client, key=key)
        if found is None and used is not None:
            return Visitor(client=used.client, may_begin=False)
        if found is None and not public:
            needed = "this server needs a key: send it as `Authorization: Bearer KEY`"
            raise Problem(
                401,
                "this server does not know the key" if any(shown) else needed,
                code="invalid_api_key",
                headers={"www-authenticate": "Bearer"},
            )
        return Visitor(client=found or address)

    def _holder(self, shown: Sequence[str]) -> str | None:
        """The client with one of these keys; takes equally long for every wrong one."""
        found = None
        for each in shown:
            digest = _digest(each)
            for client, expected in self._keys:
                if hmac.compare_digest(digest, expected):
                    found = client
        return found

    def _check_name(self, headers: Headers) -> None:
        if self._names is None or "host" not in headers:
            return
        try:
            name = urlsplit(f"//{headers['host']}").hostname or ""
        except ValueError:
            raise Problem(400, "the header `host` has no name of a host", code="invalid_host") from None
        if name not in self._names and not _is_address(name):
            raise Problem(
                403,
                f"this server does not answer to the name {name!r}; `mtasr serve --name {name}` makes it do so",
                code="wrong_host",
            )

    def _check_origin(self, headers: Headers) -> None:
        """Refuse pages of other web sites, which a browser lets send requests as if the user did."""
        origin = headers.get("origin")
        if origin is None or self._origins & {"*", origin}:
            return
        if _netloc(origin) != headers.get("host"):
            raise Problem(
                403,
                f"pages of {origin} may not use this server; `mtasr serve --origin {origin}` lets them",
                code="wrong_origin",
            )


def shown_keys(headers: Headers) -> list[str]:
    """The keys that a request shows: as a bearer token, the password of basic authentication, or `x-api-key`.

    Clients that know only an address can be given one with a key: `http://user:KEY@host`. Browsers, whose WebSockets
    have no headers of their own, name a subprotocol with the key, as OpenAI's API has it.
    """
    shown = [headers["x-api-key"]] if "x-api-key" in headers else []
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        shown.append(credentials.strip())
    if scheme.lower() == "basic":
        with contextlib.suppress(binascii.Error, ValueError):
            shown.append(base64.b64decode(credentials, validate=True).decode("latin-1").partition(":")[2])
    offered = headers.get("sec-websocket-protocol", "").split(",")
    return shown + [
        each.strip().removeprefix(KEY_PROTOCOL) for each in offered if each.strip().startswith(KEY_PROTOCOL)
    ]


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def deny(socket: WebSocket, problem: Problem) -> None:
    """Refuse a WebSocket that was not accepted yet: with a status and a body, if the ASGI server can send them."""
    if "websocket.http.response" in socket.scope.get("extensions", {}):
        await socket.send_denial_response(answer(problem))
    else:
        await socket.close(_REFUSED, problem.message)


class Guard:
    """Middleware that notes who sends a request in `scope["state"]`, as `visitor` and `client`, or refuses it."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            address = (scope.get("client") or ("unknown", 0))[0]
            path = scope["path"]
            public = path in PUBLIC or path.startswith(PUBLIC_FOLDERS) or scope.get("method") == "OPTIONS"
            try:
                visitor = self._access.visitor(Headers(scope=scope), address, path=path, public=public)
            except Problem as problem:
                if scope["type"] == "websocket":
                    await deny(WebSocket(scope, receive, send), problem)
                else:
                    await answer(problem)(scope, receive, send)
                return
            scope.setdefault("state", {}).update(client=visitor.client, visitor=visitor)
        await self._app(scope, receive, send)
