"""Who may use the server."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest
from server.running import Running, running
from starlette.types import Message, Receive, Scope, Send

from mtasr.errors import InputNotFoundError, UsageError
from mtasr.server import Settings
from mtasr.server.access import Access, Guard, read_keys
from mtasr.server.ephemeral_keys import EphemeralKeys

KEY, OTHER = "0123456789abcdef", "fedcba9876543210"


def write_keys(folder: Path, text: str) -> Path:
    file = folder / "keys"
    file.write_text(text)
    return file


def test_a_key_may_have_any_sign(tmp_path: Path) -> None:
    assert read_keys(write_keys(tmp_path, f"anna {KEY}#more\t# hers\n#{OTHER}\n")) == (("anna", f"{KEY}#more"),)


def test_keys_of_a_file(tmp_path: Path) -> None:
    (first, second, third) = read_keys(write_keys(tmp_path, f"# ours\n\nanna {KEY}\nanna {OTHER}  # old\n{KEY}x\n"))
    assert (first, second) == (("anna", KEY), ("anna", OTHER))
    assert third[0].startswith("key-")
    assert KEY not in third[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no keys"),
        ("anna short\n", "at least 16"),
        (f"anna {KEY} more\n", "line 1 has more than"),
        (f"\nüüüüüüüüüüüüüüüüüüüüüüüü\n{KEY}", "line 2 must have"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_keys(write_keys(tmp_path, text))
    with pytest.raises(InputNotFoundError, match="cannot be read"):
        read_keys(tmp_path)


@pytest.fixture(scope="module")
def locked() -> object:
    with running(Settings(keys=(("anna", KEY), ("ben", OTHER)), origins=("https://ours.example",))) as server:
        yield server


def basic(password: str) -> str:
    return f"Basic {base64.b64encode(f'anybody:{password}'.encode()).decode()}"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": f"Bearer {KEY}"}, 200),
        ({"authorization": f"bearer {OTHER}"}, 200),
        ({"authorization": basic(KEY)}, 200),
        ({"x-api-key": OTHER}, 200),
        ({"authorization": f"Bearer {KEY}x"}, 401),
        ({"authorization": f"Bearer {KEY[:-1]}"}, 401),
        ({"authorization": "Basic !"}, 401),
        ({"authorization": KEY}, 401),
        ({"x-api-key": "\xfc" * 16}, 401),
    ],
    ids=str,
)
def test_keys(locked: Running, headers: dict[str, str], status: int) -> None:
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    with locked.client(headers=encoded) as client:
        for path in ("/v1/models", "/metrics"):
            assert client.get(path).status_code == status
        assert client.get("/health").status_code == client.get("/openapi.json").status_code == 200
        if status == 401:
            refused = client.get("/v1/none")
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            told = refused.json()["error"]["message"]
            assert ("does not know the key" in told) == ("x" in str(headers) or f"Bearer {KEY[:-1]}" in str(headers))


@pytest.mark.parametrize(("key", "refused"), [(KEY, False), ("wrong", True)])
def test_web_sockets_need_keys_too(key: str, refused: bool) -> None:
    sent: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["state"]["client"] == "anna"
        await send({"type": "websocket.accept"})

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message["type"])

    headers = [(b"authorization", f"Bearer {key}".encode())]
    guard = Guard(app, Access(Settings(keys=(("anna", KEY),)), EphemeralKeys()))
    asyncio.run(guard({"type": "websocket", "path": "/v1/realtime", "headers": headers}, receive, send))
    assert sent == ["websocket.close" if refused else "websocket.accept"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("10.0.0.7", 200),
        ("rebound.example", 403),
        ("[", 400),
        ("[::", 400),
    ],
)
def test_a_server_of_this_machine_answers_to_no_other_name(server: Running, host: str, status: int) -> None:
    with server.client(headers={"host": host}) as client:
        assert client.get("/v1/models").status_code == status


def test_pages_of_other_sites_are_refused(server: Running, clip: Path) -> None:
    path = "/v1/audio/transcriptions"
    with server.client() as client:
        for origin, status in ((server.url, 200), ("https://theirs.example", 403), ("null", 403), ("http://[", 403)):
            answer = client.post(path, files={"file": clip.read_bytes()}, headers={"origin": origin})
            assert answer.status_code == status


def test_pages_of_allowed_sites_are_served(locked: Running) -> None:
    asks = {"origin": "https://ours.example", "access-control-request-method": "POST"}
    with locked.client() as client:
        allowed = client.options("/v1/models", headers=asks | {"access-control-request-headers": "authorization"})
        assert allowed.headers["access-control-allow-origin"] == "https://ours.example"
        refused = client.options("/v1/models", headers=asks | {"origin": "https://theirs.example"})
        assert "access-control-allow-origin" not in refused.headers
        answer = client.get("/v1/models", headers={"origin": "https://ours.example", "x-api-key": KEY})
        assert answer.headers["access-control-allow-origin"] == "https://ours.example"
