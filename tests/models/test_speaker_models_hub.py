"""Speaker models of the hub, by way of one on the loopback interface."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from fakehub import COMMIT, FakeHub, sha256
from onnx_file import embedding_file, segmentation_file
from speaker_networks import activity

from mtasr.cli import program
from mtasr.models import speakers
from mtasr.models.folder import EMBEDDING_ONNX, LICENSES, SEGMENTATION_ONNX
from mtasr.models.speakers import SpeakerModel
from mtasr.speakers.weights import load_speaker_models


def run(*arguments: str) -> Result:
    return CliRunner().invoke(program, ["models", *arguments])


def left_in(cache_folder: Path) -> list[str]:
    return sorted(path.name for path in cache_folder.iterdir() if path.is_dir())


def on_the_hub(fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> SpeakerModel:
    """Make `speakers-wespeaker` what the hub on the loopback interface has."""
    fake_hub.files |= {"onnx/model.onnx": segmentation_file(), "voice.onnx": embedding_file()}
    real = speakers.SPEAKER_MODELS["speakers-wespeaker"]
    places = {SEGMENTATION_ONNX: "onnx/model.onnx", EMBEDDING_ONNX: "voice.onnx"}
    files = {
        name: dataclasses.replace(
            each, repo=fake_hub.repo, revision=COMMIT, path=places[name], sha256=sha256(fake_hub.files[places[name]])
        )
        for name, each in real.files.items()
    }
    model = dataclasses.replace(real, files=files)
    monkeypatch.setitem(speakers.SPEAKER_MODELS, model.name, model)
    return model


def test_a_model_of_the_hub(fake_hub: FakeHub, cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    model = on_the_hub(fake_hub, monkeypatch)
    result = run("pull", model.name)
    assert result.exit_code == 0, result.output
    (name,) = left_in(cache_folder)
    assert sorted(path.name for path in (cache_folder / name).iterdir()) == [
        LICENSES, EMBEDDING_ONNX, "mtasr.json", SEGMENTATION_ONNX
    ]  # fmt: skip
    assert "Creative Commons Attribution 4.0" in (cache_folder / name / LICENSES).read_text()
    assert run("verify", model.name).exit_code == 0
    asked = len(fake_hub.requests)
    monkeypatch.setenv("MTASR_SPEAKER_MODEL", model.name)
    segmentation, embedding = load_speaker_models()
    assert activity(segmentation, np.zeros((2, 160_000), np.float32)).shape == (2, 589, 3)
    assert embedding.embed([np.ones(16_000, np.float32)]).shape == (1, 256)
    assert len(fake_hub.requests) == asked, "with all in place nothing is fetched"


def test_a_file_of_the_hub_that_is_another(
    fake_hub: FakeHub, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = on_the_hub(fake_hub, monkeypatch)
    fake_hub.files["voice.onnx"] += b"?"
    assert run("pull", model.name).exit_code == 5
    del fake_hub.files["voice.onnx"]
    result = run("pull", model.name)
    assert result.exit_code == 5
    assert "the hub has no voice.onnx in acme/fake-whisper" in result.stderr
    assert left_in(cache_folder) == []


def test_published_files_are_pinned() -> None:
    for model in speakers.SPEAKER_MODELS.values():
        for each in model.files.values():
            assert re.fullmatch(r"[0-9a-f]{64}", each.sha256)
            assert model.wheel or re.fullmatch(r"[0-9a-f]{40}", each.revision)
            assert "https://" in each.notice
