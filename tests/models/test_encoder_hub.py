"""Encoders from a hub: which files are asked for, which revisions, and when nobody is asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakehub import COMMIT, FakeHub

from mtasr.errors import ModelDownloadError, ModelError, ModelIntegrityError, ModelNotFoundError
from mtasr.models import cache, list_models, remove, resolve
from mtasr.models.encoders import names_repo, resolve_encoder
from mtasr.models.folder import Provenance

REPO = "acme/fake-hubert"
CONFIG = b'{"model_type": "hubert"}\n'
WEIGHTS = bytes(range(256)) * 300


@pytest.fixture
def encoder_hub(fake_hub: FakeHub) -> FakeHub:
    fake_hub.repo = REPO
    fake_hub.files = {
        "config.json": CONFIG,
        "preprocessor_config.json": b'{"do_normalize": true}',
        "model.safetensors": WEIGHTS,
        "pytorch_model.bin": WEIGHTS,
    }
    return fake_hub


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "mtasr.json")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("facebook/hubert-base-ls960", True),
        ("facebook/hubert-base-ls960@main", True),
        ("facebook/hubert-base-ls960@refs/pr/5", True),
        (f"a/b@{COMMIT}", True),
        ("hubert", False),
        ("a/b@", False),
        ("a/b@../../c", False),
        ("a/b@main?x=1", False),
        ("a/b/c", False),
        ("../b", False),
    ],
)
def test_names_of_the_hub(name: str, expected: bool) -> None:
    assert names_repo(name) is expected


def test_fetches_once(encoder_hub: FakeHub, cache_folder: Path) -> None:
    folder = resolve_encoder(REPO)
    assert folder == cache_folder / f"acme--fake-hubert@{COMMIT[:12]}"
    assert names(folder) == ["config.json", "model.safetensors", "preprocessor_config.json"]
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    provenance = Provenance.read(folder)
    assert (provenance.repo, provenance.revision) == (REPO, COMMIT)
    asked = len(encoder_hub.requests)
    assert resolve_encoder(REPO) == resolve_encoder(f"{REPO}@{COMMIT}") == folder
    assert len(encoder_hub.requests) == asked


def test_pickled_weights_if_there_are_no_others(encoder_hub: FakeHub) -> None:
    del encoder_hub.files["model.safetensors"], encoder_hub.files["preprocessor_config.json"]
    assert names(resolve_encoder(REPO)) == ["config.json", "pytorch_model.bin"]


@pytest.mark.parametrize("revision", [COMMIT, "refs/pr/5", "v1.0"])
def test_a_revision_does_not_pass_for_the_newest(encoder_hub: FakeHub, revision: str) -> None:
    encoder_hub.branches = ("main", "refs%2Fpr%2F5", "v1.0")
    folder = resolve_encoder(f"{REPO}@{revision}")
    assert resolve_encoder(f"{REPO}@{COMMIT}") == folder
    newest = resolve_encoder(REPO)
    assert newest != folder
    assert encoder_hub.count()["model.safetensors"] == 2
    assert {each.name for each in list_models() if each.where == "cached"} == {REPO}
    assert len(remove(REPO)) == 2
    assert list(cache.all_copies()) == []


def test_offline(encoder_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in (REPO, f"{REPO}@{COMMIT}"):
        with pytest.raises(ModelNotFoundError, match=f"the encoder {name} is not on this machine, and HF_HUB_OFFLINE"):
            resolve_encoder(name)
    assert encoder_hub.requests == []
    monkeypatch.delenv("HF_HUB_OFFLINE")
    folder = resolve_encoder(REPO)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = len(encoder_hub.requests)
    assert resolve_encoder(REPO) == resolve_encoder(f"{REPO}@{COMMIT}") == folder
    with pytest.raises(ModelNotFoundError, match="a revision that only the hub knows"):
        resolve_encoder(f"{REPO}@main")
    (folder / "config.json").write_bytes(b"{}")
    with pytest.raises(ModelNotFoundError, match="is damaged, and HF_HUB_OFFLINE is set"):
        resolve_encoder(REPO)
    assert len(encoder_hub.requests) == asked


def test_a_damaged_copy_is_fetched_again(encoder_hub: FakeHub) -> None:
    folder = resolve_encoder(REPO)
    (folder / "model.safetensors").write_bytes(b"")
    assert (resolve_encoder(REPO) / "model.safetensors").read_bytes() == WEIGHTS


def test_what_the_hub_does_not_have(encoder_hub: FakeHub, cache_folder: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="there is no folder acme/other, and the hub has no model acme/other"):
        resolve_encoder("acme/other")
    with pytest.raises(ModelNotFoundError, match="no model acme/fake-hubert with a revision v2"):
        resolve_encoder(f"{REPO}@v2")
    with pytest.raises(ModelNotFoundError, match="no model acme/fake-hubert at fedcba"):
        resolve_encoder(f"{REPO}@{'fedcba98' * 5}")
    del encoder_hub.files["model.safetensors"], encoder_hub.files["pytorch_model.bin"]
    with pytest.raises(ModelNotFoundError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        resolve_encoder(REPO)
    assert list(cache.all_copies()) == []


def test_no_network() -> None:
    with pytest.raises(
        ModelDownloadError, match=r"cannot reach .*; the folder of a copy from another machine may be named"
    ):
        resolve_encoder(REPO)


def test_a_manipulated_file(encoder_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub states the hash of each file."""
    import fakehub

    monkeypatch.setattr(fakehub, "git_blob", lambda data: "0" * 40)
    with pytest.raises(ModelIntegrityError, match="is not the file it should be"):
        resolve_encoder(REPO)
    assert list(cache.all_copies()) == []


def test_an_encoder_does_not_transcribe(encoder_hub: FakeHub) -> None:
    """The cache holds both kinds of models."""
    resolve_encoder(REPO)
    with pytest.raises(ModelIntegrityError, match="is not a CTranslate2 model"):
        resolve(REPO)


def test_a_configuration_that_is_no_encoders(encoder_hub: FakeHub) -> None:
    from mtasr.encoders import load_encoder

    encoder_hub.files["config.json"] = json.dumps({"model_type": "bert"}).encode()
    with pytest.raises(ModelError, match="encoders of the type 'bert' are not read"):
        load_encoder(REPO)
