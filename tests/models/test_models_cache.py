"""The cache keeps whole models only, whatever goes wrong while one is written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from fakehub import FILES, FakeHub, sha256

from mtasr.errors import ModelError, ModelIntegrityError, ModelNotFoundError
from mtasr.models import cache, list_models, pull, remove, resolve, verify
from mtasr.models.folder import PROVENANCE, Provenance

pytestmark = pytest.mark.usefixtures("fake_model")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MTASR_CACHE", "~/models")
    assert cache.root() == Path.home() / "models"
    monkeypatch.setenv("MTASR_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.root() == tmp_path / "mtasr" / "models"


def test_an_error_while_filling_leaves_nothing(cache_folder: Path) -> None:
    def fill(staging: cache.Staging) -> None:
        staging.write("model.bin", [b"some"])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.install("fake", "acme/fake-whisper", "0" * 40, fill)
    assert names(cache_folder) == []


def test_only_files_of_a_model_are_written(cache_folder: Path) -> None:
    with pytest.raises(ValueError, match="not a file of a model"):
        cache.install("fake", "r/r", "0" * 40, lambda staging: staging.write("../evil", [b""]) and None)
    assert names(cache_folder) == []


def test_leftovers_of_other_models_are_not_touched(fake_hub: FakeHub, cache_folder: Path) -> None:
    for left in (".fake@aaaaaaaaaaaa.partial", ".fake.en@aaaaaaaaaaaa.partial"):
        (cache_folder / left).mkdir(parents=True)
    folder = pull("fake")
    assert names(cache_folder) == [".fake.en@aaaaaaaaaaaa.partial", folder.name]


def test_a_full_disk(fake_hub: FakeHub, cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache.os, "fsync", no_space)  # type: ignore[attr-defined]
    with pytest.raises(ModelError, match=r"cannot write to the model cache: .*: No space left on device") as caught:
        pull("fake")
    assert "\n" not in str(caught.value)
    assert names(cache_folder) == []


def test_a_cache_that_cannot_be_written(fake_hub: FakeHub, cache_folder: Path) -> None:
    cache_folder.write_text("a file where the folder should be")
    with pytest.raises(ModelError, match="cannot write to the model cache"):
        pull("fake")
    assert all(each.where != "cached" for each in list_models())


def test_a_truncated_copy_is_not_used(fake_hub: FakeHub) -> None:
    folder = pull("fake")
    (folder / "model.bin").write_bytes(b"short")
    with pytest.raises(ModelIntegrityError, match=r"model\.bin has 5 bytes .*`mtasr models pull --force fake`"):
        resolve("fake")
    (folder / PROVENANCE).write_text("{}")
    with pytest.raises(ModelIntegrityError, match=r"mtasr\.json is missing or damaged"):
        resolve("fake")
    assert pull("fake") == folder, "a damaged copy is replaced when the user asks for the model"
    assert (folder / "model.bin").read_bytes() == FILES["model.bin"]
    assert resolve("fake") == folder


@pytest.mark.parametrize("name", sorted(FILES))
def test_verify_finds_a_flipped_bit(fake_hub: FakeHub, name: str) -> None:
    folder = pull("fake")
    assert [result.problems for result in verify("fake")] == [()]
    data = bytearray(FILES[name])
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    (result,) = verify("pretend")
    assert result.path == folder
    assert len(result.problems) == 1
    assert result.problems[0].startswith(f"{name} has changed")


def test_verify_reports_every_problem(fake_hub: FakeHub) -> None:
    folder = pull("fake")
    (folder / "config.json").unlink()
    (folder / "model.bin").write_bytes(b"")
    (folder / "note.txt").write_text("mine")
    (result,) = verify("fake")
    assert result.problems == (
        "config.json is missing",
        f"model.bin has 0 bytes instead of {len(FILES['model.bin'])}",
        "note.txt does not belong to the model",
    )


def test_verify_does_not_trust_the_manifest_alone(fake_hub: FakeHub) -> None:
    folder = pull("fake")
    forged = FILES["model.bin"][::-1]
    (folder / "model.bin").write_bytes(forged)
    manifest = (folder / PROVENANCE).read_text()
    genuine = Provenance.read(folder).files["model.bin"].sha256
    (folder / PROVENANCE).write_text(manifest.replace(genuine, sha256(forged)))
    (result,) = verify("fake")
    assert [problem.split(":")[0] for problem in result.problems] == ["model.bin is not the published file"]


def test_a_provenance_names_nothing_outside_its_folder(fake_hub: FakeHub) -> None:
    folder = pull("fake")
    text = (folder / PROVENANCE).read_text().replace("tokenizer.json", "../../secret")
    (folder / PROVENANCE).write_text(text)
    with pytest.raises(ModelIntegrityError, match="names a file that does not belong to a model"):
        Provenance.read(folder)


def test_remove(fake_hub: FakeHub, cache_folder: Path) -> None:
    folder = pull("fake")
    old = cache_folder / "fake@aaaaaaaaaaaa"
    old.mkdir()
    assert sorted(remove("pretend")) == sorted([folder, old])
    assert names(cache_folder) == []
    for action in (remove, verify):
        with pytest.raises(ModelNotFoundError, match="fake"):
            action("fake")


def test_list(fake_hub: FakeHub) -> None:
    by_name = {each.name: each for each in list_models()}
    assert by_name["fake"].where == "downloadable"
    fake_hub.repo = "someone/else"
    other = pull("someone/else")
    fake_hub.repo = "acme/fake-whisper"
    folder = pull("fake")
    by_name = {each.name: each for each in list_models()}
    assert (by_name["fake"].where, by_name["fake"].path, by_name["fake"].english_only) == ("cached", folder, False)
    assert (by_name["someone/else"].path, by_name["someone/else"].english_only) == (other, None)
    assert by_name["someone/else"].size == by_name["fake"].size == sum(map(len, FILES.values()))
