"""Checkpoints are whole or not there, are read by earlier and later runs, and run no code."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from training_model import Configure, write_single_file

from mtasr.errors import DeviceError, InputError, ModelIntegrityError, OutputError, UsageError
from mtasr.training import state as module
from mtasr.training.loop import train
from mtasr.training.run_log import read_log
from mtasr.training.state import checkpoints, load_document, read_note
from mtasr.training.tensor_files import _Reader, read_tensors, read_whole_tensors, write_tensors


def losses(output: Path) -> list[float]:
    return [entry["loss"] for entry in read_log(output / "log.jsonl") if "loss" in entry]


class Code:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of tensors, a note beside them."""
    path = tmp_path / "step-00000002"
    write_tensors({"model.a": torch.arange(6.0).view(2, 3), "average.a": torch.ones(2)}, path, alone=True)
    note = {"step": 2, "epoch": 0, "batch": 2, "updates": 2, "processes": 1, "scores": {}, "scaler": {}, "config": {}}
    (path / "run.json").write_text(json.dumps(note))
    return path


def test_tensors_come_back(folder: Path) -> None:
    document = load_document(folder)
    assert document["model"]["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert document["average"]["a"].tolist() == [1, 1]
    assert document["step"] == 2


def _good_ones_are_read(folder: Path) -> None:
    """Also if they are written anew as the damaged ones are: nothing in this process has changed."""
    write_metadata(folder, metadata_of(folder))
    assert load_document(folder)["average"]["a"].tolist() == [1, 1]


def metadata_of(folder: Path) -> Any:
    return pickle.loads((folder / ".metadata").read_bytes())


def write_metadata(folder: Path, metadata: Any) -> None:
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))


def _code_as_metadata(folder: Path, mark: Path) -> None:
    write_metadata(folder, Code(mark))


def _code_in_metadata(folder: Path, mark: Path) -> None:
    metadata = metadata_of(folder)
    metadata.planner_data = Code(mark)
    write_metadata(folder, metadata)


def _code_called_by_name(folder: Path, _: Path) -> None:
    (folder / ".metadata").write_bytes(b"cbuiltins\neval\n(V1\ntR.")


def _code_instead_of_a_tensor(folder: Path, mark: Path) -> None:
    """Torch unpickles what is no tensor without looking."""
    from torch.distributed.checkpoint.metadata import BytesStorageMetadata

    metadata = metadata_of(folder)
    (index,) = [each for each in metadata.storage_data if each.fqn == "model.a"]
    metadata.state_dict_metadata["model.a"] = BytesStorageMetadata()
    _replace(folder, metadata, index, pickle.dumps(Code(mark)))


def _code_in_a_tensor(folder: Path, mark: Path) -> None:
    metadata = metadata_of(folder)
    (index,) = [each for each in metadata.storage_data if each.fqn == "model.a"]
    buffer = io.BytesIO()
    torch.save(Code(mark), buffer)
    _replace(folder, metadata, index, buffer.getvalue())


def _replace(folder: Path, metadata: Any, index: Any, content: bytes) -> None:
    stored = metadata.storage_data[index]
    path = folder / stored.relative_path
    whole = path.read_bytes()
    path.write_bytes(whole + content)
    stored.offset, stored.length = len(whole), len(content)
    write_metadata(folder, metadata)


def _another_folder(folder: Path, _: Path) -> None:
    metadata = metadata_of(folder)
    for stored in metadata.storage_data.values():
        stored.relative_path = f"../{folder.name}/{stored.relative_path}"
    write_metadata(folder, metadata)


def _huge(folder: Path, _: Path) -> None:
    metadata = metadata_of(folder)
    metadata.state_dict_metadata["model.a"].size = torch.Size([1 << 40, 1 << 10])
    write_metadata(folder, metadata)


def _cut(folder: Path, _: Path) -> None:
    (path,) = folder.glob("*.distcp")
    path.write_bytes(path.read_bytes()[:-1])


def _missing(folder: Path, _: Path) -> None:
    (path,) = folder.glob("*.distcp")
    path.unlink()


def _note(folder: Path, _: Path) -> None:
    (folder / "run.json").write_text('{"step": "2"}')


def _deep_note(folder: Path, _: Path) -> None:
    (folder / "run.json").write_text("[" * 100_000)


def _attribute_of_a_class(folder: Path, _: Path) -> None:
    name, other = b"ctorch.distributed.checkpoint.metadata\nMetadata\n", b"cpathlib\nPosixPath\n"
    (folder / ".metadata").write_bytes(name + b"(N}V__init__\n" + other + b"stb.")


def _attribute_of_a_function(folder: Path, _: Path) -> None:
    (folder / ".metadata").write_bytes(b"ctorch.serialization\n_get_layout\n}Vcache\n}s" + b"b.")


def _attribute_of_an_enumeration(folder: Path, _: Path) -> None:
    name = b"ctorch.distributed.checkpoint.metadata\n_MEM_FORMAT_ENCODING\n"
    (folder / ".metadata").write_bytes(name + b"(I0\ntR}V_value_\nI1\nsb.")


def _more_than_memory(folder: Path, _: Path) -> None:
    (folder / ".metadata").write_bytes(b"\x80\x04Nr\xff\xff\xff\xff.")  # kept as number 2^32 - 1 of a list


def _code_in_a_file(folder: Path, mark: Path) -> None:
    _single(folder, {"optimizer": Code(mark)})


def _file_without_a_place(folder: Path, _: Path) -> None:
    document = load_document(folder) | {"optimizer": {"state": {}}}
    del document["epoch"]
    _single(folder, document)


def _file_without_weights(folder: Path, _: Path) -> None:
    _single(folder, {"optimizer": {"state": {}}})


def _file_with_numbers_for_weights(folder: Path, _: Path) -> None:
    _single(folder, load_document(folder) | {"optimizer": {"state": {}}, "model": {"a": 1}})


def _single(folder: Path, document: Any) -> None:
    shutil.rmtree(folder)
    torch.save(document, folder.with_suffix(".pt"))


#: What is wrong, and a part of the reason that is given.
DAMAGE: list[tuple[Callable[[Path, Path], None], str]] = [
    (_code_as_metadata, "posix.mkdir has no place among tensors"),
    (_code_in_metadata, "posix.mkdir has no place among tensors"),
    (_code_called_by_name, "builtins.eval has no place among tensors"),
    (_code_instead_of_a_tensor, "BytesStorageMetadata has no place among tensors"),
    (_code_in_a_tensor, "Weights only load failed"),
    (_attribute_of_a_class, "describes no tensors"),
    (_attribute_of_a_function, "does not support item assignment"),
    (_attribute_of_an_enumeration, "describes no tensors"),
    (_more_than_memory, ".metadata is too large"),
    (_another_folder, "../step-00000002/__0_0.distcp is no file that belongs there"),
    (_huge, "the tensors are larger than their files"),
    (_cut, "__0_0.distcp has "),
    (_missing, "No such file"),
    (_note, "step is not of its type"),
    (_deep_note, "recursion"),
    (_code_in_a_file, "Weights only load failed"),
    (_file_without_a_place, "'epoch'"),
    (_file_without_weights, "'model'"),
    (_file_with_numbers_for_weights, "model has more than tensors"),
]


@pytest.mark.parametrize(("damage", "reason"), DAMAGE, ids=[damage.__name__ for damage, _ in DAMAGE])
def test_hostile_and_damaged_checkpoints(
    damage: Callable[[Path, Path], None], reason: str, folder: Path, tmp_path: Path
) -> None:
    mark, good = tmp_path / "mark", tmp_path / "good"
    shutil.copytree(folder, good)
    damage(folder, mark)
    (path,) = checkpoints(tmp_path)
    with pytest.raises(ModelIntegrityError, match=f"is no checkpoint of a run: .*{re.escape(reason)}") as raised:
        load_document(path)
    _good_ones_are_read(good)
    assert not mark.exists()
    assert len(str(raised.value)) < 500
    assert "\n" not in str(raised.value)


class Raises:
    def __init__(self, what: BaseException) -> None:
        self.what = what

    def __call__(self, *_: Any) -> Any:
        raise self.what


#: What can stop reading a checkpoint that is whole, and what then comes out.
STOPS: list[tuple[BaseException, type[BaseException], str]] = [
    (KeyboardInterrupt("of a user"), KeyboardInterrupt, "of a user"),
    (SystemExit(143), SystemExit, "143"),
    (OSError(errno.ESTALE, "Stale file handle"), InputError, "step-00000004: cannot be read: Stale file handle"),
    (PermissionError(errno.EACCES, "Permission denied"), InputError, "cannot be read: Permission denied"),
    (MemoryError(), DeviceError, "too little memory to read it: MemoryError"),
    (torch.OutOfMemoryError("CUDA out of memory."), DeviceError, "too little memory to read it: CUDA out of memory."),
]


def test_what_stops_reading_is_no_damage(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = train(configure(tmp_path / "run", "save_every=2"))
    log = (run.folder / "log.jsonl").read_bytes()
    for what, kind, words in STOPS:
        monkeypatch.setattr(_Reader, "read_data", Raises(what))
        with pytest.raises(kind, match=words):
            train(configure(tmp_path / "run", "save_every=2"))
    monkeypatch.undo()
    for name in ("step-00000004/.metadata", "step-00000004/run.json"):
        monkeypatch.setattr(
            Path, "read_bytes", _read_bytes(run.folder / name, OSError(errno.EIO, "Input/output error"))
        )
        with pytest.raises(InputError, match="step-00000004: cannot be read: Input/output error"):
            train(configure(tmp_path / "run", "save_every=2"))
        monkeypatch.undo()
    assert "earlier" not in caplog.text
    assert (run.folder / "log.jsonl").read_bytes() == log


def _read_bytes(path: Path, problem: OSError) -> Callable[[Path], bytes]:
    real = Path.read_bytes

    def read(self: Path) -> bytes:
        if self == path:
            raise problem
        return real(self)

    return read


def test_metadata_that_one_process_cannot_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch says only that there are none."""
    monkeypatch.setattr(Path, "read_bytes", _read_bytes(folder / ".metadata", OSError(errno.EIO, "Input/output error")))
    with pytest.raises(InputError, match="cannot be read: Input/output error"):
        read_tensors({"model.a": torch.zeros(2, 3)}, folder, alone=True)


@pytest.mark.parametrize(
    ("what", "kind", "words"),
    [
        (KeyboardInterrupt("of a user"), KeyboardInterrupt, "of a user"),
        (OSError(errno.ENOSPC, "No space left on device"), OutputError, "cannot write .*: No space left on device"),
        (MemoryError(), OutputError, "cannot write .*: MemoryError"),
    ],
)
def test_what_stops_writing(
    what: BaseException, kind: type[BaseException], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileSystemWriter, "write_data", Raises(what))
    with pytest.raises(kind, match=words):
        write_tensors({"a": torch.ones(2)}, tmp_path / "folder", alone=True)


def test_only_what_is_wanted_is_read(folder: Path) -> None:
    assert set(read_whole_tensors(folder)) == {"model.a", "average.a"}
    assert set(read_whole_tensors(folder, ("model.", "optimizer."))) == {"model.a"}


def test_a_checkpoint_is_whole_or_not_there(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = losses(train(configure(tmp_path / "whole", "save_every=2")).folder)
    finish = module._finish

    def fails(staging: Path, path: Path, *rest: Any) -> None:
        if path.name == "step-00000004":
            (staging / "__0_0.distcp").unlink()
        finish(staging, path, *rest)

    monkeypatch.setattr(module, "_finish", fails)
    with pytest.raises(OutputError, match="all machines must share the folder of a run"):
        train(configure(tmp_path / "run", "save_every=2"))
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["step-00000002"]
    monkeypatch.undo()
    train(configure(tmp_path / "run", "save_every=2"))
    assert losses(tmp_path / "run") == whole
    assert not list((tmp_path / "run").glob(".*.partial"))


def test_single_files_of_earlier_versions_resume(configure: Configure, tmp_path: Path) -> None:
    run = train(configure(tmp_path / "whole", "save_every=2"))
    other = tmp_path / "old"
    write_single_file(run.folder / "step-00000002", other / "step-00000002.pt")
    shutil.copy(run.folder / "log.jsonl", other)
    train(configure(other, "save_every=2", "keep=1"))
    assert losses(other) == losses(run.folder)
    assert [path.name for path in checkpoints(other)] == ["step-00000004"], "the file is removed like others"
    one, two = (read_whole_tensors(folder / "step-00000004") for folder in (run.folder, other))
    assert one.keys() == two.keys()
    assert all(one[name].equal(two[name]) for name in one)


def test_a_run_of_other_batches_is_refused(configure: Configure, tmp_path: Path) -> None:
    run = train(configure(tmp_path / "run", "optimizer.accumulation=2", steps=1))
    assert read_note(checkpoints(run.folder)[-1])["processes"] == 1
    with pytest.raises(UsageError, match=r"with 2 batches per step instead of 3; set optimizer.batches_per_step=2$"):
        train(configure(tmp_path / "run", "optimizer.accumulation=3", steps=1))
    with pytest.raises(UsageError, match=r"other settings \(optimizer\.clip\)"):
        train(configure(tmp_path / "run", "optimizer.accumulation=2", "optimizer.clip=2", steps=1))
    train(configure(tmp_path / "run", "optimizer.batches_per_step=2", "parallel=fsdp", steps=1))


def test_a_run_without_a_checkpoint_that_can_be_read_does_not_begin_anew(configure: Configure, tmp_path: Path) -> None:
    run = train(configure(tmp_path / "run", steps=1))
    (checkpoints(run.folder)[-1] / "run.json").unlink()
    with pytest.raises(ModelIntegrityError, match="no checkpoint of the run can be read"):
        train(configure(tmp_path / "run", steps=1))
