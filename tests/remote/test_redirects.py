"""Where a web server may send us, and with whose passwords."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile_server import HASTE, HostileServer, Page, hostile_server

from mtasr.errors import InputError
from mtasr.remote import connections
from mtasr.remote.connections import is_private
from mtasr.remote.file import examine


@pytest.fixture
def inside() -> Iterator[HostileServer]:
    """A server with another address of this machine."""
    try:
        with hostile_server("127.0.0.2") as found:
            yield found
    except OSError:
        pytest.skip("this system has one address on loopback")


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("127.0.0.1", True),
        ("10.1.2.3", True),
        ("169.254.169.254", True),
        ("100.64.0.1", True),
        ("0.0.0.0", True),
        ("::1", True),
        ("fe80::1%eth0", True),
        ("fd00::1", True),
        ("[::ffff:127.0.0.1]", True),
        ("LOCALHOST.", True),
        ("8.8.8.8", False),
        ("2606:4700::1111", False),
        ("host", False),
    ],
)
def test_private_addresses(address: str, private: bool) -> None:
    assert is_private(address) == private


def test_a_public_server_leads_to_no_private_one(
    server: HostileServer, inside: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "is_private", lambda address: address == "127.0.0.2")
    target = inside.put("secret.wav", Page(b"sound"))
    url = server.put("a.wav", Page(location=f"{target}?key=1"))
    with pytest.raises(InputError) as caught:
        examine(url, HASTE)
    assert str(caught.value) == f"{url}: the server redirects to {target}, which is not opened"
    assert inside.asked == []
    assert examine(target, HASTE).size == 5


def test_a_private_one_may_lead_to_another(server: HostileServer, inside: HostileServer) -> None:
    url = server.put("a.wav", Page(location=inside.put("b.wav", Page(b"sound"))))
    assert examine(url, HASTE).size == 5


def test_a_proxy_is_no_private_server(server: HostileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that is connected to is that of the proxy; the hosts are told by their names."""
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    server.put("http://host.example/a.wav", Page(location="http://other.example/b.wav"))
    server.put("http://other.example/b.wav", Page(b"sound"))
    assert examine("http://host.example/a.wav", HASTE).size == 5
    server.put("http://host.example/c.wav", Page(location="http://169.254.169.254/b.wav"))
    with pytest.raises(InputError, match=r"redirects to http://169.254.169.254/b.wav, which is not opened"):
        examine("http://host.example/c.wav", HASTE)


def test_passwords_go_to_their_server_alone(
    server: HostileServer, inside: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password a\nmachine 127.0.0.2 login me password b\ndefault login c\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server.put("a.wav", Page(location=inside.put("b.wav", Page(b"sound"))))
    server.put("c.wav", Page(location="/a.wav"))
    examine(f"{server.url}/a.wav", HASTE)
    assert (server.authorizations, inside.authorizations) == ([None], [None])
    examine(f"{server.url.replace('//', '//me:p%40ss@')}/c.wav", HASTE)
    told = "Basic " + base64.b64encode(b"me:p@ss").decode()
    assert server.authorizations[1:] == [told, told]
    assert inside.authorizations[1:] == [None]
