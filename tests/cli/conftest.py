from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from fake_model import FakeModel, Run

from mtasr.cli import program


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    fake = FakeModel()
    monkeypatch.setattr("mtasr.transcribe.load_model", fake.load)
    return fake


@pytest.fixture
def folder(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a few recordings that nothing but the fake model could make sense of.

    No model is in the cache.
    """
    monkeypatch.setenv("MTASR_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "b.mp3", "c d.wav"):
        (tmp_path / name).write_bytes(b"sound")
    return tmp_path


@pytest.fixture
def run(model: FakeModel, folder: Path) -> Run:
    return lambda *args: CliRunner().invoke(program, args, prog_name="mtasr")
