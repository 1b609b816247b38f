"""Weights packages: a fake one in two parts, and the real one."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest
from fakehub import FILES, sha256

from mtasr.errors import ModelCacheError, ModelIntegrityError
from mtasr.models import cache, folder, list_models, packages, pull, registry, resolve, verify
from mtasr.models.packages import _Part
from mtasr.models.registry import ModelSpec


@pytest.fixture
def package(tmp_path: Path, fake_model: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable package with the files of the fake model, model.bin in two halves."""
    data = tmp_path / "site" / "fake_weights" / "data"
    data.mkdir(parents=True)
    (data.parent / "__init__.py").write_text("raise RuntimeError('weights packages are not to be imported')")
    half = len(FILES["model.bin"]) // 2
    parts = {"model.bin.part1": FILES["model.bin"][:half], "model.bin.part2": FILES["model.bin"][half:]}
    for name, content in (FILES | parts).items():
        if name != "model.bin":
            (data / name).write_bytes(content)
    files = {name: (_Part("fake_weights", f"data/{name}"),) for name in FILES if name != "model.bin"}
    halves = tuple(_Part("fake_weights", f"data/{name}") for name in parts)
    monkeypatch.setitem(packages.PACKAGES, "fake", files | {"model.bin": halves})
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return data


def test_the_parts_are_joined(package: Path) -> None:
    assert {each.name: each.where for each in list_models()}["fake"] == "packaged"
    seen: list[tuple[str, int, int | None]] = []
    model = resolve("fake", local_only=True, progress=lambda *each: seen.append(each))
    assert {path.name: path.read_bytes() for path in model.iterdir() if path.name != folder.PROVENANCE} == FILES
    total = len(FILES["model.bin"])
    assert seen[-1] == ("model.bin", total, total)
    assert {each.name: each.where for each in list_models()}["fake"] == "cached"
    assert "fake_weights" not in sys.modules
    assert [result.path for result in verify("fake")] == [model, package]


def test_a_damaged_part_is_found(package: Path, cache_folder: Path) -> None:
    part = package / "model.bin.part2"
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    with pytest.raises(ModelIntegrityError, match=r"model\.bin of the installed package is damaged"):
        resolve("fake")
    assert [path.name for path in cache_folder.iterdir() if path.is_dir()] == []
    (result,) = verify("fake")
    assert result.path == package
    assert len(result.problems) == 1


@pytest.mark.usefixtures("package")
def test_half_a_package_is_none(package: Path) -> None:
    (package / "model.bin.part2").unlink()
    assert packages.locate("fake") is None
    assert packages.locate("no-such-model") is None


def test_every_packaged_model_is_pinned_whole() -> None:
    for name, files in packages.PACKAGES.items():
        assert set(files) == set(registry.MODELS[name].sha256)


@pytest.mark.weights
def test_the_real_base_model(cache_folder: Path) -> None:
    files = packages.locate("base")
    assert files, "the extra `base` is not installed"
    model = pull("base")
    assert (model / "model.bin").stat().st_size == 145_217_532
    assert sha256((model / "model.bin").read_bytes()) == registry.MODELS["base"].sha256["model.bin"]
    assert sum(record.size for record in folder.Provenance.read(model).files.values()) == registry.MODELS["base"].size
    assert [result.problems for result in verify("base")] == [(), ()]
    assert [path.name for path in cache_folder.iterdir() if path.is_dir()] == [model.name]


@pytest.mark.usefixtures("package")
def test_without_a_cache_the_package_is_unpacked_for_now(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cache, "_FOR_NOW", {})
    cache_folder.write_text("a file where the folder should be")
    model = resolve("fake", local_only=True)
    assert {path.name: path.read_bytes() for path in model.iterdir()} == FILES
    assert resolve("fake", local_only=True) == model, "once in a run"
    assert model.stat().st_mode & 0o077 == 0
    assert "cannot write to the model cache" in caplog.messages[0]
    assert "MTASR_CACHE names another folder for it; until then, each run unpacks fake" in caplog.messages[0]
    cache._remove_in(0, model)
    assert model.is_dir()
    cache._remove_in(os.getpid(), model)
    assert not model.exists()


@pytest.mark.usefixtures("package")
def test_without_a_cache_and_without_a_temporary_folder(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_FOR_NOW", {})
    cache_folder.write_text("a file where the folder should be")
    monkeypatch.setattr(tempfile, "tempdir", str(cache_folder / "no"))
    with pytest.raises(ModelCacheError, match=f"{cache_folder}.*; MTASR_CACHE names another folder for it$"):
        resolve("fake", local_only=True)


def test_a_damaged_package_is_not_used_without_a_cache_either(
    package: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_FOR_NOW", {})
    cache_folder.write_text("a file where the folder should be")
    part = package / "model.bin.part2"
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    for _ in range(2):
        with pytest.raises(ModelIntegrityError, match="is damaged"):
            resolve("fake")
