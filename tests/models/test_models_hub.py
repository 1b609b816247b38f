"""Downloads, against a real HTTP server, with the faults that networks have."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fakehub import COMMIT, FILES, FakeHub, git_blob, sha256

from mtasr.errors import ModelDownloadError, ModelIntegrityError, ModelNotFoundError
from mtasr.models import pull, registry, resolve
from mtasr.models.folder import Provenance
from mtasr.models.registry import ModelSpec

pytestmark = pytest.mark.usefixtures("fake_model")


def visible(cache: Path) -> list[str]:
    """Everything in the cache but lock files, hidden ones too."""
    return sorted(path.name for path in cache.iterdir() if not path.name.endswith(".lock")) if cache.is_dir() else []


def assert_complete(folder: Path) -> None:
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "mtasr.json"} == FILES


def test_downloads_and_records_what_arrived(fake_hub: FakeHub, cache_folder: Path) -> None:
    folder = pull("fake")

    assert folder == cache_folder / f"fake@{COMMIT[:12]}"
    assert_complete(folder)
    manifest = Provenance.read(folder)
    assert (manifest.repo, manifest.revision) == ("acme/fake-whisper", COMMIT)
    assert {name: record.sha256 for name, record in manifest.files.items()} == {
        name: sha256(data) for name, data in FILES.items()
    }
    assert visible(cache_folder) == [folder.name]


def test_a_second_resolve_asks_nobody(fake_hub: FakeHub) -> None:
    folder = resolve("pretend")
    before = len(fake_hub.requests)
    assert resolve("fake") == resolve("acme/fake-whisper") == pull("fake") == folder
    assert len(fake_hub.requests) == before


def test_force_downloads_again(fake_hub: FakeHub, cache_folder: Path) -> None:
    pull("fake")
    folder = pull("fake", force=True)
    assert fake_hub.count()["weights"] == 2
    assert_complete(folder)
    assert visible(cache_folder) == [folder.name]


def test_reports_progress(fake_hub: FakeHub) -> None:
    seen: list[tuple[str, int, int | None]] = []
    pull("fake", progress=lambda *each: seen.append(each))
    for name, data in FILES.items():
        mine = [(done, total) for file, done, total in seen if file == name]
        assert mine == sorted(mine)
        assert mine[-1] == (len(data), len(data))


def test_a_cut_connection_is_resumed(fake_hub: FakeHub) -> None:
    fake_hub.faults.cut_after, fake_hub.faults.cut_times = 100_000, 1
    assert_complete(pull("fake"))
    ranges = [each.headers.get("Range") for each in fake_hub.requests if each.path == "/storage/weights"]
    assert ranges == [None, "bytes=65536-"]  # whole blocks are kept


def test_a_server_without_ranges_starts_over(fake_hub: FakeHub) -> None:
    fake_hub.faults.cut_after, fake_hub.faults.cut_times, fake_hub.faults.ranges = 100_000, 2, False
    assert_complete(pull("fake"))
    assert fake_hub.count()["weights"] == 3


def test_a_connection_that_is_always_cut(fake_hub: FakeHub, cache_folder: Path) -> None:
    fake_hub.faults.cut_after, fake_hub.faults.cut_times = 100_000, 1000
    with pytest.raises(ModelDownloadError, match=r"model\.bin: .*cut") as caught:
        pull("fake")
    assert "\n" not in str(caught.value)
    assert visible(cache_folder) == []
    assert fake_hub.count()["weights"] == 5


def test_a_busy_hub_is_asked_again(fake_hub: FakeHub) -> None:
    fake_hub.faults.busy_times = 2
    assert_complete(pull("fake"))


def test_no_hub_at_all(cache_folder: Path) -> None:
    with pytest.raises(ModelDownloadError, match=r"cannot download http://127\.0\.0\.1:9/.*: no connection"):
        pull("fake")
    with pytest.raises(ModelDownloadError, match="cannot reach"):
        pull("some/other")
    assert visible(cache_folder) == []


def test_endpoint_must_be_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "example.org")
    with pytest.raises(ModelDownloadError, match="HF_ENDPOINT"):
        pull("fake")


def test_weights_that_are_not_the_pinned_ones(fake_hub: FakeHub, cache_folder: Path) -> None:
    fake_hub.files["model.bin"] = FILES["model.bin"][:-1] + b"?"
    with pytest.raises(ModelIntegrityError, match=r"model\.bin is not the file it should be"):
        pull("fake")
    assert visible(cache_folder) == []


def test_without_a_pin_the_word_of_the_hub_counts(
    fake_hub: FakeHub, fake_model: ModelSpec, monkeypatch: pytest.MonkeyPatch, cache_folder: Path
) -> None:
    monkeypatch.setitem(registry.MODELS, "fake", dataclasses.replace(fake_model, sha256={}))
    fake_hub.faults.linked_sha256 = sha256(b"something else")
    with pytest.raises(ModelIntegrityError, match=r"model\.bin"):
        pull("fake")
    assert visible(cache_folder) == []
    fake_hub.faults.linked_sha256 = None
    assert_complete(pull("fake"))


def test_small_files_are_checked_by_their_git_id(
    fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch, cache_folder: Path
) -> None:
    monkeypatch.setattr("fakehub.git_blob", lambda data: git_blob(data + b"!"))
    with pytest.raises(ModelIntegrityError, match=r"config\.json .* git id"):
        pull("fake")
    assert visible(cache_folder) == []


def test_an_unknown_revision(fake_hub: FakeHub, fake_model: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.MODELS, "fake", dataclasses.replace(fake_model, revision="f" * 40))
    with pytest.raises(ModelNotFoundError, match="acme/fake-whisper"):
        pull("fake")


def test_a_repository_of_another_kind(fake_hub: FakeHub, cache_folder: Path) -> None:
    del fake_hub.files["model.bin"]
    with pytest.raises(ModelNotFoundError, match=r"not a CTranslate2 model: it has no model\.bin"):
        pull("fake")
    del fake_hub.files["vocabulary.txt"]
    with pytest.raises(ModelNotFoundError, match="no vocabulary"):
        pull("fake")
    assert visible(cache_folder) == []


def test_a_pinned_file_is_not_optional(
    fake_hub: FakeHub, fake_model: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = {name: sha256(data) for name, data in FILES.items()}
    monkeypatch.setitem(registry.MODELS, "fake", dataclasses.replace(fake_model, sha256=pins))
    tokenizer = fake_hub.files.pop("tokenizer.json")
    with pytest.raises(ModelNotFoundError, match=r"it has no tokenizer\.json"):
        pull("fake")
    fake_hub.files["tokenizer.json"] = tokenizer
    assert_complete(pull("fake"))
    assert fake_hub.count()["vocabulary.json"] == 0, "the pins tell which vocabulary it has"


def test_any_repository_by_its_name(fake_hub: FakeHub, cache_folder: Path) -> None:
    fake_hub.repo = "someone/else"
    folder = resolve("someone/else")
    assert folder == cache_folder / f"someone--else@{COMMIT[:12]}"
    assert_complete(folder)
    before = len(fake_hub.requests)
    assert resolve("someone/else") == folder
    assert len(fake_hub.requests) == before


def test_a_repository_that_is_not_there(fake_hub: FakeHub) -> None:
    with pytest.raises(ModelNotFoundError, match="there is no folder no/where, and the hub has no model no/where"):
        resolve("no/where")


@pytest.mark.parametrize("value", ["1", "true", "YES", "on"])
def test_offline(fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    for name in ("fake", "some/other"):
        with pytest.raises(ModelNotFoundError, match=f"HF_HUB_OFFLINE is set; `mtasr models pull {name}`"):
            resolve(name)
    assert fake_hub.requests == []


def test_offline_uses_the_cache(fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = resolve("fake")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert resolve("fake") == folder


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2"])
def test_the_token_stays_with_the_hub(fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Another port of the same host is another server, too."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with FakeHub(address=address) as storage:
        fake_hub.faults.storage = storage.url
        pull("fake")
    assert {each.headers.get("Authorization") for each in fake_hub.requests} == {"Bearer hf_secret"}
    assert [each.path for each in storage.requests] == ["/storage/weights"]
    assert "hf_secret" not in repr(storage.requests)


CLIENT = """
import dataclasses, sys
from mtasr.models import pull, registry
from mtasr.models.registry import ModelSpec
registry.MODELS["fake"] = ModelSpec(name="fake", repo="acme/fake-whisper", revision=sys.argv[1], size=1)
print(pull("fake"))
"""


def start_client() -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    return subprocess.Popen([sys.executable, "-c", CLIENT, COMMIT], stdout=subprocess.PIPE, text=True, env=environment)


def test_two_processes_download_once(fake_hub: FakeHub, cache_folder: Path) -> None:
    fake_hub.faults.pause = 0.02
    clients = [start_client(), start_client()]
    answers = [client.communicate(timeout=30)[0].strip() for client in clients]
    assert [client.returncode for client in clients] == [0, 0]
    assert answers == [str(cache_folder / f"fake@{COMMIT[:12]}")] * 2
    assert fake_hub.count()["weights"] == 1
    assert_complete(Path(answers[0]))


def test_a_killed_download_leaves_nothing_for_the_next(
    fake_hub: FakeHub, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_hub, "files", FILES | {"model.bin": FILES["model.bin"] * 16})
    fake_hub.faults.linked_sha256 = None
    fake_hub.faults.hold = threading.Event()
    client = start_client()
    try:
        deadline = time.monotonic() + 20
        while not list(cache_folder.glob(".fake@*.partial/model.bin")):
            assert time.monotonic() < deadline, "the client never began to write"
            time.sleep(0.01)
    finally:
        client.send_signal(signal.SIGKILL)
        client.communicate()
        fake_hub.faults.hold.set()
    assert visible(cache_folder) == [f".fake@{COMMIT[:12]}.partial"]

    monkeypatch.setattr(fake_hub, "files", dict(FILES))
    fake_hub.faults.hold = None
    folder = pull("fake")
    assert_complete(folder)
    assert visible(cache_folder) == [folder.name]
