"""The socket that the server listens on."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from mtasr.errors import UsageError
from mtasr.server import Settings, run
from mtasr.server.process import _bound
from mtasr.transcribe import Model

CERTIFICATE = Path(__file__).with_name("localhost.pem")


def test_answers_are_sent_without_delay() -> None:
    with _bound(Settings(port=0)) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.proto == socket.IPPROTO_TCP  # asyncio sets TCP_NODELAY for these alone


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
