"""Voices: pulled from a package index that is a folder, kept, checked and removed."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from fakehub import sha256
from speaker_wheel import NAME, PACKAGE, offer, wheel_bytes

from mtasr.cli import program
from mtasr.errors import ModelDownloadError, ModelIntegrityError, ModelNotFoundError
from mtasr.models import cache, list_voice_models, locate, pull, registry, remove, verify, voices
from mtasr.models.folder import LICENSES, SPEECH_ONNX, STYLES
from mtasr.models.voices import VOICE_MODELS, VoiceModel
from mtasr.models.voices.published import VoiceFile, WheelFile

_FILES = {f"{PACKAGE}/first.bin": b"a net", f"{PACKAGE}/second.bin": b"work", f"{PACKAGE}/styles.npz": b"styles"}


def _published(folder: Path, monkeypatch: pytest.MonkeyPatch, *, network: bytes = b"a network") -> VoiceModel:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    wheel = offer(folder, _FILES, monkeypatch)
    parts = [WheelFile(wheel=wheel, path=path, size=len(content)) for path, content in _FILES.items()]
    model = VoiceModel(
        name="acme",
        licence="Licence of Acme",
        voices=("ann",),
        files={
            SPEECH_ONNX: VoiceFile(parts=tuple(parts[:2]), sha256=sha256(network), notice="A network."),
            STYLES: VoiceFile(parts=tuple(parts[2:]), sha256=sha256(b"styles"), notice="Licence of Acme."),
        },
    )
    monkeypatch.setitem(VOICE_MODELS, model.name, model)
    return model


def test_pulled_joined_checked_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _published(tmp_path / "index", monkeypatch)
    monkeypatch.setenv("MTASR_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ModelNotFoundError, match="acme is not on this machine; `mtasr models pull acme`"):
        locate("acme")
    assert [each.where for each in list_voice_models()] == ["downloadable"] * len(VOICE_MODELS)
    told: list[int] = []
    folder = pull("acme", progress=lambda name, done, total: told.append(done))
    assert (folder / SPEECH_ONNX).read_bytes() == b"a network"
    assert (folder / STYLES).read_bytes() == b"styles"
    assert "Licence of Acme" in (folder / LICENSES).read_text()
    assert sorted(each.name for each in folder.iterdir()) == [LICENSES, "mtasr.json", SPEECH_ONNX, STYLES]
    assert told
    (tmp_path / "index" / NAME).unlink()
    assert voices.resolve("acme") == pull("acme") == locate("acme") == folder
    assert [each.problems for each in verify("acme")] == [()]
    (folder / STYLES).write_bytes(b"sty1es")
    assert STYLES in verify("acme")[0].problems[0]
    assert remove("acme") == [folder]
    assert cache.copies("acme") == []


def test_what_is_not_as_published_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTASR_CACHE", str(tmp_path / "cache"))
    _published(tmp_path / "index", monkeypatch, network=b"another")
    with pytest.raises(ModelIntegrityError, match=rf"{SPEECH_ONNX} of acme is not the published file"):
        pull("acme")
    model = VOICE_MODELS["acme"]
    (tmp_path / "index" / NAME).write_bytes(wheel_bytes(_FILES | {f"{PACKAGE}/more": b"x"}))
    with pytest.raises(ModelIntegrityError, match="its hash differs"):
        voices.resolve(model.name)
    assert cache.copies("acme") == []


def test_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTASR_CACHE", str(tmp_path / "cache"))
    _published(tmp_path / "index", monkeypatch)
    (tmp_path / "index" / NAME).unlink()
    with pytest.raises(ModelDownloadError, match=r"acme is not on this machine, and .*`mtasr models pull acme`"):
        voices.resolve("acme")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelNotFoundError, match="HF_HUB_OFFLINE is set"):
        voices.resolve("acme")


def test_a_voice_transcribes_nothing() -> None:
    assert "is a voice, which speaks" in str(registry.unknown("kokoro"))
    assert "did you mean kokoro" in str(registry.unknown("kokoru"))
    with pytest.raises(ModelNotFoundError, match="no voice model 'x'"):
        voices.find("x")


def test_the_list_has_voices() -> None:
    listed = CliRunner().invoke(program, ["models", "list"])
    assert any(line.startswith("kokoro\tEnglish\t") for line in listed.stdout.splitlines())
