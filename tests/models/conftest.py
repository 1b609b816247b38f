from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakehub import COMMIT, FILES, FakeHub, sha256

from mtasr.models import hub, packages, registry
from mtasr.models.registry import ModelSpec


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_TOKEN", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,127.0.0.2")
    # Nothing here may reach the real hub, whatever else goes wrong.
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("MTASR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "BACKOFF", 0.0)


@pytest.fixture
def cache_folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def fake_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with FakeHub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def fake_model(monkeypatch: pytest.MonkeyPatch) -> ModelSpec:
    """A registry entry for what the fake hub has; only model.bin is pinned, as for some real ones."""
    spec = ModelSpec(
        name="fake",
        repo="acme/fake-whisper",
        revision=COMMIT,
        size=sum(map(len, FILES.values())),
        aliases=("pretend",),
        sha256={"model.bin": sha256(FILES["model.bin"])},
    )
    monkeypatch.setitem(registry.MODELS, "fake", spec)
    return spec


@pytest.fixture
def no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "PACKAGES", {})


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(autouse=True)
def wide_by_default(wide: None) -> None:
    """What is tested here does not depend on this machine's processor."""
