"""Settings are checked when they are made."""

from __future__ import annotations

import math
import socket
from pathlib import Path
from typing import Any

import pytest
from server.running import running

from mtasr.errors import OutputError, UsageError
from mtasr.server import Settings, run
from mtasr.server.service import Service


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log stays as it is."""
    monkeypatch.setattr("mtasr.server.process._log_to_stderr", lambda: None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": -1}, {"port": 65536}, {"requests": 0}, {"client_requests": 0}, {"at_once": 0}, {"upload_bytes": 0},
        {"fields": 0}, {"idle_seconds": 0}, {"idle_seconds": math.nan}, {"upload_seconds": -1.0},
        {"live_sessions": 0}, {"client_live_sessions": 0}, {"live_seconds": 0.0}, {"live_pause": -1.0},
        {"resume_seconds": 0.0}, {"recording_seconds": 0.0}, {"stop_seconds": -1.0}, {"stop_seconds": math.inf},
        {"loaded_models": 0},
    ],
    ids=str,
)  # fmt: skip
def test_values_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"^{next(iter(wrong))} must be "):
        Settings(**wrong)


def test_a_certificate_needs_its_key() -> None:
    with pytest.raises(UsageError, match="belong together"):
        Settings(tls_cert=Path("cert.pem"))


def test_keys_are_not_shown() -> None:
    assert "0123456789" not in repr(Settings(keys=(("anna", "0123456789abcdef"),)))


def test_an_address_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use$"):
            run(Settings(port=port))


def test_a_folder_is_of_one_server(tmp_path: Path) -> None:
    with running(Settings(data=tmp_path / "deep" / "data")) as server:
        leftover = server.service.incoming / "of a server that was killed"
        leftover.write_bytes(b"sound")
        with pytest.raises(UsageError, match="another server uses this folder"):
            run(Settings(port=0, data=tmp_path / "deep" / "data"))
    with running(Settings(data=tmp_path / "deep" / "data")):
        assert not leftover.exists()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be used"):
        run(Settings(port=0, data=tmp_path / "file"))


def test_a_temporary_folder_is_removed() -> None:
    with running() as server:
        folder = server.service.folder
        assert folder.is_dir()
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()
    assert isinstance(server.service, Service)
