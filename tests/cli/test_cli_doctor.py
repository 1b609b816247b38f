"""`mtasr doctor` on machines that lack something."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mtasr import __version__
from mtasr.cli import program
from mtasr.models import packages


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HF_HUB_OFFLINE", "HF_ENDPOINT", "MTASR_FFMPEG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MTASR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def examined() -> Result:
    return CliRunner().invoke(program, ["doctor"], prog_name="mtasr")


def line(result: Result, subject: str) -> str:
    [found] = [each for each in result.stdout.splitlines() if each[2:].startswith(subject)]
    return found


def test_everything_is_reported(cache: Path) -> None:
    result = examined()
    assert (result.exit_code, result.stderr) == (0, "")
    assert f" {__version__}, Python 3." in line(result, "mtasr")
    assert f"ctranslate2 {metadata.version('ctranslate2')}" in line(result, "packages")
    assert Path(line(result, "ffmpeg").split()[-1]).exists()
    assert "int8" in line(result, "processor")
    assert line(result, "cache").endswith(f"{cache}: no models")
    assert line(result, "model hub").endswith("https://huggingface.co")
    assert "!" not in {each[0] for each in result.stdout.splitlines()}


def test_no_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTASR_FFMPEG", "/no/such/ffmpeg")
    result = examined()
    assert result.exit_code == 3
    assert line(result, "ffmpeg") == "! ffmpeg         cannot be used"
    assert "-> MTASR_FFMPEG is /no/such/ffmpeg, which is not an executable program" in result.stdout
    assert line(result, "extras")


def test_no_model_and_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "locate", lambda name: None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = examined()
    assert result.exit_code == 0
    assert "not on this machine" in line(result, "default model")
    assert "`mtasr models pull base` or " in result.stdout
    assert line(result, "model hub").startswith("* ")


def test_models_in_the_cache_and_missing_extras(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "tiny@0123456789ab").mkdir(parents=True)
    real = metadata.version

    def version(name: str) -> str:
        if name in ("jiwer", "sounddevice", "fastapi"):
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    result = examined()
    assert line(result, "cache").endswith(f"{cache}: tiny")
    missing = "(not installed: evaluate for mtasr evaluate; live for the microphone; server for mtasr serve)"
    assert line(result, "extras").endswith(missing)


@pytest.mark.parametrize("place", ["/proc/none", "file", "file/below"])
def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MTASR_CACHE", str(tmp_path / place))
    result = examined()
    assert result.exit_code == 5
    assert line(result, "cache").startswith("! ")
    assert "no model can be put there; set MTASR_CACHE" in result.stdout


def test_a_cache_of_models_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """It may be a shared one: whatever is in it can be used."""
    (cache / "tiny@0123456789ab").mkdir(parents=True)
    monkeypatch.setattr("mtasr.cli.doctor._why_not_written", lambda folder: "Read-only file system")
    result = examined()
    assert result.exit_code == 0
    assert line(result, "cache") == f"* cache          {cache}: tiny"
    assert "it cannot be written (Read-only file system): models are loaded more slowly" in result.stdout
