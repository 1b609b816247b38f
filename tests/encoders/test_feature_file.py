from __future__ import annotations

import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fake_encoder import LocalEncoder
from fakes import LoudIsSpeech

from mtasr.encoders.extract import StateBlock, extract_blocks
from mtasr.encoders.feature_file import write_features
from mtasr.errors import InputError, OutputError
from mtasr.spans import SAMPLE_RATE

SOUND = np.random.default_rng(0).uniform(-0.5, 0.5, 40 * SAMPLE_RATE).astype(np.float32)


def blocks(layers: tuple[int, ...]) -> list[StateBlock]:
    return list(extract_blocks(LocalEncoder(), [SOUND], layers, detector=LoudIsSpeech()))


def test_one_layer(tmp_path: Path) -> None:
    found = blocks((1,))
    assert len(found) == 2
    frames = write_features(tmp_path / "a.npz", found, LocalEncoder(), (1,), every=False)
    with np.load(tmp_path / "a.npz") as file:
        assert set(file) == {"states", "times", "layers", "encoder", "frame_seconds"}
        np.testing.assert_array_equal(file["states"], np.concatenate([each.states[0] for each in found]))
        np.testing.assert_array_equal(file["times"], np.concatenate([each.times for each in found]))
        assert file["states"].shape == (frames, 3)
        assert file["layers"].tolist() == [1]
        assert str(file["encoder"]) == "local"
        assert float(file["frame_seconds"]) == 0.02


def test_all_layers(tmp_path: Path) -> None:
    found = blocks((0, 1))
    write_features(tmp_path / "a.npz", found, LocalEncoder(), (0, 1), every=True)
    with np.load(tmp_path / "a.npz") as file:
        np.testing.assert_array_equal(file["states"], np.concatenate([each.states for each in found], axis=1))


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def breaking() -> Iterator[StateBlock]:
        yield blocks((0,))[0]
        raise InputError("broken")

    with pytest.raises(InputError, match="broken"):
        write_features(tmp_path / "a.npz", breaking(), LocalEncoder(), (0,), every=False)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError):
        write_features(tmp_path / "file" / "a.npz", blocks((0,)), LocalEncoder(), (0,), every=False)


def test_a_full_disk_is_an_error_of_the_target(tmp_path: Path) -> None:
    many = blocks((0, 1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, hard))
    try:
        with pytest.raises(OutputError, match=r"a\.npz: "):
            write_features(tmp_path / "a.npz", many, LocalEncoder(), (0, 1), every=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_finished_lies_beside_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    write_features(tmp_path / "a.npz", blocks((0,)), LocalEncoder(), (0,), every=False)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
