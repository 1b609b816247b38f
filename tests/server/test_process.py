"""The socket that the server listens on."""

from __future__ import annotations

import resource
import socket
import subprocess
from pathlib import Path

import pytest
from server.running import fake_model, running

from mtasr.errors import OutputError, UsageError
from mtasr.server import Settings, run
from mtasr.server.process import _bound, _take_descriptors
from mtasr.transcribe import Model

CERTIFICATE = Path(__file__).with_name("localhost.pem")


def test_answers_are_sent_without_delay() -> None:
    with _bound(Settings(port=0)) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.proto == socket.IPPROTO_TCP  # asyncio sets TCP_NODELAY for these alone


def test_connections_beyond_the_limit_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtasr.server.process._CONNECTIONS", 1)
    with running() as server, server.client() as first, server.client() as second:
        assert first.get("/v1/models").status_code == 200
        refused = second.get("/v1/models")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "busy")
        assert refused.headers["retry-after"]
        assert first.get("/v1/models").status_code == 200


def test_a_folder_that_cannot_be_emptied(tmp_path: Path) -> None:
    (tmp_path / "incoming").mkdir()
    (tmp_path / "incoming" / "folder").mkdir()
    with pytest.raises(OutputError, match="incoming: cannot be used"):
        run(Settings(port=0, data=tmp_path), load=lambda name: fake_model())


def test_as_many_files_as_the_system_allows() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, limits[1]))
    try:
        _take_descriptors()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 300
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize(
    ("certificate", "key", "message"),
    [
        (Path("none.pem"), CERTIFICATE, "none.pem: cannot be read: No such file"),
        (CERTIFICATE, Path("none.pem"), "none.pem: cannot be read: No such file"),
        (Path(__file__), CERTIFICATE, "test_process.py: has no certificate"),
        (CERTIFICATE, Path(__file__), "test_process.py: has no private key"),
        (CERTIFICATE, "other", "other.pem: is not the private key of"),
    ],
    ids=["no certificate", "no key", "wrong certificate", "wrong key", "another key"],
)
def test_a_wrong_certificate_is_told_before_the_model_is_loaded(
    certificate: Path, key: Path | str, message: str, tmp_path: Path
) -> None:
    if isinstance(key, str):
        key = tmp_path / "other.pem"
        make = ["openssl", "genpkey", "-algorithm", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key]
        subprocess.run(make, check=True, capture_output=True)

    def load(name: str) -> Model:
        raise AssertionError("the model is loaded for nothing")

    with pytest.raises(UsageError, match=message):
        run(Settings(port=0, tls_cert=certificate, tls_key=key), load=load)
